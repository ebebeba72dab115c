"""``engram extract``: read one document, with no pipeline around it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kie_ops.errors import InputError
from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config, table

if TYPE_CHECKING:
    from rich.console import Console

    from kie_ops.extractor import Extractor
    from kie_ops.records import Evidence, Reading
    from pipelines.config import Config

PATIENCE_S = 5.0
EXAMPLE = "Example:  echo 'Aspirin caused a rash.' | engram extract - --domain medical --json"


def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Text file in UTF-8, or - for input.")],
    domain: Annotated[str | None, typer.Option(help="Shipped domain, or the folder of a trained one.")] = None,
    no_memory: Annotated[bool, typer.Option("--no-memory", help="What the text alone says.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows the entities, relations and events of a text, with the weight of memory and its evidence.

    Without --config the memory is the one the domain ships with; with it, the configuration's live memory is read
    (and never written).
    """
    settings = load_config(config, overrides, domain=domain)
    text = read_text(file)
    extractor = _extractor(settings, live=config is not None, no_memory=no_memory)
    reading = extractor.extract(text, doc_id="-" if file == "-" else Path(file).name)
    if as_json:
        emit(_json(reading, extractor))
    else:
        show(reading, console())


def read_text(file: str) -> str:
    """The text of `file`, ``-`` for standard input.  InputError where there is none, or it is not UTF-8."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except FileNotFoundError:
        raise InputError("no such file", where=file, next_step="check the path, or - for standard input") from None
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", where=file,
                         next_step="give a file, or - for standard input") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise InputError(f"not UTF-8: byte {e.start} is not part of a character", where=file,
                         next_step="convert it, for instance with iconv -t utf-8") from None
    if not text.strip():
        raise InputError("there is no text", where=file)
    return text


def _extractor(settings: Config, *, live: bool, no_memory: bool) -> Extractor:
    from pipelines import session

    if no_memory:
        from kie_ops.frozen_memory import FrozenMemory

        return session.open_extractor(settings, FrozenMemory({}))
    return session.open_extractor(settings, session.open_store(settings, patience_s=PATIENCE_S) if live else None)


def show(reading: Reading, out: Console) -> None:
    out.print(table(
        "entities", ("start", "end", "text", "label", "score", "text alone", "w_s", "concept", "evidence"),
        ((m.start, m.end, m.text, m.label, m.score, m.text_score, m.soft_weight, m.concept, evidence(m.evidence))
         for m in reading.mentions),
    ))
    surface = {m.mention_id: m.text for m in reading.mentions}
    if reading.relations:
        out.print(table(
            "relations", ("head", "label", "tail", "score", "evidence"),
            ((surface.get(r.head, r.head), r.label, surface.get(r.tail, r.tail), r.score, evidence(r.evidence))
             for r in reading.relations),
        ))
    if reading.events:
        out.print(table(
            "events", ("trigger", "label", "score", "arguments", "attributes"),
            ((e.trigger, e.label, e.score, "; ".join(f"{a.role}: {a.text}" for a in e.arguments),
              ", ".join(f"{k}={v}" for k, v in e.attributes.items())) for e in reading.events),
        ))


def evidence(found: Sequence[Evidence]) -> str:
    """``training 12 × Chemical; self 3 × none``."""
    return "; ".join(f"{e.source} {e.count} × {e.label or e.outcome}" for e in found)


def _json(reading: Reading, extractor: Extractor) -> dict:
    document = reading.document
    return {
        "doc_id": document.doc_id, "characters": len(document.text), "characters_read": reading.characters_read,
        "windows": reading.windows, "domain": extractor.domain, "model_version": extractor.version,
        "entities": reading.mentions, "relations": reading.relations, "events": reading.events,
    }
