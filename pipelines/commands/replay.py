"""``engram replay``: read again what was read, with the memory it was read with."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import ConfigArgument, JsonOption, SetOption, console, emit, load_config

EXAMPLE = "Example:  engram replay medical.yaml --recorded --input archive/ --out replayed/"


def command(
    config: ConfigArgument,
    recorded: Annotated[bool, typer.Option("--recorded", help="With each transaction's recorded view.")] = False,
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="Where to write the tables read again.")] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reads every transaction again with its recorded view of memory, and compares the bytes."""
    from pipelines import recovery

    if not recorded:
        raise typer.BadParameter("say --recorded: the only kind of replay there is", param_hint="--recorded")
    result = recovery.replay(load_config(config, overrides), out)  # type: ignore[call-arg]
    if as_json:
        emit(result)
    else:
        console().print(result)
