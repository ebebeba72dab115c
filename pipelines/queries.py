"""Reads tables and log for people: why a mention is there, what a cell knows, and who wrote it.

Published rows come from Parquet through DuckDB, what is not published or trimmed yet from the commit log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from kie_ops import schemas
from kie_ops.errors import InputError
from kie_ops.memory import SOURCES, Cell, split_field
from kie_ops.records import Place
from pipelines.storage import Storage, local_root

if TYPE_CHECKING:
    import duckdb

    from pipelines.commit_log import Transaction

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Count:
    """One count of a cell: how often `source`, by the rules of `scheme`, saw `outcome` with `label`."""

    source: str
    scheme: str
    outcome: str
    label: str
    count: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one source by one scheme makes of a key: its most counted entity type, or ``none``.

    `against` names the sources that make something else of it.
    """

    source: str
    scheme: str
    label: str
    against: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Knowledge:
    """A cell as people read it."""

    key: str
    counts: tuple[Count, ...]
    verdicts: tuple[Verdict, ...]
    prototypes: tuple[str, ...] = ()
    """Fields that have a vector."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A document or correction that wrote a count: its place, or the id of the correction or import."""

    key: str
    origin: str
    source: str
    scheme: str
    outcome: str
    label: str
    count: int
    place: Place
    """Where it was committed: of a document its own place, else its place among corrections or imports."""

    @property
    def about(self) -> tuple[str, str, str, str]:
        return self.key, self.source, self.outcome, self.label


@dataclass(frozen=True, slots=True)
class Why:
    """A mention, the document it stands in, and for each piece of evidence who wrote it."""

    mention: Row
    document: Row
    hard_weight: float
    view: Mapping[str, int]
    """Applied position by chain in the memory that the mention's batch was read with."""
    origins: tuple[Origin, ...]
    """Of those that the decision saw, at most `limit` a piece of evidence, first written first."""
    origins_left_out: int = 0
    forgotten: int = 0
    """Counts of the evidence whose origin is no longer there: documents forgotten, corrections undone since."""


