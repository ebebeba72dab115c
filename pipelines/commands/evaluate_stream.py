"""``engram evaluate-stream``: scores along a stream whose documents are reviewed after they were predicted."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kie_ops.errors import InputError
from pipelines.commands.options import JsonOption, console, emit, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kie_ops.evaluation.attacks import Attack
    from kie_ops.evaluation.stream_data import Source
    from kie_ops.evaluation.stream_study import Arm, Study
    from kie_ops.evaluation.streams import Plan
    from kie_ops.evaluation.study_tables import Row
    from kie_ops.extractor import Extractor

EXAMPLE = "Example:  engram evaluate-stream medical --data bc5cdr=labelled/bc5cdr --reviewed 0.3 --plots out/"

DataOption = Annotated[str, typer.Option(
    "--data", metavar="SCHEME=PATH", help="Folder of one set, or one JSON Lines file; SCHEME is the domain's, or "
    "any other name for labels that were never trained.")]
DevOption = Annotated[Path | None, typer.Option(
    help="File to find settings on; else the set's dev part, else a fifth of the documents, which is not scored.")]
MapOption = Annotated[list[str] | None, typer.Option(
    "--map", metavar="THEIRS:OURS", help="Label of the data as one of the scheme; others are left out.")]
MemoryOption = Annotated[list[str] | None, typer.Option(
    help="training (what the domain ships), none, or an exported file.  Repeatable.")]
VocabularyOption = Annotated[list[str] | None, typer.Option(
    metavar="NAME[:LABEL]", help="Vocabulary, or file of terms, as for `engram memory import`; scored with and "
    "without.  Repeatable.")]
OrdersOption = Annotated[int, typer.Option(
    min=1, help="Orders of arrival, each with its own reviews: seeds 0, 1, ...; 0 is the file's order.")]
AttackOption = Annotated[Literal["random", "systematic", "boundary", "common-words"] | None, typer.Option(
    help="Adds a stream with wrong reviewers.")]
PrecisionOption = Annotated[float | None, typer.Option(
    min=0, max=1, help="Adds memory on from the score with this precision on dev, by label.")]


def command(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Shipped domain, or the folder of a trained one.")],
    data: DataOption,
    split: Annotated[Literal["train", "dev", "test"], typer.Option(help="Part of the set to stream.")] = "test",
    dev: DevOption = None,
    mapping: MapOption = None,
    memory: MemoryOption = None,
    vocabulary: VocabularyOption = None,
    reviewed: Annotated[float, typer.Option(min=0, max=1, help="Share of past documents reviewed whole.")] = 0.0,
    delay: Annotated[int, typer.Option(min=0, help="Documents until a review is in force.")] = 0,
    orders: OrdersOption = 10,
    own: Annotated[bool, typer.Option("--own/--no-own", help="Whether documents write themselves.")] = True,
    attack: AttackOption = None,
    wrong: Annotated[float, typer.Option(min=0, max=1, help="Share of a wrong reviewer's labels.")] = 0.1,
    precision: PrecisionOption = None,
    documents: Annotated[int | None, typer.Option(min=2, help="At most so many, of stream and dev each.")] = None,
    readings: Annotated[Path | None, typer.Option(help="Folder that keeps encoded documents for next time.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for learning curves and reliability (PNG).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Prints strict F1 of spans with memory off, a strong dictionary and memory on, for the whole stream and its
    second half, with paired 95 % intervals over documents and the spread over orders.

    Labels enter memory only by reviews of documents that were predicted before.
    """
    from kie_ops.evaluation import plots as drawing, stream_data, study_tables
    from kie_ops.evaluation.attacks import Attack
    from kie_ops.evaluation.streams import Plan
    from kie_ops.extractor import Extractor

    scheme, equals, path = data.partition("=")
    if not equals:
        scheme, path = Path(data).stem if Path(data).is_file() else Path(data).name, data
    extractor = Extractor.load(domain)
    found = stream_data.source(scheme, Path(path), extractor.definition, split=split, dev=dev, mapping=_map(mapping),
                               limit=documents)
    settings = _Settings(Plan(reviewed, delay, own), memory or [stream_data.TRAINING], vocabulary or [],
                         Attack(attack, wrong) if attack else None, orders, precision, readings)
    made, arms = _studied(extractor, found, settings)
    if plots is not None:
        drawing.write(made, study_tables.believed(made), plots)
    rows = study_tables.rows(made)
    if as_json:
        emit(study_tables.as_json(made, rows) | {"kept": _kept(made, arms, attack)})
    else:
        show(made, rows)
        for name, left in _kept(made, arms, attack).items():
            console().print(f"{name}: {json.dumps(study_tables.rounded(left))}")


