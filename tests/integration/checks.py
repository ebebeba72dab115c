"""What must hold of tables, whatever happened on the way: nothing lost, nothing doubled, every span where it says."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

READ = ("documents", "entities", "relations", "events", "dead_letters")


@dataclass(frozen=True)
class Sent:
    """One record that was sent.  `text` is None where it must become a dead letter."""

    partition: int
    offset: int
    value: bytes | None
    text: str | None

    @property
    def place(self) -> tuple[int, int]:
        return self.partition, self.offset


@dataclass(frozen=True)
class Totals:
    """What was counted while checking; characters of dead letters that were never text are bytes."""

    documents: int
    dead_letters: int
    characters: int
    characters_read: int
    characters_dead: int
    entities: int
    relations: int
    events: int


def files(root: Path, table: str) -> list[Path]:
    return sorted(p for p in (root / table).rglob("*.parquet") if not p.name.startswith((".", "_")))


def rows(root: Path, table: str) -> Iterator[dict[str, Any]]:
    for path in files(root, table):
        yield from pq.ParquetFile(path).read().to_pylist()


def hashes(root: Path, leave_out: Iterable[str] = ("transactions",)) -> dict[str, str]:
    """SHA-256 of every Parquet file by its path below `root`."""
    left_out = set(leave_out)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.parquet"))
        if not path.relative_to(root).parts[0].startswith("_") and path.relative_to(root).parts[0] not in left_out
    }


def one_hash(hashes_: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(hashes_.items())).encode()).hexdigest()


def check(root: Path, sent: Iterable[Sent]) -> Totals:
    """Raises AssertionError where a promise of the tables is broken; returns what was counted."""
    expected = {record.place: record for record in sent}
    documents, letters = _documents(root, expected), _dead_letters(root, expected)
    places = Counter([*documents, *letters])
    doubled = [place for place, count in places.items() if count > 1]
    lost = expected.keys() - places.keys()
    assert not doubled, f"{len(doubled)} doubled, for instance {doubled[:5]}"
    assert not lost, f"{len(lost)} lost, for instance {sorted(lost)[:5]}"
    assert not places.keys() - expected.keys(), "rows of records that were never sent"
    counts = _spans(root, expected, documents)
    received = sum(_size(record) for record in expected.values())
    read, dead = sum(int(row["characters_read"]) for row in documents.values()), sum(letters.values())
    assert read + dead == received, f"{read} characters read and {dead} dead of {received} received"
    return Totals(len(documents), len(letters), received, read, dead, *counts)


def _size(record: Sent) -> int:
    return len(record.text) if record.text is not None else len(record.value or b"")


def _documents(root: Path, expected: Mapping[tuple[int, int], Sent]) -> dict[tuple[int, int], dict[str, Any]]:
    out: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows(root, "documents"):
        place = row["partition"], row["offset"]
        assert place not in out, f"{place} has two rows in documents"
        text = expected[place].text
        assert text is not None, f"{place} is a document, but had to be a dead letter"
        assert row["text_sha256"] == hashlib.sha256(text.encode()).hexdigest(), place
        assert row["characters"] == row["characters_read"] == len(text), place
        out[place] = row
    return out


def _dead_letters(root: Path, expected: Mapping[tuple[int, int], Sent]) -> dict[tuple[int, int], int]:
    out: dict[tuple[int, int], int] = {}
    for row in rows(root, "dead_letters"):
        place = row["partition"], row["offset"]
        record = expected[place]
        assert place not in out, f"{place} has two rows in dead_letters"
        assert record.text is None, f"{place} is a dead letter ({row['reason']}: {row['message']}), but can be read"
        assert row["raw"] == (record.value or b""), f"{place} was not kept whole"
        assert row["reason"]
        assert row["message"]
        assert row["characters"] is None or row["characters"] <= len(row["raw"]), place
        out[place] = len(record.value or b"")
    return out


def _spans(
    root: Path, expected: Mapping[tuple[int, int], Sent], documents: Mapping[tuple[int, int], dict[str, Any]]
) -> tuple[int, int, int]:
    mentions: dict[str, tuple[int, int]] = {}
    counts: Counter[tuple[str, tuple[int, int]]] = Counter()

    def right(place: tuple[int, int], start: int, end: int, surface: str) -> None:
        text = expected[place].text
        assert text is not None
        assert text[start:end] == surface, f"{place}: [{start}:{end}] is {text[start:end]!r}, not {surface!r}"

    for row in rows(root, "entities"):
        place = row["partition"], row["offset"]
        right(place, row["start"], row["end"], row["text"])
        assert row["mention_id"] not in mentions, f"{row['mention_id']} twice"
        assert 0 <= row["score"] <= 1
        assert 0 <= row["soft_weight"] <= 1
        mentions[row["mention_id"]] = place
        counts["entities", place] += 1
    for row in rows(root, "relations"):
        place = row["partition"], row["offset"]
        assert mentions[row["head"]] == mentions[row["tail"]] == place
        counts["relations", place] += 1
    for row in rows(root, "events"):
        place = row["partition"], row["offset"]
        right(place, row["start"], row["end"], row["trigger"])
        for argument in row["arguments"]:
            right(place, argument["start"], argument["end"], argument["text"])
        counts["events", place] += 1
    for place, row in documents.items():
        for table in ("entities", "relations", "events"):
            assert row[table] == counts[table, place], f"{place}: {row[table]} {table} counted, {counts[table, place]}"
    totals = {table: sum(n for (t, _), n in counts.items() if t == table) for table in READ}
    return totals["entities"], totals["relations"], totals["events"]
