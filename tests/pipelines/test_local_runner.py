from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from kie_ops.errors import ConfigError, InputError, ServiceError
from pipelines import local_runner, supervisor
from pipelines.archive_feed import ArchiveFeed, FileSet
from pipelines.commit_log import Log
from pipelines.config import Config
from pipelines.feed import Feed
from pipelines.job import Job
from pipelines.shard import Shard
from pipelines.storage import Storage, open_storage
from tests.pipelines.source_fakes import (
    DOWN,
    EOF,
    KILL,
    CommittingWorker,
    FakeFeed,
    Here,
    assert_contiguous,
    chain,
    journal,
    open_committing,
    record,
    settings,
)

COUNT = 60


def value(i: int) -> bytes:
    return b'{"text": "document %d"}' % i


def feed_of(*items: object) -> Callable[[int, int], Feed]:
    return Here(lambda k, shards: FakeFeed({0: list(items)}))  # type: ignore[arg-type]


def quick(root: Path, **overrides: object) -> Config:
    return settings(root, **{"tables__segment": 20, "batch__documents": 4, "batch__gather_s": 0.05,
                             "tables__publish_every_s": 0.2, "run__round_s": 5, **overrides})


def check(root: Path, count: int = COUNT) -> None:
    assert assert_contiguous(chain(Log(open_storage(str(root)), "s", 0)), 0, 20) == count
    offsets = sorted(offset for line in journal(root) for offset, _ in line["documents"])
    assert offsets == list(range(count))


def run(config: Config, feeds: Callable[[int, int], Feed], worker: object = open_committing) -> None:
    local_runner.run_feeds(config, feeds, worker, threading.Event())  # type: ignore[arg-type]


def test_a_feed_that_fails_for_a_while_is_retried(tmp_path: Path, fast_pauses: None) -> None:
    run(quick(tmp_path), feed_of(*(record(i, value(i)) for i in range(30)), DOWN,
                                 *(record(i, value(i)) for i in range(30, COUNT)), EOF))
    check(tmp_path)


@pytest.fixture
def fast_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.job.PAUSES_S", (0.01,))


class Away(CommittingWorker):
    """One step in three finds a service away."""

    chance = random.Random(7)

    def _maybe(self) -> None:
        if self.chance.random() < 1 / 3:
            raise ServiceError("the memory is away", where="redis")

    def own(self) -> None:
        self._maybe()
        super().own()

    def process(self, parsed: object) -> None:
        self._maybe()
        super().process(parsed)  # type: ignore[arg-type]

    def publish(self) -> None:
        self._maybe()
        super().publish()


def test_services_that_go_away_at_any_step_are_waited_for_and_nothing_is_lost(
    tmp_path: Path, fast_pauses: None, caplog: pytest.LogCaptureFixture
) -> None:
    run(quick(tmp_path), feed_of(*(record(i, value(i)) for i in range(COUNT)), EOF), Away)
    check(tmp_path)


def test_a_service_away_at_the_start_is_tried_for_a_while_and_then_is_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def feeds(k: int, shards: int) -> Feed:
        tries.append(k)
        raise ServiceError("kafka is away")

    job = Job(quick(tmp_path), Here(feeds), open_committing)
    with pytest.raises(ServiceError, match="kafka is away"):
        local_runner.serve(job, 0, threading.Event(), patience_s=0.7)
    assert len(tries) == 2


def test_a_service_that_comes_in_time_is_taken(tmp_path: Path) -> None:
    tries: list[int] = []

    def feeds(k: int, shards: int) -> Feed:
        tries.append(k)
        if len(tries) < 2:
            raise ServiceError("kafka is away")
        return FakeFeed({0: [*(record(i, value(i)) for i in range(COUNT)), EOF]})

    run(quick(tmp_path), Here(feeds))
    check(tmp_path)


def test_a_configuration_error_ends_at_once(tmp_path: Path) -> None:
    def worker(config: Config, shard: Shard, storage: Storage) -> CommittingWorker:
        raise ConfigError("wrong")

    feed = FakeFeed({0: []})
    with pytest.raises(ConfigError, match="wrong"):
        run(quick(tmp_path), lambda k, shards: feed, worker)
    assert feed.closed


