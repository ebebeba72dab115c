import pytest
from hypothesis import given, strategies as st

from kie_ops import contributions
from kie_ops.candidates import Names
from kie_ops.contributions import MAX_INCREMENTS, Marked, of_correction, of_document, of_review, resolve
from kie_ops.decisions import decide
from kie_ops.errors import InputError
from kie_ops.memory import Contribution, field
from kie_ops.stems import bag
from kie_ops.surface import SHORT, SINGULAR
from tests.kie_ops.gate_fixtures import SCHEME, cells, domain, gate, reading


def counts(contribution: Contribution) -> dict[tuple[str, str], int]:
    assert len({(i.key, i.field) for i in contribution.increments}) == len(contribution.increments)
    return {(i.key, i.field): i.count for i in contribution.increments}


def test_of_a_document() -> None:
    names = Names(reading("Acute renal failures, maybe pain.", {
        ("Acute renal failures", "Disease"): 4.0, ("renal failures", "Disease"): 1.0, ("pain", "Disease"): -1.0,
        ("maybe", "Disease"): -3.9,
    }))
    made = counts(of_document("o", names, [decide(names, domain(), gate(), SCHEME)], [("pair", SCHEME, "causes")]))
    assert made == {
        ("acute renal failures", field("self", SCHEME, "entity", "Disease")): 1,
        ("acute renal failures", field("self", SCHEME, "prototype", "Disease")): 1,
        (SINGULAR + "acute renal failure", field("self", SCHEME, "entity", "Disease")): 1,
        ("renal failures", field("self", SCHEME, "part", "Disease")): 1,
        ("acute renal", field("self", SCHEME, "part", "Disease")): 1,
        ("failures", field("self", SCHEME, "part", "Disease")): 1,
        ("pain", field("self", SCHEME, "none")): 1,
        ("pair", field("self", SCHEME, "related", "causes")): 1,
    }


def test_a_short_form_counts_for_its_long_form() -> None:
    odds = {("Congestive heart failure", "Disease"): 4.0, ("CHF", "Disease"): 4.0}
    names = Names(reading("Congestive heart failure (CHF). Worse CHF came.", odds))
    made = counts(of_document("o", names, [decide(names, domain(), gate(), SCHEME)]))
    assert ("congestive heart failure", field("self", SCHEME, "entity", "Disease")) in made
    assert (SHORT + "CHF", field("self", SCHEME, "entity", "Disease")) in made
    assert not any(key == "CHF" for key, _ in made)


def test_a_huge_document_is_bounded() -> None:
    text = " ".join(f"name{n}x." for n in range(4_000))
    made = reading(text)
    made.spans[SCHEME].logits[:, 0, 0] = 3.0
    names = Names(made)
    contribution = of_document("o", names, [decide(names, domain(), gate(), SCHEME)])
    assert len(contribution.increments) == MAX_INCREMENTS < 6_000


def test_a_review_says_what_is_none_part_or_crossing() -> None:
    names = Names(reading("Severe renal failure and pain came back.", {
        ("Severe renal", "Disease"): 1.0, ("failure", "Disease"): 0.5, ("pain", "Disease"): 2.0,
        ("back", "Drug"): -1.0, ("came", "Drug"): -6.0,
    }))
    decided = decide(names, domain(), gate(), SCHEME)
    gold = [Marked(SCHEME, "Disease", 1, 2, "MESH:D1"), Marked(SCHEME, "Disease", 4, 4)]
    made = counts(of_review("r", names, gold, decided, "d9"))
    assert made["renal failure", field("reviewer", SCHEME, "entity", "Disease")] == 1
    assert made["renal failure", field("reviewer", SCHEME, "concept", "Disease", "MESH:D1")] == 1
    assert made["renal failure", field("reviewer", SCHEME, "example", "d9")] == 1
    assert made["failure", field("reviewer", SCHEME, "part", "Disease")] == 1
    assert made["severe renal", field("reviewer", SCHEME, "crossing")] == 1
    assert made["back", field("reviewer", SCHEME, "none")] == 1
    assert made["came", field("reviewer", SCHEME, "none")] == 1, "ordinary words, whatever the tagger says"
    assert not any(key in ("pain", "renal", "failure") and "none" in name for key, name in made)
    assert "and" not in {key for key, _ in made}, "function words are no keys"


def test_corrections() -> None:
    two = domain(schemes={SCHEME: {"labels": ["Drug", "Disease"]}, "other": {"labels": ["Drug", "Gene"]}},
                 output={"entities": {SCHEME: {"Drug": "drug"}, "other": {"Gene": "gene"}}})
    assert counts(of_correction(two, "c", "Zorvanex", label="drug", concept="X:1|X:2", doc_id="d")) == {
        ("zorvanex", field("correction", SCHEME, "entity", "Drug")): 1,
        ("zorvanex", field("correction", SCHEME, "concept", "Drug", "X:1|X:2")): 1,
        (bag("zorvanex"), field("correction", SCHEME, "concept", "Drug", "X:1|X:2")): 1,
        ("zorvanex", field("correction", SCHEME, "example", "d")): 1,
    }
    assert {f for _, f in counts(of_correction(two, "c", "rash", reject=True))} == {
        field("correction", SCHEME, "none"), field("correction", "other", "none")}
    assert {f for _, f in counts(of_correction(two, "c", "rash", reject=True, label="gene"))} == {
        field("correction", "other", "none")}


@pytest.mark.parametrize(("label", "scheme", "place"), [
    ("drug", None, (SCHEME, "Drug")), ("Drug", None, (SCHEME, "Drug")), ("DISEASE", None, (SCHEME, "Disease")),
    ("Disease", SCHEME, (SCHEME, "Disease")),
])
def test_labels_are_emitted_names_or_a_schemes_own(label: str, scheme: str | None, place: tuple[str, str]) -> None:
    assert resolve(domain(), label, scheme) == [place]


@pytest.mark.parametrize(("changes", "says"), [
    ({"label": "gene"}, "no label gene.*disease, drug"), ({"label": "drug", "scheme": "x"}, "no scheme x"),
    ({"label": "drug", "text": "2019"}, "cannot be remembered"),
    ({"label": "drug", "text": "the jitters"}, "begins or ends with 'the'"), ({}, "neither a label nor reject"),
])
def test_a_correction_that_cannot_be_is_refused(changes: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        of_correction(domain(), "c", **({"text": "naproxen"} | changes))  # type: ignore[arg-type]


@given(st.text(max_size=40), st.booleans())
def test_undoing_a_correction_leaves_nothing(text: str, reject: bool) -> None:
    try:
        made = of_correction(domain(), "c", text, label=None if reject else "drug", reject=reject)
    except InputError:
        return
    assert cells(made, made.negated()) == {}
    assert all(i.count == 1 and len(i.key) <= 220 for i in made.increments)
    assert contributions.MAX_PARTS == 3
