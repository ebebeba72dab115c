"""``engram memory``: looks into memory.  What changes it stands in `memory_write`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands import memory_conflicts, memory_correct, memory_review, memory_write
from pipelines.commands.options import (
    ConfigOption,
    JsonOption,
    SetOption,
    console,
    emit,
    load_config,
    plain,
    shown,
    table,
)

if TYPE_CHECKING:
    from pipelines.config import Config
    from pipelines.lineage import Lineage
    from pipelines.queries import Knowledge, Origin, Why
    from pipelines.storage import Storage

PATIENCE_S = 5.0
app = typer.Typer(no_args_is_help=True, help="Looks into memory, teaches it, and takes things out again.")
app.command("correct", epilog=memory_correct.EXAMPLE)(memory_correct.correct)
app.command("review", epilog=memory_review.EXAMPLE)(memory_review.review)
memory_write.register(app)
app.command("conflicts", epilog=memory_conflicts.EXAMPLE)(memory_conflicts.conflicts)


@app.command("stats", epilog="Example:  engram memory stats --config medical.yaml")
def stats(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Shows how much is remembered, and how far each stream of the log is in it."""
    from pipelines import session

    settings = load_config(config, overrides)
    storage, store = session.open_both(settings, patience_s=PATIENCE_S)
    found, said = store.stats(), _said(storage)
    if as_json:
        emit({"namespace": store.namespace, **_fields(found), **said})
        return
    size = "" if found.bytes is None else f", about {found.bytes / 2**20:,.1f} MB"
    out = console()
    out.print(f"{store.namespace}: {found.cells:,} cells with {found.fields:,} counts{size}", markup=False)
    out.print(table("applied", ("stream", "up to"), sorted(found.positions.items())))
    out.print(f"{said['corrections']:,} corrections in force, {said['withdrawn']:,} taken back; imports: "
              f"{', '.join(said['imports']) or 'none'}; {said['erased']:,} documents erased", markup=False)


@app.command("show", epilog="Example:  engram memory show 'acute renal failure' --config medical.yaml")
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A name as it stands in text, or a key.")],
    limit: Annotated[int, typer.Option(min=0, help="Documents and corrections to name.")] = 10,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows what memory knows of a name: counts by source, sources that contradict each other, and who wrote them.

    Exit code 1 where memory knows nothing of it.
    """
    from pipelines import conflicts, lineage, queries, session
    from pipelines.commands.memory_conflicts import gate_of, print_disputes

    if not key.strip():
        raise typer.BadParameter("give a name", param_hint="KEY")
    settings = load_config(config, overrides)
    storage, store = session.open_both(settings, patience_s=PATIENCE_S)
    wanted = _keys(key)
    cells = store.recall(wanted).cells
    found = [queries.knowledge(cells[k]) for k in wanted if k in cells]
    disputes = [d for k in wanted if k in cells for d in conflicts.disputes(cells[k], gate_of(settings))]
    concepts = lineage.lineages(store, lineage.concepts_in(cells.values()))
    origins = queries.origins(queries.Tables(storage), [k.key for k in found]) if found else []
    if as_json:
        emit({"asked": key, "keys": wanted, "cells": found, "disputes": disputes, "concepts": concepts,
              "origins": origins[:limit], "origins_left_out": max(0, len(origins) - limit)})
    else:
        _print_knowledge(key, found, origins, limit)
        print_disputes(disputes)
        _print_concepts(concepts)
    if not found:
        raise typer.Exit(1)


@app.command("why", epilog="Example:  engram memory why 0f3a91c2d4e5b6a78899 --config medical.yaml")
def why(
    mention_id: Annotated[str, typer.Argument(metavar="MENTION_ID", help="Of the table entities.")],
    limit: Annotated[int, typer.Option(min=0, help="Documents and corrections to name for each evidence.")] = 10,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows why a mention is there: its score, the weights of text and memory, and who wrote the memories used."""
    from pipelines import queries, session

    settings = load_config(config, overrides)
    found = queries.why(queries.Tables(session.open_tables(settings)), mention_id, limit=limit)
    concepts = _lineages(settings, found.mention["concept"])
    if as_json:
        emit({**plain(found), "concepts": plain(concepts)})
    else:
        _print_why(found)
        _print_concepts(concepts)


