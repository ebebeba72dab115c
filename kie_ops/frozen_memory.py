"""A memory in process that nobody writes to: what a domain ships, without any store."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import zstandard

from kie_ops.errors import ModelError
from kie_ops.memory import Cell, Increment, Recall

FORMAT = 1


class FrozenMemory:
    """Cells by key.  Keeps :class:`kie_ops.memory.Memory`; its view is empty."""

    def __init__(self, cells: Mapping[str, Cell]) -> None:
        self._cells = cells

    @classmethod
    def load(cls, path: Path) -> FrozenMemory:
        """A domain's memory.jsonl.zst; empty where there is none.  Raises ModelError for a broken file."""
        return cls(_load(path, path.stat().st_mtime_ns) if path.is_file() else {})

    def recall(self, keys: Collection[str]) -> Recall:
        if len(keys) > len(self._cells):
            return Recall({key: cell for key, cell in self._cells.items() if key in keys}, {})
        return Recall({key: self._cells[key] for key in keys if key in self._cells}, {})

    @property
    def cells(self) -> Mapping[str, Cell]:
        return self._cells

    def __len__(self) -> int:
        return len(self._cells)


@lru_cache(maxsize=4)
def _load(path: Path, changed: int) -> dict[str, Cell]:
    try:
        return {cell.key: cell for cell in read(path)}
    except (OSError, ValueError, KeyError, TypeError, zstandard.ZstdError) as e:
        raise ModelError(f"cannot read the shipped memory: {e}", where=str(path), next_step="restore it") from None


def read(path: Path) -> Iterator[Cell]:
    """Cells of a file that :func:`write` or ``engram memory export`` made."""
    with path.open("rb") as raw:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8", newline="\n")
        if json.loads(next(lines, "{}")).get("engram_memory") != FORMAT:
            raise ValueError("its first line names no known format")
        for count, line in enumerate(lines):
            data = json.loads(line)
            if "cells" in data:
                if data["cells"] != count:
                    raise ValueError("the file is cut short")
                return
            vectors = {n: np.array(v, dtype="<i4").tobytes() for n, v in data.get("vectors", {}).items()}
            yield Cell(data["key"], data["counts"], vectors)
        raise ValueError("the file is cut short")


def write(cells: Iterable[Cell], path: Path) -> int:
    """Writes cells in canonical order as JSON Lines (zstd), atomically: the form of ``engram memory export``."""
    ordered = sorted(cells, key=lambda cell: cell.key)
    temporary = path.with_suffix(".tmp")
    lines = [_line({"engram_memory": FORMAT})]
    for cell in ordered:
        line: dict[str, object] = {"key": cell.key, "counts": dict(sorted(cell.counts.items()))}
        if cell.vectors:
            line["vectors"] = {n: np.frombuffer(v, "<i4").tolist() for n, v in sorted(cell.vectors.items())}
        lines.append(_line(line))
    lines.append(_line({"cells": len(ordered)}))
    temporary.write_bytes(zstandard.ZstdCompressor(level=19).compress(b"".join(lines)))
    temporary.replace(path)
    return len(ordered)


def increments(cells: Iterable[Cell]) -> Iterator[Increment]:
    """What makes these cells out of nothing, in canonical order."""
    for cell in sorted(cells, key=lambda cell: cell.key):
        for name in sorted(cell.counts.keys() | cell.vectors.keys()):
            vector = cell.vectors.get(name)
            numbers = None if vector is None else tuple(np.frombuffer(vector, "<i4").tolist())
            yield Increment(cell.key, name, cell.counts.get(name, 0), numbers)


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
