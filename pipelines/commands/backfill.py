"""``engram backfill``: archives through the same graph."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import ConfigArgument, SetOption, console, load_config

EXAMPLE = "Example:  engram backfill medical.yaml archive/ more.jsonl.gz --set tables.root=out"


def command(
    config: ConfigArgument,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files, folders or URLs.")],
    overrides: SetOption = None,
) -> None:
    """Reads archives into tables: JSON Lines (.gz, .xz, .zst), Parquet, CSV, folders of text, exported topics.

    Can be interrupted and started again; it goes on where the log ends.
    """
    from pipelines import local_runner

    settings = load_config(config, overrides)
    local_runner.run(settings, inputs)
    console(stderr=True).print("done")
