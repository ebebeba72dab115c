"""Both stores keep the two promises the commit log rests on."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kie_ops.errors import ConfigError, ServiceError
from pipelines.storage import Storage, local_root, open_storage, verify_exclusive
from tests.pipelines.chains import hooked, open_store


@pytest.fixture(params=["local", "memory", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    return open_store(request.param, tmp_path)


def test_create_is_exclusive(opened: Callable[[], Storage]) -> None:
    storage, other = opened(), opened()
    assert storage.create("a/b/1", b"mine")
    assert not other.create("a/b/1", b"theirs")
    assert other.read("a/b/1") == b"mine"


def test_one_of_many_creators_wins(opened: Callable[[], Storage]) -> None:
    stores, won = [opened() for _ in range(8)], list[int]()
    gate = threading.Barrier(len(stores))

    def create(i: int) -> None:
        gate.wait()
        if stores[i].create("x", str(i).encode()):
            won.append(i)

    threads = [threading.Thread(target=create, args=(i,)) for i in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert stores[0].read("x") == str(won[0]).encode()


def test_replace_if_replaces_only_the_version_seen(opened: Callable[[], Storage]) -> None:
    storage, other = opened(), opened()
    assert storage.version("f") is None
    assert storage.replace_if("f", b"1", None)
    assert not other.replace_if("f", b"x", None)
    seen = storage.version("f")
    assert other.replace_if("f", b"22", other.version("f"))
    assert not storage.replace_if("f", b"333", seen)
    storage.delete("f")
    assert not storage.replace_if("f", b"333", seen)
    assert storage.version("f") is None


@pytest.mark.parametrize("durable", [True, False])
def test_replace_read_names_delete(opened: Callable[[], Storage], durable: bool) -> None:
    storage = opened()
    assert storage.names("a") == storage.names("") == []
    for path in ("a/z", "a/b/c", "a/domain=x%2Fy/f"):
        storage.replace(path, b"1", durable=durable)
        storage.replace(path, path.encode(), durable=durable)
    assert storage.names("a") == ["b", "domain=x%2Fy", "z"]
    assert storage.names("a/z") == []
    assert storage.names("") == ["a"]
    assert storage.read("a/domain=x%2Fy/f") == b"a/domain=x%2Fy/f"
    storage.delete("a/z")
    storage.delete("a/z")
    with pytest.raises(FileNotFoundError):
        storage.read("a/z")


def test_a_good_store_passes_the_startup_check(opened: Callable[[], Storage]) -> None:
    storage = opened()
    verify_exclusive(storage)
    assert storage.names("_log/_CHECK") == []


@pytest.mark.parametrize("broken", ["create", "replace_if"])
def test_a_store_without_exclusive_creation_is_refused(
    opened: Callable[[], Storage], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened()

    def overwrites(path: str, data: bytes, *_: object, **__: object) -> bool:
        storage.replace(path, data)
        return True

    monkeypatch.setattr(storage, broken, overwrites)
    with pytest.raises(ConfigError, match="exclusive creation"):
        verify_exclusive(storage)


def test_missing_bucket_is_named(tmp_path: Path) -> None:
    there = open_store("s3", tmp_path)()
    storage = open_storage("s3://no-such-bucket/x", {"endpoint": there._store.config["endpoint"],  # type: ignore[attr-defined]
                                                     "access_key_id": "k", "secret_access_key": "s",
                                                     "region": "us-east-1"})
    with pytest.raises(ServiceError, match="no such bucket"):
        verify_exclusive(storage)


def test_unreachable_store_is_a_retriable_error() -> None:
    storage = open_storage("s3://b/x", {"endpoint": "http://127.0.0.1:9", "access_key_id": "k", "region": "r",
                                        "secret_access_key": "s", "retry_config": {"max_retries": 0}})
    for call in (lambda: storage.create("a", b""), lambda: storage.read("a"), lambda: storage.names("a"),
                 lambda: storage.version("a"), lambda: storage.delete("a")):
        with pytest.raises(ServiceError, match="did not answer") as caught:
            call()
        assert caught.value.retriable


def test_bad_roots_are_refused() -> None:
    with pytest.raises(ConfigError, match="no storage for ftp"):
        open_storage("ftp://x/y")
    with pytest.raises(ConfigError, match="cannot use the object store"):
        open_storage("s3://b/x", {"no_such_setting": "x"})


def test_file_urls_and_paths_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    open_storage(str(folder)).create("a", b"1")
    assert open_storage(f"file://{str(folder).replace(' ', '%20')}").read("a") == b"1"
    assert local_root(open_storage(str(folder))) == folder
    assert local_root(open_store("s3", tmp_path)()) is None


def test_paths_stay_below_the_root(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    for path in ("/etc/x", "../x", "a/../../x"):
        with pytest.raises(ValueError, match="below the root"):
            storage.create(path, b"")


@pytest.mark.parametrize(("number", "step"), [(errno.ENOSPC, "free space"), (errno.EACCES, "right to write")])
def test_disk_full_and_forbidden_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str
) -> None:
    storage = open_storage(str(tmp_path))
    storage.create("before", b"1")

    def refuse(handle: int, data: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", refuse)
    for write in (storage.create, storage.replace):
        with pytest.raises(ServiceError, match=step) as caught:
            write("new", b"data")
        assert str(tmp_path) in str(caught.value)
    monkeypatch.undo()
    assert storage.names("") == ["before"]
    assert os.listdir(tmp_path / "_tmp") == []


def test_no_hard_links_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(ConfigError, match="exclusive creation"):
        verify_exclusive(open_storage(str(tmp_path)))


def test_create_is_on_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, then name, then every folder on the way, each synced."""
    done: list[str] = []
    sync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda h: (done.append(os.readlink(f"/proc/self/fd/{h}")), sync(h)))
    monkeypatch.setattr(os, "link", lambda a, b: (done.append("link"), link(a, b)))
    root = tmp_path / "tables"
    open_storage(str(root)).create("a/b/1", b"x")
    at = done.index("link")
    assert {str(root / "a"), str(root), str(tmp_path)} <= set(done[:at])
    assert done[at - 1].startswith(str(root / "_tmp"))
    assert done[at + 1:] == [str(root / "a/b")]


