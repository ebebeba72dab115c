"""What memory is worth along streams, beside memory off and a strong dictionary.

    python -m benchmarks.memory_pays --experiment bc5cdr --data DATA --split dev --orders 3 --json out.json

Experiments: `bc5cdr`, `ncbi-disease` (shipped domain: training memory, vocabularies, 0 to 100 % reviewed); `shift`
(a domain that never saw bc5cdr reads its diseases, as its own label and as a label of their own); `new-type` (it reads
bc5cdr's chemicals); `attacks` (wrong reviewers); `teach-once`; `self-written`; `biored` and `finer-ord` (sets that
nothing is trained on: some labels as a trained scheme's, the others learnt).  Settings come from the dev part, test
documents are opened with ``--split test`` alone.  Prints facts; nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kie_ops import dataset
from kie_ops.errors import EngramError
from kie_ops.evaluation import attacks, plots, stream_data, study_tables, teaching
from kie_ops.evaluation.attacks import Attack
from kie_ops.evaluation.stream_study import Arm, Study, study
from kie_ops.evaluation.streams import Plan, Stream, open_stream
from kie_ops.evaluation.study_tables import PARTS, against, as_json, kept, rounded, rows
from kie_ops.extractor import Extractor
from kie_ops.memory import Cell
from pipelines.commands.evaluate_stream import show

REVIEWED = (0.0, 0.1, 0.3, 1.0)
WRONG = 0.1
SHIFT = Path(__file__).parent / "domains" / "shift"


@dataclass(frozen=True)
class Opened:
    """A stream, the one its settings come from, and the memories to start with, by name."""

    stream: Stream
    dev: Stream
    memories: Mapping[str, Mapping[str, Cell]]


def main(given: Sequence[str] | None = None) -> int:
    arguments = _parse(given)
    try:
        found = RUN[arguments.experiment](arguments, Extractor.load(arguments.domain))
    except EngramError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    said = rounded({"experiment": arguments.experiment, "split": arguments.split, "command": _command(arguments),
                    **found})
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


def _parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True, choices=sorted(RUN))
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each set")
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--orders", type=int, default=10)
    parser.add_argument("--domain", help="default: medical; financial for finer-ord; benchmarks/domains/shift, once it"
                        " is trained, for shift and new-type")
    parser.add_argument("--vocabulary", action="append", help="NAME or FILE, each also with :LABEL"
                        "; also scored with it.  Repeatable")
    parser.add_argument("--reviewed", type=float, action="append", help="shares; default: those of the experiment")
    parser.add_argument("--documents", type=int, help="at most, of stream and dev each")
    parser.add_argument("--readings", type=Path, help="folder that keeps encoded documents")
    parser.add_argument("--plots", type=Path, help="folder for plots")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(given)
    arguments.domain = arguments.domain or DOMAINS.get(arguments.experiment, "medical")
    return arguments


def _command(arguments: argparse.Namespace) -> str:
    """What gives these figures, without folders of this machine."""
    said = ["python -m benchmarks.memory_pays", f"--experiment {arguments.experiment}", "--data DATA"]
    if Path(arguments.domain).exists():
        said.append("--domain RUN")
    for name in ("split", "orders", "documents"):
        if getattr(arguments, name) is not None:
            said.append(f"--{name} {getattr(arguments, name)}")
    for name in ("vocabulary", "reviewed"):
        said += [f"--{name} {value}" for value in getattr(arguments, name) or ()]
    return " ".join(said)


def _opened(
    arguments: argparse.Namespace, extractor: Extractor, data: str, scheme: str | None = None,
    mapping: Mapping[str, str] | None = None, start: str = stream_data.TRAINING, foreign: bool = False,
) -> Opened:
    """The set `data` as a stream of `scheme` (default: its own name), with memory `start`, also with vocabularies.

    `foreign`: nothing is trained on it, so documents that it shares with other sets are left out.
    """
    scheme = scheme or data
    found = stream_data.source(scheme, arguments.data / data, extractor.definition, split=arguments.split,
                               mapping=mapping, limit=arguments.documents)
    shared = dataset.held_out(arguments.data, data, dataset.SPLITS) if foreign else frozenset()
    parts = [[e for e in part if e.document.doc_id not in shared] for part in (found.stream, found.dev)]
    labels = sorted({s.label for part in parts for e in part for s in e.spans})
    stream, dev = (open_stream(extractor, part, folder=arguments.readings, labels=labels, progress=_progress)
                   for part in parts)
    base = stream_data.memory(extractor, [start])
    memories = {start: base}
    if arguments.vocabulary:
        memories[f"{start}+vocabulary"] = stream_data.with_vocabulary(base, stream.domain, arguments.vocabulary)
    return Opened(stream, dev, memories)


def _studied(arguments: argparse.Namespace, opened: Opened, arms: Sequence[Arm], name: str = "") -> Study:
    """The study, printed, with its plots."""
    made = study(opened.stream, opened.dev, arms, orders=arguments.orders,
                 progress=lambda arm, done, of: print(f"{arm}: {done} of {of} orders", file=sys.stderr, flush=True))
    show(made, rows(made))
    if arguments.plots is not None:
        plots.write(made, study_tables.believed(made), arguments.plots / name)
    return made


def _reviews(arguments: argparse.Namespace, opened: Opened, shares: Sequence[float] = REVIEWED) -> list[Arm]:
    return [Arm(f"{name}, {100 * share:.0f} % reviewed", cells, Plan(share))
            for name, cells in opened.memories.items() for share in arguments.reviewed or shares]


def _shipped(arguments: argparse.Namespace, extractor: Extractor) -> dict[str, Any]:
    opened = _opened(arguments, extractor, arguments.experiment)
    return as_json(_studied(arguments, opened, _reviews(arguments, opened)))


def _shift(arguments: argparse.Namespace, extractor: Extractor) -> dict[str, Any]:
    """Diseases of bc5cdr, as the trained scheme's label, and as a label of their own that nothing was trained for."""
    trained = min(extractor.definition.schemes)
    label = extractor.definition.schemes[trained].labels[0]
    out = {}
    for name, scheme, ours in (("trained label", trained, label), ("own label", "bc5cdr", "Disease")):
        opened = _opened(arguments, extractor, "bc5cdr", scheme, {"Disease": ours})
        out[name] = as_json(_studied(arguments, opened, _reviews(arguments, opened), name.replace(" ", "-")))
    return out


