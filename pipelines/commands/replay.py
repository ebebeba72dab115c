"""``engram replay``: read again what was read, with the memory it was read with."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import ConfigArgument, JsonOption, SetOption, console, emit, load_config, table

if TYPE_CHECKING:
    from pipelines.config import Config
    from pipelines.replay import OpenFeed

EXAMPLE = "Example:  engram replay medical.yaml --recorded --input archive/ --out replayed/"


def command(
    config: ConfigArgument,
    recorded: Annotated[bool, typer.Option(
        "--recorded", help="With each transaction's recorded view of memory (the only kind there is so far).")] = False,
    out: Annotated[str | None, typer.Option(help="Empty folder or URL for the tables; default: not kept.")] = None,
    inputs: Annotated[list[str] | None, typer.Option(
        "--input", metavar="PATH", help="Archive with the records; default: the topic.  Repeatable.")] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reads every transaction again with its recorded view of memory, and compares the tables byte for byte.

    Exit code 1 where they differ.
    """
    if not recorded:
        raise typer.BadParameter("say with which memory: --recorded", param_hint="--recorded")
    settings = load_config(config, overrides)
    feeds = _feeds(settings, inputs)
    from pipelines import replay, session
    from pipelines.storage import open_storage

    extractor, say = session.open_extractor(settings), console(stderr=True)
    with (nullcontext(out) if out else tempfile.TemporaryDirectory(prefix="engram-replay-")) as root, \
            say.status("0 documents") as status:
        result = replay.replay_recorded(
            settings, extractor, session.open_tables(settings), feeds, open_storage(root, settings.tables.options),
            lambda documents: status.update(f"{documents:,} documents"),
        )
    if as_json:
        emit({**{name: getattr(result, name) for name in result.__dataclass_fields__}, "same": not result.different})
    else:
        seen = console()
        seen.print(f"{result.transactions:,} transactions with {result.documents:,} documents and "
                   f"{result.dead_letters:,} dead letters read again: "
                   f"{'other bytes' if result.different else 'the same bytes'}")
        if result.different:
            seen.print(table("files that differ", ("file",), ((name,) for name in result.different[:50])))
        if result.inexact:
            seen.print(f"{len(result.inexact):,} of them saw documents that were erased since, and may differ")
    if result.different:
        raise typer.Exit(1)


def _feeds(settings: Config, inputs: list[str] | None) -> OpenFeed:
    if not inputs:
        from pipelines.kafka_feed import KafkaFeed

        source = settings.source.model_copy(update={"start": "earliest"})
        return partial(KafkaFeed, source)
    from pipelines import archive_feed

    sources = archive_feed.inputs(inputs)
    if len(sources) > 1:
        raise typer.BadParameter("one archive or one set of files at a time", param_hint="--input")
    return partial(archive_feed.ArchiveFeed, sources[0], settings.source.format)
