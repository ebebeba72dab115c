"""The progress line says what the metrics say, once more at the end, and never gets in the way of the work."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from rich.console import Console

from pipelines import logs
from pipelines.metrics import Snapshot
from pipelines.progress import Progress


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def snapshots(*documents: int) -> Iterator[Snapshot]:
    """The last one for ever."""
    for n in documents:
        yield Snapshot(n, 2, 10 * n, 40, 500, 3 * 2**20)
    while True:
        yield Snapshot(documents[-1], 2, 10 * documents[-1], 40, 500, 3 * 2**20)


def test_log_lines_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    logs.configure(json=True, stream=out)
    read, clock = snapshots(100, 180), iter([0.0, 8.0]).__next__
    with Progress(Console(file=io.StringIO()), what="x", read=read.__next__, clock=clock):
        pass
    (line,) = map(json.loads, out.getvalue().splitlines())
    assert (line["documents"], line["documents_per_s"], line["lag"], line["dead_letters"]) == (180, 10.0, 40, 2)
    assert (line["memory_cells"], line["resident_mb"]) == (500, 3)


def test_one_line_on_a_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    with Progress(console, what="x", read=snapshots(1_000, 3_000).__next__, clock=iter([0.0, *[2.0] * 99]).__next__):
        pass
    assert "3,000 documents · 1,000.0/s · lag 40 · 2 dead letters · 500 cells · 3 MB" in out.getvalue()


def test_an_error_of_the_work_goes_through() -> None:
    with pytest.raises(ZeroDivisionError), Progress(None, read=snapshots(0).__next__):
        raise ZeroDivisionError
