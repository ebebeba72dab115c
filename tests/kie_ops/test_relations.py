import numpy as np
import pytest

from kie_ops.domain import RelationScheme
from kie_ops.gate import Calibration
from kie_ops.heads import Endpoint
from kie_ops.memory import Cell, field, pair_key
from kie_ops.relations import CONCEPTS, Item, Related, evidence, relate, score
from tests.kie_ops.gate_fixtures import SCHEME, reading

RULES = RelationScheme(("causes", "meets"), pairs=(("Drug", "Disease"),), max_sentences=0)
DOCUMENT = RelationScheme(("causes",), "document", (("Drug", "Disease"),))
TEXT = "One two three. Four five six."


def item(label: str, at: int, concept: str | None = None) -> Item:
    return Item(label, at, at, concept, f"word{at}")


class Model:
    def __init__(self, logit: float = 2.0) -> None:
        self.logit = logit
        self.asked: list[tuple[Endpoint, Endpoint]] = []

    def __call__(self, _reading: object, _scheme: str, heads: list[Endpoint], tails: list[Endpoint]) -> np.ndarray:
        self.asked += zip(heads, tails, strict=True)
        return np.tile(np.array([[self.logit, -self.logit]], dtype=np.float32), (len(heads), 1))[:, :2]


def test_allowed_pairs_of_one_sentence() -> None:
    model = Model()
    items = [item("Drug", 0), item("Disease", 1), item("Drug", 2), item("Disease", 5)]
    found = relate(model, reading(TEXT), SCHEME, RULES, items, Calibration())
    assert found == [Related(0, 1, "causes", pytest.approx(0.8808, abs=1e-4)), Related(2, 1, "causes", found[1].score)]
    assert len(model.asked) == 2


def test_symmetric_labels_are_said_once() -> None:
    rules = RelationScheme(("meets", "x"), symmetric=("meets",))
    found = relate(Model(), reading(TEXT), SCHEME, rules, [item("Drug", 0), item("Drug", 1)], Calibration())
    assert [(r.head, r.tail, r.label) for r in found] == [(0, 1, "meets")]


def test_concepts_are_paired_once_between_their_closest_mentions() -> None:
    model = Model()
    items = [item("Drug", 0, "C:1"), item("Disease", 2, "C:2|C:3"), item("Drug", 4, "C:1"), item("Disease", 5, "C:2")]
    scored = score(lambda *a: model(*a)[:, :1], reading(TEXT), SCHEME, DOCUMENT, items)
    assert scored.names == (("C:1", "C:3"), ("C:1", "C:2"))
    assert scored.heads[0] == (0, 2)
    assert scored.tails == ((1,), (1, 3))
    found = relate(lambda *a: model(*a)[:, :1], reading(TEXT), SCHEME, DOCUMENT, items, Calibration())
    assert [(r.head, r.tail) for r in found] == [(0, 1), (2, 3)]


def test_mentions_without_a_concept_belong_together_by_surface() -> None:
    assert Item("Drug", 0, 0, None, "k").concept_ids == Item("Drug", 5, 5, None, "k").concept_ids
    assert Item("Drug", 0, 0, None, None).concept_ids != Item("Drug", 5, 5, None, None).concept_ids


def test_huge_documents_are_bounded() -> None:
    items = [item(("Drug", "Disease")[n % 2], n % 6, f"C:{n}") for n in range(1_000)]
    model = Model()
    relate(lambda *a: model(*a)[:, :1], reading(TEXT), SCHEME, DOCUMENT, items, Calibration())
    assert len(model.asked) <= CONCEPTS**2 // 4


def test_nothing_below_the_threshold_and_nothing_of_nothing() -> None:
    items = [item("Drug", 0), item("Disease", 1)]
    assert relate(Model(), reading(TEXT), SCHEME, RULES, items, Calibration(threshold=0.95)) == []
    assert relate(Model(), reading(TEXT), SCHEME, RULES, [], Calibration()) == []


def test_evidence_of_a_pair() -> None:
    a, b = item("Drug", 0), item("Disease", 1)
    key = pair_key("word0", "word1")
    others = field("training", "other", "related", "causes")
    cell = Cell(key, {field("self", SCHEME, "related", "causes"): 2, others: 4})
    assert [(e.source, e.label, e.count) for e in evidence(a, b, SCHEME, {key: cell})] == [("self", "causes", 2)]
    assert evidence(b, a, SCHEME, {key: cell}) == ()
