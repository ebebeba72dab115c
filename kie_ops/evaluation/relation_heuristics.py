"""Simple rules that a relation model has to beat, on the same spans and the same concepts.

Between concepts: every pair of one sentence; the document's main head (of most mentions, then first in the text) with
every tail, mended by what memory counted of the pair.  Between mentions: the nearest head of each tail in its sentence,
of the label that is named first among those of heads (as kpi); the relations that a pair's labels have in a quarter of
the training pairs; both at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kie_ops.domain import RelationScheme
from kie_ops.gate import type_name
from kie_ops.pair_evidence import FEATURES
from kie_ops.pairs import Item, Scored

SAME_SENTENCE, MAIN, NEAREST, TYPES, NEAREST_TYPES = "same sentence", "main head", "nearest", "types", "nearest, types"
OFTEN = float(np.log(1 / 3))
"""Log-odds of a quarter: for the best F1 half of what F1 can be reached, here about a half (Lipton et al. 2014)."""


def rules(
    scored: Scored, scheme: RelationScheme, items: Sequence[Item], prior: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """By rule: bool [pairs, labels], what it takes for related.  `prior`: log-odds by type (see gate.type_name)."""
    shape = scored.logits.shape
    if scheme.level == "document":
        named = np.broadcast_to(~scored.unnamed()[:, None], shape)
        return {SAME_SENTENCE: named & (_feature(scored, "same_sentence") > 0), MAIN: named & _main(scored, items)}
    near = _nearest(scored, scheme, items)
    odds = np.array([
        [prior.get(type_name(items[h[0]].label, items[t[0]].label, label), -np.inf) for label in scheme.labels]
        for h, t in zip(scored.heads, scored.tails, strict=True)
    ]).reshape(shape)
    likeliest = np.isfinite(odds) & (odds == odds.max(axis=1, keepdims=True, initial=-np.inf))
    likeliest &= likeliest.sum(axis=1, keepdims=True) == 1  # several where such labels were never related
    same = _feature(scored, "same_sentence") > 0
    return {NEAREST: near & likeliest, TYPES: same & (odds >= OFTEN), NEAREST_TYPES: near & (odds >= OFTEN)}


def _feature(scored: Scored, name: str) -> np.ndarray:
    return np.asarray(scored.features[..., FEATURES.index(name)])


def _main(scored: Scored, items: Sequence[Item]) -> np.ndarray:
    """The main head's pairs, but those that memory counted as unrelated more often; and those it counted as related."""
    yes, no = _feature(scored, "known"), _feature(scored, "known_not")
    named = [h for h, unnamed in zip(scored.heads, scored.unnamed().tolist(), strict=True) if not unnamed]
    main = min(named, key=lambda h: (-len(h), items[h[0]].first), default=())
    of_main = np.array([h == main for h in scored.heads], dtype=bool)
    return (of_main[:, None] & (yes >= no)) | (yes > no)


def _nearest(scored: Scored, scheme: RelationScheme, items: Sequence[Item]) -> np.ndarray:
    """bool [pairs, 1]: whether no other head is nearer to the tail; of two equally near the one before it."""
    same = _feature(scored, "same_sentence")[:, 0] > 0 if len(scored.heads) else np.zeros(0, dtype=bool)
    label = scheme.pairs[0][0] if scheme.pairs else None

    def order(k: int) -> tuple[int, bool, int]:
        head, tail = items[scored.heads[k][0]], items[scored.tails[k][0]]
        return max(head.first - tail.last, tail.first - head.last), head.first > tail.first, k

    best: dict[tuple[int, ...], int] = {}
    for k, tail in enumerate(scored.tails):
        if not same[k] or label not in (None, items[scored.heads[k][0]].label):
            continue
        if tail not in best or order(k) < order(best[tail]):
            best[tail] = k
    chosen = np.zeros((len(scored.tails), 1), dtype=bool)
    chosen[list(best.values())] = True
    return chosen
