"""Labels that no head was trained for: one correction is enough, a rejection holds, reviews teach more."""

from __future__ import annotations

import numpy as np
import pytest

from kie_ops.candidates import Names
from kie_ops.contributions import Marked, of_correction, of_review
from kie_ops.decisions import Decided, decide
from kie_ops.evidence import Knowledge
from kie_ops.headless import LISTED, Headless, look, shipped
from kie_ops.learnt import NOTHING, learnt_key
from kie_ops.memory import Cell, Contribution, Increment, field
from kie_ops.overlay import Overlay
from kie_ops.text_reading import CONSTANT, TRAITS, TextReading
from tests.kie_ops.gate_fixtures import SCHEME, domain, gate, reading

TEXTS = (
    "The vole was given {} before the hare slept.", "After {} the old goat ate well and then rested.",
    "We saw that {} did not help a lame horse.", "A calf with fever had {} for nine days at the farm.",
)
PLANTS = ("arnica", "sweet bay", "comfrey", "red clover root", "yarrow", "sorrel", "wild thyme", "tansy")
HERBS = domain().with_scheme("herbs", ["Herb"])


def names_of(text: str, herbs: tuple[str, ...] = PLANTS) -> Names:
    """A reading whose traits show where a herb stands, with noise."""
    plain = reading(text, {})
    rng = np.random.default_rng(len(text))
    traits = rng.integers(-20, 21, size=(len(plain.words), TRAITS))
    traits[:, 0] = CONSTANT
    for first, last in herbs_of(plain, herbs):
        traits[first : last + 1, 20] += 60
        traits[first, 21] += 60
        traits[last, 22] += 60
    return Names(TextReading(plain.document, plain.words, plain.sentences, plain.spans, plain.states, 1, len(text),
                             traits.astype(np.int8)))


def herbs_of(of: TextReading, herbs: tuple[str, ...]) -> list[tuple[int, int]]:
    text, out = of.document.text, []
    for herb in herbs:
        if herb in text:
            at = text.index(herb)
            first = int(np.searchsorted(of.words[:, 0], at))
            out.append((first, int(np.searchsorted(of.words[:, 1], at + len(herb)))))
    return out


def read(text: str, memory: Overlay, scheme: str = "herbs") -> set[str]:
    names = names_of(text)
    cells = memory.only({*names.keys(), learnt_key(scheme)})
    found = decide(names, HERBS, gate(), scheme, cells)
    spans = (names.reading.span(d.first, d.last) for d in found.chosen)
    return {text[a:b] for a, b in spans}


def reviewed(text: str, doc_id: str) -> Contribution:
    names = names_of(text)
    gold = [Marked("herbs", "Herb", f, e) for f, e in herbs_of(names.reading, PLANTS)]
    return of_review("", names, gold, decide(names, HERBS, gate(), "herbs"), doc_id)


def reviews() -> list[Contribution]:
    return [reviewed(text.format(herb), f"{n}-{k}") for n, text in enumerate(TEXTS) for k, herb in
            enumerate(PLANTS[:6])]


def test_nothing_is_known_without_memory() -> None:
    assert read(TEXTS[0].format("arnica"), Overlay({})) == set()


def test_one_correction_is_enough_and_one_rejection_takes_it_back() -> None:
    memory = Overlay({})
    memory.add(of_correction(HERBS, "c1", "comfrey", label="Herb"))
    assert read(TEXTS[1].format("comfrey"), memory) == {"comfrey"}
    memory.add(of_correction(HERBS, "c2", "comfrey", reject=True, scheme="herbs"))
    memory.add(of_correction(HERBS, "c1", "comfrey", label="Herb").negated())
    assert read(TEXTS[1].format("comfrey"), memory) == set()


def test_reviews_teach_names_never_seen() -> None:
    memory = Overlay({})
    for contribution in reviews():
        memory.add(contribution)
    assert read(TEXTS[3].format("tansy"), memory) == {"tansy"}
    assert read("Nobody gave the goose anything on that day.", memory) == set()


def test_a_rejected_name_stays_away_from_a_learnt_head() -> None:
    memory = Overlay({})
    for contribution in reviews():
        memory.add(contribution)
    memory.add(of_correction(HERBS, "c", "tansy", reject=True, scheme="herbs"))
    assert read(TEXTS[3].format("tansy"), memory) == set()


def test_a_vocabulary_is_read_with_and_without_reviews() -> None:
    memory = Overlay({})
    name = field("vocabulary", "herbs", "entity", "Herb")
    memory.add(Contribution("v", tuple(Increment(k, name, 1) for k in ("lame horse", "wild thyme"))))
    assert "wild thyme" in read(TEXTS[0].format("wild thyme"), memory)
    for contribution in reviews():
        memory.add(contribution)
    assert read(TEXTS[0].format("wild thyme"), memory) == {"wild thyme"}


def test_a_document_tells_of_a_vocabulary_only_where_it_lists_one_of_its_names() -> None:
    names = names_of(TEXTS[1].format("comfrey"))
    taught = {"comfrey": Cell("comfrey", {field("reviewer", "herbs", "entity", "Herb"): 3}),
              "goat": Cell("goat", {field("vocabulary", "herbs", "entity", "Herb"): 1})}
    rows = []
    for known in ({"comfrey": taught["comfrey"]}, taught):
        seen = look(names, "herbs", ["Herb"], Knowledge(known, "herbs"), NOTHING)
        at = next(i for i, key in enumerate(seen.candidates.keys) if key == "comfrey")
        rows.append(dict(zip(LISTED, seen.x[at, -len(LISTED):].tolist(), strict=True)))
    assert rows[0] == dict.fromkeys(LISTED, 0.0)
    assert rows[1]["covered"] == 0.25, "the one name that reviews know is not listed"
    assert rows[1]["listed"] == rows[1]["known"] > 0


def test_undone_reviews_leave_no_trace() -> None:
    memory = Overlay({})
    for contribution in reviews():
        memory.add(contribution)
    for contribution in reversed(reviews()):
        memory.add(contribution.negated())
    assert read(TEXTS[3].format("tansy"), memory) == set()


def test_a_scheme_need_not_be_declared() -> None:
    names = names_of(TEXTS[1].format("comfrey"))
    name = field("reviewer", "weeds", "entity", "Weed")
    found = decide(names, domain(), gate(), "weeds", {"comfrey": Cell("comfrey", {name: 2})})
    assert [d.label for d in found.chosen] == ["Weed"]


def test_a_label_without_head_joins_those_of_the_scheme() -> None:
    text = TEXTS[1].format("comfrey")
    names = Names(reading(text, {("goat", "Drug"): 6.0}))
    name = field("reviewer", SCHEME, "entity", "Herb")
    found: Decided = decide(names, domain().with_scheme(SCHEME, ["Herb"]), gate(), SCHEME,
                            {"comfrey": Cell("comfrey", {name: 2})})
    assert [(d.first, d.label) for d in found.chosen] == [(1, "Herb"), (4, "Drug")]
    assert found.candidates.labels == ("Drug", "Disease", "Herb")


def test_the_shipped_gate_survives_its_file(tmp_path: pytest.TempPathFactory) -> None:
    path = tmp_path / "headless.json"  # type: ignore[operator]
    shipped().save(path)
    assert Headless.load(path).dump() == shipped().dump()
