"""Memory in a live job: taught, undone, forgotten, kept over a restart; each compared with a job without it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration import checks
from tests.integration.documents import Text, texts
from tests.integration.harness import Running, as_records, engram, send, settings
from tests.integration.services import Kafka, Redis

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_200)]
NAME = "Frobozine"


@dataclass
class Job:
    """A job on a topic of its own, with one partition."""

    kafka: Kafka
    topic: str
    config: Path
    sent: int = 0

    @classmethod
    def new(cls, kafka: Kafka, redis: Redis, domain: str, folder: Path, topic: str | None = None) -> Job:
        if topic is None:
            topic = f"memory-{uuid.uuid4().hex[:8]}"
            kafka.create_topic(topic, 1)
        config = settings(folder, kafka.bootstrap, topic, redis.url, domain, run={"until_idle_s": 600.0})
        return cls(kafka, topic, config)

    @property
    def tables(self) -> Path:
        return self.config.parent / "tables"

    def send(self, documents: Sequence[Text]) -> None:
        send(self.kafka, self.topic, as_records(documents), 1)
        self.sent += len(documents)

    def running(self) -> Running:
        return Running("run", self.config, output=self.config.parent / "run.log")

    def read_all(self, running: Running) -> None:
        """Waits until every document sent is in the tables."""
        running.until(lambda: self.documents() >= self.sent, f"{self.sent} documents")

    def documents(self) -> int:
        return sum(1 for _ in checks.rows(self.tables, "documents")) if self.tables.exists() else 0

    def entities(self, doc_id: str) -> list[dict[str, Any]]:
        return [row for row in checks.rows(self.tables, "entities") if row["doc_id"] == doc_id]

    def export(self) -> bytes:
        out = self.config.parent / f"{uuid.uuid4().hex}.jsonl"
        engram("memory", "export", out, "--config", self.config)
        return out.read_bytes()


def about(number: int) -> Text:
    text = f"The patient was seen in {number} clinics. After {NAME} was stopped, the tremor ended."
    return Text(f"about-{number}", text)


def named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["text"] == NAME and row["label"] == "chemical"]


def test_taught_and_undone(kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path) -> None:
    job = Job.new(kafka, redis_server, small_domain, tmp_path / "taught")
    job.send([*texts(20, seed=5), about(1)])
    with job.running() as running:
        job.read_all(running)
        assert not named(job.entities("about-1")), "the name must be unknown for this test to mean anything"
        said = engram("memory", "correct", NAME, "--label", "Chemical", "--id", "r-1", "--config", job.config, "--json")
        assert json.loads(said.stdout)[0]["status"] == "added"
        job.send([about(2)])
        job.read_all(running)
        (row,) = named(job.entities("about-2"))
        assert row["soft_weight"] > 0
        assert row["score"] > row["text_score"]
        assert any(e["source"] == "correction" and e["outcome"] == "entity" for e in row["evidence"])
        why = engram("memory", "why", row["mention_id"], "--config", job.config, "--json").stdout
        assert "correction" in why
        assert "r-1" in why
        engram("memory", "undo", "r-1", "--config", job.config)
        job.send([about(3)])
        job.read_all(running)
    control = Job.new(kafka, redis_server, small_domain, tmp_path / "never-taught", job.topic)
    engram("run", control.config, "--until-idle", "2")
    assert job.entities("about-3") == control.entities("about-3")
    assert job.entities("about-2") != control.entities("about-2"), "both were read the same: nothing was compared"
    assert job.export() == control.export(), "memory is not as if it had never been taught"


def test_undone_before_it_was_said(kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path) -> None:
    job = Job.new(kafka, redis_server, small_domain, tmp_path / "early")
    job.send(texts(5, seed=6))
    engram("run", job.config, "--until-idle", "2")
    before = job.export()
    said = [
        json.loads(engram("memory", *arguments, "--config", job.config, "--json").stdout)
        for arguments in (("undo", "r-2"), ("correct", NAME, "--label", "Chemical", "--id", "r-2"), ("undo", "r-2"))
    ]
    assert [said[0]["status"], said[1][0]["status"], said[2]["status"]] == ["early", "withdrawn", "duplicate"]
    assert job.export() == before


def test_forgotten_and_kept_over_a_restart(
    kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path
) -> None:
    """Forgetting gives the memory that never saw the document, though others followed it; Redis keeps it all."""
    documents = texts(40, seed=7)
    gone = documents[7]
    job = Job.new(kafka, redis_server, small_domain, tmp_path / "forgot")
    job.send(documents[:30])
    with job.running() as running:
        job.read_all(running)
        seen = job.export()
        done = engram("memory", "forget", gone.doc_id, "--yes", "--config", job.config, "--json")
        assert len(json.loads(done.stdout)["places"]) == 1
        job.sent -= 1
        assert job.export() != seen
        job.send(documents[30:])
        job.read_all(running)
    control = Job.new(kafka, redis_server, small_domain, tmp_path / "never-saw")
    control.send([document for document in documents if document is not gone])
    engram("run", control.config, "--until-idle", "2")
    left = [row for table in checks.READ for row in checks.rows(job.tables, table) if row.get("doc_id") == gone.doc_id]
    assert not left
    kept = job.export()
    assert kept == control.export(), "memory is not as if it had never seen the document"
    redis_server.stop()
    redis_server.start()
    engram("memory", "rebuild", "--verify", "--config", job.config)
    assert job.export() == kept
