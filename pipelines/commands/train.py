"""``engram train``: a domain from a user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import console

EXAMPLE = "Example:  engram train mydomain --data labelled/ --epochs 8"


def command(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", show_default=False)],
    data: Annotated[list[Path], typer.Option("--data", help="JSON Lines with labels.", show_default=False)],
) -> None:
    """Trains."""
    console().print(domain)
