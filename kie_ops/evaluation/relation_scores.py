"""Scores of relations end to end, beside simple rules on the same spans (see relation_heuristics).

Spans are the predicted ones, or gold ones with concepts from memory, or gold ones with gold concepts.  Between
concepts, a predicted pair of which memory knows no concept is an error; "ours, named" leaves such pairs out.
"possible" is what spans and concepts allow: all gold relations among the candidates.  Differences to the best rule are
paired by document.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from kie_ops import relations
from kie_ops.dataset import Example
from kie_ops.decisions import Decided, Decision
from kie_ops.domain import RelationScheme
from kie_ops.evaluation import relation_heuristics
from kie_ops.extractor import Extractor, Sketch
from kie_ops.gate import Calibration, sigmoid
from kie_ops.pairs import UNNAMED, Item, Scored
from kie_ops.priming import coded, marks

OURS, NAMED, POSSIBLE = "ours", "ours, named", "possible"
PREDICTED, GOLD, GOLD_CONCEPTS = "predicted", "gold", "gold, gold concepts"
Relation = tuple[Hashable, Hashable, str]


@dataclass(frozen=True, slots=True)
class Control:
    """`rule` on `spans`; `low`, `high`: 95 % interval of `f1`; of our own rows `gain`: f1 over that of `over`, the best
    rule on these spans, with its interval.
    """

    scheme: str
    spans: str
    rule: str
    precision: float
    recall: float
    f1: float
    low: float
    high: float
    gold: int
    predicted: int
    over: str = ""
    gain: float = 0.0
    gain_low: float = 0.0
    gain_high: float = 0.0


@dataclass
class Controls:
    """Counts (true positives, predicted, gold) by (spans, rule), one row a document."""

    counts: dict[tuple[str, str], list[tuple[int, int, int]]] = field(default_factory=dict)

    def add(self, extractor: Extractor, scheme: str, example: Example, sketch: Sketch, decided: Decided) -> None:
        """Counts one document, `decided` with memory."""
        rules = extractor.definition.relations[scheme]
        cut = extractor.gate.relations.get(scheme, Calibration())
        gold = gold_relations(example, rules)
        exact = replace(decided, chosen=_gold_spans(example, sketch))
        views: dict[str, tuple[Decided, Sequence[Item] | None]] = {PREDICTED: (decided, None), GOLD: (exact, None)}
        if rules.level == "document":
            views[GOLD_CONCEPTS] = (exact, _gold_items(extractor, example, sketch, exact))
        for spans, (some, items) in views.items():
            names, scored, its = candidate_relations(extractor, sketch, scheme, some, items)
            found: dict[str, Collection[Relation]] = {OURS: _taken(names, _emitted(scored, rules, its, cut))}
            if rules.level == "document":
                found[NAMED] = {r for r in found[OURS] if not any(str(e).startswith(UNNAMED) for e in r[:2])}
            for rule, taken in relation_heuristics.rules(scored, rules, its, cut.prior).items():
                found[rule] = _taken(names, taken)
            found[POSSIBLE] = gold & {name for row in names for name in row}
            for rule, predicted in found.items():
                row = (len(gold & set(predicted)), len(predicted), len(gold))
                self.counts.setdefault((spans, rule), []).append(row)

    def scores(self, scheme: str, samples: int = 1_000, seed: int = 1) -> list[Control]:
        """One row for each spans and rule, with intervals of a bootstrap over documents."""
        if not self.counts:
            return []
        counts = {at: np.array(rows, dtype=np.int64) for at, rows in self.counts.items()}
        documents = len(next(iter(counts.values())))
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(documents, np.full(documents, 1 / documents), size=samples)
        drawn = {at: f1_of(draws @ rows) for at, rows in counts.items()}
        total = {at: rows.sum(axis=0) for at, rows in counts.items()}
        out = []
        for (spans, rule), (tp, predicted, gold) in total.items():
            f1 = float(f1_of(total[spans, rule]))
            low, high = np.percentile(drawn[spans, rule], [2.5, 97.5])
            row = Control(scheme, spans, rule, tp / max(predicted, 1), tp / max(gold, 1), f1, float(low), float(high),
                          int(gold), int(predicted))
            if rule in (OURS, NAMED):
                others = [r for s, r in total if s == spans and r not in (OURS, NAMED, POSSIBLE)]
                best = max(others, key=lambda r: float(f1_of(total[spans, r])))
                gain_low, gain_high = np.percentile(drawn[spans, rule] - drawn[spans, best], [2.5, 97.5])
                row = replace(row, over=best, gain=f1 - float(f1_of(total[spans, best])), gain_low=float(gain_low),
                              gain_high=float(gain_high))
            out.append(row)
        return out


def predicted_relations(extractor: Extractor, sketch: Sketch, scheme: str, decided: Decided) -> set[Relation]:
    """Relations from the calibrated threshold on, in the form of :func:`gold_relations`."""
    rules = extractor.definition.relations[scheme]
    cut = extractor.gate.relations.get(scheme, Calibration())
    names, scored, items = candidate_relations(extractor, sketch, scheme, decided)
    return _taken(names, _emitted(scored, rules, items, cut))


def candidate_relations(
    extractor: Extractor, sketch: Sketch, scheme: str, decided: Decided, given: Sequence[Item] | None = None
) -> tuple[list[list[Relation]], Scored, Sequence[Item]]:
    """All candidate pairs of the chosen spans: relations [pairs][labels] in the form of :func:`gold_relations`, scores,
    and the spans as items (`given`: with concepts of their own).
    """
    rules = extractor.definition.relations[scheme]
    chosen, items = extractor.items(sketch, scheme, decided, recalled=True)
    some = items if given is None else given
    scored = relations.score(extractor.model.relate, sketch, scheme, rules, some, decided.cells)
    at = [(*sketch.span(d.first, d.last), d.label) for d in chosen]
    out: list[list[Relation]] = []
    for heads, tails, names in zip(scored.heads, scored.tails, scored.names, strict=True):
        ends: tuple[Hashable, Hashable] = names if rules.level == "document" else (at[heads[0]], at[tails[0]])
        first, second = sorted(ends, key=repr)
        out.append([(first, second, y) if y in rules.symmetric else (*ends, y) for y in rules.labels])
    return out, scored, some


def gold_relations(example: Example, rules: RelationScheme) -> set[Relation]:
    """Gold relations: pairs of (start, end, label), or of concept ids at document level; labels without a direction
    with their ends in order.
    """
    if rules.level == "document":
        return {(coded(r.head), coded(r.tail), r.label) for r in example.relations}
    at = {s.span_id: (s.start, s.end, s.label) for s in example.spans}
    out: set[Relation] = set()
    for r in example.relations:
        if r.head in at and r.tail in at:
            ends = (at[r.head], at[r.tail])
            head, tail = sorted(ends, key=repr) if r.label in rules.symmetric else ends
            out.add((head, tail, r.label))
    return out


def f1_of(counts: np.ndarray) -> np.ndarray:
    """F1 of counts [..., 3] (true positives, predicted, gold); 0 where there is nothing."""
    total = counts[..., 1] + counts[..., 2]
    return np.asarray(2 * counts[..., 0] / np.maximum(total, 1))


def _emitted(scored: Scored, rules: RelationScheme, items: Sequence[Item], cut: Calibration) -> np.ndarray:
    """bool [pairs, labels]."""
    probability = sigmoid(relations.odds(scored, rules, items, cut))
    return np.asarray(probability >= relations.thresholds(scored, cut)[:, None])


def _taken(names: Sequence[Sequence[Relation]], taken: np.ndarray) -> set[Relation]:
    return {names[k][y] for k, y in zip(*(a.tolist() for a in np.nonzero(taken)), strict=True)}


def _gold_spans(example: Example, sketch: Sketch) -> tuple[Decision, ...]:
    return tuple(Decision(example.scheme, label, first, last, 1.0, 1.0, 0.0)
                 for first, last, _, label in marks(example, sketch.names))


def _gold_items(extractor: Extractor, example: Example, sketch: Sketch, exact: Decided) -> list[Item]:
    """Gold spans as items with their gold concepts."""
    named = {(f, e, y): coded(g.concept) if g.concept else None for f, e, g, y in marks(example, sketch.names)}
    _, items = extractor.items(sketch, example.scheme, exact, recalled=False)
    return [replace(item, concept=named[item.first, item.last, item.label]) for item in items]
