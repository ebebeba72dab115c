import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from kie_ops.candidates import Names
from kie_ops.contributions import of_correction
from kie_ops.decisions import decide
from kie_ops.domain import Domain
from kie_ops.errors import InputError, ModelError
from kie_ops.extractor import GATE as GATE_FILE, Extractor
from kie_ops.frozen_memory import FrozenMemory
from kie_ops.memory import Cell, field, pair_key
from kie_ops.model import TextModel
from kie_ops.overlay import Overlay
from kie_ops.records import Document, Place, Reading
from tests.kie_ops import tiny
from tests.kie_ops.gate_fixtures import SCHEME, cells, domain, extractor, gate, reading

ODDS = {("naproxen", "Drug"): 4.0, ("rash", "Disease"): 3.0, ("fever", "Disease"): -1.0}
CAUSES = {"relations": {SCHEME: {"labels": ["causes"], "pairs": [("Drug", "Disease")], "level": "document"}},
          "output": {"entities": {SCHEME: {"Drug": "drug", "Disease": "disease"}},
                     "relations": {SCHEME: {"causes": "drug-causes"}}}}


def names(reading: Reading) -> list[tuple[str, str]]:
    return [(m.text, m.label) for m in reading.mentions]


def test_a_text_is_read_without_any_memory() -> None:
    found = extractor(ODDS).extract("Naproxen caused a rash, no fever.")
    assert names(found) == [("Naproxen", "drug"), ("rash", "disease")]
    mention = found.mentions[0]
    assert mention.score == mention.text_score > 0.9
    assert mention.soft_weight == 0
    assert mention.evidence == ()
    assert found.characters_read == len(found.document.text)


def test_one_correction_teaches_a_name_and_undoing_it_is_exact() -> None:
    plain = extractor(ODDS)
    text = "Patients on Zorvanex had a rash."
    before = plain.extract(text)
    taught = of_correction(plain.definition, "r-1", "Zorvanex", label="drug", concept="MESH:D1", doc_id="d0")
    after = extractor(ODDS, cells(taught)).extract(text)
    assert ("Zorvanex", "drug") in names(after)
    mention = next(m for m in after.mentions if m.text == "Zorvanex")
    assert mention.concept == "MESH:D1"
    assert mention.text_score < 0.01 < mention.soft_weight
    assert next((e.key, e.source, e.outcome, e.label, e.count, e.example) for e in mention.evidence) == (
        "zorvanex", "correction", "entity", "Drug", 1, "d0")
    assert extractor(ODDS, cells(taught, taught.negated())).extract(text) == before


def test_a_taught_name_goes_before_what_the_tagger_finds_in_it() -> None:
    taught = of_correction(domain(), "r-3", "naproxen plus", label="drug")
    one = extractor({("naproxen", "Drug"): 6.0}, cells(taught))
    assert names(one.extract("Naproxen plus worked, naproxen did not.")) == [
        ("Naproxen plus", "drug"), ("naproxen", "drug")]


def test_a_taught_name_is_not_looked_for_in_a_longer_one_that_the_tagger_finds_unless_that_one_is_rejected() -> None:
    names = Names(reading("Since naproxen sodium worked, sodium did not.", {("naproxen sodium", "Drug"): 4.0}))
    taught = of_correction(domain(), "r-4", "sodium", label="drug")
    rejected = of_correction(domain(), "r-5", "naproxen sodium", reject=True)
    for said, spans in ((cells(taught), [(1, 2), (5, 5)]), (cells(taught, rejected), [(2, 2), (5, 5)])):
        assert [(d.first, d.last) for d in decide(names, domain(), gate(), SCHEME, said).chosen] == spans


def test_one_rejection_suppresses_a_name() -> None:
    plain = extractor(ODDS)
    assert names(plain.extract("A rash.")) == [("rash", "disease")]
    rejected = of_correction(plain.definition, "r-2", "rash", reject=True)
    assert names(extractor(ODDS, cells(rejected)).extract("A rash.")) == []


def test_text_score_is_the_score_with_memory_off() -> None:
    memory = {"fever": Cell("fever", {field("training", SCHEME, "entity", "Disease"): 9})}
    off, on = extractor(ODDS).extract("Naproxen and fever."), extractor(ODDS, memory).extract("Naproxen and fever.")
    assert names(off) == [("Naproxen", "drug")]
    assert names(on) == [("Naproxen", "drug"), ("fever", "disease")]
    assert on.mentions[0] == off.mentions[0]
    assert on.mentions[1].text_score < 0.5 < on.mentions[1].score


