"""``engram memory conflicts``: the names that sources contradict each other about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config, table

if TYPE_CHECKING:
    from kie_ops.gate import Gate
    from pipelines.config import Config
    from pipelines.conflicts import Dispute

EXAMPLE = "Example:  engram memory conflicts --limit 50 --config medical.yaml"
PATIENCE_S = 5.0


def conflicts(
    limit: Annotated[int, typer.Option(min=1, help="Names to show.")] = 20,
    label: Annotated[str | None, typer.Option(help="Only where a side says this type, or `none`.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lists the names that sources contradict each other about, the hardest fought over first: who says what, who wins.

    Looks through the whole memory; workers may go on meanwhile.
    """
    from pipelines import conflicts as disputing, session

    settings = load_config(config, overrides)
    _, store = session.open_both(settings, patience_s=PATIENCE_S)
    with console(stderr=True).status("looking through memory"):
        found = disputing.strongest(store.by_age(), limit, gate_of(settings), label)
    if as_json:
        emit([{**_plain(d), "winner": d.winner} for d in found])
    elif found:
        print_disputes(found)
    else:
        console().print("no sources contradict each other" + (f" about {label}" if label else ""), markup=False)


def gate_of(settings: Config) -> Gate | None:
    """The domain's gate, which says which side wins; None where there is no such domain here."""
    from kie_ops.domain import Domain
    from kie_ops.errors import ModelError
    from kie_ops.gate import Gate

    try:
        return Gate.load(Path(Domain.load(settings.domain).folder or ".") / "gate.json")
    except ModelError:
        return None


def print_disputes(found: Sequence[Dispute]) -> None:
    from pipelines.commands.memory import readable

    if found:
        console().print(table(
            "contradictions", ("name", "scheme", "wins", "memory alone", "who says so", "against it"),
            ((readable(d.key), d.scheme, d.winner, f"{d.sides[0].probability:.0%}", _said(d.sides[:1]),
              _said(d.sides[1:])) for d in found),
        ))


def _said(sides: Sequence[Any]) -> str:
    return "; ".join(
        f"{v.source} {v.count:,} × {v.label}" + (f" ({v.example})" if v.example else "")
        for side in sides for v in side.voices
    )


def _plain(dispute: Dispute) -> dict[str, Any]:
    from pipelines.commands.options import plain

    found: dict[str, Any] = plain(dispute)
    return found