def _lineages(settings: Config, concept: str | None) -> tuple[Lineage, ...]:
    """What memory knows of a mention's concept now; nothing where memory does not answer, as tables alone tell why."""
    from kie_ops.errors import ServiceError
    from pipelines import lineage, session

    if concept is None:
        return ()
    try:
        return lineage.lineages(session.open_both(settings, patience_s=PATIENCE_S)[1], [concept])
    except ServiceError as e:
        console(stderr=True).print(f"nothing of {concept}: {e}", markup=False)
        return ()


def _print_concepts(found: tuple[Lineage, ...]) -> None:
    if found:
        console().print(table("concepts", ("concept", "name", "code system", "above it"), (
            (c.concept, c.name, ", ".join(c.systems), c.path()) for c in found)))


def _said(storage: Storage) -> dict[str, Any]:
    """What people said so far."""
    from pipelines.ledger import CORRECTIONS, IMPORTS
    from pipelines.operations import Operations
    from pipelines.tombstones import Tombstones

    corrections, imports = Operations(storage, CORRECTIONS), Operations(storage, IMPORTS)
    return {
        "corrections": len(corrections.active()), "withdrawn": len(corrections.withdrawn()),
        "imports": sorted({str(e.meta["name"]) for e in imports.active().values()}),
        "erased": sum(1 for _ in Tombstones.load(storage)),
    }


def _keys(given: str) -> list[str]:
    """The key as given, of the name as it would stand in text, their back-off keys, and of a concept; each once."""
    from kie_ops import surface
    from kie_ops.memory import concept_key

    exact = [given, *([k] if (k := surface.key_of_text(given)) else [])]
    return list(dict.fromkeys([*exact, *(other for k in exact for other in surface.back_off(k)), concept_key(given)]))


def _fields(stats: Any) -> dict[str, Any]:
    import dataclasses

    return {f.name: getattr(stats, f.name) for f in dataclasses.fields(stats)}


def _print_knowledge(asked: str, found: list[Knowledge], origins: list[Origin], limit: int) -> None:
    out = console()
    if not found:
        console(stderr=True).print(f"memory knows nothing of {shown(asked)}", markup=False)
        return
    for cell in found:
        against = {(v.source, v.scheme): ", ".join(v.against) for v in cell.verdicts if v.against}
        out.print(table(
            readable(cell.key), ("source", "scheme", "outcome", "label", "count", "contradicted by"),
            ((c.source, c.scheme, c.outcome, c.label, c.count, against.get((c.source, c.scheme), ""))
             for c in cell.counts),
        ))
    _print_origins(origins[:limit], max(0, len(origins) - limit))


def _print_origins(origins: list[Origin] | tuple[Origin, ...], left_out: int) -> None:
    if origins:
        console().print(table(
            "written by", ("document or correction", "key", "source", "outcome", "label", "count"),
            ((o.origin, readable(o.key), o.source, o.outcome, o.label, o.count) for o in origins),
        ))
    if left_out:
        console().print(f"and {left_out:,} more (--limit)")


def _print_why(found: Why) -> None:
    out, m = console(), found.mention
    place = f"{m['stream']}/{m['partition']}/{m['offset']}"
    out.print(f"{shown(m['text'])}  is  {m['label']}  (characters {m['start']}-{m['end']} of {shown(m['doc_id'])}, "
              f"{place})", markup=False)
    out.print(table(
        "decision", ("score", "text alone", "w_s memory", "w_h text", "concept"),
        [(m["score"], m["text_score"], m["soft_weight"], found.hard_weight, m["concept"])],
    ))
    evidence = m["evidence"] or []
    if not evidence:
        out.print("no memory took part: the text alone decided")
        return
    out.print(table(
        "memories used", ("key", "source", "outcome", "label", "count", "example"),
        ((readable(e["key"]), e["source"], e["outcome"], e["label"], e["count"], e["example_doc"]) for e in evidence),
    ))
    _print_origins(found.origins, found.origins_left_out)
    if found.forgotten:
        out.print(f"{found.forgotten:,} counts are of documents forgotten or corrections undone since")


def readable(key: str) -> str:
    """A key with its separators as signs people can type: ``pair: a → b``, ``folded: name``."""
    from kie_ops.memory import PAIR_SEPARATOR

    parts = key.split(PAIR_SEPARATOR)
    return key if len(parts) == 1 else f"{parts[0]}: {' → '.join(parts[1:])}"
