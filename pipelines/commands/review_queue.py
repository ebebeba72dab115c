"""``engram review-queue``: what a reviewer should see first."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kie_ops.errors import InputError
from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config, table

if TYPE_CHECKING:
    from pipelines.config import Config
    from pipelines.queries import Tables
    from pipelines.review_queue import Asked, AskedDocument

EXAMPLE = "Example:  engram review-queue --config medical.yaml --label chemical --input archive/ --limit 50"
COLUMNS = ("rank", "text", "labels", "occurrences", "documents", "why", "example", "doc_id", "mention_id", "key")
DOCUMENT_COLUMNS = ("rank", "doc_id", "place", "characters", "keys", "settles")


def command(
    limit: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 20,
    label: Annotated[str | None, typer.Option(help="Only mentions of this label, as in the table entities.")] = None,
    whole: Annotated[bool, typer.Option("--documents", help="Ranks whole documents instead of names.")] = False,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "--archive", metavar="PATH", help="Archive with the texts.  Repeatable."),
    ] = None,
    topic: Annotated[bool, typer.Option("--topic", help="Takes the texts from the configuration's topic.")] = False,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Score at which a mention is most uncertain.")] = 0.5,
    again: Annotated[bool, typer.Option("--all", help="Also names and documents that were reviewed.")] = False,
    out: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Writes a CSV file.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ranks what a reviewer should see first: uncertain, contradicted, new and frequent names; one row a name.

    rank = doubt × log2(1 + occurrences); doubt joins four reasons (docs/operations.md).  With --documents: which whole
    documents settle most per 1,000 characters.  Tables hold no texts: sentences need --input or --topic.
    """
    from pipelines import queries, review_queue, session

    settings = load_config(config, overrides)
    tables = queries.Tables(session.open_tables(settings))
    names, ids = (frozenset[str](), frozenset[str]()) if again else _reviewed(tables)
    asked = review_queue.keys(tables, threshold=threshold, label=label, reviewed=names)
    _check_label(tables, label, asked)
    if whole:
        found = review_queue.documents(tables, asked, limit, label=label, reviewed=ids)
        _tell(found, DOCUMENT_COLUMNS, [_document_row(d) for d in found], "documents to review", out, as_json)
        return
    shown = _with_sentences(settings, tables, asked[:limit], inputs or (), topic)
    _tell(shown, COLUMNS, [_row(a) for a in shown], f"{len(shown)} of {len(asked)} names to review", out, as_json)


def _reviewed(tables: Tables) -> tuple[frozenset[str], frozenset[str]]:
    """(keys that reviewers' words in force are about, ids of documents reviewed as a whole)."""
    from kie_ops.memory import split_field
    from pipelines.ledger import CORRECTIONS
    from pipelines.operations import Operations

    corrections = Operations(tables.storage, CORRECTIONS)
    active = corrections.active()
    counts: Counter[str] = Counter()
    for transaction in corrections.log.transactions():
        for row in transaction.rows("memory_log").select(["key", "field", "count"]).to_pylist():
            if split_field(row["field"])[2] in ("entity", "none"):
                counts[row["key"]] += row["count"]
    reviewed = {str(e.meta["doc_id"]) for e in active.values() if e.meta.get("kind") == "review"}
    return frozenset(key for key, count in counts.items() if count > 0), frozenset(reviewed)


def _check_label(tables: Tables, label: str | None, asked: Sequence[Asked]) -> None:
    if label is None or asked:
        return
    known = [row["label"] for row in tables.rows("select distinct label from entities order by label")]
    if label not in known:
        raise InputError(f"no mention has the label {label}", where="--label",
                         next_step=f"there are: {', '.join(known) or 'no mentions yet'}")


def _with_sentences(
    settings: Config, tables: Tables, asked: Sequence[Asked], inputs: Sequence[str], topic: bool
) -> list[Asked]:
    from pipelines import report, review_queue

    if not inputs and not topic:
        return list(asked)
    rows = {}
    for a in asked:
        stream, partition, offset = a.example.place.rsplit("/", 2)
        row = tables.find("documents", stream=stream, partition=int(partition), offset=int(offset))
        if row is not None:
            rows[a.key] = row
    wanted = {row["text_sha256"] for row in rows.values()}
    texts = report.match(report.archived(settings, inputs), wanted) if inputs else {}
    if topic and wanted - texts.keys():
        texts |= report.match(report.recorded(settings, list(rows.values())), wanted - texts.keys())
    out = []
    for a in asked:
        text = texts.get(rows[a.key]["text_sha256"]) if a.key in rows else None
        said = None if text is None else review_queue.sentence(text, a.example.start, a.example.end)
        out.append(dataclasses.replace(a, example=dataclasses.replace(a.example, sentence=said)))
    return out


def _row(a: Asked) -> tuple[Any, ...]:
    labels = ", ".join(f"{label} {count}" for label, count in a.labels.items())
    e = a.example
    return (a.rank, a.text, labels, a.occurrences, a.documents, a.why, e.sentence or "", e.doc_id, e.mention_id, a.key)


def _document_row(d: AskedDocument) -> tuple[Any, ...]:
    return d.rank, d.doc_id, d.place, d.characters, len(d.settles), ", ".join(d.settles[:5])


def _tell(
    found: Sequence[Any], columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str, out: Path | None,
    as_json: bool,
) -> None:
    if out is not None:
        try:
            with out.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([columns, *((_safe(cell) for cell in row) for row in rows)])
        except OSError as e:
            raise InputError(f"cannot be written: {e.strerror}", where=str(out), next_step="choose another file") \
                from None
    if as_json:
        emit([{**plain_of(one), **({"why": one.why} if hasattr(one, "why") else {})} for one in found])
    elif out is not None:
        console().print(f"{out}: {len(rows):,} rows", markup=False)
    elif rows:
        console().print(table(title, columns[:-1] if columns is COLUMNS else columns,
                              [row[:-1] if columns is COLUMNS else row for row in rows]))
    else:
        console().print("nothing to review: the tables hold no mention that is in doubt")


def _safe(cell: Any) -> Any:
    """A spreadsheet takes a text that begins with one of these for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def plain_of(record: Any) -> dict[str, Any]:
    from pipelines.commands.options import plain

    found: dict[str, Any] = plain(record)
    return found
