"""Documents from real Kafka, read with memory in real Redis, into Parquet; the same from their archive; read again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import checks
from tests.integration.documents import texts
from tests.integration.harness import as_records, engram, send, settings
from tests.integration.services import Kafka, Redis

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_200)]


@dataclass(frozen=True)
class Streamed:
    """A finished run."""

    config: Path
    topic: str
    sent: list[checks.Sent]

    @property
    def tables(self) -> Path:
        return self.config.parent / "tables"


def stream(kafka: Kafka, redis: Redis, domain: str, folder: Path, count: int, partitions: int) -> Streamed:
    topic = f"notes-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(topic, partitions)
    sent = send(kafka, topic, as_records(texts(count, seed=partitions)), partitions)
    config = settings(folder, kafka.bootstrap, topic, redis.url, domain)
    engram("run", config)
    return Streamed(config, topic, sent)


@pytest.fixture(scope="module")
def redis_of_module(tmp_path_factory: pytest.TempPathFactory, kafka: Kafka) -> Iterator[Redis]:
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=[1, 4], ids=["one-partition", "four-partitions"])
def streamed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, kafka: Kafka, redis_of_module: Redis,
    small_domain: str,
) -> Streamed:
    partitions = int(request.param)
    folder = tmp_path_factory.mktemp(f"stream{partitions}")
    return stream(kafka, redis_of_module, small_domain, folder, 75 * partitions, partitions)


def test_every_document_is_there_once_and_every_span_where_it_says(streamed: Streamed) -> None:
    totals = checks.check(streamed.tables, streamed.sent)
    assert totals.documents == len(streamed.sent)
    assert totals.entities > len(streamed.sent), "hardly anything was read: the other checks would mean little"


def test_memory_grew_and_equals_what_the_log_says(streamed: Streamed, tmp_path: Path) -> None:
    engram("memory", "export", tmp_path / "live", "--config", streamed.config)
    engram("memory", "rebuild", "--config", streamed.config)
    engram("memory", "export", tmp_path / "rebuilt", "--config", streamed.config)
    live = (tmp_path / "live").read_bytes()
    assert live == (tmp_path / "rebuilt").read_bytes()
    assert len(live) > 1_000


def test_backfill_from_its_archive(streamed: Streamed, redis_of_module: Redis, tmp_path: Path) -> None:
    """One partition: byte-identical tables.  Several: the same documents and a promise kept by replay instead."""
    engram("archive", streamed.topic, tmp_path / "archive", "--config", streamed.config)
    config = settings(tmp_path / "filled", "127.0.0.1:1", "unused", redis_of_module.url, _domain(streamed))
    engram("backfill", config, tmp_path / "archive")
    filled = tmp_path / "filled" / "tables"
    checks.check(filled, streamed.sent)
    if {sent.partition for sent in streamed.sent} == {0}:
        assert checks.hashes(filled) == checks.hashes(streamed.tables)
    else:
        assert checks.hashes(filled).keys() == checks.hashes(streamed.tables).keys()


def test_replay_with_recorded_views_gives_the_same_bytes(streamed: Streamed, tmp_path: Path) -> None:
    done = engram("replay", streamed.config, "--recorded", "--out", tmp_path / "again", "--json")
    assert json.loads(done.stdout)
    assert checks.hashes(tmp_path / "again") == checks.hashes(streamed.tables)


def test_running_again_changes_nothing(streamed: Streamed) -> None:
    before = checks.hashes(streamed.tables, leave_out=())
    engram("run", streamed.config)
    assert checks.hashes(streamed.tables, leave_out=()) == before


def _domain(streamed: Streamed) -> str:
    import yaml

    return str(yaml.safe_load(streamed.config.read_text())["domain"])
