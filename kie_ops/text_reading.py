"""What the text alone says of one document: scores of spans per scheme, and states of words.  No memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from kie_ops.memory import PROTOTYPE_WIDTH
from kie_ops.records import Document

_SEED = 20260101
_SCALE = 40.0
"""Spread of a prototype's integers: a unit vector's projections have variance 1, so |value| > 127 is rare."""
TRAITS = 192
"""Traits of a word: a constant, how it is written (one of each shape), and projections of its inner state."""
CONSTANT = 16
_TRAIT_SEED = 20260102


@dataclass(frozen=True, slots=True)
class SpanScores:
    """`logits`: float32 [words, max_words, labels]; [i, j] is the span of words i..i+j, -inf where there is none."""

    labels: tuple[str, ...]
    logits: np.ndarray


@dataclass(frozen=True, slots=True)
class TextReading:
    """One document as the model sees it.

    `words`: int32 [words, 2] characters, end exclusive.  `sentences`: int32 [sentences, 2] word ranges, end exclusive.
    `states`: float32 [words, hidden].  `characters_read`: characters that lay in at least one window.  `traits`: int8
    [words, TRAITS], what labels never trained are learnt from (see learnt); no rows where they were not asked for.
    """

    document: Document
    words: np.ndarray
    sentences: np.ndarray
    spans: Mapping[str, SpanScores]
    states: np.ndarray
    windows: int
    characters_read: int
    traits: np.ndarray = field(default_factory=lambda: np.zeros((0, TRAITS), dtype=np.int8))

    def prototype(self, first: int, last: int) -> tuple[int, ...]:
        """PROTOTYPE_WIDTH integers of -127..127: the mean state of words first..last (inclusive), projected.

        A fixed random projection of the unit vector: inner products are kept up to noise (Johnson-Lindenstrauss).
        """
        if not 0 <= first <= last < len(self.words):
            raise IndexError(f"no span of words {first}..{last} among {len(self.words)}")
        mean = self.states[first : last + 1].astype(np.float64).mean(axis=0)
        norm = float(np.sqrt((mean * mean).sum())) or 1.0
        projected = (_projection(len(mean)) * (mean / norm)).sum(axis=1)
        return tuple(np.clip(np.rint(projected * _SCALE), -127, 127).astype(int).tolist())

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Characters of words first..last (inclusive), end exclusive."""
        return int(self.words[first, 0]), int(self.words[last, 1])

    def sentence_of(self) -> np.ndarray:
        """int32 [words]: the number of each word's sentence."""
        return np.repeat(np.arange(len(self.sentences), dtype=np.int32), self.sentences[:, 1] - self.sentences[:, 0])


@cache
def _projection(hidden: int) -> np.ndarray:
    """[PROTOTYPE_WIDTH, hidden] of -1 and 1, the same everywhere: NumPy keeps the bit streams of its generators."""
    return _signs(_SEED, PROTOTYPE_WIDTH, hidden)


@cache
def _signs(seed: int, rows: int, columns: int) -> np.ndarray:
    bits = np.random.PCG64(seed).random_raw(rows * columns) >> np.uint64(63)
    return np.asarray(bits.astype(np.float64) * 2 - 1).reshape(rows, columns)


def traits(inner: np.ndarray, shapes: np.ndarray, kinds: int) -> np.ndarray:
    """int8 [words, TRAITS] of a document's words.

    `inner`: float32 [words, n], states of a middle layer; `shapes`: int [words] of 0..kinds - 1.  A middle layer serves
    better than the last, which has been bent to the labels it was trained for.  The projection is fixed; values have a
    spread of about CONSTANT, so that sums over some eight million words stay within 32 bits.
    """
    out = np.zeros((len(inner), TRAITS))
    out[:, 0] = CONSTANT
    out[np.arange(len(inner)), 1 + shapes] = CONSTANT
    if len(inner):
        wide = inner.astype(np.float64)
        wide /= np.maximum(np.sqrt((wide * wide).sum(axis=1, keepdims=True)), 1e-9)
        signs = _signs(_TRAIT_SEED, TRAITS - 1 - kinds, wide.shape[1])
        out[:, 1 + kinds :] = np.einsum("wn,tn->wt", wide, signs) * CONSTANT
    return np.clip(np.rint(out), -127, 127).astype(np.int8)
