"""``engram replay-dead-letters``: put back what could not be read, once the cause is mended."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.memory_write import place_of
from pipelines.commands.options import ConfigArgument, JsonOption, SetOption, console, emit, load_config, table

EXAMPLE = "Example:  engram replay-dead-letters medical.yaml --reason too_large"


def command(
    config: ConfigArgument,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason.")] = None,
    places: Annotated[list[str] | None, typer.Option(
        "--place", metavar="STREAM/PARTITION/OFFSET", help="Only this one.  Repeatable.")] = None,
    out: Annotated[str | None, typer.Option(help="Into a new archive there; default: the topic.")] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Puts dead letters back as they were received, each once, however often this is called."""
    settings = load_config(config, overrides)
    wanted = [place_of(text) for text in places] if places else None
    from pipelines import dead_letter_replay

    with console(stderr=True).status("0 dead letters") as status:
        done = dead_letter_replay.replay(
            settings, reason=reason, places=wanted, out=out,
            progress=lambda letters: status.update(f"{letters:,} dead letters"))
    if as_json:
        emit(done)
        return
    console().print(f"{done.put:,} put back to {done.target}, {done.before:,} were before", markup=False)
    if done.reasons:
        console().print(table("put back", ("reason", "records"), sorted(done.reasons.items())))
