"""Arithmetic of cells: which increments a memory can hold, and how vector sums are packed.

Counts and sums stay within ±(2^53 - 1): the integers that Lua, JSON and double precision all keep exactly.

A vector sum is packed as little-endian int32[64] where all components fit, else as int64[64].  So packing is a pure
function of the sum, nothing saturates (which could not be undone), and a cell costs 256 bytes a vector until some
16 million mentions of one name.  `readable` gives readers int32 always, clipped; only what they see, not what is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from kie_ops.errors import ConfigError, InputError
from kie_ops.memory import PROTOTYPE_WIDTH, Cell, Increment

LIMIT = 2**53 - 1

NARROW = np.dtype("<i4")
WIDE = np.dtype("<i8")
WIDTHS = (PROTOTYPE_WIDTH * NARROW.itemsize, PROTOTYPE_WIDTH * WIDE.itemsize)
"""Bytes of a packed sum."""
_INT32 = np.iinfo(np.int32)


def summed(increments: Sequence[Increment]) -> dict[str, list[Increment]]:
    """Increments added up by (key, field), zero sums left out, in canonical order; grouped by key.

    As :func:`kie_ops.memory.total`, with vectors added in NumPy.  Raises InputError for what no memory can hold: it is
    found before anything is written.
    """
    sums: dict[tuple[str, str], tuple[int, np.ndarray | None]] = {}
    for i in increments:
        _check(i)
        count, vector = sums.get((i.key, i.field), (0, None))
        count += i.count
        if i.vector is not None:
            more = np.asarray(i.vector, dtype=np.int64)
            vector = more if vector is None else vector + more
        if abs(count) > LIMIT or (vector is not None and max(-int(vector.min()), int(vector.max())) > LIMIT):
            raise InputError(f"a sum of increments leaves ±2^53 in field {i.field!r}", where=f"key {i.key!r}",
                             next_step="mend what made these increments")
        sums[i.key, i.field] = count, vector
    cells: dict[str, list[Increment]] = {}
    for (key, name), (count, vector) in sorted(sums.items(), key=lambda item: item[0]):
        kept = tuple(vector.tolist()) if vector is not None and vector.any() else None
        if count or kept:
            cells.setdefault(key, []).append(Increment(key, name, count, kept))
    return cells


def _check(i: Increment) -> None:
    problem = None
    if not isinstance(i.count, int) or abs(i.count) > LIMIT:
        problem = f"count {i.count!r} is not an integer within ±2^53"
    elif not _is_text(i.key) or not _is_text(i.field):
        problem = "key or field is not text that UTF-8 can hold"
    elif i.vector is not None:
        vector = np.asarray(i.vector)
        if vector.shape != (PROTOTYPE_WIDTH,) or vector.dtype.kind not in "iu" or vector.dtype == np.uint64:
            problem = f"a vector has {PROTOTYPE_WIDTH} integers within ±2^53, not {vector.dtype} {vector.shape}"
    if problem is not None:
        raise InputError(problem, where=f"key {i.key!r}, field {i.field!r}", next_step="mend what made this increment")


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    return True


def pack(vector: np.ndarray | Sequence[int]) -> bytes:
    """Canonical bytes of a sum (integers [64])."""
    wide = np.asarray(vector, dtype=WIDE)
    fits = _INT32.min <= wide.min() and wide.max() <= _INT32.max
    return wide.astype(NARROW).tobytes() if fits else wide.tobytes()


def unpack(packed: bytes) -> np.ndarray:
    """int64 [64] of a packed sum of either width."""
    width = NARROW if len(packed) == WIDTHS[0] else WIDE
    return np.frombuffer(packed, dtype=width).astype(np.int64)


def canonical(packed: bytes) -> bytes:
    """The same sum in its canonical width."""
    return packed if len(packed) == WIDTHS[0] else pack(unpack(packed))


def readable(packed: bytes) -> bytes:
    """The sum as little-endian int32[64], clipped where it left their range."""
    if len(packed) == WIDTHS[0]:
        return packed
    return unpack(packed).clip(_INT32.min, _INT32.max).astype(NARROW).tobytes()


def readable_cell(cell: Cell) -> Cell:
    if not any(len(v) == WIDTHS[1] for v in cell.vectors.values()):
        return cell
    return Cell(cell.key, cell.counts, {f: readable(v) for f, v in cell.vectors.items()})


def added(cell: Cell, increments: Iterable[Increment]) -> Cell:
    """A new cell: `cell` plus increments of its key.  InputError where a sum leaves ±2^53."""
    counts: dict[str, int] = dict(cell.counts)
    vectors: dict[str, bytes] = dict(cell.vectors)
    for i in increments:
        count = counts.pop(i.field, 0) + i.count
        if abs(count) > LIMIT:
            raise InputError(f"field {i.field!r} would leave ±2^53", where=f"key {cell.key!r}")
        if count:
            counts[i.field] = count
        if i.vector is not None:
            have = vectors.pop(i.field, None)
            vector = np.asarray(i.vector, dtype=np.int64) + (0 if have is None else unpack(have))
            if max(-int(vector.min()), int(vector.max())) > LIMIT:
                raise InputError(f"vector {i.field!r} would leave ±2^53", where=f"key {cell.key!r}")
            if vector.any():
                vectors[i.field] = pack(vector)
    return Cell(cell.key, counts, vectors)


def increments_of(cell: Cell) -> Iterator[Increment]:
    """The increments that make this cell out of nothing, in order of field."""
    for name in sorted(cell.counts.keys() | cell.vectors.keys()):
        packed = cell.vectors.get(name)
        vector = None if packed is None else tuple(unpack(packed).tolist())
        yield Increment(cell.key, name, cell.counts.get(name, 0), vector)


def check_namespace(namespace: str) -> str:
    """The namespace, where it can be part of a Redis key's hash tag.  Else ConfigError."""
    if not _is_text(namespace) or not namespace or len(namespace) > 200 or not namespace.isprintable() \
            or any(c in namespace for c in "{}"):
        raise ConfigError(
            f"{namespace!r} cannot be a memory namespace", where="memory.namespace",
            next_step="use up to 200 printable characters without braces",
        )
    return namespace


def fields(cells: Mapping[str, Cell]) -> int:
    return sum(len(c.counts) + len(c.vectors) for c in cells.values())
