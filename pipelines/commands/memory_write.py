"""The commands of ``engram memory`` that change it, or carry it elsewhere.

All that is said here is committed to the log first and is in force when the command returns.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kie_ops.errors import InputError
from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config, table

if TYPE_CHECKING:
    from kie_ops.domain import Domain
    from kie_ops.memory import Contribution
    from kie_ops.records import Place
    from pipelines.config import Config
    from pipelines.ledger import Ledger
    from pipelines.vocabularies import Source

PATIENCE_S = 5.0
SAID = {
    "added": "in force", "duplicate": "was in force already", "undone": "taken back",
    "early": "never seen so far; it will not count when it arrives",
    "withdrawn": "was taken back before: does not count",
}
NEXT = 'a line is {"id": "r-17", "text": "Lefamulin", "label": "Chemical"}'


def undo(
    id: Annotated[str, typer.Argument(metavar="ID", help="Of a correction, or the name of an import.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Takes a correction or an import back; memory is then byte for byte as if it had never been made."""
    settings = load_config(config, overrides)
    ledger = _ledger(settings)
    imported = id in {e.meta["name"] for e in ledger.imports.active().values()}
    known = [*ledger.corrections.entries(), *ledger.imports.entries()]
    near = difflib.get_close_matches(id, sorted({str(e.meta.get("name", e.id)) for e in known} - {id}), n=3)
    done = ledger.undo_import(id) if imported else ledger.undo(id)
    if as_json:
        emit({"id": id, "kind": "import" if imported else "correction", "status": done.status.value,
              "increments": done.increments})
    else:
        console().print(f"{id}: {SAID.get(done.status.value, done.status.value)}", markup=False)
        if done.status.value == "early" and near:
            console(stderr=True).print(f"if another was meant, there are: {', '.join(near)}", markup=False)


