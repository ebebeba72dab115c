"""What a reviewer should see first, from the tables.

One row a key, as one answer settles all of its occurrences.  Its rank is doubt × log2(1 + occurrences), where doubt is
1 - the product of (1 - reason) over

    uncertain      mean of 1 - |score - threshold| / 0.5 over its mentions, at least 0
    disagreement   mean of w_s · (1 - text_score / 0.5), at least 0: memory carries it against the text
    contradiction  of its evidence, twice the share of what is not the strongest verdict, in log2(1 + count)
    new            half the share of its mentions that memory knew nothing of

each in [0, 1].  Keys that a reviewer has corrected are left out.  A document's rank is the sum of the ranks of its keys
per 1,000 characters (short ones count as 1,000); documents are chosen one after the other, and a key that an earlier
choice settles counts no more, so near-copies do not fill the list.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kie_ops.surface import key_of_text
from pipelines.queries import Row, Tables

REASONS = ("uncertain", "disagreement", "contradiction", "new")
SAID = {
    "uncertain": "score near the threshold", "disagreement": "memory and text disagree",
    "contradiction": "sources contradict each other", "new": "new name", "frequent": "frequent",
}
TELLING = 0.1
"""A reason below it is not told."""
FREQUENT = 10
"""Occurrences from which being frequent is told as a reason."""
LEAST_CHARACTERS = 1_000
DOCUMENT_KEYS = 5_000
"""Keys, the first in rank, that documents are ranked by."""

MENTIONS = """
    select text, label, count(*) as mentions, count(distinct (stream, "partition", "offset")) as documents,
           sum(greatest(0, 1 - abs(score - $threshold) / 0.5)) as uncertain,
           sum(soft_weight * greatest(0, 1 - text_score / 0.5)) as disagreement,
           count(*) filter (len(evidence) = 0 or evidence is null) as unknown,
           arg_max(evidence, struct_pack(s := stream, p := "partition", o := "offset", a := start)) as evidence,
           arg_min(struct_pack(stream := stream, "partition" := "partition", "offset" := "offset", doc_id := doc_id,
                               start := start, "end" := "end", mention_id := mention_id),
                   struct_pack(d := abs(score - $threshold), s := stream, p := "partition", o := "offset", a := start))
               as example
    from entities where $label is null or label = $label
    group by text, label order by text, label
"""
PAIRS = """
    select distinct stream, "partition", "offset", text from entities where $label is null or label = $label
    order by all
"""


@dataclass(frozen=True, slots=True)
class Example:
    """The most uncertain mention of a key.  `sentence` where the document's text was given."""

    doc_id: str
    place: str
    mention_id: str
    text: str
    start: int
    end: int
    sentence: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to a reviewer.  `labels`: present labels with their occurrences, most frequent first.

    `documents` counts a document once for each spelling and label that it has of the key.
    """

    key: str
    text: str
    labels: Mapping[str, int]
    occurrences: int
    documents: int
    rank: float
    doubt: float
    reasons: Mapping[str, float]
    example: Example

    @property
    def why(self) -> str:
        """Its reasons in words, strongest first."""
        told = sorted((r for r in REASONS if self.reasons[r] >= TELLING), key=lambda r: -self.reasons[r])
        more = ["frequent"] if self.occurrences >= FREQUENT else []
        return "; ".join(SAID[r] for r in [*told, *more]) or "in some doubt"


@dataclass(frozen=True, slots=True)
class AskedDocument:
    """A document to review as a whole.  `settles`: keys in doubt that only it settles, strongest first."""

    doc_id: str
    place: str
    characters: int
    rank: float
    settles: tuple[str, ...]


def keys(
    tables: Tables, *, threshold: float = 0.5, label: str | None = None, reviewed: Collection[str] = ()
) -> list[Asked]:
    """Every key that stands in the table entities and in none of `reviewed`, first in rank first.

    threshold: the score from which a mention is emitted.  label: only mentions of it.
    """
    groups: dict[str, list[Row]] = {}
    for row in tables.rows(MENTIONS, {"threshold": threshold, "label": label}):
        key = key_of_text(row["text"])
        if key is not None and key not in reviewed:
            groups.setdefault(key, []).append(row)
    found = [_asked(key, rows) for key, rows in groups.items()]
    return sorted(found, key=lambda a: (-a.rank, a.key))


def documents(
    tables: Tables, asked: Sequence[Asked], limit: int, *, label: str | None = None, reviewed: Collection[str] = ()
) -> list[AskedDocument]:
    """The first `limit` documents to review as a whole, by the keys of `asked`; `reviewed`: ids of those that were."""
    rank = {a.key: a.rank for a in asked[:DOCUMENT_KEYS]}
    held: dict[tuple[str, int, int], set[str]] = {}
    for row in tables.rows(PAIRS, {"label": label}):
        key = key_of_text(row["text"])
        if key in rank:
            held.setdefault((row["stream"], row["partition"], row["offset"]), set()).add(key)
    about = {
        (row["stream"], row["partition"], row["offset"]): row
        for row in tables.rows('select stream, "partition", "offset", doc_id, characters from documents')
    }
    held = {at: some for at, some in held.items() if at in about and about[at]["doc_id"] not in reviewed}
    return [_document(about[at], worth, rank, some) for at, worth, some in _greedy(held, about, rank, limit)]


def _greedy(
    held: Mapping[tuple[str, int, int], set[str]], about: Mapping[tuple[str, int, int], Row],
    rank: Mapping[str, float], limit: int,
) -> Iterable[tuple[tuple[str, int, int], float, set[str]]]:
    """Chooses one document after the other; worth only falls as keys are settled, so the heap's order is a bound."""
    settled: set[str] = set()

    def worth(at: tuple[str, int, int]) -> float:
        per = max(about[at]["characters"], LEAST_CHARACTERS) / 1_000
        return math.fsum(rank[k] for k in sorted(held[at] - settled)) / per

    heap = [(-worth(at), at) for at in held]
    heapq.heapify(heap)
    chosen = 0
    while heap and chosen < limit:
        _, at = heapq.heappop(heap)
        now = worth(at)
        if not now:
            continue
        if heap and -now > heap[0][0]:
            heapq.heappush(heap, (-now, at))
            continue
        yield at, now, held[at] - settled
        settled |= held[at]
        chosen += 1