def _new_type(arguments: argparse.Namespace, extractor: Extractor) -> dict[str, Any]:
    opened = _opened(arguments, extractor, "bc5cdr", "bc5cdr", {"Chemical": "Chemical"})
    return as_json(_studied(arguments, opened, _reviews(arguments, opened, REVIEWED[1:])))


def _attacks(arguments: argparse.Namespace, extractor: Extractor) -> dict[str, Any]:
    """Clean reviews beside each kind of wrong ones, from training memory and from none."""
    opened = _opened(arguments, extractor, "bc5cdr")
    (share,) = arguments.reviewed or (0.3,)
    starts = {**opened.memories, stream_data.NONE: {}}
    arms = [
        Arm(f"{name}, {kind or 'clean'}", cells, Plan(share, attack=Attack(kind, WRONG) if kind else None))
        for name, cells in starts.items() for kind in ("", *attacks.KINDS)
    ]
    made = _studied(arguments, opened, arms)
    left = {f"{name}, {kind}, {part}": kept(made, f"{name}, clean", f"{name}, {kind}", part=part)
            for name in starts for kind in attacks.KINDS for part in PARTS}
    for name, numbers in left.items():
        print(f"{name}: {json.dumps(rounded(numbers))}")
    return as_json(made) | {"reviewed": share, "wrong": WRONG, "kept": left}


def _teach_once(arguments: argparse.Namespace, extractor: Extractor) -> dict[str, Any]:
    opened = _opened(arguments, extractor, "bc5cdr")
    starts = {**opened.memories, stream_data.NONE: {}}
    out = {}
    for name, cells in starts.items():
        some = opened.stream.among([cells])
        out[name] = {"taught": teaching.as_json(teaching.teach_once(some, cells, orders=arguments.orders)),
                     "rejected": teaching.as_json(teaching.reject_once(some, cells, orders=arguments.orders))}
        print(f"{name}: {json.dumps(rounded(out[name]))}", flush=True)
    return {"documents": len(opened.stream.reads), "studies": out}


def _self_written(arguments: argparse.Namespace, extractor: Extractor) -> dict[str, Any]:
    opened = _opened(arguments, extractor, "bc5cdr")
    starts = {**opened.memories, stream_data.NONE: {}}
    shares = arguments.reviewed or (0.0, 0.3)
    arms = [Arm(f"{name}, {100 * share:.0f} % reviewed{' with own' if own else ''}", cells, Plan(share, own=own))
            for name, cells in starts.items() for share in shares for own in (True, False)]
    made = _studied(arguments, opened, arms)
    gains = {f"{one.name}, {part}": vars_of(against(made, one.name, other.name, part=part))
             for one, other in zip(arms[::2], arms[1::2], strict=True) for part in PARTS}
    for name, gain in gains.items():
        print(f"{name}, over without own: {json.dumps(rounded(gain))}")
    return as_json(made) | {"own_over_without": gains}


def _foreign(arguments: argparse.Namespace, extractor: Extractor) -> dict[str, Any]:
    """A set that nothing is trained on: labels that the domain knows, and all labels as if it knew none of them."""
    data, out = arguments.experiment, {}
    scheme, mapping = FOREIGN[data]
    known = _opened(arguments, extractor, data, scheme, mapping, foreign=True)
    out["as trained labels"] = as_json(_studied(arguments, known, _reviews(arguments, known), f"{data}-trained"))
    fresh = _opened(arguments, extractor, data, data, start=stream_data.NONE, foreign=True)
    out["as labels of its own"] = as_json(
        _studied(arguments, fresh, _reviews(arguments, fresh, REVIEWED[1:]), f"{data}-own"))
    return out


def vars_of(gain: study_tables.Gain) -> dict[str, float]:
    return {"f1": gain.f1, "low": gain.low, "high": gain.high}


def _progress(done: int, of: int) -> None:
    if done == of or done % 64 == 0:
        print(f"encoded {done} of {of}", file=sys.stderr, flush=True)


RUN = {
    "bc5cdr": _shipped, "ncbi-disease": _shipped, "shift": _shift, "new-type": _new_type, "attacks": _attacks,
    "teach-once": _teach_once, "self-written": _self_written, "biored": _foreign, "finer-ord": _foreign,
}
DOMAINS = {"shift": SHIFT, "new-type": SHIFT, "finer-ord": "financial"}
FOREIGN = {
    "biored": ("bc5cdr", {"ChemicalEntity": "Chemical", "DiseaseOrPhenotypicFeature": "Disease"}),
    "finer-ord": ("fire", {"PER": "Person", "ORG": "Company", "LOC": "Location"}),
}
"""Scheme whose labels some of the set's are scored as, and which."""

if __name__ == "__main__":
    sys.exit(main())
