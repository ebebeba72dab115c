"""One committed batch, and the bytes it is kept as."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from kie_ops.errors import LogError
from kie_ops.schemas import TABLES

MAGIC = b"ENGRAM-LOG-1"
_WRITING = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_READING = pa.ipc.IpcReadOptions(use_threads=False)
"""Small buffers that live until their segment is closed: handing them to threads costs more than it saves."""


@dataclass(frozen=True)
class Transaction:
    """One committed batch: the range ``[start, end)`` of a partition with its rows.

    `view` is the applied position of every chain in the memory it was read with; `engine` names the engine and its
    versions; `tables` hold rows by table name (kie_ops.schemas; the ledger's chains have tables of their own).
    """

    stream: str
    partition: int
    start: int
    end: int
    view: Mapping[str, int]
    engine: str
    tables: Mapping[str, pa.Table]

    def rows(self, table: str) -> pa.Table:
        """The rows of one table, empty where the transaction has none.  KeyError: there is no such table."""
        return self.tables[table] if table in self.tables else TABLES[table].empty_table()

    @property
    def size(self) -> int:
        return sum(table.nbytes for table in self.tables.values())


def encode(transaction: Transaction) -> bytes:
    """Magic and SHA-256 of all that follows; a line of JSON; the tables as Arrow IPC streams."""
    bodies = [_table_bytes(table) for table in transaction.tables.values()]
    header = json.dumps({
        "stream": transaction.stream, "partition": transaction.partition,
        "start": transaction.start, "end": transaction.end,
        "view": dict(sorted(transaction.view.items())), "engine": transaction.engine,
        "tables": [[name, len(body)] for name, body in zip(transaction.tables, bodies, strict=True)],
    }).encode()
    rest = b"".join([header, b"\n", *bodies])
    return b"%s %s\n%s" % (MAGIC, hashlib.sha256(rest).hexdigest().encode(), rest)


def decode(data: bytes, where: str) -> Transaction:
    """Raises LogError where the bytes are not what `encode` made, to the bit."""
    line, _, rest = data.partition(b"\n")
    magic, _, digest = line.partition(b" ")
    if magic != MAGIC:
        raise LogError("not a log file of this version", where=where,
                       next_step="restore this file from a copy, or read the log with the version that wrote it")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise LogError("a torn or corrupt log file", where=where,
                       next_step="check the disk; restore this file from a copy of the log")
    header, _, body = rest.partition(b"\n")
    fields = json.loads(header)
    buffer, at, tables = pa.py_buffer(body), 0, {}
    for name, length in fields.pop("tables"):
        with pa.ipc.open_stream(buffer.slice(at, length), options=_READING) as reader:
            tables[name] = reader.read_all()
        at += length
    return Transaction(**{**fields, "view": MappingProxyType(fields["view"])}, tables=MappingProxyType(tables))


def _table_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_WRITING) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()
