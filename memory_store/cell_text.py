"""A cell as one string in Redis (layout: `memory_store.scripts`), and increments as the scripts read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from kie_ops.errors import LogError
from kie_ops.memory import Cell, Increment
from memory_store.cells import WIDTHS, canonical


def argument(cell: Iterable[Increment]) -> str:
    """One cell's increments, summed by field, as JSON."""
    counts = {i.field: i.count for i in cell if i.count}
    vectors = {i.field: i.vector for i in cell if i.vector is not None}
    return json.dumps({"counts": counts, "vectors": vectors}, ensure_ascii=False, separators=(",", ":"))


def decode(
    keys: Sequence[str], texts: Sequence[bytes | None], vector: Callable[[bytes], bytes] = canonical
) -> list[Cell]:
    """The cells that exist (text is not None), in order; `vector` brings each packed sum into the form wanted.

    All JSON is parsed at once: several times faster than cell by cell, and equal field names are one string.
    Raises LogError naming the cell that holds what engram did not write.
    """
    there = [(key, text.split(b"\0", 2)) for key, text in zip(keys, texts, strict=True) if text is not None]
    try:
        counts = _parse([parts[0] for _, parts in there], dict)
        names = iter(_parse([parts[1] for _, parts in there if len(parts) > 1], list))
        return [
            Cell(key, count) if len(parts) == 1 else Cell(key, count, _vectors(next(names), parts[2], vector))
            for (key, parts), count in zip(there, counts, strict=True)
        ]
    except (ValueError, TypeError, IndexError, ZeroDivisionError, StopIteration) as e:
        if len(there) > 1:
            for key, text in zip(keys, texts, strict=True):
                decode([key], [text], vector)
        raise LogError(f"the memory holds what engram did not write: {e}", where=f"cell {there[0][0]!r}",
                       next_step="engram memory rebuild makes it anew from the log") from None


def _parse(texts: list[bytes], kind: type) -> list[Any]:
    values: list[Any] = json.loads(b"[" + b",".join(texts) + b"]")
    if len(values) != len(texts) or not all(type(value) is kind for value in values):
        raise ValueError("no cell")
    return values


def _vectors(names: list[str], packed: bytes, vector: Callable[[bytes], bytes]) -> dict[str, bytes]:
    width, over = divmod(len(packed), len(names))
    if over or width not in WIDTHS:
        raise ValueError("vectors of another length")
    return {name: vector(packed[n * width:(n + 1) * width]) for n, name in enumerate(names)}
