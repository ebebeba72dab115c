"""What a training step sees: windows of annotated documents in mixed, length-bucketed batches.

The order of an epoch is a function of seed and epoch alone, so that a resumed run goes on exactly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kie_ops import dataset
from kie_ops.dataset import Example
from kie_ops.heads import Endpoint, MentionPairs, unfold
from kie_ops.model import Prepared, TextModel
from kie_ops.windows import Window

POOL = 32
"""Batches that are sorted by length together: less padding, while batches still mix schemes."""


@dataclass(frozen=True, slots=True)
class Item:
    """One window of one document.  `gold`: int64 [spans, 3] = word, length - 1, label; words from the window's first.

    `pairs`, `holds` (float32 [pairs, labels]): relation candidates whose mentions lie in the window, if any.
    """

    scheme: str
    prepared: Prepared
    window: Window
    gold: np.ndarray
    pairs: MentionPairs | None = None
    holds: np.ndarray | None = None


def items(model: TextModel, examples: Sequence[Example]) -> list[Item]:
    """All windows of `examples`, which must be of schemes of the model's domain."""
    return [item for example in examples for item in _windows(model, example)]


def batches(all_items: Sequence[Item], budget: int, specials: int, seed: int, epoch: int) -> list[list[Item]]:
    """One epoch: every item once, in batches of at most `budget` tokens, padding included."""
    order = random.Random(f"{seed}/{epoch}")
    shuffled = list(all_items)
    order.shuffle(shuffled)
    out: list[list[Item]] = []
    at = 0
    while at < len(shuffled):
        end, tokens = at, 0
        while end < len(shuffled) and (tokens < POOL * budget or end == at):
            tokens += shuffled[end].window.padded(specials)
            end += 1
        pool = sorted(shuffled[at:end], key=lambda item: item.window.padded(specials))
        out.extend(_cut(pool, budget, specials))
        at = end
    order.shuffle(out)
    return out


def _cut(pool: Sequence[Item], budget: int, specials: int) -> list[list[Item]]:
    """Consecutive items of rising length; a batch is as wide as its last."""
    out: list[list[Item]] = []
    for item in pool:
        if out and (len(out[-1]) + 1) * item.window.padded(specials) <= budget:
            out[-1].append(item)
        else:
            out.append([item])
    return out


def _windows(model: TextModel, example: Example) -> list[Item]:
    scheme = model.domain.schemes[example.scheme]
    relation = model.domain.relations.get(example.scheme)
    number = {label: at for at, label in enumerate(scheme.labels)}
    prepared = model.prepare(example.document.text)
    spans = dataset.word_spans(example, prepared.words)
    heads, tails, holds = dataset.candidate_pairs(example, prepared.words, relation) if relation else ([], [], None)
    sentence_of = prepared.words.sentence_of()
    out = []
    for window in prepared.windows:
        inside = {
            (a - window.first, b - a, number[label]) for a, b, label in spans
            if window.first <= a and b < window.last and b - a < scheme.max_words and label in number
        }
        gold = np.array(sorted(inside), dtype=np.int64).reshape(-1, 3)
        pairs, kept = None, None
        if holds is not None:
            both = [(_inside(h, window), _inside(t, window)) for h, t in zip(heads, tails, strict=True)]
            here = [k for k, (h, t) in enumerate(both) if h.spans and t.spans]
            if here:
                chosen = [both[k] for k in here]
                pairs = unfold([h for h, _ in chosen], [t for _, t in chosen], scheme.labels,
                               sentence_of[window.first : window.last])
                kept = holds[here]
        if window.last > window.first:
            out.append(Item(example.scheme, prepared, window, gold, pairs, kept))
    return out


def _inside(point: Endpoint, window: Window) -> Endpoint:
    spans = tuple((a, b) for a, b in point.spans if window.first <= a and b < window.last)
    return Endpoint(point.label, spans).shifted(-window.first)
