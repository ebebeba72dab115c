"""What speaks for a pair besides the head's logit: its place in the text, its rivals, and what memory counted of it.

Document-level features follow those that made classifiers of chemical-induced disease work (Peng et al., "Improving
chemical disease relation extraction with rich features and weakly labeled data", J. Cheminform. 2016; Xu et al.,
"CD-REST", Database 2016): mentions, title, main chemical, distance, the more specific disease, and known pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kie_ops.memory import SOURCES, Cell, split_field
from kie_ops.pairs import Item
from kie_ops.stems import bag, stems_of

TEXT = (
    "logit", "rival_head", "rival_tail", "rival_label", "best", "gap", "apart", "same_sentence", "together",
    "head_mentions", "tail_mentions", "head_share", "tail_share", "head_title", "tail_title", "head_first",
    "tail_first", "head_before", "nearest_head", "nearest_tail", "heads", "tails", "general", "special", "same_label",
)
"""The logit; how far it is above the best other head of the tail, the best other tail of the head, the best other
label of the pair; whether it is the best of all three; log words between the nearest mentions, sentences apart, whether
none, log of the sentences that hold both; log mentions and share of the most frequent rival's mentions of head and
tail; whether in the first sentence; whether the first of their label; whether the head comes first; whether no other
head (tail) of the label is nearer; log number of heads and tails; whether another tail of the document is more special
(its words hold this one's) or more general; whether the relation's label is that of the tail."""
MEMORY = ("known", "known_not", "head_rate", "head_mass", "tail_rate", "tail_mass")
"""Log documents in which the pair was related, or was there and was not; smoothed log-odds that the head (tail) is
related to what it stands with, and the log of how often it was seen so.  0 where memory has nothing."""
FEATURES = TEXT + MEMORY
LOGIT = 4.0
"""What the logit and its leads are divided by."""
SMOOTH = 2.0
"""Documents' worth of the prior in rates."""
PRIOR = -1.0
"""Log-odds of that prior."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Pairs as groups of items, with the logits of their labels: see :class:`kie_ops.pairs.Scored`."""

    heads: Sequence[tuple[int, ...]]
    tails: Sequence[tuple[int, ...]]
    names: Sequence[tuple[str, str]]
    logits: np.ndarray


def features(
    pairs: Groups, items: Sequence[Item], labels: Sequence[str], sentence_of: np.ndarray, scheme: str,
    cells: Mapping[str, Cell] | None,
) -> np.ndarray:
    """float64 [pairs, labels, len(FEATURES)]; without `cells` those of MEMORY are 0."""
    n = len(pairs.heads)
    out = np.zeros((n, len(labels), len(FEATURES)))
    if not n:
        return out
    sentences = sentence_of.tolist()
    out[:, :, : TEXT.index("gap")] = _rivals(pairs)
    out[:, :, TEXT.index("gap") : TEXT.index("same_label")] = _place(pairs, items, sentences)[:, None]
    tails = [items[t[0]].label for t in pairs.tails]
    out[:, :, TEXT.index("same_label")] = [[tail == label for label in labels] for tail in tails]
    if cells:
        out[:, :, len(TEXT) :] = _memory(pairs, items, labels, scheme, cells)
    return out


def _rivals(pairs: Groups) -> np.ndarray:
    """[pairs, labels, 5]: logit, rival_head, rival_tail, rival_label, best; scaled to about 1."""
    logits = np.clip(np.asarray(pairs.logits, dtype=np.float64), -12.0, 12.0)
    by_head, by_tail = (_numbers(ends) for ends in (pairs.heads, pairs.tails))
    above = [logits - _others(logits, by_tail), logits - _others(logits, by_head)]
    if logits.shape[1] > 1:
        top = np.sort(logits, axis=1)
        above.append(logits - np.where(logits == top[:, -1:], top[:, -2:-1], top[:, -1:]))
    else:
        above.append(np.full_like(logits, 12.0))
    above = [np.clip(a, -8.0, 8.0) / LOGIT for a in above]
    best = np.minimum.reduce(above) > 0
    return np.stack([logits / LOGIT, *above, best], axis=-1)


def _numbers(ends: Sequence[tuple[int, ...]]) -> np.ndarray:
    number: dict[tuple[int, ...], int] = {}
    return np.array([number.setdefault(e, len(number)) for e in ends], dtype=np.int64)


def _others(logits: np.ndarray, group: np.ndarray) -> np.ndarray:
    """[pairs, labels]: the largest logit of the other pairs of the same group; -12 where there is none."""
    out = np.full_like(logits, -12.0)
    order = np.argsort(group, kind="stable")
    for some in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(some) > 1:
            top = np.sort(logits[some], axis=0)
            out[some] = np.where(logits[some] == top[-1], top[-2], top[-1])
    return out


def _place(pairs: Groups, items: Sequence[Item], sentences: Sequence[int]) -> np.ndarray:
    """[pairs, features from gap to special]."""
    ends = {e: _End.of(e, items, sentences) for e in (*pairs.heads, *pairs.tails)}
    heads, tails = (list(dict.fromkeys(side)) for side in (pairs.heads, pairs.tails))
    most = {side: {label: max(len(e) for e in some if items[e[0]].label == label) for label in
                   {items[e[0]].label for e in some}} for side, some in (("head", heads), ("tail", tails))}
    first = {label: min(e for e in ends if items[e[0]].label == label) for label in {i.label for i in items}
             if any(items[e[0]].label == label for e in ends)}
    gaps = {(h, t): _gap(items, h, t) for h, t in zip(pairs.heads, pairs.tails, strict=True)}
    near: dict[tuple[object, str], int] = {}
    for (h, t), gap in gaps.items():
        for at in ((("t", t), items[h[0]].label), (("h", h), items[t[0]].label)):
            near[at] = min(gap, near.get(at, gap))
    words = {t: frozenset().union(*(stems_of(items[i].key or "") for i in t)) for t in tails}
    rows = []
    for h, t in zip(pairs.heads, pairs.tails, strict=True):
        a, b, gap = ends[h], ends[t], gaps[h, t]
        apart = min((abs(x - y) for x in a.sentences for y in b.sentences), default=0)
        others = [words[o] for o in tails if o != t and items[o[0]].label == items[t[0]].label]
        rows.append((
            np.log1p(gap) / 3, min(apart, 4) / 2, apart == 0, np.log1p(len(a.sentences & b.sentences)),
            np.log1p(len(h)), np.log1p(len(t)), len(h) / most["head"][items[h[0]].label],
            len(t) / most["tail"][items[t[0]].label], 0 in a.sentences, 0 in b.sentences,
            first[items[h[0]].label] == h, first[items[t[0]].label] == t,
            items[h[0]].first < items[t[0]].first, near[("t", t), items[h[0]].label] == gap,
            near[("h", h), items[t[0]].label] == gap, np.log(len(heads)), np.log(len(tails)),
            any(words[t] < o for o in others), any(o < words[t] for o in others),
        ))
    return np.array(rows, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _End:
    sentences: frozenset[int]

    @classmethod
    def of(cls, group: tuple[int, ...], items: Sequence[Item], sentences: Sequence[int]) -> _End:
        return cls(frozenset(sentences[items[i].first] for i in group))


def _gap(items: Sequence[Item], head: tuple[int, ...], tail: tuple[int, ...]) -> int:
    return max(0, min(max(items[t].first - items[h].last, items[h].first - items[t].last) for h in head for t in tail))


def _memory(
    pairs: Groups, items: Sequence[Item], labels: Sequence[str], scheme: str, cells: Mapping[str, Cell]
) -> np.ndarray:
    """[pairs, labels, len(MEMORY)]."""
    heads = {h: _tallies(h, items, "head", scheme, cells) for h in set(pairs.heads)}
    tails = {t: _tallies(t, items, "tail", scheme, cells) for t in set(pairs.tails)}
    out = np.zeros((len(pairs.heads), len(labels), len(MEMORY)))
    for k, (h, t, (head, tail)) in enumerate(zip(pairs.heads, pairs.tails, pairs.names, strict=True)):
        for y, label in enumerate(labels):
            a, b = heads[h].get(label, {}), tails[t].get(label, {})
            known = np.maximum(a.get(tail, (0, 0)), b.get(head, (0, 0)))
            out[k, y] = (*np.log1p(known), *_rate(a), *_rate(b))
    return out


_Tally = dict[str, dict[str, tuple[int, int]]]


def _tallies(
    group: tuple[int, ...], items: Sequence[Item], side: str, scheme: str, cells: Mapping[str, Cell]
) -> _Tally:
    """label -> other end -> documents (related, not related), of the names of one end; the largest of its names'."""
    out: _Tally = {}
    for key in sorted({items[i].key or "" for i in group}):
        cell = cells.get(bag(key) or "")
        found: dict[tuple[str, str], list[int]] = {}
        for name, count in (cell.counts if cell else {}).items():
            source, whose, outcome, rest = split_field(name)
            mine = whose == scheme and source in SOURCES and outcome in (side, f"no {side}")
            if mine and count > 0 and len(rest) > 1:
                found.setdefault((rest[0], rest[1]), [0, 0])[outcome != side] += count
        for (label, other), (yes, no) in found.items():
            before = out.setdefault(label, {}).get(other, (0, 0))
            out[label][other] = max(before[0], yes), max(before[1], no)
    return out


def _rate(tally: Mapping[str, tuple[int, int]]) -> tuple[float, float]:
    """(smoothed log-odds above the prior, log mass); 0 without any."""
    yes, no = (sum(t[n] for t in tally.values()) for n in (0, 1))
    if not yes + no:
        return 0.0, 0.0
    p = 1 / (1 + np.exp(-PRIOR))
    return float(np.log((yes + SMOOTH * p) / (no + SMOOTH * (1 - p))) - PRIOR), float(np.log1p(yes + no))
