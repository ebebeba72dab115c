"""Writes docs/results.md from what the other commands have measured.

    engram evaluate medical --data DATA --json >runs/results/medical.json
    engram evaluate financial --data DATA --json >runs/results/financial.json
    python -m benchmarks.memory_pays --experiment bc5cdr --data DATA --split test --json runs/results/bc5cdr.json
    python -m benchmarks.results runs/results docs/results.md --plots docs/plots

Takes every JSON file of the folder: reports of `engram evaluate`, and studies of `benchmarks.memory_pays`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HEAD = """# Results

Strict scores in percent, printed by the commands beside them and put together by `python -m benchmarks.results`.
Settings were fixed on dev. Test was opened once for each gate that was meant to ship: four times for medical (once a
mechanism that wrong reviewers could use was taken out for it), twice for financial; the figures are of the last. In
brackets 95 % intervals: bootstrap over documents, paired where two modes are compared. *Dictionary* is the same memory,
the same keys and facts, without any gate (`kie_ops/evaluation/dictionary.py`), joined with the tagger. One training
seed: no spread over seeds is known.  RUN of shift and new-type: `engram train benchmarks/domains/shift --data DATA
--epochs 9`, 45 minutes of a core.
"""


FACTS = {
    "kept": "What wrong reviewers leave: the gain of right ones over memory off, the share of it that is kept, and F1"
            " over memory off, in points and percent",
    "own_over_without": "Memory on with what documents write themselves, over the same without",
}
"""Tables of an experiment besides its studies, and what they say."""


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with the JSON files")
    parser.add_argument("out", type=Path)
    parser.add_argument("--plots", type=Path, help="folder of PNG files below the page's own, shown at its end")
    arguments = parser.parse_args(given)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(arguments.folder.glob("*.json"))]
    reports = [one for one in found if "scores" in one]
    studies = [one for one in found if "experiment" in one]
    parts = [HEAD, *(_report(r) for r in reports), *(_experiment(s) for s in studies)]
    if arguments.plots is not None:
        pictures = sorted(arguments.plots.glob("*.png"))
        shown = [f"![{p.stem}]({p.relative_to(arguments.out.parent).as_posix()})\n" for p in pictures]
        parts += ["## Along the stream\n", *shown]
    arguments.out.write_text("\n".join(parts), encoding="utf-8")
    return 0


def _report(report: Mapping[str, Any]) -> str:
    rows = (
        (s["scheme"], s["task"], s["mode"], _percent(s["precision"]), _percent(s["recall"]),
         f"{_percent(s['f1'])} ({_percent(s['low'])} to {_percent(s['high'])})",
         "" if s["mode"] == "off" else f"{100 * s['gain']:+.1f} ({100 * s['gain_low']:+.1f} to "
                                       f"{100 * s['gain_high']:+.1f})")
        for s in report["scores"]
    )
    out = [f"## {report['domain']}, each scheme on its own test documents\n",
           f"`engram evaluate {report['domain']} --data DATA`. Documents: "
           + ", ".join(f"{name} {count:,}" for name, count in report["documents"].items()) + ".\n",
           _table(("scheme", "task", "memory", "P", "R", "F1", "over memory off"), rows)]
    if report.get("controls"):
        names = [k for k in report["controls"][0] if k not in ("low", "high")]
        out += ["Relations beside simple rules; *possible* is the ceiling that spans and ids allow:\n",
                _table(names, ([_plain(c[n]) for n in names] for c in report["controls"]))]
    return "\n".join(out)


def _experiment(said: Mapping[str, Any]) -> str:
    out = [f"## Stream: {said['experiment']}, {said['split']}\n",
           f"`{said['command']}`\n"]
    for title, study in _studies(said):
        if title:
            out.append(f"### {title}\n")
        out.append(f"{study['documents']} documents; orders and review samples: {len(study['seeds'])}; labels: "
                   f"{', '.join(study['labels'])}.\n")
        errors = (f"{name} {100 * c['error']:.1f} (floor {100 * c['floor']:.1f})"
                  for name, c in study.get("calibration", {}).items())
        out.append(f"Calibration error of emitted mentions, ten equal-mass bins: {'; '.join(errors)}.\n")
        rows = ((r["arm"], r["part"], r["mode"], _percent(r["precision"]), _percent(r["recall"]),
                 f"{_percent(r['f1'])} ({_percent(r['low'])} to {_percent(r['high'])})", _gain(r["over_off"]),
                 _gain(r["over_dictionary"])) for r in study["rows"])
        out.append(_table(("memory", "part", "mode", "P", "R", "F1", "over off", "over dictionary"), rows))
    for name in FACTS:
        if name in said:
            out += [f"{FACTS[name]}:\n", _table(("", *_keys(said[name])), (
                (arm, *(_plain(v) for v in facts.values())) for arm, facts in said[name].items()))]
    if "studies" in said:
        out.append(_corrections(said["studies"]))
    return "\n".join(out)


def _corrections(studies: Mapping[str, Any]) -> str:
    """Names taught once, spans rejected once."""
    taught = ((memory, f"{one['taught']['keys']:.0f}", f"{one['taught']['gold']:.0f}", mode,
               *(_percent(one["taught"][mode][k]) for k in ("precision", "recall", "f1")))
              for memory, one in studies.items() for mode in ("off", "on"))
    rejected = ((memory, f"{one['rejected']['keys']:.0f}", f"{one['rejected']['would_come']:.0f}",
                 _plain(one["rejected"]["comes_back"]), f"{one['rejected']['gold']:.0f}",
                 _plain(one["rejected"]["lost"])) for memory, one in studies.items())
    return "\n".join([
        "Names that were missed or mistyped, corrected once each; their later places:\n",
        _table(("memory at the start", "names", "later mentions", "memory", "P", "R", "F1"), taught),
        "Spans that were read and are no mention, rejected once each; *again*: later places that memory off reads again"
        " and annotators did not mark; *marked*: later places that memory off finds and annotators did mark:\n",
        _table(("memory at the start", "names", "again", "of these still read", "marked", "of these lost"), rejected),
    ])


def _keys(facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name.replace("_", " ") for name in next(iter(facts.values()))]


def _studies(said: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(title, study): the experiment itself, or several of it by name."""
    if "rows" in said:
        yield "", said
        return
    yield from ((name, value) for name, value in said.items() if isinstance(value, Mapping) and "rows" in value)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _gain(value: Mapping[str, float] | None) -> str:
    if value is None:
        return ""
    return f"{100 * value['f1']:+.1f} ({100 * value['low']:+.1f} to {100 * value['high']:+.1f})"


def _plain(value: Any) -> str:
    return "" if value is None else _percent(value) if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
