"""What each piece is worth: the domain trained or decided without it, and one table of dev F1 with differences.

    python -m benchmarks.ablation --data DATA --domain medical --without shapes,averaging,mask,in-document

Pieces of training (shapes, averaging, layer-decay, mask, joint) cost a training each; pieces of reading (in-document,
abbreviations) do not: the text's calibration is fitted to one half of dev and decides on the other, both ways.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from rich.console import Console
from rich.table import Table

from kie_ops import candidates as spans, dataset
from kie_ops.candidates import FEATURES, Candidates
from kie_ops.decoding import decode
from kie_ops.domain import Domain, Output
from kie_ops.evaluation import standing as evaluation
from kie_ops.extractor import sketch_of
from kie_ops.gate import sigmoid
from kie_ops.model import TextModel
from kie_ops.training import loop as training
from kie_ops.training.gate_fit import fit_text
from kie_ops.training.gate_simulation import right
from kie_ops.training.methods import Method

OF_TRAINING = ("shapes", "averaging", "layer-decay", "mask", "joint")
OF_READING = ("in-document", "abbreviations")
WHOLE = "nothing"
RESULT = "result.json"


def trained(domain: Domain, data: Path, out: Path, without: str, epochs: int, documents: int | None,
            threads: int | None) -> dict[str, float]:
    """Dev F1 by scheme of a run without that piece, kept in `out`."""
    if (out / RESULT).is_file():
        return dict(json.loads((out / RESULT).read_text(encoding="utf-8")))
    settings = training.Settings(epochs=epochs)
    changes: dict[str, dict[str, float]] = {"averaging": {"average": 0.0}, "layer-decay": {"layer_decay": 1.0},
                                            "mask": {"mask": 0.0}}
    settings = dataclasses.replace(settings, **changes.get(without, {}))  # type: ignore[arg-type]
    method = Method(shapes=without != "shapes")
    scores: dict[str, float] = {}
    for number, part in enumerate(alone(domain) if without == "joint" else (domain,)):
        outcome = training.train(part, data, out / str(number), settings=settings, method=method, documents=documents,
                                 threads=threads)
        if not outcome.finished:
            raise KeyboardInterrupt
        scores |= outcome.scores
    (out / RESULT).write_text(json.dumps(scores), encoding="utf-8")
    return scores


def alone(domain: Domain) -> Iterator[Domain]:
    """The domain once for each scheme, with that one only."""
    for name, scheme in domain.schemes.items():
        yield dataclasses.replace(
            domain, name=f"{domain.name}-{name}", schemes={name: scheme}, output=Output(), folder=None,
            relations={n: r for n, r in domain.relations.items() if n == name},
        )


def read(folder: Path | str, data: Path, without: str, documents: int | None) -> dict[str, float]:
    """Dev F1 by scheme of the text alone, calibrated and decoded as by the gate; two-fold over documents."""
    model = TextModel.load(folder)
    out = {}
    for scheme in model.domain.schemes:
        examples = dataset.split(data, model.domain, scheme, "dev")[:documents]
        readings = [r for at in range(0, len(examples), 16)
                    for r in model.read([e.document for e in examples[at : at + 16]], schemes=[scheme])]
        sketches = [sketch_of(r) for r in readings]
        with _without(without):
            found = []
            for sketch in sketches:
                if without == "abbreviations":
                    sketch.names.__dict__["abbreviations"] = ()  # as if the document had none
                found.append(_plain(spans.candidates(sketch.names, scheme)) if without == "in-document"
                             else spans.candidates(sketch.names, scheme))
        truth = [right(e, s, c) for e, s, c in zip(examples, sketches, found, strict=True)]
        gold = [len({(g.start, g.end, g.label) for g in e.spans}) for e in examples]
        out[scheme] = _two_fold(model.domain, scheme, found, truth, gold)
    return out


@contextmanager
def _without(piece: str) -> Iterator[None]:
    if piece == "in-document":  # then no span is sure enough for its repeats to be looked for
        with mock.patch.object(spans, "SURE", np.inf):
            yield
    else:
        yield


def _plain(found: Candidates) -> Candidates:
    """What there would be of features if no surface came twice."""
    features = found.features.copy()
    for name in ("sibling_best", "sibling_mean"):
        features[:, FEATURES.index(name)] = features[:, FEATURES.index("own")]
    features[:, FEATURES.index("siblings")] = 0.0
    return dataclasses.replace(found, features=features)


def _two_fold(domain: Domain, scheme: str, found: Sequence[Candidates], truth: Sequence[np.ndarray],
              gold: Sequence[int]) -> float:
    """F1 at the threshold that is best on the other half."""
    rules = domain.schemes[scheme]
    grid = np.arange(0.26, 0.7, 0.04)
    total = np.zeros(3, dtype=np.int64)
    halves = [list(range(k, len(found), 2)) for k in (0, 1)]
    for here, there in (halves, halves[::-1]):
        gate = fit_text([found[n] for n in there], [truth[n] for n in there], rules.labels)
        counts = {half: np.zeros((len(grid), 3), dtype=np.int64) for half in ("here", "there")}
        for half, numbers in (("here", here), ("there", there)):
            for n in numbers:
                c, score = found[n], sigmoid(gate.odds(found[n]))
                for k, threshold in enumerate(grid):
                    picked = decode(c.first, c.last, c.label, score, float(threshold), nested=rules.nested)
                    counts[half][k] += (int(truth[n][picked].sum()), len(picked), gold[n])
        total += counts["here"][int(np.argmax(evaluation.f1_of(counts["there"])))]
    return float(evaluation.f1_of(total))


def shown(title: str, whole: Mapping[str, float], less: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table(title=title)
    table.add_column("without")
    for name in (*whole, "mean"):
        table.add_column(name, justify="right")
    table.add_row(WHOLE, *(f"{100 * v:.1f}" for v in (*whole.values(), _mean(whole))))
    for piece, scores in less.items():
        pairs = [*((scores[n], v) for n, v in whole.items()), (_mean(scores), _mean(whole))]
        table.add_row(piece, *(f"{100 * a:.1f} ({100 * (a - b):+.1f})" for a, b in pairs))
    return table


def _mean(scores: Mapping[str, float]) -> float:
    return sum(scores.values()) / len(scores)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--domain", default="medical")
    parser.add_argument("--without", default=",".join((*OF_TRAINING, *OF_READING)), metavar="PIECE,...")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--documents", type=int, help="a scheme and part, at most")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(arguments)
    pieces = given.without.split(",")
    unknown = sorted(set(pieces) - {*OF_TRAINING, *OF_READING})
    if unknown:
        parser.error(f"no such piece: {unknown[0]}; known: {', '.join((*OF_TRAINING, *OF_READING))}")
    domain, console = Domain.load(given.domain), Console(width=160)
    some = [p for p in pieces if p in OF_TRAINING]
    if some:
        all_ = {p: trained(domain, given.data, given.out / p, p, given.epochs, given.documents, given.threads)
                for p in (WHOLE, *some)}
        whole = all_.pop(WHOLE)
        console.print(shown("pieces of training: dev, strict F1 in percent", whole, all_))
    some = [p for p in pieces if p in OF_READING]
    if some:
        folder = given.out / WHOLE / "0" if (given.out / WHOLE / RESULT).is_file() else given.domain
        all_ = {p: read(folder, given.data, p, given.documents) for p in (WHOLE, *some)}
        whole = all_.pop(WHOLE)
        console.print(shown(f"pieces of reading, memory off, of {folder}", whole, all_))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
