"""``engram demo``: from nothing to a first query, with nothing installed but this package."""

from __future__ import annotations

import typer

from pipelines.commands.options import JsonOption, console

EXAMPLE = "Example:  engram demo"


def command(as_json: JsonOption = False) -> None:
    """Sends documents through a broker, the graph, memory and Parquet, teaches a correction, and shows what changed.

    Needs neither Kafka nor Redis: an embedded broker and an embedded memory are started and ended again.
    """
    from pipelines.demo import run

    code = run(console(stderr=as_json), as_json)
    if code:
        raise typer.Exit(code)
