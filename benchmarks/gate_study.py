"""What a gate fitted on one half of the dev documents does on the other half, and the other way round.

    python -m benchmarks.gate_study --domain RUN --scheme bc5cdr --data DATA --vocabulary hpo:Disease

RUN is a tagger that has not seen dev.  Memories of many kinds, right and wrong reviewers; the mean gain of F1 over
memory off of both halves, for the dictionary and for the gate, and the calibration error of what the gate emits.
Test documents are never opened.  Prints facts; nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory_pays import WRONG
from kie_ops import dataset, priming
from kie_ops.dataset import Example
from kie_ops.domain import Domain, Output
from kie_ops.errors import EngramError
from kie_ops.evaluation import attacks, readings, stream_data
from kie_ops.evaluation.attacks import Attack
from kie_ops.evaluation.calibration import reliability
from kie_ops.evaluation.standing import DICTIONARY, OFF, ON
from kie_ops.evaluation.stream_scores import gold_of
from kie_ops.evaluation.stream_study import Arm, Study, study
from kie_ops.evaluation.streams import Plan, Stream, open_stream
from kie_ops.evaluation.study_tables import WHOLE, believed, rounded, rows
from kie_ops.extractor import Extractor, sketch_of
from kie_ops.gate import Gate
from kie_ops.memory import Cell
from kie_ops.model import TextModel
from kie_ops.training.gate import span_gate

HALVES = 2


def main(given: Sequence[str] | None = None) -> int:
    arguments = _parse(given)
    try:
        model = TextModel.load(Domain.load(arguments.domain))
        scheme = arguments.scheme
        labels = {label: label for label in model.domain.schemes[scheme].labels}
        model.domain = replace(model.domain, output=Output({scheme: labels}), relations={})
        found = [_half(arguments, model, half) for half in arguments.half or range(HALVES)]
    except EngramError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    table = _table(found)
    for row in table:
        print("| " + " | ".join(str(cell) for cell in row.values()) + " |")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rounded(table), indent=1) + "\n", encoding="utf-8")
    return 0


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", required=True, help="a domain whose tagger has not seen dev")
    parser.add_argument("--scheme", default="bc5cdr")
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each set")
    parser.add_argument("--vocabulary", action="append", default=[], help="NAME or FILE, each also with :LABEL")
    parser.add_argument("--orders", type=int, default=1)
    parser.add_argument("--half", type=int, action="append", choices=range(HALVES), help="judged; default: both")
    parser.add_argument("--arm", action="append", help="memories by name; default: all")
    parser.add_argument("--own", action="store_true", help="with what the pipeline reads itself")
    parser.add_argument("--readings", type=Path, help="folder that keeps encoded documents")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(given)


def _half(arguments: argparse.Namespace, model: TextModel, half: int) -> tuple[Study, tuple[np.ndarray, np.ndarray]]:
    """The gate fitted on the other half, judged on this one: the study, and memory off's (scores, right)."""
    scheme = arguments.scheme
    some = dataset.split(arguments.data, model.domain, scheme, "dev")
    mine = [e for n, e in enumerate(some) if n % HALVES == half]
    others = [e for n, e in enumerate(some) if n % HALVES != half]
    training = list(priming.training(dataset.split(arguments.data, model.domain, scheme, "train")))
    blank = Extractor(model, Gate({}, {}, {}, {}, {}))
    read = [(e, sketch_of(r)) for e, r in zip(others, readings.encode(
        blank, [e.document for e in others], {scheme}, arguments.readings), strict=True)]
    fitted = span_gate(model.domain, scheme, read, training, own=arguments.own)
    gate = Gate({scheme: fitted.text}, {scheme: fitted.memory}, {scheme: fitted.threshold}, {}, {}, arguments.own)
    extractor = Extractor(model, gate)
    stream, dev = (_stream(arguments, extractor, each) for each in (mine, others))
    base = priming.cells_of(training)
    made = study(stream, dev, _arms(arguments, stream, base), orders=arguments.orders,
                 progress=lambda arm, done, of: print(f"{arm}: {done} of {of}", file=sys.stderr, flush=True))
    alone = [(d.score, (*r.sketch.span(d.first, d.last), d.label) in gold_of(r, stream.labels))
             for r in stream.reads for d in r.alone.chosen]
    return made, (np.array([s for s, _ in alone]), np.array([ok for _, ok in alone], dtype=bool))


def _stream(arguments: argparse.Namespace, extractor: Extractor, examples: Sequence[Example]) -> Stream:
    plain = [replace(e, relations=(), events=()) for e in examples]
    return open_stream(extractor, plain, folder=arguments.readings)


def _arms(arguments: argparse.Namespace, stream: Stream, base: Mapping[str, Cell]) -> list[Arm]:
    arms = [Arm("training", base, Plan())]
    if arguments.vocabulary:
        both = stream_data.with_vocabulary(base, stream.domain, arguments.vocabulary)
        alone = stream_data.with_vocabulary({}, stream.domain, arguments.vocabulary)
        arms += [Arm("training + vocabularies", both, Plan()), Arm("vocabularies alone", alone, Plan()),
                 Arm("training + vocabularies + 30 % reviewed", both, Plan(0.3))]
    for name, cells in (("training", base), ("nothing", {})):
        arms += [Arm(f"{name} + {100 * share:.0f} % reviewed", cells, Plan(share)) for share in (0.1, 0.3, 1.0)]
        arms += [Arm(f"{name} + 100 % reviewed, wrong: {kind}", cells, Plan(1.0, attack=Attack(kind, WRONG)))
                 for kind in attacks.KINDS]
    return [arm for arm in arms if arguments.arm is None or arm.name in arguments.arm]


def _table(found: Sequence[tuple[Study, tuple[np.ndarray, np.ndarray]]]) -> list[dict[str, Any]]:
    """One row a memory: gains over memory off in points of F1, the mean of both halves."""
    made = [{(r.arm, r.mode): r for r in rows(s, samples=20) if r.part == WHOLE} for s, _ in found]
    alone = reliability(*(np.concatenate([a[n] for _, a in found]) for n in range(2)))
    off = float(np.mean([r.f1 for m in made for (_, mode), r in m.items() if mode == OFF]))
    out = [{"memory": f"off: {100 * off:.1f}", "dictionary": "", "gate": "", "ECE": f"{100 * alone.error:.1f}"}]
    for arm in dict.fromkeys(name for name, _ in made[0]):
        gains = [np.mean([m[arm, mode].f1 - m[arm, OFF].f1 for m in made]) for mode in (DICTIONARY, ON)]
        error = np.mean([believed(s)[arm].error for s, _ in found])
        out.append({"memory": arm, "dictionary": f"{100 * gains[0]:+.1f}", "gate": f"{100 * gains[1]:+.1f}",
                    "ECE": f"{100 * error:.1f}"})
    return out


if __name__ == "__main__":
    sys.exit(main())