def forget(
    doc_id: Annotated[str | None, typer.Argument(metavar="DOC_ID", help="Every document of this id.")] = None,
    place: Annotated[str | None, typer.Option(metavar="STREAM/PARTITION/OFFSET", help="The document there.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Does not ask.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erases a document for good: from memory, tables and log, as if it had never been read.

    Run it again after a crash: it ends what was begun.  Erase it at its source too, or a new log would read it again.
    """
    if (doc_id is None) == (place is None):
        raise typer.BadParameter("give a document's id or --place")
    settings = load_config(config, overrides)
    where = place_of(place) if place is not None else None
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("this cannot be undone: say --yes", param_hint="--yes")
        typer.confirm(f"Erase {doc_id or place} from memory, tables and log for good?", abort=True, err=True)
    done = _ledger(settings).forget(place=where, doc_id=doc_id)
    if as_json:
        emit({"places": [str(p) for p in done.places], "corrections": done.corrections, "already": done.already})
        return
    say = console()
    verb = "were erased before" if done.already else "erased"
    say.print(f"{len(done.places)} documents {verb}: {', '.join(map(str, done.places))}", markup=False)
    if done.corrections:
        say.print(f"corrections that name it are still in force (engram memory undo ID): {', '.join(done.corrections)}",
                  markup=False)


def import_(
    given: Annotated[str, typer.Argument(metavar="WHAT", help="A file, or a vocabulary by name (hpo, drugs, ...).")],
    kind: Annotated[
        Literal["memory", "training", "vocabulary", "csv", "obo", "skos", "mrconso"] | None,
        typer.Option("--as", help="What the file is; default: by its suffix, else memory.  vocabulary is csv."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Terms: what they are; default: the vocabulary's own.")] = None,
    system: Annotated[str, typer.Option(help="Terms: code system of ids that state none.")] = "",
    release: Annotated[str, typer.Option(help="Terms: release of the code system, where the file states none.")] = "",
    separator: Annotated[str, typer.Option(help="CSV: between several synonyms or parents.")] = "|",
    everything: Annotated[bool, typer.Option("--all", help="Terms: also common words and very short names.")] = False,
    scheme: Annotated[str | None, typer.Option(help="Training: by whose annotation rules.")] = None,
    name: Annotated[str | None, typer.Option(help="To undo it by; default: the vocabulary's or the file's.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adds an exported memory, a vocabulary (by name, or CSV, OBO, SKOS, UMLS MRCONSO) or labelled documents.

    Interrupted, the same command goes on where it was; done, it changes nothing.  `engram memory undo NAME` takes
    all of it back.  docs/memory.md lists the vocabularies.
    """
    from pipelines import vocabularies

    settings = load_config(config, overrides)
    source = vocabularies.source_of(given, kind)
    called, say = name or source.name, console(stderr=True)
    about: dict[str, Any] = {}
    with say.status(f"{called}: reading") as status:
        if source.kind in ("memory", "training"):
            made: Iterable[Contribution] = list(_contributions(settings, source, scheme))
        else:
            wanted = vocabularies.Wanted(label, system, release, separator, not everything)
            read = vocabularies.terms_of(source, _domain(settings), wanted,
                                         lambda n: status.update(f"{called}: {n:,} terms"))
            made = read.contributions
            about = {"terms": read.terms, "names": read.names, "keys": read.keys, "systems": list(read.systems),
                     "left_out": dict(read.left_out)}
        meta = {"kind": source.kind, **source.meta}
        done = _ledger(settings).import_(called, made, meta, lambda n: status.update(f"{called}: {n:,} counts"))
    if as_json:
        emit({"name": done.name, "status": done.status.value, "increments": done.increments, "chunks": done.chunks,
              **meta, **about})
        return
    console().print(f"{called}: {done.increments:,} counts; {SAID.get(done.status.value, done.status.value)}",
                    markup=False)
    if about:
        _print_terms(about)


def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .jsonl, .jsonl.zst or .jsonl.gz.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Writes the whole memory as canonical bytes: equal memories give equal files."""
    from memory_store import dump
    from pipelines import session

    _, store = session.open_both(load_config(config, overrides), patience_s=PATIENCE_S)
    cells = dump.dump(store, out)
    if as_json:
        emit({"path": str(out), "cells": cells, "positions": store.positions()})
    else:
        console().print(f"{out}: {cells:,} cells", markup=False)


def rebuild(
    verify: Annotated[bool, typer.Option("--verify", help="Changes nothing: compares memory with the log.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also where the namespace belongs to another log.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Clears the memory and sums it anew from log and memory_log.  Workers may go on meanwhile.

    Exit code 1 where --verify finds a difference.
    """
    from pipelines import recovery, session

    settings = load_config(config, overrides)
    storage, store = session.open_tables(settings), session.open_store(settings, patience_s=PATIENCE_S)
    say = console(stderr=True)
    with say.status("comparing memory with the log" if verify else "summing the log"):
        differences = recovery.verify(storage, store) if verify else []
        positions = store.positions() if verify else recovery.rebuild(storage, store, force=force)
    cells = store.stats().cells
    if as_json:
        emit({"cells": cells, "positions": positions, "differences": differences})
    elif differences:
        console().print(table("memory is not the sum of the log", ("key", "field", "log", "memory"), (
            (d.key, d.field, _number(d.expected), _number(d.found)) for d in differences[:50])))
    else:
        console().print(f"{store.namespace}: {cells:,} cells, the sum of the log", markup=False)
    if differences:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds the commands, each with its example."""
    for name, function, example in (
        ("undo", undo, "undo c-0f3a91c2d4e5b6a7 --config medical.yaml"),
        ("forget", forget, "forget note-17 --yes --config medical.yaml"),
        ("import", import_, "import hpo --label disease --config medical.yaml"),
        ("export", export, "export memory.jsonl.zst --config medical.yaml"),
        ("rebuild", rebuild, "rebuild --config medical.yaml"),
    ):
        app.command(name, epilog=f"Example:  engram memory {example}")(function)


def _ledger(settings: Config) -> Ledger:
    from pipelines import session
    from pipelines.commit_log import settle_segment_size
    from pipelines.ledger import Ledger

    storage, store = session.open_both(settings, patience_s=PATIENCE_S)
    settle_segment_size(storage, settings.tables.segment)
    return Ledger(storage, store)


def _domain(settings: Config) -> Domain:
    from kie_ops.domain import Domain

    return Domain.load(settings.domain)


def place_of(text: str) -> Place:
    from kie_ops.records import Place

    stream, _, rest = text.partition("/") if text.count("/") == 2 else ("", "", "")
    partition, _, offset = rest.partition("/")
    if not stream or not partition.isdecimal() or not offset.isdecimal():
        raise typer.BadParameter(f"{text!r} is not STREAM/PARTITION/OFFSET", param_hint="--place")
    return Place(stream, int(partition), int(offset))


def _lines(file: str, form: str = NEXT) -> Iterator[dict[str, Any]]:
    from pipelines.commands.extract import read_text

    for number, line in enumerate(read_text(file).splitlines(), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as e:
                raise InputError(f"not JSON: {e}", where=f"{file}, line {number}", next_step=form) from None


def _contributions(settings: Config, source: Source, scheme: str | None) -> Iterator[Contribution]:
    assert source.path is not None
    if not source.path.is_file():
        raise InputError("a folder cannot be imported" if source.path.is_dir() else "no such file",
                         where=str(source.path), next_step="check the path")
    if source.kind == "memory":
        from memory_store import dump

        yield dump.contribution(source.path, source.path.name)
        return
    from kie_ops import dataset, priming

    domain = _domain(settings)
    if scheme is None or scheme not in domain.schemes:
        raise typer.BadParameter(f"one of {', '.join(domain.schemes)}", param_hint="--scheme")
    yield from priming.training([dataset.merged(e, domain) for e in dataset.load(source.path, scheme)])


def _print_terms(about: dict[str, Any]) -> None:
    left = ", ".join(f"{n:,} {reason}" for reason, n in about["left_out"].items())
    systems = ", ".join(about["systems"]) or "no concepts"
    console().print(f"{about['names']:,} names of {about['terms']:,} terms ({systems}); left out: "
                    f"{sum(about['left_out'].values()):,}{f' ({left})' if left else ''}", markup=False)


def _number(value: int | bytes | None) -> object:
    return "vector" if isinstance(value, bytes) else value
