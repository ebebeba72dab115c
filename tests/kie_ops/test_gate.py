import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kie_ops.candidates import Names, candidates
from kie_ops.errors import ModelError
from kie_ops.evidence import KINDS, OUTCOMES, RELIABILITY, Knowledge, Remembered, remember, rows
from kie_ops.gate import MEMORY_BOUND, TEXT_BOUND, Gate, entropy, sigmoid
from kie_ops.memory import SOURCES, Cell, Contribution, Increment, field
from kie_ops.trust import TRUST, trusted
from tests.kie_ops.gate_fixtures import SCHEME, cells, gate, reading


def remembered(raw: np.ndarray) -> Remembered:
    n = len(raw)
    return Remembered(np.log1p(raw), np.zeros((n, len(RELIABILITY))), raw.sum(axis=(1, 2, 3)) > 0)


CELLS = len(KINDS) * len(SOURCES) * len(OUTCOMES)
COUNTS = st.lists(st.integers(0, 50), min_size=CELLS, max_size=CELLS).map(
    lambda some: np.array(some, dtype=float).reshape(1, len(KINDS), len(SOURCES), len(OUTCOMES)))


@given(COUNTS, st.integers(0, CELLS - 1), st.integers(1, 100))
def test_memory_odds_rise_with_counts_for_and_fall_with_counts_against(raw: np.ndarray, at: int, more: int) -> None:
    memory = gate().memory[SCHEME]
    higher = raw.copy()
    higher.reshape(-1)[at] += more
    before, after = float(memory.odds(remembered(raw))[0]), float(memory.odds(remembered(higher))[0])
    assert abs(after) <= MEMORY_BOUND
    assert after >= before if at % len(OUTCOMES) == 0 else after <= before


@given(COUNTS, st.floats(-TEXT_BOUND, TEXT_BOUND))
def test_the_weights_are_shares_and_fuse_both(raw: np.ndarray, odds: float) -> None:
    h = np.array([odds])
    memory = gate().memory[SCHEME]
    known = remembered(raw)
    w = memory.soft_weight(known, trusted(known, h))
    assert 0 <= w[0] < 1
    assert (w[0] == 0) == (raw.sum() == 0)


def test_without_evidence_memory_on_is_memory_off() -> None:
    names = Names(reading("Naproxen helped.", {("Naproxen", "Drug"): 0.3}))
    found = candidates(names, SCHEME)
    nothing = remember(names, found, Knowledge({"other": Cell("other", {field("self", SCHEME, "none"): 3})}, SCHEME))
    h, w, z = gate().decide(found, nothing)
    assert np.array_equal(h, z)
    assert not w.any()
    assert np.array_equal(h, gate().decide(found, None)[2])


def test_dump_and_parse_give_the_same_numbers(tmp_path: Path) -> None:
    one = gate()
    noisy = dataclasses.replace(one, memory={
        SCHEME: dataclasses.replace(one.memory[SCHEME], bias=0.123456, hidden=np.full((len(TRUST), 2), 0.25),
                                    hidden_bias=np.ones(2), out=np.ones(2), classes=np.array([0.0, 0.5, 1.0, 1.5]),
                                    labels={"Drug": 0.25}),
    }, own=False)
    noisy.save(tmp_path / "gate.json")
    again = Gate.load(tmp_path / "gate.json")
    assert again.dump() == noisy.dump()
    assert np.array_equal(again.memory[SCHEME].weights, noisy.memory[SCHEME].weights)
    named = json.loads((tmp_path / "gate.json").read_text())["memory"][SCHEME]["weights"]
    assert named["reviewer|exact|entity"] == 6.0


@pytest.mark.parametrize("spoil", [
    lambda d: d.update(version=99), lambda d: d.pop("text"), lambda d: d.update(features=["other"]),
    lambda d: d["memory"][SCHEME].pop("weights"), lambda d: d["relations"][SCHEME].update(scales=1),
])
def test_a_broken_gate_is_refused(spoil, tmp_path: Path) -> None:
    data = gate().dump()
    spoil(data)
    (tmp_path / "gate.json").write_text(json.dumps(data))
    with pytest.raises(ModelError, match=r"gate\.json"):
        Gate.load(tmp_path / "gate.json")


def test_a_missing_or_unreadable_gate_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"kie_ops\.training\.gate"):
        Gate.load(tmp_path / "gate.json")
    (tmp_path / "gate.json").write_text("{")
    with pytest.raises(ModelError, match="cannot read"):
        Gate.load(tmp_path / "gate.json")


