"""``engram train``: a domain from a user's own data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.commands.options import JsonOption, console, emit, table

if TYPE_CHECKING:
    from kie_ops.domain import Domain
    from kie_ops.training.loop import Outcome

EXAMPLE = "Example:  engram train mydomain --data labelled/ --epochs 8 --out runs/mydomain"


def command(
    domain: Annotated[str, typer.Argument(
        metavar="DOMAIN", help="Shipped domain, the folder of one, or a new name.", show_default=False)],
    data: Annotated[Path, typer.Option(
        help="Folder with train.jsonl (and dev.jsonl), or with such a folder a scheme.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/DOMAIN.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    method: Annotated[Literal["full", "lora", "adalora", "prefix", "frozen"], typer.Option(
        help="Trained: all weights, low-rank changes, keys and values before each layer, or heads only.")] = "full",
    start: Annotated[Path | None, typer.Option(
        metavar="FOLDER", help="Trained domain with the same labels to begin from.", show_default=False)] = None,
    parts: Annotated[Literal["train", "train,dev"], typer.Option(
        help="Data to train on; with dev, the gate is fitted to --tagger's readings.")] = "train",
    tagger: Annotated[Path | None, typer.Option(
        metavar="FOLDER", help="Domain that has not seen dev, for the gate; default with dev: --start.",
        show_default=False)] = None,
    mask: Annotated[float, typer.Option(min=0, max=0.9, help="Share of tokens hidden in training.")] = 0.1,
    rate: Annotated[float, typer.Option(min=0, help="Learning rate of the encoder's top layer.")] = 3e-4,
    head_rate: Annotated[float, typer.Option(min=0, help="Of the heads, low-rank changes and prefixes.")] = 1e-3,
    resume: Annotated[bool, typer.Option("--resume/--anew", help="Go on from the run folder's checkpoint.")] = True,
    seed: Annotated[int, typer.Option()] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Torch threads; default: all cores.")] = None,
    wandb: Annotated[str | None, typer.Option(metavar="PROJECT", help="Also logs to Weights & Biases.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Trains a model on JSON Lines with labels, fits its gate, and builds the memory it ships.

    Ctrl-C saves; the same command goes on where it stopped.  A new name becomes a domain of its own with the labels
    found in the data.  The run folder is a domain that every command takes; it also holds the loss curve, TensorBoard
    events and a checkpoint.
    """
    from kie_ops.training import loop as training
    from kie_ops.training.methods import Method

    chosen = tuple(parts.split(","))
    reader = _tagger(chosen, tagger, start)
    settings = training.Settings(epochs=epochs, seed=seed, mask=mask, rate=rate, head_rate=head_rate)
    folder = out or Path("runs") / Path(domain).name
    outcome = training.train(
        _domain(domain, data), data, folder, settings=settings, resume=resume, threads=threads, quiet=as_json,
        wandb=wandb, parts=chosen, start=start, method=Method(method),
    )
    cells = _finish(folder, data, seed, reader, chosen) if outcome.finished else None
    if as_json:
        emit({**_plain(outcome), "folder": str(folder), "memory_cells": cells})
    else:
        _show(outcome, folder)
    if not outcome.finished:
        console(stderr=True).print("interrupted: the same command goes on from here")
        raise typer.Exit(130)


def _show(outcome: Outcome, folder: Path) -> None:
    say = console()
    say.print(table("dev, strict F1 in percent", ("scheme", "F1"),
                    ((name, f"{100 * f1:.1f}") for name, f1 in sorted(outcome.scores.items()))))
    say.print(f"{outcome.step} of {outcome.steps} steps; the domain is in {folder}; "
              f"see the curves with: tensorboard --logdir {folder}", markup=False)


def _tagger(parts: Sequence[str], tagger: Path | None, start: Path | None) -> Path | None:
    """Whose readings of dev the gate is fitted to; none: the trained domain's own."""
    from kie_ops.errors import ConfigError

    if tagger is None and "dev" in parts:
        if start is None or not start.is_dir():
            raise ConfigError("training on dev leaves nothing to fit the gate to",
                              next_step="give --tagger (or --start) with the folder of a run on train alone")
        return start
    return tagger


def _finish(folder: Path, data: Path, seed: int, tagger: Path | None, parts: Sequence[str]) -> int:
    """Gate and shipped memory of a trained domain; the memory's cells."""
    from kie_ops import frozen_memory
    from kie_ops.domain import Domain
    from kie_ops.extractor import GATE, MEMORY
    from kie_ops.training import gate as gate_training

    gate, cells = gate_training.fit(Domain.load(folder), data, seed=seed, memory_parts=parts,
                                    tagger=Domain.load(tagger) if tagger else None)
    gate.save(folder / GATE)
    return frozen_memory.write(cells.values(), folder / MEMORY)


def _domain(name: str, data: Path) -> Domain:
    """The domain of that name or folder; else a new one with the labels of the data."""
    from kie_ops import dataset
    from kie_ops.domain import Domain, shipped

    if name in shipped() or (Path(name) / "domain.json").is_file():
        return Domain.load(name)
    return dataset.derive(Path(name).name, dataset.load(data / "train.jsonl" if data.is_dir() else data, name))


def _plain(outcome: object) -> dict:
    import dataclasses

    return {f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)}  # type: ignore[arg-type]
