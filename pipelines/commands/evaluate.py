"""``engram evaluate``: strict scores with memory off, a strong dictionary, and memory on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kie_ops.errors import InputError
from pipelines.commands.options import ConfigOption, JsonOption, SetOption, console, emit, load_config, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kie_ops.dataset import Example
    from kie_ops.domain import Domain
    from kie_ops.evaluation.standing import Report

PATIENCE_S = 5.0
EXAMPLE = "Example:  engram evaluate medical --data labelled/ --data ncbi-disease=more/test.jsonl"


def command(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="Shipped domain, or the folder of a trained one.")],
    data: Annotated[list[str], typer.Option(
        "--data", metavar="SET", help="Folder of sets, folder of one, or SCHEME=FILE.  Repeatable.")],
    split: Annotated[Literal["train", "dev", "test"], typer.Option(help="Part of the sets.")] = "test",
    documents: Annotated[int | None, typer.Option(min=1, help="At most so many of each set.")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prints strict F1 of spans, relations and events for each set, with 95 % intervals.

    Memory is the one the domain ships; with --config the configuration's live memory is read (and never written).
    """
    from kie_ops.domain import Domain
    from kie_ops.evaluation import standing as evaluation
    from pipelines import session

    settings = load_config(config, overrides, domain=domain)
    definition = Domain.load(settings.domain)
    examples = {s: e[:documents] for s, e in sets(definition, data, split).items()}
    memory = session.open_both(settings, patience_s=PATIENCE_S)[1] if config is not None else None
    extractor = session.open_extractor(settings, memory)
    with console(stderr=True).status("reading") as status:
        report = evaluation.evaluate(
            extractor, examples, progress=lambda s, done, of: status.update(f"{s}: {done:,} of {of:,} documents"))
    if as_json:
        emit(report.as_json())
    else:
        _print(report)


def sets(domain: Domain, data: Sequence[str], split: str) -> dict[str, list[Example]]:
    """The examples by scheme that ``--data`` names.  Raises InputError where one belongs to no scheme."""
    from kie_ops import dataset

    found: dict[str, list[Example]] = {}
    for item in data:
        scheme, equals, file = item.partition("=")
        if equals and scheme in domain.schemes:
            whole = Path(file).is_file()
            examples = {scheme: [dataset.merged(e, domain) for e in dataset.load(file, scheme)] if whole
                        else dataset.split(file, domain, scheme, split)}
        else:
            examples = {s: dataset.split(root, domain, s, split) for s, root in _of_folder(domain, Path(item)).items()}
        for name, some in examples.items():
            found.setdefault(name, []).extend(some)
    return found


def _of_folder(domain: Domain, path: Path) -> dict[str, Path]:
    """Scheme -> the folder to hand to `dataset.split`."""
    if not path.is_dir():
        raise InputError("no such folder", where=str(path),
                         next_step=f"give a folder of sets, or SCHEME=FILE with one of {', '.join(domain.schemes)}")
    inside = {s: path for s in domain.schemes if (path / s).is_dir()}
    if inside:
        return inside
    if path.name in domain.schemes:
        return {path.name: path}
    if len(domain.schemes) == 1:
        return dict.fromkeys(domain.schemes, path)
    raise InputError("no set of this domain lies here", where=str(path),
                     next_step=f"name it: SCHEME=FOLDER with one of {', '.join(domain.schemes)}")


def _print(report: Report) -> None:
    out = console()
    for scheme, documents in report.documents.items():
        out.print(table(
            f"{scheme}: {documents:,} documents, strict, in percent",
            ("task", "memory", "precision", "recall", "F1", "95 %", "over memory off", "95 %", "gold"),
            ((s.task, s.mode, f"{100 * s.precision:.1f}", f"{100 * s.recall:.1f}", f"{100 * s.f1:.1f}",
              f"{100 * s.low:.1f} to {100 * s.high:.1f}",
              "" if s.mode == "off" else f"{100 * s.gain:+.1f}",
              "" if s.mode == "off" else f"{100 * s.gain_low:+.1f} to {100 * s.gain_high:+.1f}", s.gold)
             for s in report.scores if s.scheme == scheme),
        ))
        if rivals := [c for c in report.controls if c.scheme == scheme]:
            out.print(table(
                f"{scheme}: relations beside simple rules on the same spans, in percent",
                ("spans", "rule", "precision", "recall", "F1", "95 %", "over the best rule", "95 %", "found", "gold"),
                ((c.spans, c.rule, f"{100 * c.precision:.1f}", f"{100 * c.recall:.1f}", f"{100 * c.f1:.1f}",
                  f"{100 * c.low:.1f} to {100 * c.high:.1f}", f"{100 * c.gain:+.1f} ({c.over})" if c.over else "",
                  f"{100 * c.gain_low:+.1f} to {100 * c.gain_high:+.1f}" if c.over else "", c.predicted, c.gold)
                 for c in rivals),
            ))
