from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kie_ops.decoding import decode

SPAN = st.tuples(st.integers(0, 12), st.integers(0, 4), st.integers(0, 2), st.sampled_from([0.2, 0.51, 0.6, 0.75, 0.9]))


def arrays(rows: list[tuple[int, int, int, float]]) -> tuple[np.ndarray, ...]:
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    first, width, label = table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2].astype(int)
    return first, first + width, label, table[:, 3]


def overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


@given(st.lists(SPAN, max_size=9))
def test_no_set_without_overlaps_weighs_more(rows: list[tuple[int, int, int, float]]) -> None:
    first, last, label, score = arrays(rows)
    chosen = decode(first, last, label, score, 0.5)
    spans = [(int(first[i]), int(last[i])) for i in range(len(rows))]
    assert not any(overlap(spans[i], spans[j]) for i, j in combinations(chosen, 2))
    best = max(
        sum(score[i] - 0.5 for i in some) for n in range(len(rows) + 1) for some in combinations(range(len(rows)), n)
        if not any(overlap(spans[i], spans[j]) for i, j in combinations(some, 2))
    )
    assert sum(score[i] - 0.5 for i in chosen) == pytest.approx(best)


@given(st.lists(SPAN, max_size=9), st.randoms())
def test_the_order_of_candidates_does_not_matter(rows: list[tuple[int, int, int, float]], random: object) -> None:
    rows = list(dict.fromkeys(rows))
    mixed = list(rows)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    for nested in (False, True):
        a = [rows[i] for i in decode(*arrays(rows), 0.5, nested=nested)]
        b = [mixed[i] for i in decode(*arrays(mixed), 0.5, nested=nested)]
        assert a == b


def test_nested_spans_of_other_labels_stay_and_crossing_ones_go() -> None:
    rows = [(0, 4, 0, 0.9), (1, 1, 1, 0.8), (0, 4, 1, 0.7), (4, 2, 2, 0.6), (1, 0, 1, 0.6)]
    kept = decode(*arrays(rows), 0.5, nested=True)
    assert 0 in kept
    assert 3 not in kept, "crosses a likelier span"
    assert 4 not in kept, "lies in a likelier span of its own label"


def test_ties_go_to_the_longer_span() -> None:
    rows = [(0, 0, 0, 0.75), (0, 1, 0, 0.75)]
    assert decode(*arrays(rows), 0.5) == [1]


def test_nothing() -> None:
    assert decode(*arrays([]), 0.5) == []
