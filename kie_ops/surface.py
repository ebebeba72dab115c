"""Keys: normalised surface forms under which memory keeps what it knows of names and phrases.

A key is at most `MAX_TOKENS` tokens and `MAX_CHARACTERS` characters long, Unicode NFKC, with hyphens and spaces folded
to one blank and without signs at its ends.  Case is folded only in tokens with fewer than two capitals; acronyms and
lone capitals keep theirs, since folding them turns names into common words (WAS, was).  Amounts and years are masked to
their shape, and a surface without any word (an amount, a date, punctuation) has no key.

*Back-off keys* have a marked prefix and counts of their own, so that what is known of another spelling can be weighed
less: ``folded`` (all lower case), ``singular`` (last token) and ``short`` (a short form that its document defines).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kie_ops.words import words_of

MAX_TOKENS = 12
MAX_CHARACTERS = 200
SEPARATOR = "\x1f"
FOLDED, SINGULAR, SHORT = (f"{kind}{SEPARATOR}" for kind in ("folded", "singular", "short"))

_HYPHENS = frozenset("-‐‑‒–—―−⁃­")
_AMOUNT = re.compile(r"[\d.,:/'’]*\d[\d.,:/'’]*(?:st|nd|rd|th)?", re.IGNORECASE)
_DATES_AND_UNITS = (
    "january february march april may june july august september october november december jan feb mar apr jun jul aug "
    "sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday thousand million billion trillion "
    "percent usd eur gbp cents bps"
)
_FUNCTION_WORDS = (
    "a an the of in on at by for to from with and or as is are was were be been it its this that these those which who "
    "not no has have had he she we they their our his her than then but if into during after before between may can "
    "will would should could also such there when while both all any each more most other some"
)
_NO_NAMES = frozenset(_DATES_AND_UNITS.split())
_NO_EDGES = frozenset(_FUNCTION_WORDS.split())
OTHER, WORD, AMOUNT, DROPPED = range(4)


@dataclass(frozen=True, slots=True)
class Token:
    """A word as it stands in keys.  `kind` is WORD, AMOUNT (number, date, unit), DROPPED (hyphen) or OTHER."""

    text: str
    singular: str
    kind: int
    edge: bool
    """Whether a name may begin or end here; a function word in lower case may not."""


@lru_cache(maxsize=1 << 16)
def token(word: str) -> Token:
    """The token of one pre-token of a text."""
    text = "".join(c for c in unicodedata.normalize("NFKC", word) if c.isprintable() and not c.isspace())
    if all(c in _HYPHENS for c in text):
        return Token("", "", DROPPED, False)
    if sum(map(str.isupper, text)) < 2 and len(text) > 1:
        text = text.lower()
    text = text[:MAX_CHARACTERS]
    if _AMOUNT.fullmatch(text):
        digits = sum(map(str.isdigit, text))
        shape = text if digits == len(text) <= 2 else re.sub(r"\d", "0", text)
        return Token(shape, shape, AMOUNT, True)
    if text.lower() in _NO_NAMES:
        return Token(text, text, AMOUNT, True)
    if not any(map(str.isalpha, text)):
        return Token(text, text, OTHER, text in (")", "]", "+", "%"))
    return Token(text, _singular(text), WORD, word not in _NO_EDGES)


def _singular(text: str) -> str:
    """The token without an English plural ending; acronyms and words in -us, -is, -ss stay."""
    if len(text) < 4 or text != text.lower() or not text.endswith("s") or text.endswith(("us", "is", "ss")):
        return text
    if text.endswith("ies") and len(text) > 4:
        return text[:-3] + "y"
    if text.endswith(("xes", "ches", "shes", "sses", "zes")):
        return text[:-2]
    return text[:-1]


class Surfaces:
    """The tokens of one document's words, and the keys of its word ranges.

    `words` is int32 [words, 2] of character offsets into `text`, `sentences` int32 [sentences, 2] of word ranges.
    """

    def __init__(self, text: str, words: np.ndarray, sentences: np.ndarray) -> None:
        self.text = text
        self.words = words
        self.sentences = sentences
        self.tokens = [token(text[start:end]) for start, end in words.tolist()]

    def key(self, first: int, last: int) -> str | None:
        """The key of words `first`..`last` (inclusive), or None where such a surface has none."""
        return key_of(self.tokens[first : last + 1])

    def occurrences(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, int, int]]:
        """(key, first, last) of the n-grams of every sentence that may be a name; of those in `wanted` if given.

        A pair of keys (exact and back-off) of the same words comes one after the other.
        """
        for begin, end in self.sentences.tolist():
            for first in range(begin, end):
                if self.tokens[first].edge:
                    yield from self._from(first, end, wanted)

    def _from(self, first: int, end: int, wanted: Collection[str] | None) -> Iterator[tuple[str, int, int]]:
        before, words, used, length = "", False, 0, 0
        for last in range(first, end):
            token = self.tokens[last]
            if token.kind == DROPPED:
                continue
            used += 1
            length += len(token.text) + 1
            if used > MAX_TOKENS or length > MAX_CHARACTERS + 1:
                return
            exact = before + token.text
            words = words or token.kind == WORD
            if words and token.edge and (length > 2 or exact.isupper()):
                if wanted is None or exact in wanted:
                    yield exact, first, last
                for other in _back_off(exact, before + token.singular):
                    if wanted is None or other in wanted:
                        yield other, first, last
            before = exact + " "


def key_of(tokens: Sequence[Token]) -> str | None:
    """The key of a sequence of tokens, signs at its ends left out; None without any word, or where it is too long."""
    kept = [t for t in tokens if t.kind != DROPPED]
    while kept and _outer_sign(kept[0]):
        kept.pop(0)
    while kept and _outer_sign(kept[-1]):
        kept.pop()
    text = " ".join(t.text for t in kept)
    if len(kept) > MAX_TOKENS or len(text) > MAX_CHARACTERS or not any(t.kind == WORD for t in kept):
        return None
    return text if len(text) > 1 or text.isupper() else None


def _outer_sign(token: Token) -> bool:
    return token.kind == OTHER and not token.edge


def _back_off(exact: str, singular: str) -> list[str]:
    """Keys to look into besides `exact`: other spellings' own keys, and the counts collected under the back-off."""
    lower = exact.lower()
    out = [FOLDED + lower]
    if lower != exact:
        out.append(lower)
    if singular != exact:
        out.append(singular)
    out.append(SINGULAR + singular)
    return out


