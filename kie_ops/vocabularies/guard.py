"""Names that a vocabulary states and that are better not remembered, as texts mean something else by them.

The rule, of a name on its own: fewer than three letters and digits; no letter; or one word that is a common English
one, however it is written (a ticker ``ALL``, a drug ``Same``).  Names of several words and reviewers' corrections are
never left out.
"""

from __future__ import annotations

from kie_ops.vocabularies.common_words import COMMON

SHORTEST = 3
SHORT, NUMBER, COMMON_WORD, NO_KEY = "too short", "no letter", "common word", "no key"
REASONS = (SHORT, NUMBER, COMMON_WORD, NO_KEY)
"""NO_KEY: amounts, dates, function words at an end, and more than 12 words have no key in any memory."""


def objection(name: str) -> str | None:
    """Why a name is left out, one of REASONS; None where it may be remembered."""
    signs = [c for c in name if c.isalnum()]
    if not any(map(str.isalpha, signs)):
        return NUMBER
    if len(signs) < SHORTEST and name.isascii():
        return SHORT
    if name.strip(" .,;:()[]").casefold() in COMMON:
        return COMMON_WORD
    return None
