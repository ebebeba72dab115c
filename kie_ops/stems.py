"""Bags of stems: a key for all word forms and orders of a name, so that "toxicity of the liver" finds "liver toxicity".

Suffixes are stripped by a short fixed list, longest first, as in Lovins, "Development of a stemming algorithm",
Mechanical Translation 1968, without its recoding but for British spellings.  Only concepts are counted under a bag:
whether a span is a mention at all is never decided by such a likeness.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from kie_ops.surface import SEPARATOR, is_acronym

BAG = f"stems{SEPARATOR}"
SHORTEST = 3
"""Letters that a stem keeps at least."""
_ENDINGS = (
    "ational ations ation icities ivities osities ities icity ivity osity ically ical ional ions ion ity ies ives ive "
    "ious eous ous ments ment ings ing ers er ed ness es s ics ic als al ias ia y e is osis otic esis etic ysis ytic "
    "ism ist ary ance ances ant ants ent ents ence um a"
)
_GENERAL = (
    "a an the of in on at by for to from with and or as due induced related associated type nos disease diseases "
    "disorder disorders syndrome syndromes"
)
_SUFFIXES = tuple(sorted(_ENDINGS.split(), key=lambda s: (-len(s), s)))
_STOP = frozenset(_GENERAL.split())
_BRITISH = (("aem", "em"), ("oed", "ed"), ("oes", "es"), ("aes", "es"), ("our", "or"), ("paed", "ped"))


@lru_cache(maxsize=1 << 15)
def stem(word: str) -> str:
    """A word of a key without its suffix, in lower case; acronyms and short words as they stand."""
    if is_acronym(word) or len(word) <= SHORTEST:
        return word
    word = word.lower()
    for british, american in _BRITISH:
        word = word.replace(british, american)
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= SHORTEST and not word.endswith("ss"):
            return word[: -len(suffix)]
    return word


@lru_cache(maxsize=1 << 15)
def bag(key: str) -> str | None:
    """The bag of a key: its words' stems, each once, in order of the alphabet; None where only stop words are left."""
    stems = stems_of(key)
    return BAG + " ".join(sorted(stems)) if stems else None


def concept_keys(written: Sequence[str]) -> tuple[str, ...]:
    """The keys under which a mention's concept is counted: those it is written under, and the bag of the first."""
    stems = bag(written[0]) if written else None
    return (*written, stems) if stems is not None else tuple(written)


@lru_cache(maxsize=1 << 15)
def stems_of(key: str) -> frozenset[str]:
    """Stems of a key's words, without stop words where others are left."""
    words = [w for w in key.replace("'", " ").split(" ") if any(map(str.isalnum, w))]
    return frozenset(stem(w) for w in words if w.lower() not in _STOP) or frozenset(map(stem, words))