class Tables:
    """The tables under one root, to be queried in SQL by their names.  Read-only; sees the files there when made.

    A table without files is an empty one of its schema.  Local files are scanned where they lie; those of an object
    store are read into memory, so ask for one table at a time there.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    @cached_property
    def db(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        db = duckdb.connect(config={"threads": 2, "autoinstall_known_extensions": False})
        db.execute("set enable_progress_bar = false")  # it would be drawn on standard output, amid JSON
        for name, schema in schemas.TABLES.items():
            self._mount(db, name, schema)
        return db

    def rows(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Rows of a SQL query as dictionaries.  `parameters` for each ``?``, or by name for each ``$name``."""
        given = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
        table: pa.Table = self.db.sql(query, params=given).to_arrow_table()
        return table.to_pylist()

    def files(self, table: str) -> list[str]:
        """Paths of the table's Parquet files below the root, sorted."""
        return sorted(self._walk(table))

    def _walk(self, folder: str) -> Iterator[str]:
        for name in self.storage.names(folder):
            if name.startswith((".", "_")):
                continue
            if name.endswith(".parquet"):
                yield f"{folder}/{name}"
            elif "." not in name or "=" in name:
                yield from self._walk(f"{folder}/{name}")

    def _mount(self, db: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema) -> None:
        files = self.files(name)
        if not files:
            db.register(name, schema.empty_table())
        elif (root := local_root(self.storage)) is None:
            db.register(name, pa.concat_tables(self._fetched(files, schema)))
        else:
            paths = ", ".join("'" + str(root / f).replace("'", "''") + "'" for f in files)
            db.execute(
                f"create view {name} as select * from "
                f"read_parquet([{paths}], hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"
            )

    def _fetched(self, files: Sequence[str], schema: pa.Schema) -> Iterator[pa.Table]:
        import pyarrow.parquet as pq

        for path in files:
            table = pq.read_table(BytesIO(self.storage.read(path)))
            domain = next((part[7:] for part in path.split("/") if part.startswith("domain=")), None)
            if domain is not None and "domain" not in table.column_names:
                table = table.append_column("domain", pa.array([unquote(domain)] * len(table), pa.string()))
            yield table.select(schema.names).cast(schema)

    # -- the log ----------------------------------------------------------------------------------------------------

    def transactions(self) -> Iterator[tuple[int, Transaction]]:
        """(floor of its chain, transaction) of all that is in the log still."""
        from pipelines import commit_log

        for stream, partition in commit_log.chains(self.storage):
            log = commit_log.Log(self.storage, stream, partition)
            floor = log.floor()
            for start in log.starts():
                if start >= floor:
                    yield floor, log.read(start)

    def increments(self, keys: Collection[str]) -> list[Row]:
        """Rows of memory_log for `keys`, of trimmed segments and of the log, each once, in order of place."""
        from pipelines import commit_log

        wanted = sorted(keys)
        if not wanted:
            return []
        found = self.rows(
            'select stream, "partition", "offset", origin, key, field, count from memory_log where key in '
            f"({', '.join('?' * len(wanted))})", wanted,
        )
        floors = {
            (stream, partition): commit_log.Log(self.storage, stream, partition).floor()
            for stream, partition in commit_log.chains(self.storage)
        }
        found = [row for row in found if row["offset"] < floors.get((row["stream"], row["partition"]), 2**63)]
        values = pa.array(wanted, pa.string())
        for _, transaction in self.transactions():
            table = transaction.tables.get("memory_log")
            if table is not None and len(table):
                found += table.filter(pc.is_in(table["key"], values)).select(
                    ["stream", "partition", "offset", "origin", "key", "field", "count"]
                ).to_pylist()
        return sorted(found, key=lambda r: (r["stream"], r["partition"], r["offset"], r["key"], r["field"]))

    def view(self, place: Place) -> dict[str, int] | None:
        """The view that the transaction with this place was read with; None where it is not there."""
        from pipelines.commit_log import Log

        for transaction in Log(self.storage, place.stream, place.partition).transactions():
            if transaction.start <= place.offset < transaction.end:
                return dict(transaction.view)
        found = self.rows(
            'select view from transactions where stream = ? and "partition" = ? and "from" <= ? and ? < "to"',
            [place.stream, place.partition, place.offset, place.offset],
        )
        return dict(found[0]["view"]) if found else None

    def find(self, table: str, **equal: Any) -> Row | None:
        """The first row of `table` with these values: published, or in the log still."""
        where = " and ".join(f'"{column}" = ?' for column in equal)
        found = self.rows(f"select * from {table} where {where} limit 1", list(equal.values()))
        if found:
            return found[0]
        for _, transaction in self.transactions():
            rows = transaction.tables.get(table)
            if rows is not None and len(rows):
                for column, value in equal.items():
                    rows = rows.filter(pc.equal(rows[column], value))
                if len(rows):
                    return rows.slice(0, 1).to_pylist()[0]
        return None


def place_of(row: Mapping[str, Any]) -> Place:
    return Place(row["stream"], row["partition"], row["offset"])


def why(tables: Tables, mention_id: str, *, limit: int = 10) -> Why:
    """What decided a mention: its weights, its evidence, and for each piece who wrote it.

    Raises InputError where there is no such mention.
    """
    mention = tables.find("entities", mention_id=mention_id)
    if mention is None:
        raise InputError(
            "no such mention", where=mention_id,
            next_step="mention ids stand in the column mention_id of the table entities, under the same tables.root",
        )
    place = place_of(mention)
    document = tables.find("documents", stream=place.stream, partition=place.partition, offset=place.offset) or {}
    view = tables.view(place) or {}
    left = {(e["key"], e["source"], e["outcome"], e["label"] or ""): e["count"] for e in mention["evidence"] or []}
    seen: dict[tuple[str, str, str, str], list[Origin]] = {}
    for origin in origins(tables, {about[0] for about in left}):
        if origin.about in left and _saw(view, place, origin.place):
            seen.setdefault(origin.about, []).append(origin)
            left[origin.about] -= origin.count
    kept = [origin for some in seen.values() for origin in some[:limit]]
    return Why(
        mention, document, 1.0 - mention["soft_weight"], view, tuple(kept),
        sum(map(len, seen.values())) - len(kept), sum(max(0, n) for n in left.values()),
    )


