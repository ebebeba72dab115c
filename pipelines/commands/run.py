"""``engram run``: the live job."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import ConfigArgument, JsonOption, SetOption, load_config
from pipelines.commands.serving import serve

EXAMPLE = "Example:  engram run medical.yaml --set source.topic=notes --set run.metrics_port=9464"


def command(
    config: ConfigArgument,
    until_idle: Annotated[
        float | None, typer.Option(min=0.1, metavar="SECONDS", help="Ends when nothing arrived for so long.")
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reads the configured topic into tables until it is interrupted; start it again at any time.

    The commit log is the position: nothing is lost and nothing doubled, however it ended.
    """
    serve(load_config(config, overrides, run__until_idle_s=until_idle), None, as_json=as_json)
