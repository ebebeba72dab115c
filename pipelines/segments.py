"""Parquet segments: a fixed range of offsets of one chain, each table's rows in files of their own.

A segment is always written whole, from the log's rows: the same rows give the same bytes, whatever the batches were.
Its *manifest* (``_log/<stream>/<partition>/segments/<number>``) is written first and says how far the segment goes,
which files it has, and their SHA-256: a segment counts as published where all of them are there with these bytes.  So
a crash between any two files, or one torn by a power loss, leaves a segment that is written again.

A file once listed stays listed: where an erasure takes its last row it becomes an empty table, so that nobody ever
deletes a file which another process is about to fill.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kie_ops.errors import ServiceError
from kie_ops.schemas import TABLES
from pipelines import faults
from pipelines.commit_log import Log, Transaction, safe_name
from pipelines.storage import Storage

UNPARTITIONED = ("memory_log", "transactions")
LAST = ("documents", "memory_log")
"""Written in this order after all others: who finds a document finds its rows."""
ROW_GROUP = 64 * 1024
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
MAX_VALUE = 120
ATTEMPTS = 5
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@dataclass(frozen=True, order=True)
class Segment:
    """Offsets ``[number * size, (number + 1) * size)`` of one chain."""

    stream: str
    partition: int
    number: int
    size: int

    @classmethod
    def containing(cls, log: Log, offset: int, size: int) -> Segment:
        return cls(log.stream, log.partition, offset // size, size)

    @property
    def start(self) -> int:
        return self.number * self.size

    @property
    def end(self) -> int:
        return self.start + self.size

    @property
    def manifest(self) -> str:
        return f"_log/{safe_name(self.stream)}/{self.partition}/segments/{self.number:08d}"

    def path(self, table: str, domain: str | None = None) -> str:
        """Where the segment's rows of one table lie; `domain` for tables partitioned by it."""
        name = f"{safe_name(self.stream)}-{self.partition}-{self.number:08d}.parquet"
        return f"{table}/{name}" if domain is None else f"{table}/domain={hive_value(domain)}/{name}"


