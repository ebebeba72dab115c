"""``engram report``: the tables as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config

EXAMPLE = "Example:  engram report report.html --config medical.yaml --input archive/ --documents 50"


def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="HTML file to write.", show_default=False)],
    config: ConfigOption = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "--archive", metavar="PATH", help="Archive or input with the texts.  Repeatable."),
    ] = None,
    topic: Annotated[bool, typer.Option("--topic", help="Takes the texts from the configuration's topic.")] = False,
    documents: Annotated[int, typer.Option(min=1, help="Documents on the page.")] = 50,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Writes one self-contained page: documents with highlighted mentions, relations, events, the memory behind each.

    Tables hold no document text, so the texts come from --input files or the topic, matched by place, else by
    document id; without them the page shows rows only.
    """
    from pipelines import report

    written = report.write(load_config(config, overrides), out, inputs or (), documents=documents, topic=topic)
    if as_json:
        emit(written)
    else:
        console().print(f"{out}: {written.documents:,} documents, {written.with_text:,} with their text")
