"""The gate beside a gradient-boosted model over the same evidence: ``python benchmarks/yardstick.py --data DATA``.

Both see the candidates of dev documents, read with the same simulated memories, and are fitted on four fifths of the
documents and judged on the fifth they have not seen, five times.  The boosted model (scikit-learn's
HistGradientBoostingClassifier; Friedman 2001) gets everything at once: the text's features, all counts, how reliable
they are, the label.  It is bound by nothing that the gate is bound by: monotone counts, two weights that sum to one.
A gap above 0.5 F1 needs an explanation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from kie_ops import dataset, priming
from kie_ops.decoding import decode
from kie_ops.domain import Domain
from kie_ops.errors import EngramError
from kie_ops.evaluation.standing import f1_of
from kie_ops.gate import Gate, sigmoid
from kie_ops.model import TextModel
from kie_ops.training.gate import _items, _text_gate, read_all
from kie_ops.training.gate_fit import Evidenced, fit_memory, fit_text
from kie_ops.training.gate_simulation import FULL, Plan, Sample, base, evidenced, stream

FOLDS = 5
GRID = tuple(np.arange(0.26, 0.68, 0.04).tolist())
PLANS = {"training memory": FULL, "no memory but reviews": Plan(0.0, reviewed=1.0)}


def matrix(sample: Sample) -> np.ndarray:
    """float64 [candidates, everything the gate may see]."""
    c, known = sample.candidates, sample.remembered
    label = np.eye(len(c.labels))[c.label]
    return np.column_stack([c.features, known.counts.reshape(len(c), -1), known.reliability, label])


def counts(samples: Sequence[Sample], scores: Sequence[np.ndarray], threshold: float, nested: bool) -> np.ndarray:
    """int64 [3]: right, chosen, gold."""
    total = np.zeros(3, dtype=np.int64)
    for s, score in zip(samples, scores, strict=True):
        c = s.candidates
        picked = decode(c.first, c.last, c.label, score, threshold, nested=nested)
        total += (int(s.right[picked].sum()), len(picked), len({(g.start, g.end, g.label)
                                                               for g in s.item.example.spans}))
    return total


def best(samples: Sequence[Sample], scores: Sequence[np.ndarray], nested: bool) -> float:
    return float(max(GRID, key=lambda t: float(f1_of(counts(samples, scores, t, nested)))))


def boosted(train: Sequence[Sample], test: Sequence[Sample], nested: bool) -> np.ndarray:
    model = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.06, max_leaf_nodes=15, random_state=1)
    model.fit(np.concatenate([matrix(s) for s in train]), np.concatenate([s.right for s in train]))

    def score(some: Sequence[Sample]) -> list[np.ndarray]:
        return [model.predict_proba(matrix(s))[:, 1] if len(s.right) else np.zeros(0) for s in some]

    return counts(test, score(test), best(train, score(train), nested), nested)


def gated(train: Sequence[Sample], test: Sequence[Sample], scheme: str, domain: Domain) -> np.ndarray:
    labels, nested = domain.schemes[scheme].labels, domain.schemes[scheme].nested
    text = fit_text([s.candidates for s in train], [s.right for s in train], labels)
    heard = [replace(s, h=text.odds(s.candidates)) for s in train]
    memory = fit_memory(Evidenced.join([evidenced(s) for s in heard]), labels)
    gate = Gate({scheme: text}, {scheme: memory}, {scheme: 0.5}, {}, {})

    def score(some: Sequence[Sample]) -> list[np.ndarray]:
        return [sigmoid(gate.decide(s.candidates, s.remembered)[2]) for s in some]

    return counts(test, score(test), best(train, score(train), nested), nested)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The gate beside gradient boosting, cross-validated on dev.")
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each scheme")
    parser.add_argument("--domain", default="medical")
    parser.add_argument("--documents", type=int, help="dev documents a scheme, at most; default: all")
    given = parser.parse_args(arguments)
    try:
        domain = Domain.load(given.domain)
        model = TextModel.load(domain)
        for scheme in domain.schemes:
            training = list(priming.training(dataset.split(given.data, domain, scheme, "train")))
            read = read_all(model, scheme, dataset.split(given.data, domain, scheme, "dev")[: given.documents])
            text = _text_gate(domain, scheme, read)
            items = _items(domain, Gate({scheme: text}, {}, {scheme: 0.5}, {}, {}), scheme, read)
            for name, plan in PLANS.items():
                rng = np.random.default_rng(1)
                samples = list(stream(items, text, base(training, plan, rng, items), plan, rng))
                report(domain, scheme, name, samples)
    except EngramError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    return 0


def report(domain: Domain, scheme: str, name: str, samples: Sequence[Sample]) -> None:
    total = {"gate": np.zeros(3, dtype=np.int64), "boosted": np.zeros(3, dtype=np.int64)}
    for fold in range(FOLDS):
        test = [s for n, s in enumerate(samples) if n % FOLDS == fold]
        train = [s for n, s in enumerate(samples) if n % FOLDS != fold]
        total["gate"] += gated(train, test, scheme, domain)
        total["boosted"] += boosted(train, test, domain.schemes[scheme].nested)
    f1 = {k: 100 * float(f1_of(v)) for k, v in total.items()}
    print(f"{scheme:14} {name:22} gate {f1['gate']:.2f}  boosted {f1['boosted']:.2f}  "
          f"gap {f1['boosted'] - f1['gate']:+.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