def test_not_durable_does_not_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(os, "fsync", done.append)
    storage = open_storage(str(tmp_path))
    storage.replace("a/b", b"x", durable=False)
    assert done == []
    storage.replace("a/b", b"x")
    assert done


KILL = """
import os, sys
from pipelines import faults
from pipelines.storage import open_storage
open_storage(sys.argv[1]).replace("f", b"new" * 100)
"""


def test_what_a_killed_writer_left_is_removed_but_not_what_a_living_one_holds(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path))
    storage.replace("f", b"old")
    env = {**os.environ, "ENGRAM_FAULT": "temp-written"}
    ended = subprocess.run([sys.executable, "-c", KILL, str(tmp_path)], env=env, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert storage.read("f") == b"old"
    assert len(os.listdir(tmp_path / "_tmp")) == 1
    held: list[int] = []

    def sweep(_: str) -> None:
        open_storage(str(tmp_path))
        held.append(len(os.listdir(tmp_path / "_tmp")))

    with hooked(sweep):
        storage.replace("f", b"newer")
    assert held == [1]
    assert storage.read("f") == b"newer"
    assert os.listdir(tmp_path / "_tmp") == []


def _hold(root: str, ready: multiprocessing.synchronize.Event, go: multiprocessing.synchronize.Event) -> None:
    with open_storage(root).lock("LOCK"):
        ready.set()
        go.wait()


def test_a_lock_holds_others_up_until_its_holder_dies(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready, go))
    holder.start()
    assert ready.wait(60)
    got = threading.Event()

    def take() -> None:
        with open_storage(str(tmp_path)).lock("LOCK"):
            got.set()

    waiting = threading.Thread(target=take)
    waiting.start()
    assert not got.wait(0.2)
    holder.kill()
    assert got.wait(60)
    waiting.join()
    holder.join()
