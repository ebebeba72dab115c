"""The shipped weights, gates and memories as a user meets them."""

import pytest

from kie_ops.contributions import of_correction
from kie_ops.domain import shipped
from kie_ops.extractor import Extractor
from kie_ops.memory import Cell
from kie_ops.overlay import Overlay
from kie_ops.records import Document, Reading

TEXT = {
    "medical": "We gave Zorvanex to forty patients. Two had a seizure after lithium.",
    "financial": "Brightline Energy agreed to buy Zorvanex for $4.3 billion, said Jane Doe, its chief executive.",
}
TAUGHT = {"medical": ("chemical", "lithium"), "financial": ("company", "Brightline Energy")}


@pytest.fixture(scope="module", params=shipped())
def extractor(request: pytest.FixtureRequest) -> Extractor:
    return Extractor.load(request.param)


def read(extractor: Extractor, text: str, cells: Overlay) -> Reading:
    (reading,) = extractor.encode([Document("d", text)])
    return extractor.decode(reading, cells)


def recalled(extractor: Extractor, text: str) -> dict[str, Cell]:
    (reading,) = extractor.encode([Document("d", text)])
    return dict(extractor.memory.recall(extractor.keys(reading)).cells)


def names(reading: Reading) -> set[tuple[str, str]]:
    return {(m.text, m.label) for m in reading.mentions}


def test_it_reads(extractor: Extractor) -> None:
    text = TEXT[extractor.domain]
    found = extractor.extract(text)
    label, known = TAUGHT[extractor.domain]
    assert (known, label) in names(found)
    assert all(text[m.start : m.end] == m.text and 0 < m.score < 1 and 0 <= m.soft_weight < 1 for m in found.mentions)


def test_one_correction_is_enough_and_undone_without_a_trace(extractor: Extractor) -> None:
    text = TEXT[extractor.domain]
    label, known = TAUGHT[extractor.domain]
    cells = Overlay(recalled(extractor, text))
    before = read(extractor, text, cells)
    taught = of_correction(extractor.definition, "r-1", "Zorvanex", label=label)
    rejected = of_correction(extractor.definition, "r-2", known, reject=True)
    cells.add(taught)
    cells.add(rejected)
    after = read(extractor, text, cells)
    assert ("Zorvanex", label) in names(after)
    assert known not in {m.text for m in after.mentions}
    mention = next(m for m in after.mentions if m.text == "Zorvanex")
    assert any(e.source == "correction" and e.outcome == "entity" for e in mention.evidence)
    cells.add(taught.negated())
    cells.add(rejected.negated())
    assert read(extractor, text, cells) == before


def test_a_document_of_ordinary_length_contributes_little(extractor: Extractor) -> None:
    (reading,) = extractor.encode([Document("d", TEXT[extractor.domain] * 8)])
    assert 0 < len(extractor.contribution(reading).increments) < 90
