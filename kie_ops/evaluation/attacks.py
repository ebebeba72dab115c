"""Reviewers who are wrong: what they would mark in a document instead of the gold marks.

Four kinds.  `random`: a mark gets another label, or is put on words that are no mention.  `systematic`: the same names
are always wrong, under one and the same other label, or left out.  `boundary`: one word more or less.  `common-words`:
frequent ordinary words are marked as mentions, besides the right marks.  (Kinds of annotation errors after Klie,
Webber and Gurevych, "Annotation error detection: analyzing the past and present for a more coherent future", 2023.)

All is a function of seed and document alone, so a wrong reviewer says the same whenever he is asked.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kie_ops.candidates import Names
from kie_ops.contributions import Marked
from kie_ops.errors import InputError
from kie_ops.surface import WORD, token

RANDOM, SYSTEMATIC, BOUNDARY, COMMON_WORDS = KINDS = ("random", "systematic", "boundary", "common-words")
COMMON = 30
"""Frequent ordinary words that an attack on them chooses among."""
LETTERS = 3
"""Letters an ordinary word has at least."""


@dataclass(frozen=True, slots=True)
class Attack:
    """`share` (0..1) of marks that are wrong; with common words, wrong marks for each right one.

    `common`: keys of ordinary words (see :func:`common_words`); where empty, the document's own repeated words serve.
    Raises InputError for an unknown kind or a share outside 0..1.
    """

    kind: str
    share: float = 0.1
    seed: int = 1
    common: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"there is no attack {self.kind!r}", next_step=f"choose one of {', '.join(KINDS)}")
        if not 0 <= self.share <= 1:
            raise InputError(f"a share of wrong labels is 0 to 1, not {self.share}", next_step="give 0.1 for 10 %")


def wrong(gold: Sequence[Marked], names: Names, attack: Attack, labels: Sequence[str]) -> list[Marked]:
    """What the wrong reviewer marks in the document of `names`, whose right marks in one scheme are `gold`.

    `labels`: what the scheme has.  In order of place; without doubles.  `gold` is returned as it is where the share
    is 0, or where nothing wrong can be said of it (no other label, no room).
    """
    rng = np.random.default_rng(_digest(f"{attack.seed}|{attack.kind}|{names.reading.document.doc_id}"))
    if attack.kind == COMMON_WORDS:
        out = [*gold, *_ordinary(gold, names, attack, labels, rng)]
    else:
        out = []
        for m in gold:
            if attack.kind == SYSTEMATIC:
                out += _always(m, names, attack, labels)
            elif rng.random() >= attack.share:
                out.append(m)
            elif attack.kind == BOUNDARY:
                out.append(_shifted(m, gold, names, rng))
            else:
                out.append(_elsewhere(m, gold, names, labels, rng))
    return sorted(dict.fromkeys(out), key=lambda m: (m.first, m.last, m.label))


def common_words(documents: Iterable[tuple[Names, Sequence[Marked]]], many: int = COMMON) -> frozenset[str]:
    """The `many` ordinary words in most of the documents: keys of single words in small letters, in no gold mark."""
    seen: Counter[str] = Counter()
    marked: set[str] = set()
    for names, gold in documents:
        inside = {word for m in gold for word in range(m.first, m.last + 1)}
        words = {i: names.surfaces.tokens[i].text for i in range(len(names.surfaces.tokens))}
        marked.update(words[i] for i in inside)
        seen.update({words[i] for i in _plain(names) if i not in inside})
    ranked = sorted((w for w in seen if w not in marked), key=lambda w: (-seen[w], w))
    return frozenset(ranked[:many])


def _always(m: Marked, names: Names, attack: Attack, labels: Sequence[str]) -> list[Marked]:
    """By name: right always, or always under one other label, or always left out."""
    key = names.key(m.first, m.last) or ""
    number = _digest(f"{attack.seed}|{m.scheme}|{key}")
    if (number % 1_000_003) / 1_000_003 >= attack.share:
        return [m]
    others = [y for y in labels if y != m.label]
    if not others or (number >> 24) % 2:
        return []
    return [replace(m, label=others[(number >> 32) % len(others)], concept=None)]


def _shifted(m: Marked, gold: Sequence[Marked], names: Names, rng: np.random.Generator) -> Marked:
    """One word more or less at either end, in its sentence and over no other mark."""
    choices = [(m.first - 1, m.last), (m.first, m.last + 1), (m.first + 1, m.last), (m.first, m.last - 1)]
    low, high = next((s, e) for s, e in names.reading.sentences.tolist() if s <= m.first < e)
    for at in rng.permutation(len(choices)).tolist():
        first, last = choices[at]
        apart = all(g is m or g.last < first or last < g.first or (g.first, g.last) == (m.first, m.last) for g in gold)
        if low <= first <= last < high and names.key(first, last) is not None and (apart or last - first < m.last -
                                                                                   m.first):
            return replace(m, first=first, last=last)
    return m


def _elsewhere(
    m: Marked, gold: Sequence[Marked], names: Names, labels: Sequence[str], rng: np.random.Generator
) -> Marked:
    """Under another label, or (half of the times) on as many words that are no mention."""
    others = [y for y in labels if y != m.label]
    if others and rng.random() < 0.5:
        return replace(m, label=others[int(rng.integers(len(others)))], concept=None)
    taken = {word for g in gold for word in range(g.first, g.last + 1)}
    width = m.last - m.first
    rooms = [
        f for s, e in names.reading.sentences.tolist() for f in range(s, e - width)
        if taken.isdisjoint(range(f, f + width + 1)) and names.key(f, f + width) is not None
        and names.surfaces.tokens[f].edge and names.surfaces.tokens[f + width].edge
    ]
    if rooms:
        first = rooms[int(rng.integers(len(rooms)))]
        return replace(m, first=first, last=first + width, concept=None)
    return replace(m, label=others[int(rng.integers(len(others)))], concept=None) if others else m


def _ordinary(
    gold: Sequence[Marked], names: Names, attack: Attack, labels: Sequence[str], rng: np.random.Generator
) -> list[Marked]:
    """`share` wrong marks for each right one (in the mean), on ordinary words."""
    if not gold or not labels:
        return []
    taken = {word for g in gold for word in range(g.first, g.last + 1)}
    common: Collection[str] = attack.common or _repeated(names, taken)
    places = [i for i in _plain(names) if i not in taken and names.surfaces.tokens[i].text in common]
    many = min(int(rng.binomial(len(gold), attack.share)), len(places))
    picked = rng.permutation(len(places))[:many].tolist()
    return [Marked(gold[0].scheme, labels[int(rng.integers(len(labels)))], places[p], places[p]) for p in picked]


def _repeated(names: Names, taken: Collection[int]) -> frozenset[str]:
    found = Counter(names.surfaces.tokens[i].text for i in _plain(names) if i not in taken)
    return frozenset(word for word, count in found.items() if count > 1)


def _plain(names: Names) -> list[int]:
    """Numbers of the words that are ordinary by their form: at least LETTERS small letters, no function word."""
    return [
        i for i, t in enumerate(names.surfaces.tokens)
        if t.kind == WORD and token(t.text).edge and len(t.text) >= LETTERS and t.text.isalpha() and t.text.islower()
    ]


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())