def test_a_contribution_does_not_depend_on_memory_and_counts_once() -> None:
    document = Document("d", "Naproxen, naproxen; fever is possible.", place=Place("s", 0, 4))
    memory = {"fever": Cell("fever", {field("training", SCHEME, "entity", "Disease"): 9})}
    made = []
    for one in (extractor(ODDS), extractor(ODDS, memory)):
        (reading,) = one.encode([document])
        one.decode(reading, memory)
        made.append(one.contribution(reading))
    assert made[0] == made[1]
    assert made[0].origin == "s/0/4"
    counts = {(i.key, i.field): i.count for i in made[0].increments}
    assert counts["naproxen", field("self", SCHEME, "entity", "Drug")] == 1
    assert counts["fever", field("self", SCHEME, "none")] == 1
    assert set(counts.values()) == {1}
    assert sum(i.vector is not None for i in made[0].increments) == 1


def test_cells_of_other_documents_in_the_batch_change_nothing() -> None:
    one = extractor(ODDS)
    (reading,) = one.encode([Document("d", "Naproxen caused a rash.")])
    mine = {"rash": Cell("rash", {field("vocabulary", SCHEME, "entity", "Disease"): 1})}
    others = Overlay(mine | {"lupus": Cell("lupus", {field("reviewer", SCHEME, "entity", "Drug"): 5})})
    assert one.decode(reading, mine) == one.decode(reading, others)


def test_relations_stand_between_the_closest_mentions_and_memory_alone_makes_none() -> None:
    text = "Naproxen was given. Later a rash came after naproxen."
    pair = pair_key("naproxen", "rash")
    memory = {pair: Cell(pair, {field("training", SCHEME, "related", "causes"): 7})}
    found = extractor(ODDS, memory, **CAUSES).extract(text)
    (relation,) = found.relations
    at = {m.mention_id: m.start for m in found.mentions}
    assert (at[relation.head], at[relation.tail]) == (text.index("naproxen."), text.index("rash"))
    assert relation.label == "drug-causes"
    assert [(e.key, e.outcome, e.count) for e in relation.evidence] == [(pair, "related", 7)]
    assert extractor(ODDS, memory, pair=-9.0, **CAUSES).extract(text).relations == ()


def test_keys_hold_all_that_decoding_looks_for() -> None:
    one = extractor(ODDS, **CAUSES)
    (reading,) = one.encode([Document("d", "Naproxen caused a rash.")])
    keys = one.keys(reading)
    assert {"naproxen", "rash", "a rash", pair_key("naproxen", "rash")} >= {"naproxen", "rash"}
    assert {"naproxen", "rash", pair_key("naproxen", "rash")} <= keys


def test_ids_are_of_place_and_span() -> None:
    one = extractor(ODDS)
    a = one.extract("Naproxen.", doc_id="x", place=Place("s", 0, 1)).mentions[0].mention_id
    b = one.extract("Naproxen.", doc_id="y", place=Place("s", 0, 1)).mentions[0].mention_id
    c = one.extract("Naproxen.", doc_id="x", place=Place("s", 0, 2)).mentions[0].mention_id
    assert a == b != c


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters() | st.sampled_from("naproxen rash (),.-\u202e\u200b"), min_size=1, max_size=120))
def test_any_unicode_is_read_and_every_span_is_its_text(text: str) -> None:
    one = extractor(ODDS | {("a", "Drug"): 1.0}, {"n": Cell("n", {field("reviewer", SCHEME, "entity", "Drug"): 1})},
                    **CAUSES)
    (reading,) = one.encode([Document("d", text)])
    found = one.decode(reading, one.memory.recall(one.keys(reading)).cells)
    for m in found.mentions:
        assert text[m.start : m.end] == m.text != ""
    spans = sorted((m.start, m.end) for m in found.mentions)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    for i in one.contribution(reading).increments:
        i.key.encode()


@pytest.mark.parametrize("text", ["", "  \n", b"bytes", None])
def test_what_is_no_text_is_refused(text: object) -> None:
    with pytest.raises(InputError, match="Next"):
        extractor(ODDS).extract(text)  # type: ignore[arg-type]


def test_an_unknown_domain_names_those_there_are() -> None:
    with pytest.raises(ModelError, match=r"financial.*medical"):
        Extractor.load("legal")


def test_the_version_follows_gate_and_model() -> None:
    one, same = extractor(ODDS), extractor(ODDS)
    assert one.version == same.version
    assert Extractor(one.model, gate(threshold=0.6)).version != one.version


def test_a_domain_folder_is_loaded_with_its_memory(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    definition = tiny.domain(tiny.encoder_folder(tmp_path / "encoder")).save(folder)
    model = TextModel.new(definition)
    model.save_adapter(folder / "adapter.safetensors.zst")
    gate(*definition.schemes).save(folder / GATE_FILE)
    loaded = Extractor.load(folder)
    assert loaded.extract("The aspirin caused nausea.").mentions == ()
    taught = of_correction(Domain.load(folder), "r", "aspirin", label="drug")
    assert isinstance(loaded.memory, FrozenMemory)
    loaded.memory = FrozenMemory(cells(taught))
    assert names(loaded.extract("The aspirin caused nausea.")) == [("aspirin", "drug")]
    assert domain().name == "tiny"
