"""Heads learnt from reviews: sums that commute, come apart exactly, and hold what ridge regression needs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st

from kie_ops.learnt import (
    NOTHING,
    Tally,
    distrusted,
    increments,
    learnt,
    learnt_key,
    lowered,
    tally,
    targets,
)
from kie_ops.memory import Cell, Contribution, total
from kie_ops.overlay import Overlay
from kie_ops.text_reading import CONSTANT, TRAITS
from memory_store.cells import added, summed

SCHEME = "clinic"


def document(seed: int, words: int = 40) -> tuple[np.ndarray, list[tuple[int, int, str]], str]:
    """Words whose 20th trait is high inside mentions, mentions of one to three words, an id."""
    rng = np.random.default_rng(seed)
    traits = rng.integers(-20, 21, size=(words, TRAITS))
    traits[:, 0] = CONSTANT
    gold = [(f, f + int(rng.integers(3)), "Drug") for f in range(2, words - 4, 9)]
    for first, last, _ in gold:
        traits[first : last + 1, 20] += 60
        traits[first, 21] += 60
        traits[last, 22] += 60
    return traits.astype(np.int8), gold, f"doc-{seed}"


def review(seed: int) -> Contribution:
    traits, gold, name = document(seed)
    made = Tally(4, seed % 3, 2.5)
    return Contribution(name, (*increments(SCHEME, traits, gold, name), *tally(SCHEME, "Disease", made)))


def cell_of(contributions: list[Contribution]) -> Cell:
    """The cell as a store keeps it."""
    increments_of_all = total(contributions)
    return added(Cell(learnt_key(SCHEME), {}), increments_of_all)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 5))
def test_order_and_batches_make_no_difference(order: list[int], cut: int) -> None:
    whole = cell_of([review(n) for n in range(5)])
    parts = [review(n) for n in order]
    cell = Cell(learnt_key(SCHEME), {})
    for batch in (parts[:cut], parts[cut:]):
        for more in summed([i for c in batch for i in c.increments]).values():
            cell = added(cell, more)
    assert (dict(cell.counts), dict(cell.vectors)) == (dict(whole.counts), dict(whole.vectors))


@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, 4)))
def test_undo_leaves_what_was_never_seen(gone: set[int]) -> None:
    memory = Overlay({})
    for n in range(5):
        memory.add(review(n))
    for n in gone:
        memory.add(review(n).negated())
    kept = [review(n) for n in range(5) if n not in gone]
    never = cell_of(kept)
    have = memory.get(learnt_key(SCHEME))
    if not kept:
        assert have is None or not (have.counts or have.vectors)
        return
    assert have is not None
    assert (dict(have.counts), dict(have.vectors)) == (dict(never.counts), dict(never.vectors))
    assert np.array_equal(learnt({have.key: have}, SCHEME).weights, learnt({never.key: never}, SCHEME).weights)


def test_a_head_finds_what_reviews_marked() -> None:
    cell = cell_of([review(n) for n in range(12)])
    head = learnt({cell.key: cell}, SCHEME)
    traits, gold, _ = document(99)
    scores = head.words(traits, "Drug")
    wanted = targets({(f, e) for f, e, _ in gold}, len(traits))
    assert scores[wanted == 1].mean() > scores[wanted == 0].mean() + 0.4
    assert head.documents == 12
    assert head.quality[0] > 0.3


def test_words_marked_at_random_have_no_quality() -> None:
    made = []
    for n in range(12):
        traits, _, name = document(n)
        rng = np.random.default_rng(1000 + n)
        gold = [(f, f, "Drug") for f in sorted(set(rng.integers(40, size=4).tolist()))]
        made.append(Contribution(name, tuple(increments(SCHEME, traits, gold, name))))
    cell = cell_of(made)
    assert learnt({cell.key: cell}, SCHEME).quality[0] < 0.05


def test_increments_fit_a_store() -> None:
    made = review(3).increments
    assert len(made) < 400
    assert all(i.vector is None or len(i.vector) == 64 for i in made)


def test_without_a_cell_there_is_no_head() -> None:
    assert learnt({}, SCHEME) is NOTHING
    assert NOTHING.amounts("Drug").tolist() == [0.0, 0.0, 0.0]


def test_a_trained_head_is_left_alone_while_it_does_as_it_says() -> None:
    made = Contribution("", tuple(tally(SCHEME, "Drug", Tally(100, 84, 86.0))))
    cell = cell_of([made])
    head = learnt({cell.key: cell}, SCHEME)
    assert lowered(head.tallies["Drug"]) == 0.0
    assert not distrusted(head)


def test_a_trained_head_that_is_mostly_wrong_is_lowered_then_replaced() -> None:
    made = [Contribution("", tuple(tally(SCHEME, "Drug", Tally(100, 5, 80.0))))]
    cell = cell_of(made)
    head = learnt({cell.key: cell}, SCHEME)
    assert lowered(head.tallies["Drug"]) < -2.0
    assert not distrusted(head)  # nothing stands ready yet
    cell = cell_of([*made, review(1)])
    assert distrusted(learnt({cell.key: cell}, SCHEME)) == {"Drug"}