def _document(row: Row, worth: float, rank: Mapping[str, float], some: set[str]) -> AskedDocument:
    place = f"{row['stream']}/{row['partition']}/{row['offset']}"
    settles = tuple(sorted(some, key=lambda k: (-rank[k], k)))
    return AskedDocument(row["doc_id"], place, row["characters"], worth, settles)


def _asked(key: str, rows: Sequence[Row]) -> Asked:
    mentions = sum(row["mentions"] for row in rows)
    reasons = {
        "uncertain": sum(row["uncertain"] for row in rows) / mentions,
        "disagreement": sum(row["disagreement"] for row in rows) / mentions,
        "contradiction": max(contradiction(row["evidence"] or ()) for row in rows),
        "new": sum(row["unknown"] for row in rows) / mentions / 2,
    }
    reasons = {r: round(min(1.0, max(0.0, v)), 9) for r, v in reasons.items()}     # sums come in any order
    doubt = 1 - math.prod(1 - reasons[r] for r in REASONS)
    labels: Counter[str] = Counter()
    for row in rows:
        labels[row["label"]] += row["mentions"]
    first = max(rows, key=lambda row: (row["mentions"], row["text"]))
    at = first["example"]
    place = f"{at['stream']}/{at['partition']}/{at['offset']}"
    example = Example(at["doc_id"], place, at["mention_id"], first["text"], at["start"], at["end"])
    return Asked(key, first["text"], dict(sorted(labels.items(), key=lambda n: (-n[1], n[0]))), mentions,
                 sum(row["documents"] for row in rows), doubt * math.log2(1 + mentions), doubt, reasons, example)


def contradiction(evidence: Iterable[Mapping[str, Any]]) -> float:
    """0..1 of a mention's evidence: how far its sources say different things of the key (entity types and none)."""
    mass: dict[str, float] = {}
    for e in evidence:
        if e["outcome"] in ("entity", "none"):
            said = e["label"] if e["outcome"] == "entity" else "none"
            mass[said] = mass.get(said, 0.0) + math.log2(1 + max(0, e["count"]))
    total = math.fsum(mass.values())
    return min(1.0, 2 * (1 - max(mass.values()) / total)) if total else 0.0


def sentence(text: str, start: int, end: int) -> str:
    """The sentence of `text` that holds characters start..end."""
    from kie_ops.words import split

    words = split(text)
    for first, last in words.sentences.tolist():
        begin, stop = int(words.offsets[first, 0]), int(words.offsets[last - 1, 1])
        if begin <= start < stop:
            return text[begin:max(stop, end)]
    return text[start:end]
