"""Abbreviations that a document defines: ``long form (SHORT)``.

The matching is that of Schwartz and Hearst, "A simple algorithm for identifying abbreviation definitions in biomedical
text", Pacific Symposium on Biocomputing 2003: every letter of the short form is found in order, from right to left, in
the words before the bracket, and its first letter begins a word.
"""

from __future__ import annotations

from dataclasses import dataclass

from kie_ops.surface import Surfaces

_LONGEST_SHORT = 10


@dataclass(frozen=True, slots=True)
class Abbreviation:
    """A definition: word ranges (inclusive) of the long form and of the short form within its brackets."""

    long_first: int
    long_last: int
    short_first: int
    short_last: int
    short_key: str
    long_key: str


def abbreviations(surfaces: Surfaces) -> tuple[Abbreviation, ...]:
    """The definitions of a document in order of the text; the first one of a short form counts."""
    text, words = surfaces.text, surfaces.words.tolist()
    found: dict[str, Abbreviation] = {}
    for begin, end in surfaces.sentences.tolist():
        for at in range(begin + 1, end - 2):
            if text[words[at][0] : words[at][1]] != "(":
                continue
            close = next((i for i in range(at + 2, min(at + 7, end)) if text[words[i][0]] in ")];,:"), None)
            if close is None:
                continue
            short = text[words[at + 1][0] : words[close - 1][1]]
            first = _long_form(surfaces, short, begin, at)
            if first is None:
                continue
            short_key, long_key = surfaces.key(at + 1, close - 1), surfaces.key(first, at - 1)
            if short_key and long_key and short_key != long_key:
                found.setdefault(short_key, Abbreviation(first, at - 1, at + 1, close - 1, short_key, long_key))
    return tuple(found.values())


def _long_form(surfaces: Surfaces, short: str, begin: int, bracket: int) -> int | None:
    """First word of the long form that `short` abbreviates, before the word `bracket`; None where there is none."""
    letters = [c for c in short if c.isalnum()]
    fits = 2 <= len(short) <= _LONGEST_SHORT and " " not in short and any(map(str.isupper, short))
    if not fits or len(letters) < 2 or not letters[0].isalnum():
        return None
    words = surfaces.words
    reach = min(len(letters) + 5, 2 * len(letters))
    start = int(words[max(begin, bracket - 2 * reach)][0])
    text = surfaces.text[start : int(words[bracket - 1][1])].lower()
    at = len(text)
    for n, letter in enumerate(reversed(letters)):
        at = text.rfind(letter.lower(), 0, at)
        while n == len(letters) - 1 and at > 0 and text[at - 1].isalnum():
            at = text.rfind(letter.lower(), 0, at)
        if at < 0:
            return None
    first = next((i for i in range(begin, bracket) if int(words[i][0]) == start + at), None)
    if first is None or len(text) - at <= len(short) or bracket - first > 2 * reach:
        return None
    return first
