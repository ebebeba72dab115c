"""Words and sentences."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from kie_ops import words

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)


def surfaces(text: str) -> list[str]:
    return [text[s:e] for s, e in words.split(text).offsets.tolist()]


def sentences(text: str) -> list[str]:
    w = words.split(text)
    return [text[w.offsets[a, 0] : w.offsets[b - 1, 1]] for a, b in w.sentences.tolist()]


@pytest.mark.parametrize(("text", "expected"), [
    ("non-small-cell (NSCLC), 3.5mg", ["non", "-", "small", "-", "cell", "(", "NSCLC", ")", ",", "3", ".", "5mg"]),
    ("$4.7 billion", ["$", "4", ".", "7", "billion"]),
    ("肺癌 patients", ["肺", "癌", "patients"]),
    ("naïve cafe\u0301", ["naïve", "cafe\u0301"]),
    ("שלום עולם", ["שלום", "עולם"]),
    ("a\x00b\tc\u200b d", ["a", "b", "c", "d"]),
    ("soft\u00adhyphen", ["soft\u00adhyphen"]),
    ("👍🏽ok", ["👍", "🏽", "ok"]),
    ("\ud800 lone", ["lone"]),
    ("", []),
    (" \n\u200b\x00", []),
])
def test_words(text: str, expected: list[str]) -> None:
    assert surfaces(text) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("It fell. We rose! Why? Yes.", ["It fell.", "We rose!", "Why?", "Yes."]),
    ("Dr. Smith saw J. R. Ewing.", ["Dr. Smith saw J. R. Ewing."]),
    ("A dose of 3.5 mg (e.g. daily) vs. None.", ["A dose of 3.5 mg (e.g. daily) vs. None."]),
    ("The U.S. Senate met.", ["The U.S. Senate met."]),
    ("Acme Inc. Holdings rose.", ["Acme Inc. Holdings rose."]),
    ("It bought Acme Inc. The price fell.", ["It bought Acme Inc.", "The price fell."]),
    ("See Fig. 3 and E. coli.", ["See Fig. 3 and E. coli."]),
    ("A title without a stop\nThe text.", ["A title without a stop", "The text."]),
    ('"Really?" "No." He left.', ['"Really?"', '"No."', "He left."]),
    ("第一句。第二句！", ["第一句。", "第二句！"]),
    ("It ended... then came more.", ["It ended... then came more."]),
])
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(ANY_TEXT)
def test_any_text_is_covered_in_order(text: str) -> None:
    w = words.split(text)
    flat = w.offsets.reshape(-1)
    assert (np.diff(flat) >= 0).all()
    assert all(0 < e - s <= 2 * words.MAX_CHARACTERS for s, e in w.offsets.tolist())
    assert all(text[s:e].strip() == text[s:e] for s, e in w.offsets.tolist())
    between = set("".join(text[a:b] for a, b in zip([0, *w.offsets[:, 1]], [*w.offsets[:, 0], len(text)], strict=True)))
    assert not any(c.isalnum() for c in between)
    assert w.sentences.dtype == w.offsets.dtype == np.int32
    assert [i for a, b in w.sentences.tolist() for i in range(a, b)] == list(range(len(w)))
    assert all(0 < b - a <= words.MAX_SENTENCE for a, b in w.sentences.tolist())
    assert len(w.sentence_of()) == len(w)


@pytest.mark.parametrize("piece", ["a", ".", ". ", "a.", ".)", " ", "\u200b", "a\u200b", "\n", "U.S. "])
def test_time_is_linear_in_the_text(piece: str) -> None:
    """No quadratic regular expression: 200,000 characters of anything within seconds on a busy machine."""
    started = time.process_time()
    words.split(piece * (200_000 // len(piece)))
    assert time.process_time() - started < 5


def test_long_words_are_cut() -> None:
    assert max(map(len, surfaces("x" * 1_000))) <= words.MAX_CHARACTERS
