"""A memory as canonical bytes: equal memories give equal files, whichever store holds them.

JSON Lines in UTF-8, plain or compressed by the file's name (.gz, .zst)::

    {"engram_memory":1}
    {"key":"aspirin","counts":{"training|bc5cdr|entity|Chemical":3}}
    {"key":"ibuprofen","counts":{...},"vectors":{"training|bc5cdr|prototype|Chemical":[...64 integers...]}}
    {"cells":2}

Cells are sorted by key, fields by name, both by code point; a zero is never written.  The last line tells a whole file
from one cut short.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from kie_ops.errors import InputError
from kie_ops.memory import PROTOTYPE_WIDTH, Cell, Contribution, Increment
from memory_store.cells import summed, unpack
from memory_store.local import LocalStore
from memory_store.store import MemoryStore

FORMAT = 1
_BLOCK = 1_000  # lines compressed at once: fixed, as compressed bytes may depend on it


def lines(cells: Iterable[Cell]) -> Iterator[bytes]:
    """The file's lines, of cells in order of key."""
    yield _json({"engram_memory": FORMAT})
    count = 0
    for count, cell in enumerate(cells, 1):  # noqa: B007
        line: dict[str, Any] = {"key": cell.key, "counts": dict(sorted(cell.counts.items()))}
        if cell.vectors:
            line["vectors"] = {f: unpack(v).tolist() for f, v in sorted(cell.vectors.items())}
        yield _json(line)
    yield _json({"cells": count})


def dump(store: MemoryStore, path: str | os.PathLike[str]) -> int:
    """Writes the whole memory to `path`, in place of what was there, at once.  How many cells it has.

    Raises ServiceError where the memory changes meanwhile, InputError where the file cannot be written.
    """
    return write(store.cells(), path)


def write(cells: Iterable[Cell], path: str | os.PathLike[str]) -> int:
    """As `dump`, of cells in order of key."""
    path = Path(path)
    count = -2  # header and last line
    try:
        with _replacing(path) as raw:
            block: list[bytes] = []
            with _compressed(raw, path) as out:
                for line in lines(cells):
                    count += 1
                    block.append(line)
                    if len(block) == _BLOCK:
                        out.write(b"".join(block))
                        block.clear()
                out.write(b"".join(block))
    except OSError as e:
        raise InputError(f"cannot write the memory: {e.strerror or e}", where=str(path),
                         next_step="check the folder and the space left") from None
    return count


def dump_increments(increments: Iterable[Increment], path: str | os.PathLike[str]) -> int:
    """Writes the memory that these increments alone would make (priming, a domain's shipped memory)."""
    store = LocalStore("dump")
    store.apply("dump", 0, 0, list(increments), erasures=0)
    return write(store.cells(), path)


def load(path: str | os.PathLike[str]) -> Iterator[Increment]:
    """The increments that make this memory out of nothing, in canonical order.

    Raises InputError naming the line for a file that is missing, cut short, or of another format.
    """
    path = Path(path)
    at = 1
    try:
        with _reading(path) as stream:
            _check_header(stream.readline())
            for cells, raw in enumerate(stream):
                at = cells + 2
                line = json.loads(raw)
                if "cells" not in line:
                    yield from _increments(line)
                elif line["cells"] != cells or stream.readline():
                    raise ValueError("the number of cells does not fit")
                else:
                    return
            raise ValueError("the file is cut short")
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as e:
        what = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise InputError(f"cannot load this memory: {what}", where=f"{path}:{at}",
                         next_step="give a file made by engram memory export") from None


def load_store(path: str | os.PathLike[str], namespace: str = "local") -> LocalStore:
    """A memory in process with what the file holds, at no position."""
    store = LocalStore(namespace)
    store.apply("dump", 0, 0, list(load(path)), erasures=0)
    store.forget_positions()
    return store


def check(increments: Iterable[Increment]) -> None:
    """InputError for increments that no memory can hold; for writers, before they commit them to the log."""
    summed(list(increments))


def contribution(path: str | os.PathLike[str], origin: str) -> Contribution:
    """A whole file as one contribution."""
    return Contribution(origin, tuple(load(path)))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _check_header(raw: bytes) -> None:
    header = json.loads(raw) if raw else {}
    if not isinstance(header, dict) or header.get("engram_memory") != FORMAT:
        raise ValueError(f"its first line is not {_json({'engram_memory': FORMAT}).decode().strip()}")


def _increments(line: dict[str, Any]) -> Iterator[Increment]:
    key, counts, vectors = line["key"], line["counts"], line.get("vectors", {})
    for name in sorted(counts.keys() | vectors.keys()):
        count, vector = counts.get(name, 0), vectors.get(name)
        if not isinstance(key, str) or type(count) is not int:
            raise ValueError(f"field {name!r} of {key!r} is no integer")
        if vector is not None and (len(vector) != PROTOTYPE_WIDTH or any(type(v) is not int for v in vector)):
            raise ValueError(f"vector {name!r} of {key!r} is not {PROTOTYPE_WIDTH} integers")
        yield Increment(key, name, count, None if vector is None else tuple(vector))


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file next to `path` that takes its name once it is whole and on disk."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _compressed(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
            yield cast(IO[bytes], packed)
    elif path.suffix == ".zst":
        with pa.CompressedOutputStream(pa.PythonFile(_Unclosed(raw), mode="w"), "zstd") as packed:
            yield packed
    else:
        yield raw


class _Unclosed:
    """A file that its wrapper may not close: it is synced afterwards."""

    closed = False

    def __init__(self, raw: IO[bytes]) -> None:
        self.write, self.flush, self.tell = raw.write, raw.flush, raw.tell

    def close(self) -> None:
        """Left to the owner."""


@contextmanager
def _reading(path: Path) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        raw = stack.enter_context(open(path, "rb"))
        if path.suffix == ".gz":
            yield cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=raw)))
        elif path.suffix == ".zst":
            yield cast(IO[bytes], io.BufferedReader(cast(Any, pa.CompressedInputStream(raw, "zstd")), 1 << 20))
        else:
            yield raw
