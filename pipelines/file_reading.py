"""Files of any kind as rows, one after another, never whole: JSON Lines, Parquet, CSV, plain text.

A row is ``(number, value, headers)``; `value` is what :func:`pipelines.parse.parse` reads.  JSON Lines give the line's
bytes as they stand, so that broken lines become dead letters; the others are put into JSON.  Local paths and URLs
(fsspec), compressed by .gz, .xz, .bz2 or .zst.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from kie_ops.errors import InputError
from pipelines.config import Format

LINE_LIMIT = 256 * 2**20
"""A longer line is handed on in pieces of so many bytes, each of which becomes a dead letter: none fills memory."""
PARQUET_ROWS = 64

COMPRESSIONS = (".gz", ".xz", ".bz2", ".zst")
LINES = (".jsonl", ".ndjson", ".json")
TABLES = (".csv", ".tsv")
TEXTS = (".txt",)
KINDS = (*LINES, *TABLES, *TEXTS, ".parquet")

csv.field_size_limit(LINE_LIMIT)  # whole filings stand in one field


class Row(NamedTuple):
    number: int
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...] = ()


def kind(name: str) -> str | None:
    """The suffix that says how a file is read, compression left out; None for a file of no known kind."""
    low = name.lower()
    for compression in COMPRESSIONS:
        low = low.removesuffix(compression)
    return next((suffix for suffix in KINDS if low.endswith(suffix)), None)


@contextmanager
def open_bytes(url: str, options: dict[str, Any] | None = None) -> Iterator[BinaryIO]:
    """A local file or URL, decompressed.  A cut-off compressed file raises EOFError or OSError where it ends.

    Arrow reads zstd here because it knows several frames and notices a missing end; others stop silently.
    """
    with fsspec.open(url, "rb", **(options or {})) as raw:
        low = url.lower()
        if low.endswith(".gz"):
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw))
        elif low.endswith(".xz"):
            yield cast(BinaryIO, lzma.LZMAFile(raw))  # noqa: SIM115 -- closes with raw
        elif low.endswith(".bz2"):
            yield cast(BinaryIO, bz2.BZ2File(raw))
        elif low.endswith(".zst"):
            stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
            yield cast(BinaryIO, io.BufferedReader(cast(Any, stream), 2**20))
        else:
            yield raw


def rows(urls: Sequence[str], start: int, fmt: Format, options: dict[str, Any] | None = None) -> Iterator[Row]:
    """The rows of one partition from number `start` on: of one file, or of several plain texts (a row each).

    Raises InputError naming file and row where a file cannot be read on.
    """
    if kind(urls[0]) in TEXTS:
        yield from _texts(urls, start, fmt, options)
        return
    (url,) = urls
    number = start
    try:
        for row in _file_rows(url, start, options):
            number = row.number + 1
            yield row
    except (OSError, EOFError, lzma.LZMAError, pa.ArrowException, csv.Error) as e:
        raise InputError(f"cannot be read on: {e}", where=f"{url}, after row {number}",
                         next_step="mend or fetch the file again and run once more: reading goes on there") from None


def _file_rows(url: str, start: int, options: dict[str, Any] | None) -> Iterator[Row]:
    suffix = kind(url)
    if suffix == ".parquet":
        return _parquet(url, start, options)
    if suffix in TABLES:
        return _csv(url, start, options)
    return _lines(url, start, options)


def _lines(url: str, start: int, options: dict[str, Any] | None) -> Iterator[Row]:
    """Blank lines are no rows, but count as numbers."""
    with open_bytes(url, options) as file:
        number = 0
        while line := file.readline(LINE_LIMIT):
            if number == 0 and kind(url) == ".json" and line.lstrip().startswith(b"["):
                raise InputError("a JSON array, not JSON Lines", where=url,
                                 next_step=f"jq -c '.[]' {url} gives JSON Lines")
            if number >= start and not line.isspace():
                yield Row(number, line.removesuffix(b"\n").removesuffix(b"\r"))
            number += 1


def _csv(url: str, start: int, options: dict[str, Any] | None) -> Iterator[Row]:
    """A header (RFC 4180), then a row a record.

    A row that is quoted wrongly or is not as long as the header is handed on as a JSON array of its lines or fields,
    which becomes a dead letter; so do bytes that are not UTF-8, which go through unchanged.  The file goes on.
    """
    with open_bytes(url, options) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        taken: list[str] = []

        def lines() -> Iterator[str]:
            while line := text.readline(LINE_LIMIT):
                taken.append(line)
                yield line

        reader = csv.reader(lines(), delimiter="\t" if kind(url) == ".tsv" else ",", strict=True)
        header = [name.removeprefix("\ufeff") for name in next(reader, [])]
        number = 0
        while True:
            taken.clear()
            try:
                fields = next(reader)
                whole = len(fields) == len(header)
                value: Any = dict(zip(header, fields, strict=True)) if whole else fields
            except StopIteration:
                return
            except csv.Error:
                value = list(taken)
            if number >= start and value:
                yield Row(number, as_json(value))
            number += 1


def _parquet(url: str, start: int, options: dict[str, Any] | None) -> Iterator[Row]:
    """Row groups before `start` are skipped unread."""
    with fsspec.open(url, "rb", **(options or {})) as raw:
        file = pq.ParquetFile(raw)
        number = 0
        for group in range(file.metadata.num_row_groups):
            length = file.metadata.row_group(group).num_rows
            if number + length <= start:
                number += length
                continue
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, row_groups=[group]):
                for record in batch.to_pylist():
                    if number >= start:
                        yield Row(number, as_json(record))
                    number += 1


def _texts(urls: Sequence[str], start: int, fmt: Format, options: dict[str, Any] | None) -> Iterator[Row]:
    """A whole file a row; its name without suffix is the document's id."""
    for number, url in enumerate(urls[start:], start):
        try:
            with open_bytes(url, options) as file:
                data = file.read(LINE_LIMIT)
                if file.read(1):
                    raise OSError(f"longer than {LINE_LIMIT} bytes")
        except (OSError, EOFError, lzma.LZMAError, pa.ArrowException) as e:
            raise InputError(f"cannot be read: {e}", where=url, next_step="mend the file and run once more") from None
        yield Row(number, *_text_value(data, _stem(url), fmt))


def _text_value(data: bytes, doc_id: str, fmt: Format) -> tuple[bytes, tuple[tuple[str, bytes | None], ...]]:
    if fmt.kind == "text":
        return data, (("doc_id", doc_id.encode("utf-8", "surrogateescape")),)
    nested: dict[str, Any] = {}
    for path, value in ((fmt.fields.doc_id, doc_id), (fmt.fields.text, data.decode("utf-8", "surrogateescape"))):
        *above, last = path.split(".")
        inner = nested
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return as_json(nested), ()


def _stem(url: str) -> str:
    name = url.rsplit("/", 1)[-1]
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return name.rsplit(".", 1)[0]


def as_json(value: Any) -> bytes:
    """Canonical JSON; bytes that were not UTF-8 (surrogate escapes) are put back as they were."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a true lone surrogate: stays an escape
        return json.dumps(value, default=_plain).encode()


def _plain(value: Any) -> Any:
    """What Parquet holds and JSON does not: dates in ISO 8601, bytes as UTF-8 text, others as they print."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value)