def test_entropy_is_of_the_probability() -> None:
    assert entropy(np.array([0.0]))[0] == 1.0
    assert entropy(np.array([60.0]))[0] < 1e-9
    assert sigmoid(np.array([0.0]))[0] == 0.5


@settings(deadline=None)
@given(st.lists(st.tuples(
    st.sampled_from(["naproxen", "rash"]), st.sampled_from(SOURCES),
    st.sampled_from(["entity|Drug", "entity|Disease", "part|Drug", "crossing|", "none|"]), st.integers(-2, 5),
), max_size=12))
def test_evidence_counts_what_the_cells_hold(facts: list[tuple[str, str, str, int]]) -> None:
    made = [Increment(key, f"{source}|{SCHEME}|{what}", count) for key, source, what, count in facts]
    other = [Increment("naproxen", "training|elsewhere|entity|Drug", 7)]
    known = cells(Contribution("x", tuple(made + other)))
    names = Names(reading("Naproxen, no rash.", {("Naproxen", "Drug"): 1.0}))
    knowledge = Knowledge(known, SCHEME)
    found = candidates(names, SCHEME, knowledge.labels())
    evidence = remember(names, found, knowledge)
    i = next(i for i in range(len(found)) if found.keys[i] == "naproxen" and found.labels[found.label[i]] == "Drug")
    counts = np.expm1(evidence.counts[i, 0])
    held = known["naproxen"].counts
    for s, source in enumerate(SOURCES):
        for o, what in enumerate(("entity|Drug", "entity|Disease", "part|Drug", "crossing|", "none|")):
            assert round(counts[s, o]) == max(held.get(f"{source}|{SCHEME}|{what}", 0), 0)
    shown = rows(names, int(found.first[i]), int(found.last[i]), SCHEME, knowledge)
    assert all(e.count > 0 and e.source in SOURCES for e in shown)
    assert bool(shown) == bool(evidence.present[i])


def test_own_reading_proposes_nothing_by_itself() -> None:
    known = {
        "rash": Cell("rash", {field("self", SCHEME, "entity", "Disease"): 40}),
        "fever": Cell("fever", {field("vocabulary", SCHEME, "entity", "Disease"): 1}),
    }
    assert Knowledge(known, SCHEME).labels() == {"fever": {"Disease"}}


def test_the_own_reading_can_be_left_out_of_decisions() -> None:
    known = cells(Contribution("x", (Increment("naproxen", field("self", SCHEME, "entity", "Drug"), 9),)))
    names = Names(reading("Naproxen helped.", {("Naproxen", "Drug"): 1.0}))
    found = candidates(names, SCHEME)
    assert remember(names, found, Knowledge(known, SCHEME)).present.any()
    assert not remember(names, found, Knowledge(known, SCHEME), own=False).present.any()


def test_trust_sees_whether_text_and_memory_agree_on_the_other_names() -> None:
    raw = np.zeros((3, len(KINDS), len(SOURCES), len(OUTCOMES)))
    raw[:2, 0, 0, 0] = 3
    known = remembered(raw)
    at, many = TRUST.index("agreed"), TRUST.index("agreed_known")
    share, number = trusted(known, np.array([8.0, 8.0, 0.0]))[:, [at, many]].T
    assert share[2] > 0.8
    assert trusted(known, np.array([8.0, -8.0, 0.0]))[:, at].tolist() == pytest.approx([0.25, 0.75, 0.5], abs=1e-3)
    assert np.expm1(number).tolist() == pytest.approx([1, 1, 2])


def test_vocabularies_are_believed_by_kind_of_name() -> None:
    raw = np.zeros((4, len(KINDS), len(SOURCES), len(OUTCOMES)))
    raw[:, 0, SOURCES.index("vocabulary"), 0] = 1
    shape = np.zeros((4, len(RELIABILITY)))
    shape[:, RELIABILITY.index("tokens")] = np.log1p([1, 1, 2, 7])
    shape[0, RELIABILITY.index("acronym")] = 1
    memory = dataclasses.replace(gate().memory[SCHEME], classes=np.array([0.0, 0.5, 1.0, 1.5]))
    odds = memory.odds(Remembered(np.log1p(raw), shape, np.ones(4, dtype=bool)))
    assert (np.diff(odds) > 0).all()
