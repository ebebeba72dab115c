"""Trains a domain by each method of adaptation and prints one table: dev F1, trained parameters, bytes, minutes.

    python -m benchmarks.methods --data DATA --domain medical --epochs 6

A method that was trained already, or in part, is not trained again: run folders are kept below --out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kie_ops.domain import Domain
from kie_ops.model import ADAPTER, TextModel
from kie_ops.training import loop as training
from kie_ops.training.methods import KINDS, Method

RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Result:
    """Of one method.  `own`: bytes of its trained parameters in float16; `shipped`: of the adapter's file."""

    method: str
    scores: Mapping[str, float]
    parameters: int
    own: int
    shipped: int
    minutes: float

    def mean(self) -> float:
        return sum(self.scores.values()) / len(self.scores)


def measured(domain: Domain, data: Path, out: Path, method: Method, settings: training.Settings,
             documents: int | None, threads: int | None) -> Result:
    """Trains by `method` in `out`, unless its result lies there."""
    path = out / RESULT
    if path.is_file():
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    begun = time.monotonic()
    outcome = training.train(domain, data, out, settings=settings, method=method, documents=documents, threads=threads)
    if not outcome.finished:
        raise KeyboardInterrupt
    minutes = (time.monotonic() - begun) / 60  # of the last part only, where the run was interrupted
    facts: Mapping[str, Any] = Domain.load(out).trained
    parameters = facts.get("parameters") or _all_but_words(TextModel.load(out))
    result = Result(method.kind, outcome.scores, parameters, facts.get("method_bytes", 2 * parameters),
                    (out / ADAPTER).stat().st_size, minutes)
    path.write_text(json.dumps({name: getattr(result, name) for name in Result.__dataclass_fields__}),
                    encoding="utf-8")
    return result


def _all_but_words(model: TextModel) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def shown(results: Sequence[Result]) -> Table:
    table = Table(title="methods of adaptation: dev, strict F1 in percent")
    for name in ("method", *results[0].scores, "mean", "trained", "MB of the method", "MB shipped", "minutes"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for r in results:
        scores = (f"{100 * v:.1f}" for v in (*r.scores.values(), r.mean()))
        table.add_row(r.method, *scores, f"{r.parameters:,}", f"{r.own / 1e6:.2f}", f"{r.shipped / 1e6:.2f}",
                      f"{r.minutes:.1f}")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--domain", default="medical")
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--methods", default=",".join(KINDS))
    parser.add_argument("--documents", type=int, help="a scheme and part, at most")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--prefixes", type=int, default=16)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(arguments)
    domain = Domain.load(given.domain)
    results = []
    for kind in given.methods.split(","):
        method = Method(kind, rank=given.rank, prefixes=given.prefixes)
        results.append(measured(domain, given.data, given.out / kind, method,
                                training.Settings(epochs=given.epochs), given.documents, given.threads))
    Console(width=160).print(shown(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
