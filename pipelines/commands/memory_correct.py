"""``engram memory correct``: a name, its type or its concept; and whom it reaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kie_ops.errors import InputError
from pipelines.commands.memory_write import SAID, _domain, _ledger, _lines
from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config, table

if TYPE_CHECKING:
    from kie_ops.domain import Domain
    from pipelines.config import Config
    from pipelines.corrections import Correction
    from pipelines.ledger import Ledger
    from pipelines.reach import Reach

EXAMPLE = "Example:  engram memory correct Lefamulin --label Chemical --dry-run --config medical.yaml"
MANY = 20
"""Corrections of a file whose reach is worked out without --dry-run: each looks through the tables."""


def correct(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="The name, as it stands in text.")] = None,
    label: Annotated[str | None, typer.Option(help="What it is.")] = None,
    reject: Annotated[bool, typer.Option("--reject", help="It is no mention at all.")] = False,
    concept: Annotated[str | None, typer.Option(metavar="SYSTEM:ID", help="What it stands for.")] = None,
    scheme: Annotated[str | None, typer.Option(help="By whose rules; default: all that have the label.")] = None,
    mention: Annotated[str | None, typer.Option(metavar="MENTION_ID", help="Corrects this row of entities.")] = None,
    doc_id: Annotated[str | None, typer.Option(help="Where the reviewer saw it.")] = None,
    id: Annotated[str | None, typer.Option(help="Of the correction; default: a new one.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Who says so.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    file: Annotated[str | None, typer.Option(metavar="FILE", help="JSON Lines of corrections, or -.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only shows what it would reach, and what is against it.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Teaches a name, its type or its concept, or that it is none.  The next document is read with it.

    Lists the keys it hits, the rows that have them now, and what memory holds against it; --dry-run does only that.
    """
    from pipelines import corrections

    settings = load_config(config, overrides)
    if file is None:
        said = {"id": id, "text": text, "label": label, "reject": reject, "concept": concept, "scheme": scheme,
                "doc_id": doc_id, "reviewer": reviewer, "reason": reason}
        given: Iterable[dict[str, Any]] = [_said(settings, mention, said)]
    elif text or mention:
        raise typer.BadParameter("give a name, or a file of corrections, not both", param_hint="--file")
    else:
        given = _lines(file)
    checked = [corrections.validate(one) for one in given]
    domain, ledger = _domain(settings), _ledger(settings)
    found = _reaches(ledger, domain, checked if dry_run or len(checked) <= MANY else [])
    if dry_run:
        _tell_plan(checked, found, as_json)
        return
    outcomes = [ledger.teach(domain, one) for one in checked]
    if as_json:
        emit([{"id": o.id, "status": o.status.value, "increments": o.increments, "reach": found.get(n)}
              for n, o in enumerate(outcomes)])
        return
    console().print(table("corrections", ("id", "text", "is", ""), (
        (o.id, one.text, "nothing" if one.reject else one.label, SAID.get(o.status.value, o.status.value))
        for o, one in zip(outcomes, checked, strict=True)
    )))
    _print(checked, found)


def _said(settings: Config, mention: str | None, said: dict[str, Any]) -> dict[str, Any]:
    """One correction of the command line, with what it lacks taken from the row of `mention`."""
    from pipelines import corrections

    row = _mention(settings, mention) if mention else {}
    whole = {**said, "id": said["id"] or corrections.new_id(), "text": said["text"] or row.get("text"),
             "doc_id": said["doc_id"] or row.get("doc_id"), "start": row.get("start"), "end": row.get("end")}
    if whole["text"] is None:
        raise typer.BadParameter("give a name, or --mention, or --file")
    if said["label"] is None and not said["reject"]:
        raise typer.BadParameter("say what it is, --label LABEL, or that it is nothing, --reject", param_hint="--label")
    return {name: value for name, value in whole.items() if value is not None}


def _tell_plan(checked: Sequence[Correction], found: dict[int, Reach], as_json: bool) -> None:
    if as_json:
        emit([{"id": one.id, "reach": found.get(n)} for n, one in enumerate(checked)])
        return
    _print(checked, found)
    console().print("nothing was changed (--dry-run)")


def _reaches(ledger: Ledger, domain: Domain, checked: Sequence[Correction]) -> dict[int, Reach]:
    """By number, of corrections that add something: before they do."""
    from pipelines import queries, reach

    tables = queries.Tables(ledger.storage)
    return {n: reach.reach(tables, ledger.store, domain, one) for n, one in enumerate(checked) if one.op == "add"}


def _print(checked: Sequence[Correction], found: dict[int, Reach]) -> None:
    from pipelines.commands.memory import readable

    for n, told in sorted(found.items()):
        console().print(table(
            f"{checked[n].text} reaches {told.rows:,} rows of {told.documents:,} documents, read before; "
            "they stay as they are",
            ("key", "form", "rows", "documents", "read as", "as it stands"),
            ((readable(f.key), f.kind, f.rows, f.documents,
              ", ".join(f"{k} {v}" for k, v in (f.labels or {}).items()), ", ".join(f.surfaces)) for f in told.forms),
        ))
        for voice in told.against:
            console().print(f"memory holds against it: {readable(voice.key)}: {voice.source} {voice.scheme} says "
                            f"{voice.label}, {voice.count:,} times" + (f" ({voice.example})" if voice.example else ""),
                            markup=False)


def _mention(settings: Config, mention_id: str) -> dict[str, Any]:
    from pipelines import queries, session

    row = queries.Tables(session.open_tables(settings)).find("entities", mention_id=mention_id)
    if row is None:
        raise InputError("no such mention", where=mention_id, next_step="see mention_id in the table entities")
    return row
