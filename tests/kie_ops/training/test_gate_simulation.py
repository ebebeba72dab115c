import numpy as np

from kie_ops.candidates import Names, candidates
from kie_ops.memory import Contribution, Increment, field
from kie_ops.training.gate_simulation import Plan, base, shifted
from tests.kie_ops.gate_fixtures import SCHEME, reading

WORDS = [f"zor{a}{b}ex" for a in "abcdefghij" for b in "klmnopqrst"]


def test_a_shifted_tagger_does_not_know_a_share_of_the_names_and_always_the_same() -> None:
    text = " helped. ".join(WORDS) + " helped."
    names = Names(reading(text, {(word, "Drug"): 3.0 for word in WORDS}))
    found = candidates(names, SCHEME)
    h, truth = np.full(len(found), 3.0), np.ones(len(found), dtype=bool)
    once = shifted(found, h, truth, 0.5, 7)
    assert np.array_equal(once, shifted(found, h, truth, 0.5, 7))
    lost = once < 0
    assert 0.3 < lost.mean() < 0.7
    assert (once[~lost] == 3.0).all()
    assert np.array_equal(shifted(found, h, truth, 0.0, 7), h)
    assert (shifted(found, -h, ~truth, 0.5, 7) > -3.0).mean() < 0.15, "few others are taken for names"


def test_training_memory_of_another_kind_lacks_names_or_calls_them_nothing() -> None:
    made = [Contribution("", (Increment(word, field("training", SCHEME, "entity", "Drug"), 2),)) for word in WORDS]
    cells = base(made, Plan(1.0, shift=0.5), np.random.default_rng(1))
    kinds = {name for cell in cells.values() for name in cell.counts}
    assert kinds == {field("training", SCHEME, "entity", "Drug"), field("training", SCHEME, "none")}
    known = sum(field("training", SCHEME, "entity", "Drug") in cell.counts for cell in cells.values())
    assert 30 < known < 70
    assert 0 < sum(not cell.counts for cell in cells.values()) < 50