@dataclass(frozen=True)
class File:
    rows: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The segment is published up to `to`, in these files by path."""

    to: int
    files: Mapping[str, File]

    def to_bytes(self) -> bytes:
        files = {path: asdict(file) for path, file in sorted(self.files.items())}
        return json.dumps({"to": self.to, "files": files}, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """ValueError, KeyError or TypeError where it is torn."""
        fields = json.loads(data)
        return cls(fields["to"], {path: File(**file) for path, file in fields["files"].items()})


@dataclass(frozen=True)
class Outcome:
    """A published segment, and how many of its documents were not published before."""

    manifest: Manifest
    documents: int


class Contended(ServiceError):
    """Every attempt to publish a segment met another process that published it too."""


class Publication:
    """One attempt to write a segment, fenced: it replaces only the versions that stood when it began.

    Made *before* the log is read.  So whoever replaced a file before that had read less of the log or the same, and
    whoever does so afterwards makes this attempt fail: an old segment never gets over a newer one.  `also` are paths
    to be seen although no manifest lists them (a manifest that was lost).
    """

    def __init__(self, storage: Storage, segment: Segment, also: Iterable[str] = ()) -> None:
        self.storage, self.segment = storage, segment
        self._version = storage.version(segment.manifest)
        self.manifest = read_manifest(storage, segment)
        listed = {} if self.manifest is None else self.manifest.files
        self._versions = {path: storage.version(path) for path in {*listed, *also}}

    def write(self, to: int, tables: Mapping[str, pa.Table], *, durable: bool) -> Manifest | None:
        """The manifest, then every file, `documents` and then memory_log last.  None: somebody came between.

        What stands already as it should, and need not be made durable, is left alone.
        """
        emptied = {path: file_schema(path.split("/")[0]).empty_table() for path in self._listed() - tables.keys()}
        files = {path: to_parquet(table) for path, table in {**emptied, **tables}.items()}
        manifest = Manifest(to, {
            path: File(tables[path].num_rows if path in tables else 0, hashlib.sha256(data).hexdigest())
            for path, data in files.items()
        })
        if not durable and manifest == self.manifest and intact(self.storage, manifest):
            return manifest
        replace = self.storage.replace_if
        if not replace(self.segment.manifest, manifest.to_bytes(), self._version, durable=durable):
            return None
        for path in sorted(files, key=_turn):
            kept = path.startswith("memory_log/")
            if kept:
                faults.at("published")
            if not replace(path, files[path], self._versions.get(path), durable=durable):
                return None
        faults.at("kept" if kept else "published")
        return manifest

    def _listed(self) -> set[str]:
        return set() if self.manifest is None else set(self.manifest.files)


def read_manifest(storage: Storage, segment: Segment) -> Manifest | None:
    """None where there is none, or a torn one."""
    try:
        return Manifest.from_bytes(storage.read(segment.manifest))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def intact(storage: Storage, manifest: Manifest) -> bool:
    """Whether every listed file holds the bytes that were written."""
    for path, file in manifest.files.items():
        try:
            if hashlib.sha256(storage.read(path)).hexdigest() != file.sha256:
                return False
        except FileNotFoundError:
            return False
    return True


def collect(segment: Segment, transactions: Sequence[Transaction], *, first: bool) -> dict[str, pa.Table]:
    """A segment's rows by path, in the log's order.  Contributions are kept once the segment is closed.

    `first`: the chain's first segment also has empty files, so that every table can be opened from the start.
    """
    tables = {segment.path("transactions"): _transactions(transactions)}
    if transactions[-1].end == segment.end:
        tables[segment.path("memory_log")] = _rows(transactions, "memory_log")
    split = {name: _by_domain(_rows(transactions, name)) for name in TABLES if name not in UNPARTITIONED}
    domains = {domain for parts in split.values() for domain in parts}
    for name, parts in split.items():
        for domain in sorted(domains if first else parts):
            path = segment.path(name, domain)
            table = parts.get(domain, file_schema(name).empty_table())
            tables[path] = pa.concat_tables([tables[path], table]) if path in tables else table
    return tables


def publish(
    storage: Storage, log: Log, segment: Segment, first: int,
    hide: Callable[[Sequence[Transaction]], Sequence[Transaction]],
) -> Outcome | None:
    """Step 6 for one segment: writes it up to the log's end.  Call it under the partition's lock.

    `first` is where its first transaction starts; `hide` takes out what was erased, as known when it is called.
    None: nothing of it is in the log (not yet, or not any more).  Raises Contended.
    """
    also: Iterable[str] = ()
    for _ in range(ATTEMPTS):
        publication = Publication(storage, segment, also)
        transactions = hide(list(log.transactions(first, segment.end, keep=True)))
        marks = log.marks()
        if not transactions or marks is None or marks.floor > first:
            return None
        to = transactions[-1].end
        tables = collect(segment, transactions, first=first == marks.begin)
        manifest = publication.write(to, tables, durable=to == segment.end)
        if manifest is not None:
            had = publication.manifest.to if publication.manifest else 0
            return Outcome(manifest, sum(t.rows("documents").num_rows for t in transactions if t.start >= had))
        also = tables.keys()
    raise Contended("others write this segment all the time", where=segment.manifest,
                    next_step="nothing: the next tick tries again")


def file_schema(table: str) -> pa.Schema:
    """The schema inside the files: `domain` stands in their paths alone, so that every reader takes it from there."""
    schema = TABLES[table]
    return schema if table in UNPARTITIONED else schema.remove(schema.get_field_index("domain"))


def to_parquet(table: pa.Table) -> bytes:
    """One setting for all files; a function of the rows and pyarrow's version alone."""
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=ROW_GROUP, version="2.6")
    return sink.getvalue()


def from_parquet(data: bytes, table: str) -> pa.Table:
    """Rows exactly as `to_parquet` took them, field metadata included."""
    return pq.read_table(pa.BufferReader(data)).cast(file_schema(table))


def hive_value(value: str) -> str:
    """A partition value as one path segment: percent-encoded as Hive, Spark, DuckDB and Arrow decode it.

    What they cannot give back (nothing, their word for null, what is too long for a path) gets a hash instead of its
    end.
    """
    raw = value.encode("utf-8", "surrogatepass")
    coded = "".join(chr(b) if b in _PLAIN else f"%{b:02X}" for b in raw)
    if value and value != HIVE_NULL and len(coded) <= MAX_VALUE:
        return coded
    kept = "".join(chr(b) for b in raw[:MAX_VALUE // 3] if b in _PLAIN).strip("_")
    return f"{kept}-{hashlib.sha256(raw).hexdigest()[:16]}"


def _rows(transactions: Sequence[Transaction], name: str) -> pa.Table:
    return pa.concat_tables([transaction.rows(name).select(TABLES[name].names) for transaction in transactions])


def _by_domain(table: pa.Table) -> dict[str, pa.Table]:
    values = table["domain"]
    rest = table.drop_columns(["domain"])
    return {domain: rest.filter(pc.equal(values, domain)) for domain in pc.unique(values).to_pylist()}


def _transactions(transactions: Sequence[Transaction]) -> pa.Table:
    return pa.Table.from_pylist([
        {"stream": t.stream, "partition": t.partition, "from": t.start, "to": t.end,
         "view": sorted(t.view.items()), "engine": t.engine} for t in transactions
    ], schema=TABLES["transactions"])


def _turn(path: str) -> tuple[int, str]:
    table = path.split("/")[0]
    return (LAST.index(table) + 1 if table in LAST else 0), path
