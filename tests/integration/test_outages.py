"""Services that go away while documents are read: time is lost, nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration import checks
from tests.integration.documents import texts
from tests.integration.harness import Running, as_records, engram, send, settings
from tests.integration.services import Kafka, Redis

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_200)]
COUNT, PARTITIONS = 120, 2


def committed(tables: Path) -> int:
    return sum(1 for row in checks.rows(tables, "documents")) if tables.exists() else 0


def half(tables: Path, more_than: int) -> Callable[[], bool]:
    return lambda: committed(tables) >= more_than


@pytest.fixture
def topic(kafka: Kafka) -> str:
    name = f"outage-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(name, PARTITIONS)
    return name


@pytest.mark.parametrize("how", ["wiped", "killed", "killed-and-wiped"])
def test_redis_taken_away(
    how: str, kafka: Kafka, redis_server: Redis, topic: str, small_domain: str, tmp_path: Path
) -> None:
    """Memory rebuilds itself from the log and then equals the sum of all contributions."""
    sent = send(kafka, topic, as_records(texts(COUNT, seed=1)), PARTITIONS)
    config = settings(tmp_path / "job", kafka.bootstrap, topic, redis_server.url, small_domain,
                      run={"until_idle_s": 6.0})
    tables = tmp_path / "job" / "tables"
    with Running("run", config, output=tmp_path / "run.log") as running:
        running.until(half(tables, COUNT // 3), "a third of the documents")
        if how != "wiped":
            redis_server.kill()
            redis_server.start()
        if how != "killed":
            redis_server.wipe()
        sent += send(kafka, topic, as_records(texts(COUNT, seed=2)), PARTITIONS)
        running.wait()
    checks.check(tables, sent)
    _memory_is_the_sum_of_the_log(config, tmp_path)


def test_kafka_taken_away(kafka: Kafka, redis_server: Redis, topic: str, small_domain: str, tmp_path: Path) -> None:
    sent = send(kafka, topic, as_records(texts(COUNT, seed=3)), PARTITIONS)
    config = settings(tmp_path / "job", kafka.bootstrap, topic, redis_server.url, small_domain,
                      run={"until_idle_s": 40.0})
    tables = tmp_path / "job" / "tables"
    with Running("run", config, output=tmp_path / "run.log") as running:
        running.until(half(tables, COUNT // 3), "a third of the documents")
        kafka.kill()
        kafka.start()
        sent += send(kafka, topic, as_records(texts(COUNT, seed=4)), PARTITIONS)
        running.until(half(tables, len(sent)), "all documents")
    engram("run", config, "--until-idle", "2")
    checks.check(tables, sent)


def test_services_down_at_start(redis_server: Redis, kafka: Kafka, topic: str, small_domain: str, tmp_path: Path
                                ) -> None:
    """A clear message and exit code 3, not a traceback and not a job that hangs for ever."""
    for name, bootstrap, memory in (
        ("kafka", "127.0.0.1:1", redis_server.url), ("redis", kafka.bootstrap, "redis://127.0.0.1:1/0"),
    ):
        config = settings(tmp_path / name, bootstrap, topic, memory, small_domain)
        done = engram("doctor", config, expect=None)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert name in (done.stdout + done.stderr).lower()


def _memory_is_the_sum_of_the_log(config: Path, folder: Path) -> None:
    engram("memory", "export", folder / "live", "--config", config)
    engram("memory", "rebuild", "--config", config)
    engram("memory", "export", folder / "rebuilt", "--config", config)
    assert (folder / "live").read_bytes() == (folder / "rebuilt").read_bytes()
