import pytest

from kie_ops.candidates import Names
from kie_ops.evidence import Knowledge, concept_rows
from kie_ops.linking import concept, concepts
from kie_ops.memory import Cell, field
from kie_ops.records import Evidence
from kie_ops.stems import bag
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


def test_tied_concepts_give_way_to_the_ancestor_that_a_vocabulary_says_they_share() -> None:
    def broader(which: str, ancestor: str, steps: int) -> str:
        return field("vocabulary", SCHEME, "broader", "Drug", which, ancestor, str(steps))

    tied = named("ASA", vocabulary=("M:1", 1), training=("M:0", 0)).counts | {
        field("vocabulary", SCHEME, "concept", "Drug", "M:2", "2031"): 1,
        broader("M:1", "M:8", 1): 1, broader("M:2", "M:8", 1): 1, broader("M:1", "M:9", 2): 1,
        broader("M:2", "M:9", 2): 1,
    }
    assert linked(Cell("ASA", tied)) == "M:8"
    said = {field("reviewer", SCHEME, "concept", "Drug", "M:2"): 1}
    assert linked(Cell("ASA", tied | said)) == "M:2", "no tie"
    apart = {name: count for name, count in tied.items() if "|broader|" not in name}
    assert linked(Cell("ASA", apart)) == "M:1", "nothing shared: the first in the alphabet"


def test_evidence_names_the_release_of_the_code_system() -> None:
    cell = Cell("ASA", {
        field("vocabulary", SCHEME, "concept", "Drug", "M:2", "2031"): 1,
        field("training", SCHEME, "concept", "Drug", "M:2"): 4, field("training", SCHEME, "concept", "Drug", "M:3"): 1,
    })
    names, knowledge = Names(reading("ASA")), Knowledge({"ASA": cell}, SCHEME)
    assert concept_rows(names, 0, 0, "Drug", "M:2", knowledge) == (
        Evidence("ASA", "training", "concept", "Drug|M:2", 4),
        Evidence("ASA", "vocabulary", "concept", "Drug|M:2|2031", 1),
    )
    assert concept_rows(names, 0, 0, "Drug", None, knowledge) == ()


def several(text: str, spans: list[tuple[int, int, str]], *cells: Cell) -> list[str | None]:
    return concepts(Names(reading(text)), spans, Knowledge({c.key: c for c in cells}, SCHEME))


def test_a_bag_of_stems_knows_other_forms() -> None:
    known = named(bag("toxicity of the liver") or "", training=("M:7", 1))
    assert several("liver toxicities", [(0, 1, "Drug")], known) == ["M:7"]


def test_a_mention_takes_the_id_of_one_that_holds_its_words() -> None:
    known = named("chronic zinc poisoning", training=("M:8", 1))
    found = several("Chronic zinc poisoning: poisoning, lead.", [(0, 2, "Drug"), (4, 4, "Drug"), (6, 6, "Drug")], known)
    assert found == ["M:8", "M:8", None]


def test_at_last_the_longest_known_part() -> None:
    known = named("cough", training=("M:9", 1))
    assert several("severe dry cough", [(0, 2, "Drug")], known) == ["M:9"]
    assert several("severe dry cough", [(0, 2, "Disease")], known) == [None]


def test_another_scheme_is_asked_where_this_one_is_silent() -> None:
    other = field("training", "other", "concept", "Whatever", "M:5")
    assert several("ASA", [(0, 0, "Drug")], Cell("ASA", {other: 1})) == ["M:5"]
    mine = field("training", SCHEME, "concept", "Disease", "M:6")
    assert several("ASA", [(0, 0, "Drug")], Cell("ASA", {other: 1, mine: 1})) == [None]
