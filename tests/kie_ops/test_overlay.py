import pytest
from hypothesis import given, strategies as st

from kie_ops.memory import PROTOTYPE_WIDTH, Cell, Contribution, Increment
from kie_ops.overlay import Overlay
from tests.kie_ops.gate_fixtures import cells

VECTOR = st.none() | st.integers(-127, 127).map(lambda v: (v,) * PROTOTYPE_WIDTH)
INCREMENT = st.builds(Increment, st.sampled_from("abc"), st.sampled_from(["f", "g"]), st.integers(-2, 2), VECTOR)
CONTRIBUTION = st.lists(INCREMENT, max_size=5).map(lambda some: Contribution("x", tuple(some)))


@given(st.lists(CONTRIBUTION, max_size=5), st.integers(0, 5))
def test_in_memory_or_in_the_batch_is_the_same(contributions: list[Contribution], cut: int) -> None:
    whole = cells(*contributions)
    overlay = Overlay(cells(*contributions[:cut]))
    for contribution in contributions[cut:]:
        overlay.add(contribution)
    assert dict(overlay) == whole
    assert len(overlay) == len(whole)


@given(st.lists(CONTRIBUTION, max_size=5))
def test_taking_everything_out_leaves_nothing(contributions: list[Contribution]) -> None:
    assert cells(*contributions, *(c.negated() for c in reversed(contributions))) == {}


def test_what_lies_below_stays_as_it_is() -> None:
    below = {"a": Cell("a", {"f": 1})}
    overlay = Overlay(below)
    overlay.add(Contribution("x", (Increment("a", "f", -1), Increment("b", "f", 2))))
    assert below["a"].counts == {"f": 1}
    assert "a" not in overlay
    assert overlay.only(["a", "b", "c"]) == {"b": Cell("b", {"f": 2})}
    with pytest.raises(KeyError):
        overlay["a"]
