import pytest

from kie_ops.candidates import Names
from kie_ops.evidence import Knowledge
from kie_ops.linking import concept
from kie_ops.memory import Cell, field
from kie_ops.surface import FOLDED
from tests.kie_ops.gate_fixtures import SCHEME, reading


def linked(*cells: Cell, text: str = "ASA") -> str | None:
    return concept(Names(reading(text)), 0, 0, "Drug", Knowledge({c.key: c for c in cells}, SCHEME))


def named(key: str, **counts: tuple[str, int]) -> Cell:
    return Cell(key, {field(source, SCHEME, "concept", "Drug", which): n for source, (which, n) in counts.items()})


@pytest.mark.parametrize(("counts", "wanted"), [
    ({"training": ("M:1", 3), "vocabulary": ("M:2", 3)}, "M:1"),
    ({"training": ("M:1", 30), "reviewer": ("M:2", 1)}, "M:2"),
    ({"training": ("M:2", 1), "vocabulary": ("M:1", 2)}, "M:1"),
    ({"training": ("M:1|M:2", 1)}, "M:1|M:2"),
    ({"training": ("M:1", -1)}, None),
    ({}, None),
])
def test_who_said_it_weighs_more_than_how_often(counts: dict[str, tuple[str, int]], wanted: str | None) -> None:
    assert linked(named("ASA", **counts)) == wanted


def test_the_exact_key_goes_before_back_off_keys() -> None:
    near = named(FOLDED + "asa", reviewer=("M:9", 5))
    assert linked(near) == "M:9"
    assert linked(near, named("ASA", self=("M:1", 1))) == "M:1"


def test_other_labels_and_no_memory_say_nothing() -> None:
    other = Cell("ASA", {field("training", SCHEME, "concept", "Disease", "M:1"): 3})
    assert linked(other) is None
    assert concept(Names(reading("ASA")), 0, 0, "Drug", None) is None
    assert linked(named("x", training=("M:1", 1)), text="2019") is None
