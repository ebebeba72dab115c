import numpy as np
import pytest
from hypothesis import given, strategies as st

from kie_ops.surface import (
    FOLDED,
    MAX_CHARACTERS,
    MAX_TOKENS,
    SHORT,
    SINGULAR,
    Surfaces,
    back_off,
    is_acronym,
    key_of_text,
    written,
)
from kie_ops.words import split


def surfaces(text: str) -> Surfaces:
    words = split(text)
    return Surfaces(text, words.offsets, words.sentences)


@pytest.mark.parametrize(("text", "key"), [
    ("Aspirin", "aspirin"),
    ("beta-blocker", "beta blocker"),
    ("beta blocker", "beta blocker"),
    ("WAS", "WAS"),
    ("was", "was"),
    ("vitamin C", "vitamin C"),
    ("NaCl", "NaCl"),
    ("Wiskott-Aldrich Syndrome", "wiskott aldrich syndrome"),
    ("ﬁbrosis", "fibrosis"),
    ("type 2 diabetes", "type 2 diabetes"),
    ("fiscal 2019 revenue", "fiscal 0000 revenue"),
    ("Acme Corp.", "acme corp"),
    ('"Green River"', "green river"),
    ("interferon (IFN)", "interferon ( IFN )"),
    ("2019", None),
    ("$4.3 billion", None),
    ("April 2, 2012", None),
    ("12 %", None),
    ("...", None),
    ("", None),
    ("x" * 20 + " y" * MAX_TOKENS, None),
])
def test_key(text: str, key: str | None) -> None:
    assert key_of_text(text) == key


def test_case_of_acronyms_tells_names_from_words() -> None:
    assert key_of_text("WAS") not in (key_of_text("was"), key_of_text("Was"))


def test_plural_folding_leaves_acronyms_and_latin_endings() -> None:
    assert SINGULAR + "tumor" in written("tumors")
    assert SINGULAR + "biops" not in back_off("biopsies")
    assert SINGULAR + "biopsy" in back_off("biopsies")
    for key in ("AIDS", "lupus", "sepsis", "abscess"):
        assert SINGULAR + key in back_off(key)
        assert not any(k.startswith(SINGULAR) for k in written(key))


@pytest.mark.parametrize(("seen", "asked"), [("tumors", "tumor"), ("tumor", "tumors"), ("ASPIRIN", "aspirin"),
                                             ("aspirin", "ASPIRIN"), ("NaCl", "NACL"), ("tumour cysts", "tumour cyst")])
def test_another_spelling_is_found_by_a_back_off_key(seen: str, asked: str) -> None:
    assert seen != asked
    assert set(written(seen)) & set(back_off(asked))
    assert written(seen)[0] == seen


def test_short_forms_have_counts_of_their_own() -> None:
    assert SHORT + "WAS" in back_off("WAS")
    assert FOLDED + "was" in written("WAS")
    assert is_acronym("WAS")
    assert not is_acronym("was here")


def test_occurrences_are_the_keys_of_their_words() -> None:
    text = "The beta-blockers helped. Chronic Heart failure did not, and WAS neither."
    found = surfaces(text)
    exact = {(first, last): found.key(first, last) for _, first, last in found.occurrences()}
    listed = {(key, first, last) for key, first, last in found.occurrences()}
    assert all((key, first, last) in listed for (first, last), key in exact.items())
    keys = {key for key, _, _ in listed}
    assert {"beta blockers", "chronic heart failure", "heart failure", "WAS", SINGULAR + "beta blocker"} <= keys
    assert not any("helped chronic" in key for key in keys), "no key crosses a sentence"


def test_wanted_occurrences_are_those_of_all() -> None:
    found = surfaces("Aspirin and aspirins, or ASPIRIN.")
    wanted = {"aspirin", FOLDED + "aspirin"}
    assert list(found.occurrences(wanted)) == [o for o in found.occurrences() if o[0] in wanted]
    assert {f for key, f, _ in found.occurrences(wanted)} == {0, 2, 5}


@given(st.text(max_size=300))
def test_keys_of_any_text_are_bounded_and_can_be_stored(text: str) -> None:
    for key, first, last in surfaces(text).occurrences():
        assert 0 < len(key) <= 2 * MAX_CHARACTERS
        assert first <= last
        key.encode()
        for other in (*written(key), *back_off(key)):
            other.encode()


@given(st.text(max_size=60))
def test_a_key_is_its_own_key(text: str) -> None:
    key = key_of_text(text)
    if key is not None and key.isascii():
        assert key_of_text(key) == key


def test_long_documents_are_enumerated_in_linear_time() -> None:
    words = split("net sales of the Group rose " * 5_000)
    found = Surfaces("net sales of the Group rose " * 5_000, words.offsets, words.sentences)
    count = sum(1 for _ in found.occurrences())
    assert count < len(words) * MAX_TOKENS * 4
    assert isinstance(found.words, np.ndarray)
