"""Fits a domain's gate and builds the memory it ships: ``python -m kie_ops.training.gate DOMAIN --data FOLDER``.

The tagger has not seen the dev documents, so their odds are out of sample: on them text and pairs are calibrated, and
the gate learns from streams with simulated memories (see gate_simulation).  Shipped memory is that of the train
documents, or of train and dev.  Writes gate.json and memory.jsonl.zst next to the adapter.  Test documents are never
opened.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kie_ops import contributions, dataset, frozen_memory, priming
from kie_ops.candidates import candidates
from kie_ops.dataset import Example
from kie_ops.decisions import Decided, decide
from kie_ops.decoding import decode
from kie_ops.domain import Domain
from kie_ops.errors import EngramError, ModelError
from kie_ops.evaluation import dictionary, relation_scores, standing as evaluation
from kie_ops.evidence import Knowledge
from kie_ops.extractor import GATE, MEMORY, Extractor, Sketch, sketch_of
from kie_ops.gate import Calibration, Gate, MemoryGate, TextGate, sigmoid, type_name
from kie_ops.memory import Cell, Contribution
from kie_ops.model import TextModel
from kie_ops.training import pair_fit
from kie_ops.training.gate_fit import Evidenced, fit_memory, fit_text, sharpened
from kie_ops.training.gate_simulation import (
    FULL,
    PLANS,
    USUAL,
    Item,
    Plan,
    Sample,
    base,
    corrected,
    evidenced,
    prolonged,
    right,
    stream,
)

GRID = tuple(np.round(np.arange(0.26, 0.68, 0.04), 2).tolist())
CORRECTIONS = 0.12
"""Further candidates that a person spoke of (see gate_simulation.corrected) as a share of all."""


def fit(
    domain: Domain, data: Path, *, documents: int | None = None, seed: int = 1, tagger: Domain | None = None,
    memory_parts: Sequence[str] = ("train",), own: bool = False,
) -> tuple[Gate, dict[str, Cell]]:
    """The gate, from at most `documents` dev documents a scheme, and the shipped memory's cells, of `memory_parts`.

    `tagger`: whose readings of dev are fitted to, where `domain` itself was trained on dev.
    `own`: whether decisions may use what the pipeline reads itself (measured to help nothing: docs/memory.md).
    Raises InputError for data, ModelError for weights that do not fit.
    """
    model = TextModel.load(tagger or domain)
    if model.domain.schemes != domain.schemes or model.domain.relations != domain.relations:
        raise ModelError("the tagger has other labels than the domain", where=str(model.domain.folder),
                         next_step="give the run that this one goes on from")
    gold = {s: dataset.split(data, domain, s, "train") for s in domain.schemes}
    training = {s: list(priming.training(gold[s])) for s in domain.schemes}
    read = {s: read_all(model, s, dataset.split(data, domain, s, "dev")[:documents]) for s in domain.schemes}
    _say(f"read {sum(map(len, read.values()))} dev documents")
    fitted = {s: span_gate(domain, s, read[s], training[s], seed=seed, own=own) for s in domain.schemes}
    cells = priming.cells_of(c for s in domain.schemes for c in training[s])
    gate = Gate(
        {s: f.text for s, f in fitted.items()}, {s: f.memory for s, f in fitted.items()},
        {s: f.threshold for s, f in fitted.items()}, {}, {s: f.dictionary for s, f in fitted.items()}, own)
    extractor = Extractor(model, gate)
    relations = {s: _relations(extractor, s, read[s], cells, gold[s]) for s in domain.relations}
    if tuple(memory_parts) != ("train",):
        shown = {s: [e for p in memory_parts for e in dataset.split(data, domain, s, p)] for s in domain.schemes}
        cells = priming.cells_of(c for s in domain.schemes for c in priming.training(shown[s]))
    return replace(gate, relations=relations), cells


@dataclass(frozen=True)
class SpanGate:
    """What is fitted for the spans of one scheme; `dictionary`: the share from which the dictionary accepts a key."""

    text: TextGate
    memory: MemoryGate
    threshold: float
    dictionary: float


def span_gate(
    domain: Domain, scheme: str, read: Sequence[tuple[Example, Sketch]], training: Sequence[Contribution], *,
    seed: int = 1, own: bool = False,
) -> SpanGate:
    """Fitted to documents that the tagger has not seen, `read` by it; `training`: what annotated ones contribute."""
    text = _text_gate(domain, scheme, read)
    gate = Gate({scheme: text}, {}, {scheme: 0.5}, {}, {}, own)
    items = _items(domain, gate, scheme, read)
    samples = _samples(items, text, training, seed, own)
    gate = replace(gate, memory={scheme: _memory_gate(domain, scheme, samples, seed, own)})
    threshold = _threshold(domain, gate, scheme, samples)
    return SpanGate(text, gate.memory[scheme], threshold, _dictionary(items, priming.cells_of(training)))


def read_all(
    model: TextModel, scheme: str, examples: Sequence[Example], batch: int = 32
) -> list[tuple[Example, Sketch]]:
    out: list[tuple[Example, Sketch]] = []
    for at in range(0, len(examples), batch):
        some = examples[at : at + batch]
        readings = model.read([e.document for e in some], schemes=[scheme])
        out += [(e, sketch_of(r)) for e, r in zip(some, readings, strict=True)]
    return out


def _text_gate(domain: Domain, scheme: str, read: Sequence[tuple[Example, Sketch]]) -> TextGate:
    found = [candidates(sketch.names, scheme) for _, sketch in read]
    truth = [right(e, sketch, c) for (e, sketch), c in zip(read, found, strict=True)]
    gate = fit_text(found, truth, domain.schemes[scheme].labels)
    odds = np.concatenate([gate.odds(c) for c in found])
    y = np.concatenate(truth)
    _say(f"{scheme}: text calibrated on {len(y)} candidates, {int(y.sum())} right; log loss {_loss(odds, y):.4f}")
    return gate


def _items(domain: Domain, gate: Gate, scheme: str, read: Sequence[tuple[Example, Sketch]]) -> list[Item]:
    out = []
    for example, sketch in read:
        alone = decide(sketch.names, domain, gate, scheme)
        out.append(Item(example, sketch, alone, contributions.of_document("", sketch.names, [alone])))
    return out


def _samples(
    items: Sequence[Item], text: TextGate, training: Sequence[Contribution], seed: int, own: bool
) -> dict[Plan, list[Sample]]:
    out = {}
    for number, plan in enumerate(PLANS):
        rng = np.random.default_rng([seed, number])
        out[plan] = list(stream(items, text, base(training, plan, rng, items), plan, rng, own=own))
    return out


def _memory_gate(
    domain: Domain, scheme: str, plans: Mapping[Plan, Sequence[Sample]], seed: int, own: bool
) -> MemoryGate:
    """m and w_s of one scheme; those that people correct also learn from corrections (see gate_simulation)."""
    rng = np.random.default_rng([seed, 1_000])
    parts = [evidenced(s) for some in plans.values() for s in some]
    alone = Evidenced.join(parts)
    clean = Evidenced.join([evidenced(s) for plan, some in plans.items() if plan.clean for s in some])
    parts += [prolonged(s, rng) for some in plans.values() for s in some]
    if scheme in domain.output.entities:
        parts += [corrected(s, CORRECTIONS, rng, own=own) for some in plans.values() for s in some]
    data = Evidenced.join(parts)
    labels = domain.schemes[scheme].labels
    gate = sharpened(fit_memory(data, labels), clean, labels)
    _say(f"{scheme}: gate fitted on {len(data.h)} candidates; log loss of text alone {_loss(alone.h, alone.right):.4f}")
    return gate


def _threshold(domain: Domain, gate: Gate, scheme: str, plans: Mapping[Plan, Sequence[Sample]]) -> float:
    """The threshold of the best F1 on dev, over memory off and two kinds of memory."""
    total = np.zeros((len(GRID), 3), dtype=np.int64)
    nested = domain.schemes[scheme].nested
    for plan, samples in plans.items():
        if plan not in (FULL, USUAL):
            continue
        for s in samples:
            gold = len({(g.start, g.end, g.label) for g in s.item.example.spans})
            h, _, z = gate.decide(s.candidates, s.remembered)
            for odds, use in ((z, slice(None)), (h, ~s.candidates.remembered)):
                c, score = s.candidates, sigmoid(odds)[use]
                for n, threshold in enumerate(GRID):
                    picked = decode(c.first[use], c.last[use], c.label[use], score, threshold, nested=nested)
                    total[n] += (int(s.right[use][picked].sum()), len(picked), gold)
    f1 = evaluation.f1_of(total)
    best = int(np.argmax(f1))
    _say(f"{scheme}: dev F1 {f1[best]:.4f} (off and on together) at threshold {GRID[best]}")
    return GRID[best]


def _dictionary(items: Sequence[Item], cells: Mapping[str, Cell]) -> float:
    """The share of positive counts from which the dictionary helps the tagger most on dev."""
    grid = [0.1 * n for n in range(1, 11)]
    total = np.zeros((len(grid), 3), dtype=np.int64)
    for item in items:
        sketch = item.sketch
        found = dictionary.matches(sketch.names, Knowledge({k: c for k in sketch.keys if (c := cells.get(k))},
                                                           item.example.scheme))
        gold = {(g.start, g.end, g.label) for g in item.example.spans}
        for n, threshold in enumerate(grid):
            spans = {(*sketch.span(f, e), y) for f, e, y in dictionary.joined(item.alone, found, threshold)}
            total[n] += (len(spans & gold), len(spans), len(gold))
    return float(grid[int(np.argmax(evaluation.f1_of(total)))])


def _relations(
    extractor: Extractor, scheme: str, read: Sequence[tuple[Example, Sketch]], cells: Mapping[str, Cell],
    training: Sequence[Example],
) -> Calibration:
    """Calibration and threshold of one relation scheme, end to end from decoded mentions."""
    rules = extractor.definition.relations[scheme]
    prior = pair_fit.type_prior(training, rules) if rules.level == "sentence" else {}
    some = [rated(extractor, scheme, example, sketch, cells, prior) for example, sketch in read]
    fitted = pair_fit.fit(some, prior)
    f1 = {f"{model} {shrinkage:g}": round(100 * f, 1) for (model, shrinkage), f in fitted.f1.items()}
    _say(f"{scheme}: relations by {fitted.model}, from probability {fitted.calibration.threshold:.2f} on; F1 of"
         f" held-out folds {f1}; {sum(r.missed for r in some)} gold ones are no candidates")
    return fitted.calibration


def rated(
    extractor: Extractor, scheme: str, example: Example, sketch: Sketch, cells: Mapping[str, Cell],
    prior: Mapping[str, float],
) -> pair_fit.Rated:
    """The candidate relations of one document, with memory, and which are right."""
    rules = extractor.definition.relations[scheme]
    known = {k: c for k in sketch.keys if (c := cells.get(k))}
    decided: Decided = decide(sketch.names, extractor.definition, extractor.gate, scheme, known)
    gold = relation_scores.gold_relations(example, rules)
    names, scored, items = relation_scores.candidate_relations(extractor, sketch, scheme, decided)
    number: dict[object, int] = {}
    same = np.array([number.setdefault(name, len(number)) for row in names for name in row], dtype=np.int64)
    right = np.array([name in gold for row in names for name in row], dtype=bool)
    types = np.array([
        prior.get(type_name(items[h[0]].label, items[t[0]].label, label), 0.0)
        for h, t in zip(scored.heads, scored.tails, strict=True) for label in rules.labels
    ], dtype=np.float64)
    features = scored.features.reshape(-1, scored.features.shape[-1])
    unnamed = np.repeat(scored.unnamed(), len(rules.labels))
    return pair_fit.Rated(features, types, right, unnamed, same, len(gold - number.keys()))


def _loss(odds: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(np.logaddexp(0, odds) - odds * y)) / max(len(y), 1)


_begun = time.monotonic()


def _say(what: str) -> None:
    print(f"{time.monotonic() - _begun:6.1f} s  {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fit a domain's gate and build its shipped memory.")
    parser.add_argument("domain", help="a shipped domain's name, or the folder of a trained one")
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each scheme")
    parser.add_argument("--documents", type=int, help="dev documents a scheme, at most; default: all")
    parser.add_argument("--own", action="store_true", help="let decisions use what the pipeline reads itself")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tagger", help="a domain of the same labels that has not seen dev; default: DOMAIN itself")
    parser.add_argument("--memory-parts", default="train", help="whose names are shipped: train, or train,dev")
    given = parser.parse_args(arguments)
    try:
        domain = Domain.load(given.domain)
        tagger = Domain.load(given.tagger) if given.tagger else None
        gate, cells = fit(domain, given.data, documents=given.documents, seed=given.seed, tagger=tagger,
                          memory_parts=given.memory_parts.split(","), own=given.own)
        folder = Path(domain.folder or ".")
        gate.save(folder / GATE)
        size = frozen_memory.write(cells.values(), folder / MEMORY)
        _say(f"wrote {folder / GATE} and {folder / MEMORY}, {size} cells")
    except EngramError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
