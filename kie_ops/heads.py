"""Heads over word states: SpanHead labels spans, PairHead labels ordered pairs of spans or of groups of spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

RARE = -6.5
"""Bias that labels start from: nearly all spans and pairs are nothing."""
DISTANCES, SENTENCES, COUNTS, CLOSEST = 21, 5, 8, 24


class SpanHead(nn.Module):
    """Each span of up to `max_words` words against each label (as in SpERT, Eberts & Ulges 2020), multi-label."""

    def __init__(self, hidden: int, labels: int, max_words: int, width: int = 128) -> None:
        super().__init__()
        self.max_words = max_words
        self.start, self.end, self.inside = (nn.Linear(hidden, width) for _ in range(3))
        self.length = nn.Embedding(max_words, width)
        self.label = nn.Linear(width, labels)
        nn.init.normal_(self.length.weight, std=0.02)
        nn.init.constant_(self.label.bias, RARE)

    def forward(self, states: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """States [rows, words, hidden], words a row [rows] -> logits [rows, words, max_words, labels].

        [r, i, j] is the span of words i..i+j; -inf where it runs past the row's end.
        """
        count = states.shape[1]
        offset = torch.arange(self.max_words)
        sums = F.pad(self.inside(states).float().cumsum(1), (0, 0, 1, 0))
        # One large array, filled in place: this is where a head's time goes.
        joined = self._last(sums[:, 1:]) - sums[:, :count, None]
        joined = joined.div_((offset + 1)[:, None]).add_(self._last(self.end(states)))
        joined = joined.add_(self.start(states)[:, :, None]).add_(self.length(offset))
        logits = self.label(F.gelu(joined)).float()
        past = torch.arange(count)[:, None] + offset
        return logits.masked_fill((past >= words[:, None, None])[..., None], -torch.inf)

    def _last(self, values: torch.Tensor) -> torch.Tensor:
        """[rows, words, width] -> [rows, words, max_words, width], a view: [r, i, j] is word i + j, 0 past the end."""
        return F.pad(values, (0, 0, 0, self.max_words - 1)).unfold(1, self.max_words, 1).transpose(2, 3)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a pair: a mention, or all mentions of a concept.  `spans`: (first, last) words, inclusive."""

    label: str
    spans: tuple[tuple[int, int], ...]


    def shifted(self, words: int) -> Endpoint:
        return Endpoint(self.label, tuple((first + words, last + words) for first, last in self.spans))


@dataclass(frozen=True, slots=True)
class MentionPairs:
    """Pairs of endpoints, unfolded into pairs of mentions: int64 [mention pairs] each.

    `pair` is the number of the pair, `row` the row of states it lies in.
    """

    pair: np.ndarray
    row: np.ndarray
    head: np.ndarray        # [mention pairs, 2] words, inclusive
    tail: np.ndarray
    features: np.ndarray    # [mention pairs, 7]: see PairHead.forward
    pairs: int


def unfold(
    heads: Sequence[Endpoint], tails: Sequence[Endpoint], labels: Sequence[str], sentence_of: np.ndarray, row: int = 0
) -> MentionPairs:
    """Pairs ``heads[k], tails[k]`` as pairs of their mentions: of each at most the CLOSEST ones."""
    pair, head, tail, features = [], [], [], []
    number = {label: at for at, label in enumerate(labels)}
    for k, (h, t) in enumerate(zip(heads, tails, strict=True)):
        both = sorted(((_gap(a, b), a, b) for a in h.spans for b in t.spans), key=lambda g: (abs(g[0]), g))[:CLOSEST]
        counts = (min(len(h.spans), COUNTS) - 1, min(len(t.spans), COUNTS) - 1)
        for gap, a, b in both:
            apart = abs(int(sentence_of[a[0]]) - int(sentence_of[b[0]]))
            opening = 2 * int(sentence_of[a[0]] == 0) + int(sentence_of[b[0]] == 0)
            pair.append(k)
            head.append(a)
            tail.append(b)
            features.append((
                number[h.label], number[t.label], _bucket(gap), min(apart, SENTENCES - 1), *counts, opening,
            ))
    shape = (-1, 2)
    return MentionPairs(
        np.array(pair, dtype=np.int64), np.full(len(pair), row, dtype=np.int64),
        np.array(head, dtype=np.int64).reshape(shape), np.array(tail, dtype=np.int64).reshape(shape),
        np.array(features, dtype=np.int64).reshape(-1, 7), len(heads),
    )


