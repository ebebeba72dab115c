"""``engram backfill``: archives through the same graph."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import ConfigArgument, JsonOption, SetOption, load_config
from pipelines.commands.serving import serve

EXAMPLE = "Example:  engram backfill medical.yaml archive/ more.jsonl.gz --set tables.root=out"


def command(
    config: ConfigArgument,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files, folders or URLs.")],
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reads archives into tables: JSON Lines (.gz, .xz, .zst), Parquet, CSV, folders of text, exported topics.

    Can be interrupted and started again; it goes on where the log ends.
    """
    from pipelines import archive_feed

    settings = load_config(config, overrides)
    archive_feed.inputs(inputs)  # a wrong path is said before the model is loaded
    serve(settings, inputs, as_json=as_json)
