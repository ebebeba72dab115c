"""``engram archive``: a topic as files."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config, table

EXAMPLE = "Example:  engram archive notes archive/ --config medical.yaml"


def command(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Topic to export.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder or URL to write to.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exports a Kafka topic with identity, offsets, timestamps, keys and headers; backfill adopts them."""
    settings = load_config(config, overrides, source__topic=topic, source__start="earliest")
    from pipelines import archive
    from pipelines.kafka_feed import KafkaFeed

    say = console(stderr=True)
    with closing(KafkaFeed(settings.source)) as feed, say.status(f"{topic}: 0 records") as status:
        written = archive.export(
            feed, topic, out, progress=lambda records: status.update(f"{topic}: {records:,} records"))
    if as_json:
        emit(written)
        return
    console().print(table(
        f"{out}: stream {written.stream}", ("partition", "from", "to", "records", "file"),
        ((str(p.partition), p.start, p.end, p.records, p.file) for p in written.partitions),
    ))