@dataclass(frozen=True)
class _Settings:
    """What a study is made with; `memory` and `vocabulary` are names and files."""

    plan: Plan
    memory: Sequence[str]
    vocabulary: Sequence[str]
    attack: Attack | None
    orders: int
    precision: float | None
    readings: Path | None


def _studied(extractor: Extractor, found: Source, settings: _Settings) -> tuple[Study, list[Arm]]:
    """The study, with progress on standard error, and its arms: clean ones, then those with wrong reviewers."""
    from kie_ops.evaluation import stream_data, streams
    from kie_ops.evaluation.stream_study import Arm, study

    labels = sorted({s.label for e in (*found.stream, *found.dev) for s in e.spans})
    with console(stderr=True).status("reading") as status:
        stream, held = (
            streams.open_stream(extractor, some, folder=settings.readings, labels=labels,
                                progress=lambda done, of: status.update(f"encoding: {done:,} of {of:,} documents"))
            for some in (found.stream, found.dev)
        )
        base = stream_data.memory(extractor, settings.memory)
        arms = [Arm("+".join(Path(m).name for m in settings.memory), base, settings.plan)]
        if settings.vocabulary:
            arms.append(Arm(f"{arms[0].name}+vocabulary",
                            stream_data.with_vocabulary(base, stream.domain, settings.vocabulary), settings.plan))
        if settings.attack is not None:
            spoilt = replace(settings.plan, attack=settings.attack)
            arms += [Arm(f"{a.name}, {settings.attack.kind}", a.memory, spoilt) for a in arms]
        made = study(stream, held, arms, orders=settings.orders, precision=settings.precision,
                     progress=lambda arm, done, of: status.update(f"{arm}: {done} of {of} orders"))
    return made, arms


def _map(items: Sequence[str] | None) -> dict[str, str] | None:
    pairs = [item.partition(":") for item in items or ()]
    for theirs, colon, ours in pairs:
        if not (theirs and colon and ours):
            raise InputError(f"{theirs}{colon}{ours} is no mapping", next_step="write THEIRS:OURS")
    return {theirs: ours for theirs, _, ours in pairs} or None


def _kept(made: Study, arms: Sequence[Arm], attack: str | None) -> dict[str, Any]:
    from kie_ops.evaluation.study_tables import PARTS, kept

    half = len(arms) // 2
    if attack is None:
        return {}
    return {f"{wrong.name}, {part}": kept(made, clean.name, wrong.name, part=part)
            for clean, wrong in zip(arms[:half], arms[half:], strict=True) for part in PARTS}


def show(made: Study, rows: Sequence[Row]) -> None:
    """The tables of a study, whole stream and second half, and its calibration."""
    from kie_ops.evaluation.study_tables import HEADER, PARTS, believed, cells

    out = console()
    for part in PARTS:
        out.print(table(
            f"{made.scheme} ({', '.join(made.labels)}): {made.documents:,} documents, {part}, strict, in percent; "
            f"settings from {made.dev_documents:,} dev documents; {len(made.seeds)} orders", HEADER,
            (cells(row) for row in rows if row.part == part),
        ))
    for name, r in believed(made).items():
        out.print(f"{name}: calibration error {100 * r.error:.1f}, of a perfect one with these scores "
                  f"{100 * r.floor:.1f}")