@lru_cache(maxsize=1 << 14)
def back_off(key: str) -> tuple[str, ...]:
    """The keys to look into besides `key`: its lower-case and singular spellings, and forms like them."""
    head, _, last = key.rpartition(" ")
    singular = f"{head} {_singular(last)}" if head else _singular(last)
    return (*_back_off(key, singular), SHORT + key)


@lru_cache(maxsize=1 << 14)
def written(key: str) -> tuple[str, ...]:
    """The keys under which a surface is counted: its own, and a back-off key where it differs from that spelling.

    Forms that already are their own back-off are not counted twice: who looks for another spelling of them looks
    into their own key (see :func:`back_off`).
    """
    lower = key.lower()
    head, _, last = key.rpartition(" ")
    singular = f"{head} {_singular(last)}" if head else _singular(last)
    out = [key]
    if lower != key:
        out.append(FOLDED + lower)
    if singular != key:
        out.append(SINGULAR + singular)
    return tuple(out)


def key_of_text(text: str) -> str | None:
    """The key of a term outside a document, as in a vocabulary or a correction; None where such a surface has none."""
    return key_of([token(word) for word in words_of(text)])


def edge_word(text: str) -> str | None:
    """The first or last word of a term where no name may begin or end, so that the term is never found in a text."""
    words = [word for word in words_of(text) if token(word).kind in (WORD, AMOUNT)]
    return next((w for w in (words[0], words[-1]) if not token(w).edge), None) if words else None


def is_acronym(key: str) -> bool:
    """Whether a key is one token with at least two capitals."""
    return " " not in key and sum(map(str.isupper, key)) >= 2
