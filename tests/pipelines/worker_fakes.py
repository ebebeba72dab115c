"""Fakes around the worker: an extractor whose rows depend on all that memory knows, a feed made of lists."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kie_ops.memory import Cell, Contribution, Increment, field
from kie_ops.records import Document, Evidence, Mention, Place, RawRecord, Reading, span_id

STREAM, SEGMENT, PARTITIONS = "s", 8, 3
WORDS = ("aspirin", "ibuprofen", "zorvex", "nausea", "rash", "fever")


@dataclass(frozen=True)
class _Read:
    document: Document


class FakeExtractor:
    """Marks every word; what it writes of it depends on all that memory knows of the word."""

    version = "fake-1"

    def encode(self, documents: Sequence[Document]) -> list[Any]:
        return [_Read(document) for document in documents]

    def keys(self, reading: Any) -> frozenset[str]:
        return frozenset(reading.document.text.split())

    def contribution(self, reading: Any) -> Contribution:
        name = field("self", "s", "entity", "Word")
        return Contribution(str(reading.document.place), tuple(
            Increment(word, name, 1) for word in sorted(self.keys(reading))
        ))

    def decode(self, reading: Any, cells: Mapping[str, Cell]) -> Reading:
        document, mentions = reading.document, []
        for match in re.finditer(r"\S+", document.text):
            cell = cells.get(match[0])
            known = tuple(Evidence(match[0], "self", name, "Word", count)
                          for name, count in sorted(cell.counts.items())) if cell else ()
            score = 1 - 1 / (2 + sum(e.count for e in known))
            name = span_id(document.place, document.doc_id, "entity", match.start(), match.end())
            mentions.append(Mention(name, match.start(), match.end(), match[0], "Word", score, 0.5, 0.5, None, known))
        return Reading(document, tuple(mentions), (), (), len(document.text), 1)


class ListFeed:
    """Records of a shard's partitions; offsets have holes."""

    def __init__(self, records: Mapping[int, Sequence[RawRecord]], shard: int = 0, shards: int = 1) -> None:
        self.records = {p: list(r) for p, r in records.items() if p % shards == shard}
        self.left: dict[int, list[RawRecord]] = {}
        self.seeks = 0

    def partitions(self) -> dict[int, str]:
        return dict.fromkeys(self.records, STREAM)

    def begin(self, partition: int) -> int:
        return 0

    def seek(self, partition: int, position: int) -> None:
        self.seeks += 1
        self.left[partition] = [r for r in self.records[partition] if r.place.offset >= position]

    def poll(self, timeout_s: float) -> list[RawRecord]:
        out = []
        for left in self.left.values():
            out += left[:5]
            del left[:5]
        return out

    def exhausted(self) -> bool:
        return not any(self.left.values())

    def report(self, partition: int, position: int) -> None: ...

    def lag(self) -> dict[int, int]:
        return {}

    def problems(self) -> list[Any]:
        return []

    def close(self) -> None: ...


def records(seed: int, count: int = 40) -> dict[int, list[RawRecord]]:
    rng = random.Random(seed)
    out: dict[int, list[RawRecord]] = {}
    for partition in range(PARTITIONS):
        offset, out[partition] = 0, []
        for n in range(count):
            offset += 1 + (rng.random() < 0.2) * rng.randrange(1, 4)
            text = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 6)))
            value = json.dumps({"doc_id": f"{partition}-{n}", "text": text}).encode()
            if rng.random() < 0.1:
                value = b"\xff broken"
            out[partition].append(RawRecord(Place(STREAM, partition, offset), offset, value, b"k", (("h", b"v"),), 7))
    return out
