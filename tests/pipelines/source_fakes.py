"""Fakes of what stands around the source: a feed made of a list, a worker that only commits."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from kie_ops.errors import EngramError, PositionError, ServiceError
from kie_ops.records import Place, RawRecord
from pipelines.commit_log import Log, Transaction
from pipelines.config import Config, load
from pipelines.parsed import Parsed
from pipelines.shard import Shard
from pipelines.storage import Storage

KILL, DOWN, EOF = "KILL", "DOWN", "EOF"
"""In a fake feed's data: SIGKILL of this process; one poll that raises ServiceError; the end of the input."""


def record(offset: int, value: bytes | None = b"{}", *, partition: int = 0, before: int | None = None) -> RawRecord:
    return RawRecord(Place("s", partition, offset), offset if before is None else before, value)


class Here:
    """A callable pickled by name: for what cannot leave this process, as local jobs need not."""

    known: ClassVar[dict[str, Here]] = {}

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call, self.name = call, uuid.uuid4().hex
        self.known[self.name] = self

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return _known, (self.name,)


def _known(name: str) -> Here:
    return Here.known[name]


class FakeFeed:
    """Records and sentinels of several partitions; each poll gives `step` items of one partition in turn."""

    def __init__(self, data: dict[int, Sequence[RawRecord | str]], step: int = 3) -> None:
        self.data, self.step = data, step
        self.at: dict[int, int] = {}
        self.positions: dict[int, int] = {}
        self.reported: dict[int, int] = {}
        self.downs = 0
        self.closed = False

    def partitions(self) -> dict[int, str]:
        return dict.fromkeys(self.data, "s")

    def begin(self, partition: int) -> int:
        return 0

    def seek(self, partition: int, position: int) -> None:
        if position < 0:
            raise PositionError("no such position")
        self.positions[partition] = position
        items = self.data[partition]
        last = len(items) - 1 if items and items[-1] == EOF else len(items)
        self.at[partition] = next(
            (i for i, x in enumerate(items) if isinstance(x, RawRecord) and x.place.offset >= position), last)

    def poll(self, timeout_s: float) -> list[RawRecord]:
        out: list[RawRecord] = []
        for partition in self.at:
            items = self.data[partition]
            while len(out) < self.step and self.at[partition] < len(items):
                item = items[self.at[partition]]
                if item == EOF:
                    break
                self.at[partition] += 1
                if item == KILL:
                    os.kill(os.getpid(), signal.SIGKILL)
                if item == DOWN:
                    self.downs += 1
                    if self.downs == 1:
                        raise ServiceError("the fake service is away")
                    continue
                assert isinstance(item, RawRecord)
                out.append(RawRecord(item.place, self.positions[partition], item.value))
                self.positions[partition] = item.place.offset + 1
            if out:
                break
        return out

    def exhausted(self) -> bool:
        return all(
            self.at.get(p, 0) == len(items) - 1 and items[-1] == EOF for p, items in self.data.items() if p in self.at
        ) and set(self.at) == set(self.data)

    def report(self, partition: int, position: int) -> None:
        self.reported[partition] = position

    def lag(self) -> dict[int, int]:
        return {}

    def problems(self) -> list[EngramError]:
        return []

    def close(self) -> None:
        self.closed = True


class CommittingWorker:
    """Commits every batch as an empty transaction and keeps what it was given in `journal`, a file of JSON lines."""

    def __init__(self, config: Config, shard: Shard, storage: Storage) -> None:
        self.shard = shard
        self.journal = Path(config.tables.root) / "journal.jsonl"
        self.published = 0

    def own(self) -> None:
        for partition in self.shard.logs:
            self.shard.rewind(partition)

    def process(self, parsed: Parsed) -> None:
        batch = parsed.batch
        log = self.shard.logs[batch.partition]
        tx = Transaction(batch.stream, batch.partition, batch.start, batch.end, {}, "fake", {})
        if batch.start != log.tail or not log.commit(tx):
            self.own()
            return
        line = {"p": batch.partition, "start": batch.start, "end": batch.end, "dead": len(parsed.dead_letters),
                "documents": [[d.place.offset, d.text] for d in parsed.documents if d.place]}
        with self.journal.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def publish(self) -> None:
        self.published += 1
        for partition in self.shard.logs:
            self.shard.report(partition)


def open_committing(config: Config, shard: Shard, storage: Storage) -> CommittingWorker:
    return CommittingWorker(config, shard, storage)


def journal(root: Path) -> list[dict]:
    path = root / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def chain(log: Log) -> list[tuple[int, int]]:
    return [(start, log.read(start).end) for start in log.starts()]


def assert_contiguous(ranges: Sequence[tuple[int, int]], first: int, segment: int) -> int:
    """No gap, no overlap, no crossing of a segment's end; returns where the last one ends."""
    at = first
    for start, end in sorted(ranges):
        assert start == at, f"gap or overlap at {start}, expected {at}"
        assert end > start
        assert start // segment == (end - 1) // segment, "crosses a segment's end"
        at = end
    return at


def settings(root: Path, **overrides: object) -> Config:
    names = {name.replace("__", "."): value for name, value in overrides.items()}
    return load(None, {"tables.root": str(root), "memory.url": "local", **names}, {})
