"""Step 3 of the protocol on documents at hand: read in order, with recalled cells.

The live worker and a replay read through this one place, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kie_ops.extractor import Extractor
from kie_ops.memory import Cell, Contribution
from kie_ops.overlay import Overlay
from kie_ops.records import Reading
from kie_ops.text_reading import TextReading


def wanted(extractor: Extractor, readings: Sequence[TextReading]) -> frozenset[str]:
    """Keys to recall for a batch."""
    return frozenset[str]().union(*(extractor.keys(reading) for reading in readings))


def decode(
    extractor: Extractor,
    readings: Sequence[TextReading],
    contributions: Sequence[Contribution],
    cells: Mapping[str, Cell],
) -> list[Reading]:
    """In order; each document also sees the contributions of those before it in the batch."""
    overlay = Overlay(cells)
    decoded = []
    for reading, contribution in zip(readings, contributions, strict=True):
        decoded.append(extractor.decode(reading, overlay))
        overlay.add(contribution)
    return decoded
