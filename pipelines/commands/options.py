"""What the commands share: their common options, and how they print.

Results go to standard output, everything said about the work to standard error, so that ``--json`` can be piped.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.config import Config

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration (YAML).", show_default=False)]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="CONFIG", help="Configuration (YAML); else defaults and environment."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Overrides a setting: --set source.topic=notes.  Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Prints JSON instead of text.")]


def load_config(path: Path | None, overrides: Sequence[str] | None = None, **settings: Any) -> Config:
    """The configuration at `path` with ``a.b=value`` overrides; `settings` (dots as ``__``) win over both."""
    from pipelines import config

    return config.load(path, {**parse_overrides(overrides), **{k.replace("__", "."): v for k, v in settings.items()}})


def parse_overrides(overrides: Sequence[str] | None) -> dict[str, Any]:
    """``["a.b=3"]`` as ``{"a.b": 3}``; values are YAML.  A usage error where there is no name or no ``=``."""
    import yaml

    out: dict[str, Any] = {}
    for item in overrides or ():
        name, equals, value = item.partition("=")
        if not equals or not name.strip() or not all(name.split(".")):
            raise typer.BadParameter(f"{item!r} is not NAME=VALUE", param_hint="--set")
        try:
            out[name.strip()] = yaml.safe_load(value) if value else ""
        except yaml.YAMLError:
            raise typer.BadParameter(f"{value!r} is not a value", param_hint="--set") from None
    return out


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    out = Console(stderr=stderr, highlight=False)
    if not out.is_terminal:
        out.width = 200  # nobody wraps a pipe's lines by hand
    return out


def emit(data: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(plain(data), ensure_ascii=False, indent=2, sort_keys=False) + "\n")


def plain(value: Any) -> Any:
    """Records, mappings and sequences as what JSON knows; bytes as hexadecimal digits."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Iterable):
        return [plain(v) for v in value]
    return str(value)


def shown(text: str) -> str:
    """`text` for a terminal: control and direction characters, which could move or hide things, as ``\\x1b``."""
    return "".join(
        c if unicodedata.category(c) not in ("Cc", "Cf", "Cs") or c == "\u200d" else ascii(c)[1:-1]
        for c in text.replace("\n", " ")
    )


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A rich table whose cells are plain text, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = set(range(len(columns)))
    cells = [list(row) for row in rows]
    for row in cells:
        numbers -= {i for i, cell in enumerate(row) if not isinstance(cell, int | float)}
    for i, name in enumerate(columns):
        out.add_column(name, justify="right" if cells and i in numbers else "left", overflow="fold")
    for row in cells:
        out.add_row(*(Text(_cell(cell)) for cell in row))
    return out


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return shown(str(value))
