"""``engram archive``: a topic as files."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config

EXAMPLE = "Example:  engram archive notes archive/ --config medical.yaml"


def command(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Topic to export.", show_default=False)],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder or URL to write to.", show_default=False)],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exports a Kafka topic with identity, offsets, timestamps, keys and headers; backfill adopts them."""
    from pipelines import archive

    settings = load_config(config, overrides, source__topic=topic)
    written = archive.export(settings.source, out)
    if as_json:
        emit(written)
    else:
        console().print(written)
