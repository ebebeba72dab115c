"""Pairs of mentions, or of groups of mentions: what relations are scored on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNNAMED = "surface:"
"""Prefix of what stands for the concept of a mention that has none."""


@dataclass(frozen=True, slots=True)
class Item:
    """A decoded mention as relations see it: words first..last (inclusive), its concept, its key."""

    label: str
    first: int
    last: int
    concept: str | None
    key: str | None

    @property
    def concept_ids(self) -> tuple[str, ...]:
        """Its concepts; without any a stand-in of its surface, so that mentions of one name belong together."""
        return tuple(self.concept.split("|")) if self.concept else (f"{UNNAMED}{self.key or (self.first, self.last)}",)


@dataclass(frozen=True)
class Scored:
    """Pairs as groups of items: `heads[k]`, `tails[k]` are item numbers; `logits` float32 [pairs, labels].

    `names`: at document level the two concepts of each pair, else two empty strings.  `features`: float64
    [pairs, labels, features], see :mod:`kie_ops.pair_evidence`.
    """

    heads: tuple[tuple[int, ...], ...]
    tails: tuple[tuple[int, ...], ...]
    names: tuple[tuple[str, str], ...]
    logits: np.ndarray
    features: np.ndarray

    def unnamed(self) -> np.ndarray:
        """bool [pairs]: whether an end has no concept though the pair is one of concepts."""
        return np.array([any(n.startswith(UNNAMED) for n in both) for both in self.names], dtype=bool)
