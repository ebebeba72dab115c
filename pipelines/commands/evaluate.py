"""``engram evaluate``: strict scores with memory off, a dictionary, and memory on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import console

EXAMPLE = "Example:  engram evaluate medical --data test.jsonl"


def command(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", show_default=False)],
    data: Annotated[list[Path], typer.Option("--data", help="JSON Lines with labels.", show_default=False)],
) -> None:
    """Scores."""
    console().print(domain)
