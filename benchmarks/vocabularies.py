"""What each vocabulary gives: size, cost, and how many mentions unseen in training it holds; judged on dev parts alone.

    python -m benchmarks.vocabularies --data DATA [--only hpo drugs]

DATA holds the sets of NOTICE in JSON Lines, one folder a set; bc5cdr and ncbi-disease are used.  *holds*: the share of
distinct dev mentions, of those whose key no training mention has, that the vocabulary knows under a key that reading
would look into.  *right*: of all places in dev texts where one of its names stands and training knows nothing, the
share that are mentions (bc5cdr, where everything is marked), with the guard and without.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kie_ops import priming
from kie_ops.candidates import Names
from kie_ops.dataset import Example, load
from kie_ops.domain import Domain
from kie_ops.surface import back_off, key_of_text
from kie_ops.vocabularies.increments import SOURCE, Imported, keys_of, of_terms
from kie_ops.vocabularies.registry import VOCABULARIES
from memory_store.local import LocalStore

MEDICAL, CELL = ("hpo", "icd10cm", "drugs"), 280
"""CELL: bytes a cell takes in Redis, docs/memory.md."""
SETS = {"bc5cdr Disease": ("bc5cdr", ("Disease",)), "bc5cdr Chemical": ("bc5cdr", ("Chemical",)),
        "ncbi-disease": ("ncbi-disease", ())}


@dataclass(frozen=True)
class Unseen:
    """Keys of the distinct dev mentions of one set whose key no training mention has."""

    name: str
    keys: frozenset[str]


@dataclass(frozen=True)
class Read:
    """A dev document: its names, its marked places in words, and all keys that reading it would look into."""

    names: Names
    gold: frozenset[tuple[int, int]]
    keys: frozenset[str]


@dataclass(frozen=True)
class Row:
    """One vocabulary; `right` by whether the guard was on: (right places, all places)."""

    name: str
    terms: int
    keys: int
    cells: int
    read_s: float
    keys_s: float
    apply_s: float
    megabytes: float
    left_out: int
    holds: dict[str, float]
    right: dict[str, tuple[int, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a set")
    parser.add_argument("--only", nargs="*", default=list(VOCABULARIES), choices=list(VOCABULARIES))
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    data = {name: [list(load(given.data / name / f"{part}.jsonl", name)) for part in ("train", "dev")]
            for name in ("bc5cdr", "ncbi-disease")}
    unseen = [_unseen(title, data[name][0], data[name][1], labels) for title, (name, labels) in SETS.items()]
    known = {k for e in data["bc5cdr"][0] for k in _mentions(e, ())}
    dev = [_read(e) for e in data["bc5cdr"][1]]
    done: list[tuple[Row, frozenset[str]]] = []
    for name in given.only:
        done.append(_measure(name, unseen, dev, known))
        print(json.dumps(asdict(done[-1][0])) if given.as_json else _line(done[-1][0]), flush=True)
    together = frozenset().union(*(keys for row, keys in done if row.name in MEDICAL))
    print("medical together:", {u.name: round(_share(u.keys, together), 3) for u in unseen})
    print(f"peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def _measure(
    name: str, unseen: Sequence[Unseen], dev: Sequence[Read], known: Collection[str]
) -> tuple[Row, frozenset[str]]:
    medical = name in MEDICAL
    domain = Domain.load("medical" if medical else "financial")
    start = time.perf_counter()
    terms = list(VOCABULARIES[name].load())
    read = time.perf_counter()
    made = of_terms(terms, domain, name, labels=VOCABULARIES[name].labels)
    counted = time.perf_counter()
    store = LocalStore("benchmark")
    for position, contribution in enumerate(made.contributions):
        store.apply("imports/0", position, position + 1, list(contribution.increments), erasures=0)
    applied = time.perf_counter()
    cells = store.stats().cells
    keys = _keys(made)
    right = {}
    if medical:
        loose = frozenset(k for t in terms if t.named for n in (t.name, *t.synonyms) for k in keys_of(n))
        right = {"guarded": _right(dev, keys, known), "all": _right(dev, loose, known)}
    row = Row(
        name, made.terms, made.keys, cells, read - start, counted - read, applied - counted, cells * CELL / 2**20,
        sum(made.left_out.values()), {u.name: _share(u.keys, keys) for u in unseen} if medical else {}, right,
    )
    return row, keys


def _keys(made: Imported) -> frozenset[str]:
    """Keys of names; those of concepts are none."""
    return frozenset(i.key for c in made.contributions for i in c.increments
                     if i.field.startswith(f"{SOURCE}|") and "|entity|" in i.field)


def _unseen(title: str, train: Sequence[Example], dev: Sequence[Example], labels: Collection[str]) -> Unseen:
    seen = {k for e in train for k in _mentions(e, labels)}
    return Unseen(title, frozenset(k for e in dev for k in _mentions(e, labels) if k not in seen))


def _mentions(example: Example, labels: Collection[str]) -> Iterator[str]:
    for gold in example.spans:
        if not labels or gold.label in labels:
            key = key_of_text(example.document.text[gold.start : gold.end])
            if key is not None:
                yield key


def _share(wanted: Collection[str], keys: Collection[str]) -> float:
    return sum(any(k in keys for k in (w, *back_off(w))) for w in wanted) / max(1, len(wanted))


def _read(example: Example) -> Read:
    names = priming.names_of(example.document)
    gold = frozenset((first, last) for first, last, _, _ in priming.marks(example, names))
    return Read(names, gold, frozenset(names.keys()))


def _right(dev: Sequence[Read], keys: frozenset[str], known: Collection[str]) -> tuple[int, int]:
    """(places that are mentions, places) where a name stands that training does not know; longest names first."""
    hits = places = 0
    for each in dev:
        taken: set[int] = set()
        found = {(first, last) for key, first, last in each.names.spans(each.keys & keys) if key not in known}
        for first, last in sorted(found, key=lambda s: (s[0] - s[1], s[0])):
            if taken.isdisjoint(range(first, last + 1)):
                taken.update(range(first, last + 1))
                places += 1
                hits += (first, last) in each.gold
    return hits, places


def _line(row: Row) -> str:
    holds = ", ".join(f"{name} {share:.1%}" for name, share in row.holds.items())
    right = ", ".join(f"{name} {a:,}/{b:,} = {a / max(1, b):.1%}" for name, (a, b) in row.right.items())
    return (f"{row.name}: {row.terms:,} terms, {row.keys:,} keys, {row.cells:,} cells, about {row.megabytes:.0f} MB; "
            f"read {row.read_s:.1f} s, keys {row.keys_s:.1f} s, apply {row.apply_s:.1f} s; left out {row.left_out:,}"
            f"{'; holds ' + holds if holds else ''}{'; right ' + right if right else ''}")


if __name__ == "__main__":
    main()
