"""Readings kept on disk, so that a stream which is read again in other orders or on another day is encoded once."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kie_ops.extractor import Extractor
from kie_ops.records import Document
from kie_ops.text_reading import SpanScores, TextReading


def encode(
    extractor: Extractor, documents: Sequence[Document], schemes: Collection[str], folder: Path | None = None, *,
    batch: int = 16, progress: Callable[[int, int], None] | None = None,
) -> list[TextReading]:
    """What the text says of each document in `schemes`, from `folder` where it lies there; else it is put there.

    A file's name is the model's version, the schemes and the text; a broken file is written anew.
    """
    out: list[TextReading] = []
    for at in range(0, len(documents), batch):
        some = documents[at : at + batch]
        places = [folder / _name(extractor.model.version, d.text, schemes) if folder else None for d in some]
        found = [_load(place, d) if place else None for place, d in zip(places, some, strict=True)]
        missing = [d for d, reading in zip(some, found, strict=True) if reading is None]
        fresh = iter(extractor.encode(missing, schemes) if missing else ())
        for place, reading in zip(places, found, strict=True):
            if reading is None:
                reading = next(fresh)
                if place is not None:
                    _save(place, reading)
            out.append(reading)
        if progress is not None:
            progress(len(out), len(documents))
    return out


def _name(version: str, text: str, schemes: Collection[str]) -> str:
    content = "\n".join((version, *sorted(schemes), text)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).hexdigest() + ".npz"


def _save(place: Path, reading: TextReading) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    about = {"labels": {s: r.labels for s, r in reading.spans.items()}, "windows": reading.windows,
             "characters_read": reading.characters_read}
    temporary = place.with_suffix(".tmp")
    with temporary.open("wb") as file:
        arrays: dict[str, Any] = {
            "about": np.array(json.dumps(about)), "words": reading.words, "sentences": reading.sentences,
            "states": reading.states, "traits": reading.traits,
            **{f"logits:{s}": r.logits for s, r in reading.spans.items()},
        }
        np.savez_compressed(file, **arrays)
    temporary.replace(place)


def _load(place: Path, document: Document) -> TextReading | None:
    try:
        with np.load(place) as data:
            about = json.loads(str(data["about"]))
            spans = {s: SpanScores(tuple(y), data[f"logits:{s}"]) for s, y in about["labels"].items()}
            return TextReading(document, data["words"], data["sentences"], spans, data["states"], about["windows"],
                               about["characters_read"], data["traits"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
