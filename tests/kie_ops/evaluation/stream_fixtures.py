"""A small stream: what the tagger knows, what it misses, what it takes for a name by mistake."""

from __future__ import annotations

from pathlib import Path

from kie_ops.dataset import Example, Gold
from kie_ops.evaluation.streams import Stream, open_stream
from kie_ops.records import Document
from tests.kie_ops.gate_fixtures import SCHEME, extractor

ODDS = {("naproxen", "Drug"): 4.0, ("rash", "Disease"): 3.0, ("zinc", "Disease"): 2.0, ("ward", "Disease"): 1.0}
TEXTS = (
    ("Naproxen caused a rash on the ward.", {"Naproxen": "Drug", "rash": "Disease"}),
    ("Zorvanex caused a rash in the patient.", {"Zorvanex": "Drug", "rash": "Disease"}),
    ("The patient took zorvanex and zinc.", {"zorvanex": "Drug", "zinc": "Drug"}),
    ("On the ward zorvanex was stopped.", {"zorvanex": "Drug"}),
)


def examples(times: int = 3, scheme: str = SCHEME, prefix: str = "d") -> list[Example]:
    return [
        Example(scheme, Document(f"{prefix}{n}-{i}", f"{text} Visit {n}."),
                tuple(Gold(text.index(s), text.index(s) + len(s), y, f"C:{s.lower()}") for s, y in gold.items()))
        for n in range(times) for i, (text, gold) in enumerate(TEXTS)
    ]


def stream(times: int = 3, scheme: str = SCHEME, folder: Path | None = None) -> Stream:
    return open_stream(extractor(ODDS), examples(times, scheme), folder=folder)
