"""``engram replay-dead-letters``: put back what could not be read, once the cause is mended."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import ConfigArgument, JsonOption, SetOption, console, emit, load_config

EXAMPLE = "Example:  engram replay-dead-letters medical.yaml --reason too_large"


def command(
    config: ConfigArgument,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason.")] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sends dead letters to their topic again, each once, and says how many."""
    from pipelines import dead_letter_replay

    result = dead_letter_replay.replay(load_config(config, overrides), reason=reason)
    if as_json:
        emit(result)
    else:
        console().print(result)