def _saw(view: Mapping[str, int], reader: Place, written: Place) -> bool:
    """Whether the decision at `reader` knew what was `written`: by its view, or earlier in its own batch."""
    if (written.stream, written.partition) == (reader.stream, reader.partition):
        return written.offset < reader.offset
    return written.offset < view.get(written.chain, 0)


def origins(tables: Tables, keys: Collection[str]) -> list[Origin]:
    """Who wrote the counts of `keys`, from memory_log and log, in order of place."""
    out = []
    for row in tables.increments(keys):
        source, scheme, outcome, rest = split_field(row["field"])
        if outcome not in ("example", "prototype"):
            out.append(Origin(row["key"], row["origin"], source, scheme, outcome, "|".join(rest), row["count"],
                              place_of(row)))
    return out


def knowledge(cell: Cell) -> Knowledge:
    """A cell as counts by source, scheme and outcome, with the sources that contradict each other marked."""
    counts = []
    for name, count in cell.counts.items():
        source, scheme, outcome, rest = split_field(name)
        counts.append(Count(source, scheme, outcome, "|".join(rest), count))
    counts.sort(key=lambda c: (_rank(c.source), c.scheme, c.outcome, -c.count, c.label))
    return Knowledge(cell.key, tuple(counts), _verdicts(counts), tuple(sorted(cell.vectors)))


def _rank(source: str) -> int:
    return SOURCES.index(source) if source in SOURCES else len(SOURCES)


def _verdicts(counts: Sequence[Count]) -> tuple[Verdict, ...]:
    """Each source's most counted of its entity types and ``none`` (ties: the first in the alphabet)."""
    best: dict[tuple[str, str], tuple[int, str]] = {}
    for c in sorted(counts, key=lambda c: c.label or c.outcome):
        if c.outcome not in ("entity", "none") or c.count <= 0:
            continue
        about = (c.source, c.scheme)
        if about not in best or c.count > best[about][0]:
            best[about] = (c.count, c.label if c.outcome == "entity" else "none")
    return tuple(
        Verdict(source, scheme, label, tuple(
            f"{other} {other_scheme}".strip() for (other, other_scheme), (_, said) in best.items() if said != label
        ))
        for (source, scheme), (_, label) in sorted(best.items(), key=lambda item: (_rank(item[0][0]), item[0]))
    )


def document_rows(tables: Tables, limit: int, domain: str | None = None) -> list[Row]:
    """The first `limit` documents by place, each with its `mentions`, `relations` and `event_rows`."""
    where, given = ("where domain = ?", [domain]) if domain else ("", [])
    documents = tables.rows(
        f'select * from documents {where} order by stream, "partition", "offset" limit ?', [*given, limit]
    )
    below: dict[str, dict[Place, list[Row]]] = {}
    for table, order in (("entities", 'start, "end"'), ("relations", "relation_id"), ("events", 'start, "end"')):
        rows = tables.rows(
            f'select t.* from {table} t join (select stream, "partition", "offset" from documents {where} '
            f'order by stream, "partition", "offset" limit ?) d using (stream, "partition", "offset") '
            f'order by stream, "partition", "offset", {order}', [*given, limit],
        )
        groups = below[table] = {}
        for row in rows:
            groups.setdefault(place_of(row), []).append(row)
    for document in documents:
        place = place_of(document)
        document["mentions"] = below["entities"].get(place, [])
        document["relation_rows"] = below["relations"].get(place, [])
        document["event_rows"] = below["events"].get(place, [])
    return documents
