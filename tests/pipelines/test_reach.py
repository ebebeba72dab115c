"""What a correction reaches: the same name in other forms, and nothing else; and what memory holds against it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kie_ops.errors import InputError
from kie_ops.memory import Contribution, Increment, field
from kie_ops.records import Document, Evidence, Mention, Place, Reading, span_id
from memory_store.local import LocalStore
from pipelines.corrections import validate
from pipelines.ledger import Ledger
from pipelines.queries import Tables
from pipelines.reach import Reach, reach
from pipelines.storage_local import LocalStorage
from tests.kie_ops.gate_fixtures import SCHEME, domain
from tests.pipelines.written import commit, new, publish

KEY = "spotted lung ague"
SHORT = (Evidence(KEY, "self", "entity", "Disease", 2),)
TEXT = "Spotted lung ague, two spotted lung agues, SLA, lung, spotted fever."


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    made = new(tmp_path)
    readings = []
    for offset in range(2):
        place = Place("notes", 0, offset)
        mentions = []
        for surface in ("Spotted lung ague", "spotted lung agues", "SLA", "spotted fever"):
            start = TEXT.index(surface)
            name = span_id(place, "", "entity", start, start + len(surface), "drug")
            mentions.append(Mention(name, start, start + len(surface), surface, "drug", 0.9, 0.9, 0.5, None,
                                    SHORT if surface == "SLA" else ()))
        readings.append(Reading(Document(f"d{offset}", TEXT, "m", place=place), tuple(mentions), (), (), len(TEXT), 1))
    publish(made, commit(made, readings))
    return made


def of(storage: LocalStorage, store: LocalStore, text: str, **more: object) -> Reach:
    said = validate({"id": "c", "text": text, **({"label": "disease"} | more)})
    return reach(Tables(storage), store, domain(), said)


def test_forms_and_rows(storage: LocalStorage) -> None:
    found = of(storage, LocalStore(), "spotted lung ague")
    assert {(f.key, f.kind, f.rows, f.documents) for f in found.forms} == {
        (KEY, "exact", 2, 2), (f"{KEY}s", "inflected", 2, 2), ("SLA", "abbreviation", 2, 2)}
    assert (found.rows, found.against) == (6, ())
    plural = {f.kind: f for f in of(storage, LocalStore(), "spotted lung agues").forms if f.rows}
    assert plural["exact"].surfaces == ("spotted lung agues",)


def test_a_name_never_read_hits_its_keys_all_the_same(storage: LocalStorage) -> None:
    found = of(storage, LocalStore(), "Marsh Bitters")
    assert [(f.kind, f.rows) for f in found.forms] == [("exact", 0), ("inflected", 0)]
    with pytest.raises(InputError):
        of(storage, LocalStore(), "12.5")


def test_what_memory_holds_against_it(storage: LocalStorage) -> None:
    store = LocalStore()
    ledger = Ledger(storage, store)
    ledger.import_("v", [Contribution("v", (
        Increment(KEY, field("vocabulary", SCHEME, "entity", "Drug"), 2),
        Increment(KEY, field("self", SCHEME, "entity", "Disease"), 9),
        Increment(KEY, field("training", "another", "none"), 5),
    ))])
    (voice,) = of(storage, store, "spotted lung ague").against
    assert (voice.source, voice.label, voice.count) == ("vocabulary", "Drug", 2)
    assert {v.source for v in of(storage, store, "spotted lung ague", reject=True).against} == {"vocabulary", "self"}
