"""What ``run`` and ``backfill`` share: the local runner with a progress line, and a summary at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import typer

from kie_ops.errors import ConfigError
from pipelines.commands.options import console, emit, table

if TYPE_CHECKING:
    from pipelines.config import Config

INTERRUPTED = 130


def serve(settings: Config, inputs: Sequence[str] | None, *, as_json: bool) -> None:
    """Runs until the input's end or a signal; then says what was read.  Exit code 130 after a signal."""
    if settings.run.runner != "local":
        raise ConfigError(
            f"run.runner = {settings.run.runner} is not run by this command", where="run.runner",
            next_step="set it to local; the graph for a cluster is pipelines.graph.build",
        )
    from kie_ops.domain import Domain
    from pipelines import local_runner
    from pipelines.metrics import METRICS
    from pipelines.progress import Progress

    Domain.load(settings.domain)  # said before a service is waited for
    stop, began, before, first = threading.Event(), time.monotonic(), _ends(settings), METRICS.snapshot()
    one = settings.source.shards == 1  # otherwise each shard is a process with numbers of its own
    with Progress(console(stderr=True), what=settings.domain_name) if one else nullcontext():
        local_runner.run(settings, inputs, stop)
    now, after = METRICS.snapshot(), _ends(settings)
    summary: dict[str, Any] = {
        "seconds": round(time.monotonic() - began, 1), "interrupted": stop.is_set(),
        "positions": {chain: {"from": before.get(chain), "to": end} for chain, end in after.items()},
    }
    if one:
        counted = ("documents", "dead_letters", "characters")
        summary |= {name: getattr(now, name) - getattr(first, name) for name in counted}
    _tell(summary, as_json)
    if stop.is_set():
        raise typer.Exit(INTERRUPTED)


def _ends(settings: Config) -> dict[str, int]:
    """The log's end by chain."""
    from pipelines import session
    from pipelines.commit_log import Log, chains

    storage = session.open_tables(settings)
    return {log.chain: log.end() for log in (Log(storage, *chain) for chain in chains(storage))}


def _tell(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit(summary)
        return
    out = console()
    if "documents" in summary:
        out.print(f"{summary['documents']:,} documents, {summary['dead_letters']:,} dead letters, "
                  f"{summary['characters']:,} characters in {summary['seconds']:,} s")
    out.print(table("the log", ("stream", "from", "to"), (
        (chain, "new" if at["from"] is None else at["from"], at["to"]) for chain, at in summary["positions"].items()
    )))
    if summary["interrupted"]:
        console(stderr=True).print("stopped; nothing is lost: start it again at any time")