def join(parts: Sequence[MentionPairs]) -> MentionPairs:
    """Pairs of several rows as one, numbered on."""
    shift = np.cumsum([0, *(p.pairs for p in parts)])
    pair = np.concatenate([p.pair + s for p, s in zip(parts, shift[:-1], strict=True)])
    row, head, tail, features = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("row", "head", "tail", "features")
    )
    return MentionPairs(pair, row, head, tail, features, int(shift[-1]))


class PairHead(nn.Module):
    """Typed relations between two endpoints, multi-label.

    Mention pairs are scored from both spans, their product, the mean state between them, labels, distances and
    counts; the pair of endpoints is their log-sum-exp, so a mention pair alone is its own score.
    """

    def __init__(self, hidden: int, entity_labels: int, labels: int, width: int = 128) -> None:
        super().__init__()
        self.head, self.tail = (nn.Linear(3 * hidden, width) for _ in range(2))
        self.product = nn.Linear(width, width)
        self.between = nn.Linear(hidden, width)
        sizes = (entity_labels, entity_labels, DISTANCES, SENTENCES, COUNTS, COUNTS, 4)
        tables = [nn.Embedding(size, width) for size in sizes]
        for table in tables:
            nn.init.normal_(table.weight, std=0.02)
        self.features = nn.ModuleList(tables)
        self.label = nn.Linear(width, labels)
        nn.init.constant_(self.label.bias, RARE / 2)

    def forward(self, states: torch.Tensor, pairs: MentionPairs) -> torch.Tensor:
        """States [rows, words, hidden] -> logits [pairs, labels]."""
        rows, h, t = (torch.from_numpy(a) for a in (pairs.row, pairs.head, pairs.tail))
        sums = F.pad(states.double().cumsum(1), (0, 0, 1, 0))  # double: differences far down a long text stay exact
        head, tail = self.head(_span(states, sums, rows, h)), self.tail(_span(states, sums, rows, t))
        low, high = torch.minimum(h[:, 1], t[:, 1]) + 1, torch.maximum(h[:, 0], t[:, 0])
        high = torch.maximum(low, high)
        middle = (sums[rows, high] - sums[rows, low]) / (high - low).clamp(min=1)[:, None]
        middle = middle.to(states.dtype)
        joined = head + tail + self.product(head * tail) + self.between(middle)
        for table, column in zip(self.features, torch.from_numpy(pairs.features).T, strict=True):
            joined = joined + table(column)
        logits = self.label(F.gelu(joined)).float()
        return _logsumexp(logits, torch.from_numpy(pairs.pair), pairs.pairs)


def _span(states: torch.Tensor, sums: torch.Tensor, rows: torch.Tensor, span: torch.Tensor) -> torch.Tensor:
    first, last = span[:, 0], span[:, 1]
    mean = (sums[rows, last + 1] - sums[rows, first]) / (last + 1 - first)[:, None]
    return torch.cat([states[rows, first], states[rows, last], mean.to(states.dtype)], dim=-1)


def _logsumexp(logits: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
    index = group[:, None].expand_as(logits)
    top = torch.full((groups, logits.shape[1]), -torch.inf).scatter_reduce(0, index, logits.detach(), "amax")
    return top + torch.zeros_like(top).index_add(0, group, (logits - top[group]).exp()).log()


def _gap(a: tuple[int, int], b: tuple[int, int]) -> int:
    """Words from `a` to `b`: 0 where they touch or overlap, negative where `b` comes first."""
    return max(0, b[0] - a[1]) if a[0] <= b[0] else -max(0, a[0] - b[1])


def _bucket(gap: int) -> int:
    size = min(abs(gap).bit_length(), DISTANCES // 2)
    return DISTANCES // 2 + (size if gap >= 0 else -size)
