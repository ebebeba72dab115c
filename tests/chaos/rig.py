"""Kills a worker over and over while documents keep coming, and compares all it left with an undisturbed run."""

from __future__ import annotations

import random
import signal
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.faults import STEPS
from tests.integration import checks
from tests.integration.documents import texts
from tests.integration.harness import Running, as_records, engram, send, settings
from tests.integration.services import Kafka, Redis

SEGMENT = 20
CHUNK = 48
"""Documents sent before each kill: more than two segments a partition, so that every step is passed."""
READING_S = 1.0
"""Random kills fall within this time after reading began."""


@dataclass
class Rig:
    """One topic, read by workers that are killed (`disturbed`) and by one that is not (`undisturbed`)."""

    kafka: Kafka
    redis: Redis
    domain: str
    folder: Path
    partitions: int = 1
    seed: int = 1
    sent: list[checks.Sent] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.topic = f"chaos-{uuid.uuid4().hex[:8]}"
        self.kafka.create_topic(self.topic, self.partitions)
        self.disturbed = self._settings("disturbed")
        self.undisturbed = self._settings("undisturbed")

    def _settings(self, name: str) -> Path:
        return settings(
            self.folder / name, self.kafka.bootstrap, self.topic, self.redis.url, self.domain,
            batch={"documents": 8, "gather_s": 0.2},
            tables={"root": str(self.folder / name / "tables"), "segment": SEGMENT, "publish_every_s": 0.3},
            run={"until_idle_s": 2.0},
        )

    def tables(self, config: Path) -> Path:
        return config.parent / "tables"

    def more(self, count: int = CHUNK) -> None:
        """Sends `count` more documents, in turn to the partitions."""
        first = len(self.sent)
        documents = texts(count, seed=first + self.seed)
        self.sent += send(self.kafka, self.topic, as_records(documents), self.partitions, first)

    def worker(self, **environ: str) -> Running:
        return Running("run", self.disturbed, output=self.folder / "worker.log", **environ)

    def kill_at(self, step: str, nth: int) -> None:
        """A worker dies by its own hand (SIGKILL) where it passes `step` for the `nth` time."""
        self.more()
        with self.worker(ENGRAM_FAULT=f"{step}:{nth}") as worker:
            worker.wait(expect=-signal.SIGKILL)
        self.killed.append(f"{step}:{nth}")

    def kill_at_random(self) -> None:
        """A worker is killed at a random moment after it began to read."""
        self.more()
        with self.worker() as worker:
            worker.until(lambda: reads(worker.process.pid), "its lock")
            moment = self.random.uniform(0, READING_S)
            time.sleep(moment)
            assert worker.process.poll() is None, "it ended before it could be killed"
        self.killed.append(f"random {moment:.3f} s")

    def finish(self) -> checks.Totals:
        """Lets both workers end, and checks every promise; what was counted of the disturbed one."""
        engram("run", self.disturbed)
        engram("run", self.undisturbed)
        checks.check(self.tables(self.undisturbed), self.sent)
        totals = checks.check(self.tables(self.disturbed), self.sent)
        memories = [self._memory(config) for config in (self.disturbed, self.undisturbed)]
        assert memories[0] == memories[1], "memory is not that of an undisturbed run"
        engram("memory", "rebuild", "--config", self.disturbed)
        assert self._memory(self.disturbed) == memories[0], "memory is not the sum of the log's contributions"
        if self.partitions == 1:
            same = checks.hashes(self.tables(self.disturbed)), checks.hashes(self.tables(self.undisturbed))
            assert same[0] == same[1], "tables are not those of an undisturbed run"
        print(f"killed at {', '.join(self.killed)}: {totals}", flush=True)
        return totals

    def _memory(self, config: Path) -> bytes:
        out = self.folder / f"memory-{uuid.uuid4().hex}.jsonl"
        engram("memory", "export", out, "--config", config)
        return out.read_bytes()

    def nth(self, step: str) -> int:
        return self.random.randint(1, 2) if step in ("gathered", "read", "committed", "applied") else 1


def reads(pid: int) -> bool:
    """Whether the process holds a shard's lock: then it reads, or is about to."""
    for line in Path("/proc/locks").read_text().splitlines():
        parts = line.split()
        if parts[1] == "FLOCK" and "->" not in parts and parts[4] == str(pid):
            return True
    return False


__all__ = ["CHUNK", "STEPS", "Rig", "reads"]
