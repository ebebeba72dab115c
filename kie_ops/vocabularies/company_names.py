"""Company names as texts write them: without the legal form, and not all in capitals."""

from __future__ import annotations

import re

_FORM = re.compile(
    r"[\s,]+(?:incorporated|inc|corporation|corp|company|co|limited|ltd|llc|llp|lp|plc|ag|se|sa|nv|n\.v|s\.a|a/s|ab|asa|oyj|"
    r"kgaa|gmbh|s\.p\.a|spa|holdings?|group|trust|bancorp|the)\.?$", re.IGNORECASE,
)
_STATE = re.compile(r"\s*[/\\][A-Z ]{2,}[/\\]?$")
_VOWEL = re.compile(r"[AEIOUY]")
KEPT = 2
"""Words that are kept where more is cut off than a legal form (Holdings, Group, Trust)."""
_SOFT = frozenset({"holding", "holdings", "group", "trust", "bancorp"})


def written(name: str) -> tuple[str, ...]:
    """`name` as it stands in text, and its shorter forms, longest first.

    >>> written("EXAMPLE WIDGETS CORP /DE/")
    ('Example Widgets Corp', 'Example Widgets')
    """
    name = _STATE.sub("", name).strip()
    if name.isupper():
        name = " ".join(map(_unshouted, name.split()))
    found = [name]
    while (match := _FORM.search(name)) and name[: match.start()].strip(" ,&"):
        rest = name[: match.start()].strip(" ,&")
        if match[0].strip(" ,.").lower() in _SOFT and len(rest.split()) < KEPT:
            break
        name = rest
        found.append(name)
    return tuple(dict.fromkeys(found))


def _unshouted(word: str) -> str:
    """A word in capitals with its first alone; short ones and those without a vowel may be acronyms and stay."""
    plain = word.strip(".,&'")
    return word.capitalize() if len(plain) > 3 and plain.isalpha() and _VOWEL.search(plain) else word
