"""``engram memory review``: whole documents, as a reviewer marked them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kie_ops.errors import InputError
from pipelines.commands.memory_write import SAID, _domain, _ledger, _lines, place_of
from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config, table

if TYPE_CHECKING:
    from pipelines.config import Config
    from pipelines.operations import Outcome
    from pipelines.reviews import Review

FORM = 'a line is {"doc_id": "note-17", "text": "...", "entities": [{"start": 0, "end": 9, "label": "Chemical"}]}'
EXAMPLE = "Example:  engram memory review note-17 --file reviewed.jsonl --scheme bc5cdr --config medical.yaml"


def review(
    file: Annotated[str, typer.Option(metavar="FILE", help="JSON Lines: text and all entities; - for input.")],
    doc_id: Annotated[str | None, typer.Argument(metavar="DOC_ID", help="Only the review of this document.")] = None,
    scheme: Annotated[
        str | None, typer.Option(help="By whose annotation rules; a new name is a new scheme.")] = None,
    place: Annotated[str | None, typer.Option(metavar="STREAM/PARTITION/OFFSET", help="The document there.")] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "--archive", metavar="PATH", help="Archive with texts the file lacks.  Repeatable."),
    ] = None,
    topic: Annotated[bool, typer.Option("--topic", help="Takes such texts from the configuration's topic.")] = False,
    id: Annotated[str | None, typer.Option(help="Of a single review; default: of document and content.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Who says so.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Teaches whole documents: the mentions of one scheme, all of them; what is not marked is none.

    A line is an annotated document as for training: text, entities with start, end and label.  Labels may be new.
    In force for the next document; `engram memory undo ID` takes a review back.
    """
    from pipelines import reviews, session

    settings = load_config(config, overrides)
    if doc_id is not None and place is not None:
        raise typer.BadParameter("give a document's id or --place, not both", param_hint="--place")
    row = _row(settings, doc_id, place)
    found = reviews.of_document(_records(file), row["doc_id"] if row else doc_id)
    if id is not None and len(found) > 1:
        raise typer.BadParameter(f"the file has {len(found)} reviews; give each its own `id`", param_hint="--id")
    texts = _texts(settings, [(r, row) for _, r in found], inputs or (), topic)
    about = {"doc_id": row["doc_id"] if row else doc_id, "reviewer": reviewer}
    given = _reviews(settings, found, row, about, texts, scheme, id)
    ledger, extractor = _ledger(settings), session.open_extractor(settings)
    operations = [reviews.operation(extractor, one) for one in given]
    outcomes = ledger.apply(operations)
    for outcome in outcomes:
        if outcome.status.value == "conflict":
            raise InputError("this id stands for something else", where=outcome.id, next_step="give each its own")
    _tell(given, outcomes, as_json)


def _reviews(
    settings: Config, found: Sequence[tuple[str, Mapping[str, Any]]], row: dict[str, Any] | None,
    about: Mapping[str, Any], texts: Mapping[str, str], scheme: str | None, id: str | None,
) -> list[Review]:
    """Each checked; one of another text than was read is refused."""
    from pipelines import reviews

    domain, out = _domain(settings), []
    for where, record in found:
        said = {name: value for name, value in {**about, **record}.items() if value is not None}
        one = reviews.validate(said, domain, where=where, scheme=scheme, id=id or _id(scheme, record),
                               text=texts.get(str(said.get("doc_id"))))
        _same_text(one, row or _row(settings, one.example.document.doc_id, None), where)
        out.append(one)
    return out


def _tell(given: Sequence[Review], outcomes: Sequence[Outcome], as_json: bool) -> None:
    if as_json:
        emit([{"id": o.id, "doc_id": r.example.document.doc_id, "scheme": r.example.scheme, "status": o.status.value,
               "mentions": len(r.example.spans), "new_labels": r.new_labels, "increments": o.increments}
              for o, r in zip(outcomes, given, strict=True)])
        return
    console().print(table("reviews", ("id", "document", "scheme", "mentions", "new labels", ""), (
        (o.id, r.example.document.doc_id, r.example.scheme, len(r.example.spans), ", ".join(r.new_labels),
         SAID.get(o.status.value, o.status.value)) for o, r in zip(outcomes, given, strict=True)
    )))


def _records(file: str) -> list[tuple[str, Mapping[str, Any]]]:
    out: list[tuple[str, Mapping[str, Any]]] = []
    for number, record in enumerate(_lines(file, FORM), 1):
        where = f"{file}, record {number}"
        if not isinstance(record, Mapping):
            raise InputError("a review is a JSON object", where=where, next_step="one annotated document a line")
        out.append((where, record))
    return out


def _row(settings: Config, doc_id: str | None, place: str | None) -> dict[str, Any] | None:
    """The document's row; InputError where a place has none.  An id may be of a document never read."""
    from pipelines import queries, session

    tables = queries.Tables(session.open_tables(settings))
    if place is not None:
        at = place_of(place)
        row = tables.find("documents", stream=at.stream, partition=at.partition, offset=at.offset)
        if row is None:
            raise InputError("no such document", where=place, next_step="see stream, partition, offset in documents")
        return row
    return None if doc_id is None else tables.find("documents", doc_id=doc_id)


def _texts(
    settings: Config, wanted: Sequence[tuple[Mapping[str, Any], dict[str, Any] | None]], inputs: Sequence[str],
    topic: bool,
) -> dict[str, str]:
    """By document id, of records that have no text of their own."""
    from pipelines import report

    rows = {}
    for record, row in wanted:
        if record.get("text") is None:
            row = row or _row(settings, record.get("doc_id"), None)
            if row is None:
                raise InputError("a review without text, of a document that was never read",
                                 where=str(record.get("doc_id")), next_step="put its `text` into the file")
            rows[row["doc_id"]] = row
    hashes = {row["text_sha256"] for row in rows.values()}
    texts = report.match(report.archived(settings, inputs), hashes) if inputs and hashes else {}
    if topic and hashes - texts.keys():
        texts |= report.match(report.recorded(settings, list(rows.values())), hashes - texts.keys())
    for name, row in rows.items():
        if row["text_sha256"] not in texts:
            raise InputError("tables hold no texts, and this review has none", where=name,
                             next_step="put its `text` into the file, or give --input ARCHIVE or --topic")
    return {name: texts[row["text_sha256"]] for name, row in rows.items()}


def _same_text(review: Review, row: Mapping[str, Any] | None, where: str) -> None:
    text = review.example.document.text
    if row is not None and row["text_sha256"] != hashlib.sha256(text.encode()).hexdigest():
        raise InputError(f"the text is not the one that was read as {row['doc_id']}: offsets would not fit",
                         where=where, next_step="review the text as it was received, or give it another doc_id")


def _id(scheme: str | None, record: Mapping[str, Any]) -> str:
    """Of what is said: the same review said twice has the same id."""
    import json

    said = json.dumps([scheme, record], ensure_ascii=True, sort_keys=True).encode()
    return f"review-{hashlib.blake2b(said, digest_size=8).hexdigest()}"
