import json

import pytest

from kie_ops.contributions import of_correction
from kie_ops.dataset import Example, Gold, GoldRelation
from kie_ops.evaluation.standing import Report, Score, evaluate
from kie_ops.records import Document
from tests.kie_ops.gate_fixtures import SCHEME, cells, extractor

ODDS = {("naproxen", "Drug"): 4.0, ("rash", "Disease"): 3.0, ("zinc", "Disease"): 2.0}


def example(n: int, text: str, *spans: tuple[str, str], relations: tuple[GoldRelation, ...] = ()) -> Example:
    gold = tuple(Gold(text.index(s), text.index(s) + len(s), y, f"D00{i}000", f"T{i}")
                 for i, (s, y) in enumerate(spans, 1))
    return Example(SCHEME, Document(f"d{n}", text), gold, relations)


EXAMPLES = [
    example(1, "Naproxen caused a rash.", ("Naproxen", "Drug"), ("rash", "Disease"),
            relations=(GoldRelation("T1", "T2", "causes", "mention"),)),
    example(2, "Zorvanex and zinc.", ("Zorvanex", "Drug"), ("zinc", "Drug")),
]


def scores(report: Report) -> dict[tuple[str, str], Score]:
    return {(s.task, s.mode): s for s in report.scores}


def test_spans_with_memory_off_and_on() -> None:
    one = extractor(ODDS)
    taught = of_correction(one.definition, "c", "Zorvanex", label="drug")
    one = extractor(ODDS, cells(taught))
    found = scores(evaluate(one, {SCHEME: EXAMPLES}, samples=200))
    off, on, plain = found["spans", "off"], found["spans", "on"], found["spans", "dictionary"]
    assert (off.precision, off.recall, off.predicted, off.gold) == (pytest.approx(2 / 3), 0.5, 3, 4)
    assert (on.precision, on.recall) == (0.75, 0.75)
    assert plain.f1 == on.f1
    assert on.gain == pytest.approx(on.f1 - off.f1)
    assert on.gain_low <= on.gain <= on.gain_high
    assert off.low <= off.f1 <= off.high
    assert off.gain == off.gain_low == off.gain_high == 0


@pytest.mark.parametrize(("pair", "f1"), [(3.0, 1.0), (-3.0, 0.0)])
def test_relations_at_mention_level(pair: float, f1: float) -> None:
    one = extractor(ODDS, pair=pair, relations={SCHEME: {"labels": ["causes"], "pairs": [("Drug", "Disease")]}})
    found = scores(evaluate(one, {SCHEME: EXAMPLES[:1]}, samples=50))
    assert found["relations", "on"].f1 == f1


def test_relations_at_document_level_need_concepts() -> None:
    gold = example(1, "Naproxen caused a rash.", ("Naproxen", "Drug"), ("rash", "Disease"),
                   relations=(GoldRelation("D001000", "D002000", "causes", "concept"),))
    rules = {"relations": {SCHEME: {"labels": ["causes"], "level": "document", "pairs": [("Drug", "Disease")]}}}
    plain = extractor(ODDS, **rules)
    assert scores(evaluate(plain, {SCHEME: [gold]}, samples=50))["relations", "on"].f1 == 0
    known = cells(
        of_correction(plain.definition, "a", "naproxen", label="drug", concept="MESH:D001000"),
        of_correction(plain.definition, "b", "rash", label="disease", concept="MESH:D002000"),
    )
    found = scores(evaluate(extractor(ODDS, known, **rules), {SCHEME: [gold]}, samples=50))
    assert found["relations", "on"].f1 == 1
    assert ("relations", "off") not in found


def test_events_by_trigger_and_argument() -> None:
    labels = ["trigger:Harm", "Effect", "Drug", "Disease"]
    changes = {
        "schemes": {SCHEME: {"labels": labels, "nested": True}},
        "output": {"events": {SCHEME: {"triggers": {"trigger:Harm": "harm"}, "roles": {"Effect": "effect"},
                                        "attributes": {"Disease": "severity"}}}},
    }
    text = "Zinc caused pain."
    event = {"label": "Harm", "triggers": [{"start": 5, "end": 11}],
             "arguments": [{"role": "Effect", "start": 12, "end": 16}, {"role": "Other", "start": 0, "end": 4},
                           {"role": "Disease", "start": 0, "end": 4}]}
    gold = Example(SCHEME, Document("d", text), (), (), (event,))
    one = extractor({("caused", "trigger:Harm"): 3.0, ("pain", "Effect"): 2.0, ("zinc", "Effect"): 1.0}, **changes)
    found = scores(evaluate(one, {SCHEME: [gold]}, samples=50))
    assert found["triggers", "on"].f1 == 1
    assert (found["arguments", "on"].precision, found["arguments", "on"].recall) == (0.5, 1.0)
    assert found["attributes", "on"].gold == found["attribute: severity", "on"].gold == 1
    assert found["attributes", "on"].predicted == 0


def test_a_report_is_plain_json_and_the_same_each_time() -> None:
    first, second = (evaluate(extractor(ODDS), {SCHEME: EXAMPLES}, samples=100).as_json() for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert first["documents"] == {SCHEME: 2}
    assert evaluate(extractor(ODDS), {SCHEME: []}).scores == ()
