"""Contradictions: who says what, which side wins by the gate, and which are fought over hardest."""

from __future__ import annotations

import pytest

from kie_ops.memory import Cell, field
from pipelines.conflicts import disputes, strongest, voices
from tests.kie_ops.gate_fixtures import SCHEME, gate


def cell(key: str = "rash", **counts: int) -> Cell:
    """Counts as training_Disease=3, reviewer_none=1."""
    fields = {}
    for name, count in counts.items():
        source, label = name.split("_")
        outcome, rest = ("none", ()) if label == "none" else ("entity", (label,))
        fields[field(source, SCHEME, outcome, *rest)] = count
    return Cell(key, fields)


def test_a_source_votes_with_what_it_counted_most_and_names_an_example() -> None:
    counts = dict(cell(training_Disease=7, training_none=2, reviewer_none=1, self_Disease=0).counts)
    found = voices(Cell("rash", {**counts, field("training", SCHEME, "example", "pmid-9"): 1}))
    assert [(v.source, v.label, v.count, v.example) for v in found] == [
        ("training", "Disease", 7, "pmid-9"), ("reviewer", "none", 1, None)]


def test_the_gate_says_who_wins_and_how_strongly() -> None:
    (found,) = disputes(cell(training_Disease=3, reviewer_none=1), gate())
    assert found.winner == "none", "a reviewer weighs three times as much here"
    assert found.sides[0].probability > 0.5 > found.sides[1].probability
    (found,) = disputes(cell(training_Disease=3, vocabulary_Drug=1), gate())
    assert [s.label for s in found.sides] == ["Disease", "Drug"]
    assert found.sides[0].voices[0].source == "training"


def test_without_a_gate_the_weight_decides() -> None:
    (found,) = disputes(cell(training_Disease=3, reviewer_none=1))
    assert (found.winner, found.sides[0].weight) == ("Disease", 2.0)
    assert found.sides[0].probability == pytest.approx(2 / 3)


def test_agreement_and_other_schemes_are_no_dispute() -> None:
    assert disputes(cell(training_Disease=3, self_Disease=9), gate()) == []
    apart = Cell("rash", {field("training", "a", "entity", "Disease"): 3, field("reviewer", "b", "none"): 1})
    assert disputes(apart, gate()) == []
    assert disputes(cell(self_Disease=9, self_none=4), gate()) == [], "one source alone contradicts nobody"


def test_the_hardest_fought_over_come_first() -> None:
    cells = [cell("a", training_Disease=100, self_none=1), cell("b", training_Disease=30, self_none=30),
             cell("c", training_Disease=3, self_Disease=3), cell("d", training_Drug=3, self_none=3)]
    assert [d.key for d in strongest(cells, 9, gate())] == ["b", "d", "a"]
    assert [d.key for d in strongest(cells, 1, gate())] == ["b"]
    assert [d.key for d in strongest(cells, 9, gate(), "drug")] == ["d"]
