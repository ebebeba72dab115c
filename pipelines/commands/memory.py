"""``engram memory``."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Looks into memory, teaches it, and takes things out again.")


@app.callback()
def _memory() -> None:
    pass


@app.command("stats")
def stats() -> None:
    pass
