"""Pre-tokens and sentences of a text as character offsets.

Words follow BERT's basic tokenisation (white space separates, every punctuation mark and symbol is a word, every Han
character is a word), so that an entity's border nearly always lies between two words.  Works on any Unicode string:
control characters separate, zero-width characters never stand alone, and no word is longer than MAX_CHARACTERS.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import regex

MAX_CHARACTERS = 64
MAX_SENTENCE = 200
"""Words; longer sentences (tables, lists without full stops) are cut evenly."""

_LETTER = r"[[\p{L}\p{M}\p{N}]--\p{Han}]"
_WORD = regex.compile(
    rf"\p{{Han}}|{_LETTER}(?:\p{{Cf}}?{_LETTER}){{0,{MAX_CHARACTERS // 2 - 1}}}|[\p{{P}}\p{{S}}\p{{Co}}]\p{{M}}{{0,8}}",
    regex.VERSION1,
)
_BREAK = regex.compile(
    r"\n"
    r"|[。！？]+[”’」』）]*"
    r"|(?<![.!?])(?<mark>[.!?]++)[\"'”’)\]]*+(?=\s++[\"'“‘(\[]*+(?<next>\S))",
    regex.VERSION1,
)
_OPENER = regex.compile(r"\s*+[\"'“‘(\[]*+(\p{L}+)")
_NEAR = 40
"""Characters looked at around a full stop: no rule reads farther, so splitting is linear in the text."""
_NEVER_END = """
    al approx assn bros ca capt cf co col corp dept dr ed eds eg est etc fig figs gen gov ie inc jan feb mar apr jun
    jul aug sep sept oct nov dec jr lt ltd max min mr mrs ms mt op p pp prof pt ref refs rep resp rev sec sen
    sgt sp spp sr st vol vs u.s u.k e.g i.e a.m p.m ph.d
"""
ABBREVIATIONS = frozenset(_NEVER_END.split())
_MAY_END = frozenset("co corp etc inc ltd jr sr a.m p.m ph.d u.s u.k est max min".split())  # noqa: SIM905
"""Abbreviations that do end a sentence where a word follows that seldom stands inside a name."""


@dataclass(frozen=True, slots=True)
class Words:
    """`offsets`: int32 [words, 2] characters, end exclusive; `sentences`: int32 [sentences, 2] word ranges."""

    offsets: np.ndarray
    sentences: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def sentence_of(self) -> np.ndarray:
        """int32 [words]: the number of each word's sentence."""
        lengths = self.sentences[:, 1] - self.sentences[:, 0]
        return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)


def split(text: str) -> Words:
    """Words and sentences of `text`.  Sentences cover all words, in order, without gaps."""
    flat = [at for match in _WORD.finditer(text) for at in match.span()]
    offsets = np.array(flat, dtype=np.int32).reshape(-1, 2)
    return Words(offsets, _sentences(text, offsets))


def words_of(text: str) -> list[str]:
    """The words of a short text, such as a vocabulary's term, without looking for sentences: many times faster."""
    return [match[0] for match in _WORD.finditer(text)]


def _sentences(text: str, offsets: np.ndarray) -> np.ndarray:
    ends = [match.end() for match in _BREAK.finditer(text) if _ends_sentence(match)]
    cuts = np.searchsorted(offsets[:, 0], np.array(ends, dtype=np.int64), side="left")
    borders = np.unique(np.concatenate([[0], cuts, [len(offsets)]]).astype(np.int64))
    ranges: list[tuple[int, int]] = []
    for first, last in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        pieces = -(-(last - first) // MAX_SENTENCE)
        steps = [first + (last - first) * k // pieces for k in range(pieces + 1)]
        ranges.extend(pairwise(steps))
    return np.array(ranges, dtype=np.int32).reshape(-1, 2)


def _ends_sentence(match: regex.Match[str]) -> bool:
    following = match["next"]
    if following is None:  # a new line or a full-width mark
        return True
    if following.islower():
        return False
    if match["mark"] != ".":
        return True
    before = _lookback(match)
    if before.isalpha() and len(before) == 1 and before.isupper():
        return False  # an initial: J. Smith, or the end of U. S.
    word = before.lower()
    if word in ("no", "nos"):
        return not following.isdigit()  # No. 5
    if word in _MAY_END:
        return following.isupper() and _starts_afresh(match)
    return word not in ABBREVIATIONS


def _starts_afresh(match: regex.Match[str]) -> bool:
    """Whether the next word is one that seldom follows inside a name: an article, a pronoun, a linking word."""
    head = _OPENER.match(match.string, match.end(), match.end() + _NEAR)
    return head is not None and head[1].lower() in _OPENERS


def _lookback(match: regex.Match[str]) -> str:
    """The letters, digits and inner full stops right before a mark."""
    at = match.start("mark")
    near = match.string[max(0, at - _NEAR) : at]
    cut = len(near)
    while cut and (near[cut - 1].isalnum() or near[cut - 1] in ".&"):
        cut -= 1
    return near[cut:]


_SENTENCE_OPENERS = """
    a an the this that these those it its he she we our they their in on at as for from by with to of and but or if
    when while after before during since under however although there here no not both each all some many most
    such other see
"""
_OPENERS = frozenset(_SENTENCE_OPENERS.split())