def test_files_that_could_not_be_read_are_the_error_after_everything_else(tmp_path: Path) -> None:
    good = tmp_path / "b.jsonl"
    good.write_bytes(b"".join(value(i) + b"\n" for i in range(COUNT)))
    files = FileSet(((str(good),), (str(tmp_path / "gone.jsonl"),)))
    config = quick(tmp_path / "out")
    with pytest.raises(InputError, match=r"gone\.jsonl"):
        run(config, partial(ArchiveFeed, files, config.source.format))
    assert assert_contiguous(chain(Log(open_storage(str(tmp_path / "out")), files.stream, 0)), 0, 20) == COUNT


@pytest.mark.parametrize("options", [{"direct_running_mode": "multi_threading"}, {"direct_num_workers": 4}])
def test_modes_of_the_runner_that_lose_documents_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"run\.options\.{next(iter(options))}"):
        run(quick(tmp_path, run__options=options), feed_of(EOF))


def test_a_second_worker_stands_by_until_the_first_is_gone(tmp_path: Path) -> None:
    feeds = feed_of(*(record(i, value(i)) for i in range(COUNT)), EOF)
    run(quick(tmp_path), feed_of(EOF))  # makes the lock
    (lock,) = (tmp_path / "_locks").iterdir()
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stop = threading.Event()
        second = threading.Thread(target=local_runner.run_feeds, args=(quick(tmp_path), feeds, open_committing, stop))
        second.start()
        second.join(1.5)
        assert second.is_alive()
        assert journal(tmp_path) == []
    second.join(30)
    assert not second.is_alive()
    check(tmp_path)


def test_signals_end_a_run_cleanly(tmp_path: Path) -> None:
    code = f"""
import threading
from tests.pipelines.source_fakes import *
from pipelines import local_runner
feed = FakeFeed({{0: [record(i, b'{{"text": "t"}}') for i in range({COUNT})]}})
config = settings({str(tmp_path)!r}, tables__segment=20, batch__documents=4, batch__gather_s=0.05)
local_runner.run_feeds(config, Here(lambda k, n: feed), open_committing, threading.Event())
print("clean")
"""
    (tmp_path / "run.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    until(lambda: sum(len(line["documents"]) for line in journal(tmp_path)) == COUNT)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "clean\n"), err
    assert "Traceback" not in err
    check(tmp_path)


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)


# -- several shards -------------------------------------------------------------------------------------------------


def killing_feed(marker: Path, k: int, shards: int) -> FakeFeed:
    """Partition k; the first process that serves shard 1 kills itself in the middle."""
    items: list = [*(record(i, value(i), partition=k) for i in range(COUNT)), EOF]
    if k == 1 and not marker.exists():
        marker.touch()
        items.insert(COUNT // 2, KILL)
    return FakeFeed({k: items})


def failing_feed(pid: Path, k: int, shards: int) -> FakeFeed:
    """Shard 0 has no end; shard 1 fails once it is there."""
    if k == 0:
        pid.with_suffix(".new").write_text(str(os.getpid()))
        pid.with_suffix(".new").rename(pid)
        return FakeFeed({0: []})
    until(pid.exists)
    raise ConfigError("shard one is wrong", where="here", next_step="mend it")


def open_own_journal(config: Config, shard: Shard, storage: Storage) -> CommittingWorker:
    worker = CommittingWorker(config, shard, storage)
    worker.journal = worker.journal.with_name(f"journal-{shard.k}.jsonl")
    return worker


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake workers keep no memory, so any number of processes may run."""
    monkeypatch.setattr(supervisor, "_hold_memory", lambda job: None)


def test_a_process_that_is_killed_is_started_anew_and_nothing_is_lost(tmp_path: Path, shared: None) -> None:
    config = quick(tmp_path, source__shards=2, memory__url="embedded")
    run(config, partial(killing_feed, tmp_path / "killed"), open_own_journal)
    assert (tmp_path / "killed").exists()
    for k in range(2):
        assert assert_contiguous(chain(Log(open_storage(str(tmp_path)), "s", k)), 0, 20) == COUNT
        lines = [json.loads(line) for line in (tmp_path / f"journal-{k}.jsonl").read_text().splitlines()]
        assert sorted(o for line in lines for o, _ in line["documents"]) == list(range(COUNT))


def test_an_error_of_one_shard_that_somebody_must_act_on_ends_all(tmp_path: Path, shared: None) -> None:
    config = quick(tmp_path, source__shards=2, memory__url="embedded")
    with pytest.raises(ConfigError, match=r"shard one is wrong \(at here\)\. Next: mend it"):
        run(config, partial(failing_feed, tmp_path / "pid"))
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_memory_in_the_process_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"memory\.url"):
        run(quick(tmp_path, source__shards=2), feed_of(EOF))
