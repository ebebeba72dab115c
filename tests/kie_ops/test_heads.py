"""Heads over word states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kie_ops.heads import CLOSEST, Endpoint, PairHead, SpanHead, join, unfold


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(3, 9, 16, generator=torch.Generator().manual_seed(1))


def test_spans_past_the_end_are_impossible_and_no_others(states: torch.Tensor) -> None:
    head = SpanHead(16, 2, 4).eval()
    counts = torch.tensor([9, 5, 1])
    with torch.inference_mode():
        logits = head(states, counts)
    assert logits.shape == (3, 9, 4, 2)
    for row, count in enumerate(counts.tolist()):
        for i in range(9):
            for j in range(4):
                assert bool(torch.isfinite(logits[row, i, j]).all()) == (i + j < count)


def test_a_span_sees_its_own_words_only(states: torch.Tensor) -> None:
    head = SpanHead(16, 2, 4).eval()
    changed = states.clone()
    changed[:, 5] += 1
    with torch.inference_mode():
        before, after = (head(s, torch.tensor([9, 9, 9])) for s in (states, changed))
    same = torch.isclose(before, after, atol=1e-5).all(dim=-1) | ~torch.isfinite(before).all(dim=-1)
    for i in range(9):
        for j in range(4):
            holds_it = i <= 5 <= i + j
            assert bool(same[:, i, j].all()) == (not holds_it) or i + j >= 9


def test_span_and_pair_heads_can_learn(states: torch.Tensor) -> None:
    torch.manual_seed(0)
    spans, pairs = SpanHead(16, 2, 3), PairHead(16, 2, 1)
    candidates = unfold(
        [Endpoint("A", ((0, 1),)), Endpoint("B", ((4, 4),))], [Endpoint("B", ((4, 4),)), Endpoint("A", ((0, 1),))],
        ("A", "B"), np.zeros(9, dtype=np.int32),
    )
    optimiser = torch.optim.Adam([*spans.parameters(), *pairs.parameters()], lr=1e-2)
    for _ in range(150):
        logits, related = spans(states, torch.tensor([9, 9, 9])), pairs(states, candidates)
        loss = torch.nn.functional.softplus(logits).sum() - logits[0, 2, 1, 0] - logits[1, 4, 0, 1]
        loss = loss + torch.nn.functional.softplus(torch.stack([-related[0, 0], related[1, 0]])).sum()
        assert torch.isfinite(loss)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    above = {tuple(at) for at in torch.argwhere(logits > 0).tolist()}
    assert above == {(0, 2, 1, 0), (1, 4, 0, 1)}
    assert related[0, 0] > 0 > related[1, 0]


def test_pairs_of_groups_are_the_log_sum_exp_of_their_mentions(states: torch.Tensor) -> None:
    head = PairHead(16, 1, 2).eval()
    torch.nn.init.zeros_(head.features[4].weight)  # counts, which differ between a group and its parts
    torch.nn.init.zeros_(head.features[5].weight)
    sentence = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2], dtype=np.int32)
    a, b, c = ((0, 1),), ((3, 3),), ((7, 8),)
    with torch.inference_mode():
        group = head(states, unfold([Endpoint("X", a + c)], [Endpoint("X", b)], ("X",), sentence))
        parts = head(states, unfold([Endpoint("X", a), Endpoint("X", c)], [Endpoint("X", b)] * 2, ("X",), sentence))
    assert torch.allclose(group[0], parts.logsumexp(0), atol=1e-6)


def test_direction_counts(states: torch.Tensor) -> None:
    head = PairHead(16, 1, 1).eval()
    points = [Endpoint("X", ((1, 1),)), Endpoint("X", ((6, 6),))]
    with torch.inference_mode():
        both = head(states, unfold(points, points[::-1], ("X",), np.zeros(9, dtype=np.int32)))
    assert abs(float(both[0, 0] - both[1, 0])) > 1e-6


def test_pairs_of_several_rows_join(states: torch.Tensor) -> None:
    head = PairHead(16, 1, 1).eval()
    points = ([Endpoint("X", ((1, 1), (2, 2)))], [Endpoint("X", ((6, 6),))])
    sentence = np.zeros(9, dtype=np.int32)
    with torch.inference_mode():
        together = head(states, join([unfold(*points, ("X",), sentence, row) for row in range(3)]))
        alone = torch.cat([head(states[r : r + 1], unfold(*points, ("X",), sentence)) for r in range(3)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_concepts_with_many_mentions_keep_the_closest() -> None:
    many = tuple((k, k) for k in range(0, 100, 2))
    pairs = unfold([Endpoint("X", many)], [Endpoint("X", ((51, 51),))], ("X",), np.zeros(101, dtype=np.int32))
    assert len(pairs.pair) == CLOSEST
    assert abs(pairs.head[:, 0] - 51).max() <= CLOSEST
