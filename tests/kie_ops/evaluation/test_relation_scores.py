import pytest

from kie_ops.contributions import of_correction
from kie_ops.dataset import Example, Gold, GoldRelation
from kie_ops.evaluation.relation_scores import Control
from kie_ops.evaluation.standing import evaluate
from kie_ops.records import Document
from tests.kie_ops.gate_fixtures import SCHEME, cells, extractor

ODDS = {("naproxen", "Drug"): 4.0, ("zinc", "Drug"): 4.0, ("rash", "Disease"): 3.0}
RULES = {"relations": {SCHEME: {"labels": ["causes"], "level": "document", "pairs": [("Drug", "Disease")]}}}
TEXT = "Naproxen caused a rash. Zinc did not, but naproxen did."


def example(level: str, text: str = TEXT) -> Example:
    places = [(text.index(s), s, y) for s, y in (("Naproxen", "Drug"), ("rash", "Disease"), ("Zinc", "Drug"))]
    spans = tuple(Gold(at, at + len(s), y, f"D00{n}000", f"T{n}") for n, (at, s, y) in enumerate(places, 1))
    ends = ("T1", "T2") if level == "mention" else ("D001000", "D002000")
    return Example(SCHEME, Document("d1", text), spans, (GoldRelation(*ends, "causes", level),))


def found(one: object, gold: Example) -> dict[tuple[str, str], Control]:
    report = evaluate(one, {SCHEME: [gold]}, samples=50)  # type: ignore[arg-type]
    assert report.as_json()["controls"]
    return {(c.spans, c.rule): c for c in report.controls}


def test_concepts_beside_their_rules() -> None:
    plain = extractor(ODDS, **RULES)
    known = cells(*(of_correction(plain.definition, s, s, label=y, concept=c) for s, y, c in (
        ("naproxen", "drug", "MESH:D001000"), ("rash", "disease", "MESH:D002000"))))
    rows = found(extractor(ODDS, known, **RULES), example("concept"))
    assert rows["predicted", "ours"].precision == 0.5, "zinc has no concept: its pair is an error"
    assert rows["predicted", "ours, named"].f1 == rows["predicted", "possible"].f1 == 1
    assert rows["predicted", "same sentence"].f1 == rows["predicted", "main head"].f1 == 1
    assert rows["predicted", "ours"].over == "same sentence"
    assert rows["predicted", "ours"].gain == pytest.approx(rows["predicted", "ours"].f1 - 1)
    assert rows["gold, gold concepts", "ours"].predicted == 2
    without = found(plain, example("concept"))
    assert without["predicted", "possible"].recall == 0
    assert without["gold, gold concepts", "possible"].recall == 1


def test_mentions_beside_their_rules() -> None:
    rules = {"relations": {SCHEME: {"labels": ["causes"], "pairs": [("Drug", "Disease")]}}}
    rows = found(extractor(ODDS, **rules), example("mention"))
    assert rows["gold", "ours"].recall == rows["gold", "possible"].f1 == 1
    assert ("gold", "same sentence") not in rows
    assert rows["predicted", "ours"].over in ("nearest", "types", "nearest, types")
