"""Whole documents reviewed: in force for the next document in every form, undone exactly, new labels kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from kie_ops.errors import InputError
from kie_ops.extractor import Extractor
from kie_ops.memory import field
from memory_store.local import LocalStore
from pipelines import reviews
from pipelines.corrections_feed import CorrectionsFeed
from pipelines.ledger import Ledger
from pipelines.operations import Status
from tests.kie_ops.gate_fixtures import SCHEME, LexiconModel, domain, gate
from tests.pipelines.ledger_world import World, content, sum_of
from tests.pipelines.test_corrections_feed import TopicFeed

TEXT = "The elders took Marsh Bitters for spotted lung ague (SLA). A kettle helped."
ODDS = {("kettle", "Drug"): 1.0, ("naproxen", "Drug"): 3.0}


def marked(text: str = TEXT, *spans: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A review of `text`; each surface at its first place."""
    spans = spans or (("Marsh Bitters", "drug"), ("spotted lung ague", "Disease"), ("SLA", "Disease"))
    entities = [{"start": text.index(s), "end": text.index(s) + len(s), "label": label, "text": s}
                for s, label in spans]
    return {"id": "r-1", "doc_id": "note-1", "text": text, "entities": entities, **more}


class Site:
    def __init__(self) -> None:
        self.world = World()
        self.extractor = Extractor(LexiconModel(domain(), ODDS), gate(), memory=self.world.store)  # type: ignore[arg-type]
        self.ledger = Ledger(self.world.storage, self.world.store)

    def say(self, data: Mapping[str, Any], **more: Any) -> Status:
        operation = reviews.operation(self.extractor, reviews.validate(data, domain(), **more))
        return self.ledger.apply([operation])[0].status

    def read(self, text: str) -> dict[str, str]:
        return {m.text: m.label for m in self.extractor.extract(text).mentions}


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize(("text", "surface", "label"), [
    ("She asked for Marsh Bitters again.", "Marsh Bitters", "drug"),
    ("She asked for MARSH-BITTERS again.", "MARSH-BITTERS", "drug"),
    ("She asked for a marsh bitter again.", "marsh bitter", "drug"),
    ("Two spotted lung agues were seen.", "spotted lung agues", "disease"),
    ("He had SLA for years.", "SLA", "disease"),
    ("He had spotted lung ague (SPLA) and died of SPLA.", "SPLA", "disease"),
], ids=["exact", "capitals and hyphen", "singular", "plural", "its abbreviation", "another abbreviation"])
def test_in_force_for_the_next_document(site: Site, text: str, surface: str, label: str) -> None:
    assert surface not in site.read(text)
    assert site.say(marked()) is Status.ADDED
    assert site.read(text).get(surface) == label


def test_what_is_not_marked_is_none(site: Site) -> None:
    assert "kettle" in site.read("A kettle sang.")
    site.say(marked())
    assert "kettle" not in site.read("A kettle sang.")
    assert "naproxen" in site.read("It was naproxen.")


def test_undone_exactly_and_said_once(site: Site) -> None:
    assert site.say(marked()) is Status.ADDED
    assert site.say(marked()) is Status.DUPLICATE
    assert site.say(marked(TEXT, ("Marsh Bitters", "drug"))) is Status.CONFLICT
    assert site.ledger.undo("r-1").status is Status.UNDONE
    assert content(site.world.store) == sum_of([])
    assert site.say(marked()) is Status.WITHDRAWN


def test_new_labels_and_new_schemes_are_stored(site: Site) -> None:
    told = reviews.validate(marked(TEXT, ("elders", "Person"), ("kettle", "drug")), domain())
    assert told.new_labels == ("Person",)
    site.say(marked(TEXT, ("elders", "Person")))
    assert site.say(marked(TEXT, ("elders", "Role"), id="r-2"), scheme="household") is Status.ADDED
    cell = site.world.store.recall(["elders"]).cells["elders"]
    assert cell.counts[field("reviewer", SCHEME, "entity", "Person")] == 1
    assert cell.counts[field("reviewer", "household", "entity", "Role")] == 1
    assert field("reviewer", "household", "prototype", "Role") in cell.vectors
    assert site.read(TEXT).keys() == site.read(TEXT.replace("elders", "others")).keys(), "what is emitted stays"


def test_what_is_kept_of_it_has_no_text(site: Site) -> None:
    site.say(marked(reviewer="ada"))
    meta = site.ledger.corrections.active()["r-1"].meta
    assert (meta["kind"], meta["doc_id"], meta["mentions"], meta["reviewer"]) == ("review", "note-1", 3, "ada")
    assert "kettle" not in json.dumps(dict(meta))


@pytest.mark.parametrize(("change", "says"), [
    ({"text": None}, "no `text`"), ({"entities": None}, "no `entities`"), ({"id": None}, "no `id`"),
    ({"id": " "}, "`id` is no text"), ({"scheme": 3}, "`scheme` is no text"), ({"text": " "}, "text is empty"),
    ({"entities": [{"start": 0, "end": 999, "label": "Drug"}]}, "outside the text"),
    ({"entities": [{"start": 0, "end": 3, "label": "Drug", "text": "xyz"}]}, "a span says"),
    ({"text": "\ud800 and more", "entities": []}, "surrogate"),
])
def test_a_review_that_cannot_be_used_says_why(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        reviews.validate({**marked(), **change}, domain())
    with pytest.raises(InputError, match="JSON object"):
        reviews.validate([], domain())


def test_a_domain_of_several_schemes_asks_for_one() -> None:
    two = domain(schemes={SCHEME: {"labels": ["Drug", "Disease"]}, "other": {"labels": ["Gene"]}},
                 output={"entities": {SCHEME: {"Drug": "drug"}, "other": {"Gene": "gene"}}})
    with pytest.raises(InputError, match=f"one scheme.*{SCHEME}, other"):
        reviews.validate(marked(), two)
    assert reviews.validate(marked(scheme=SCHEME), two).example.scheme == SCHEME


def test_reviews_come_over_the_corrections_topic_too(site: Site) -> None:
    values = [marked(op="review"), {**marked(op="review", id="r-2"), "text": None}, {"id": "r-3", "op": "withdraw"},
              marked(op="review", id="r-3")]
    feed = CorrectionsFeed(TopicFeed({0: values}), site.ledger, domain(), site.extractor)
    outcomes = feed.step(0)
    assert [o.status for o in outcomes] == [Status.ADDED, Status.NOTED, Status.EARLY, Status.WITHDRAWN]
    assert "Marsh Bitters" in site.read("Marsh Bitters came.")
    without = CorrectionsFeed(TopicFeed({0: [marked(op="review", id="r-4")]}), Ledger(World().storage, LocalStore()),
                              domain())
    assert [o.status for o in without.step(0)] == [Status.NOTED]
