import numpy as np

from kie_ops.dataset import Example, Gold, GoldRelation
from kie_ops.memory import Cell, field
from kie_ops.pair_evidence import FEATURES, MEMORY, Groups, features
from kie_ops.pair_history import fields, kinds
from kie_ops.pairs import Item
from kie_ops.priming import cells_of, training
from kie_ops.records import Document
from kie_ops.stems import bag
from tests.kie_ops.gate_fixtures import SCHEME

ITEMS = [
    Item("Drug", 0, 0, "D:1", "zinc"), Item("Disease", 2, 2, "D:2", "rash"), Item("Drug", 5, 5, "D:3", "lead"),
    Item("Disease", 7, 8, "D:4", "itching rash"), Item("Drug", 10, 10, "D:1", "zinc"),
]
SENTENCES = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2])


def measured(pairs: list[tuple[tuple[int, ...], tuple[int, ...]]], logits: list[float],
             cells: dict[str, Cell] | None = None) -> list[dict[str, float]]:
    heads, tails = [p[0] for p in pairs], [p[1] for p in pairs]
    names = [(str(ITEMS[h[0]].concept), str(ITEMS[t[0]].concept)) for h, t in pairs]
    groups = Groups(heads, tails, names, np.array(logits)[:, None])
    found = features(groups, ITEMS, ("causes",), SENTENCES, SCHEME, cells)
    return [dict(zip(FEATURES, row[0].tolist(), strict=True)) for row in found]


PAIRS = [((0, 4), (1,)), ((0, 4), (3,)), ((2,), (1,)), ((2,), (3,))]


def test_place_rivals_and_the_more_special_name() -> None:
    first, second, third, fourth = measured(PAIRS, [2.0, -1.0, 0.0, 1.0])
    assert first["same_sentence"] == first["head_title"] == first["tail_title"] == first["head_share"] == 1
    assert third["same_sentence"] == 0 < third["apart"]
    assert first["best"] == fourth["best"] == 1
    assert second["best"] == third["best"] == 0
    assert first["rival_head"] == (2.0 - 0.0) / 4
    assert first["general"] == 1
    assert first["special"] == 0 < fourth["special"]
    assert third["head_share"] == 0.5
    assert all(row[name] == 0 for row in (first, second) for name in MEMORY)


def test_memory_counts_pairs_and_each_end_alone() -> None:
    zinc = bag("zinc") or ""
    cells = {zinc: Cell(zinc, {field("training", SCHEME, "head", "causes", "D:2"): 3,
                               field("training", SCHEME, "no head", "causes", "D:4"): 2,
                               field("training", "other", "head", "causes", "D:4"): 9})}
    first, second, third, _ = measured(PAIRS, [0.0] * 4, cells)
    assert first["known"] == np.log1p(3)
    assert (second["known"], second["known_not"]) == (0, np.log1p(2))
    assert first["head_rate"] == second["head_rate"] > 0 == first["tail_rate"] == third["head_rate"]


def test_what_a_document_says_of_pairs() -> None:
    text = "Zinc and lead: a rash."
    spans = (Gold(0, 4, "Drug", "D001", "T1"), Gold(9, 13, "Drug", "D003", "T2"), Gold(17, 21, "Disease", "D002", "T3"))
    related = (GoldRelation("D001", "D002", "causes", "concept"),)
    example = Example(SCHEME, Document("d1", text), spans, related)
    assert kinds([example]) == [("Drug", "Disease", "causes")]
    cells = cells_of(training([example]))
    assert cells[bag("zinc") or ""].counts[field("training", SCHEME, "head", "causes", "D002")] == 1
    assert cells[bag("lead") or ""].counts[field("training", SCHEME, "no head", "causes", "D002")] == 1
    rash = cells[bag("rash") or ""].counts
    assert rash[field("training", SCHEME, "tail", "causes", "D001")] == 1
    assert rash[field("training", SCHEME, "no tail", "causes", "D003")] == 1
    assert list(fields("training", SCHEME, [], [("Drug", "D001", "zinc")], set())) == []


def test_nothing_of_nothing() -> None:
    assert features(Groups((), (), (), np.zeros((0, 1))), [], ("causes",), SENTENCES, SCHEME, None).shape[0] == 0
