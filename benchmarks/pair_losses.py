"""Where gold relations between concepts are lost: ``python benchmarks/pair_losses.py --data DATA --domain medical``.

Each gold pair is counted at the first step that loses it: an end is in no predicted mention, its mentions have no
concept, or another one than the annotators gave; the pair is no candidate, or it stays below the threshold.  Also
printed: how many mentions get the right concept, and the share of gold pairs whose concepts are both found, with gold
and with predicted spans.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kie_ops import dataset
from kie_ops.dataset import Example
from kie_ops.decisions import decide
from kie_ops.domain import Domain
from kie_ops.evaluation.relation_scores import candidate_relations, gold_relations, predicted_relations
from kie_ops.extractor import Extractor, Sketch, sketch_of
from kie_ops.linking import Span, concepts
from kie_ops.memory import Cell
from kie_ops.priming import cells_of, coded, marks, training

STEPS = ("found", "no mention", "no concept", "wrong concept", "no candidate", "below the threshold")
BATCH = 32


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Where gold relations between concepts are lost.")
    parser.add_argument("--data", type=Path, required=True, help="folder with a folder for each scheme")
    parser.add_argument("--domain", default="medical")
    parser.add_argument("--split", default="dev", choices=dataset.SPLITS)
    parser.add_argument("--documents", type=int, help="at most")
    parser.add_argument("--train-memory", action="store_true", help="read with that of the train documents")
    given = parser.parse_args(arguments)
    extractor = Extractor.load(given.domain)
    domain = extractor.definition
    cells = _of_training(domain, given.data) if given.train_memory else None
    for scheme, rules in domain.relations.items():
        if rules.level == "document":
            examples = dataset.split(given.data, domain, scheme, given.split)[: given.documents]
            print(json.dumps({"scheme": scheme, "split": given.split} | losses(extractor, scheme, examples, cells)))
    return 0


def losses(
    extractor: Extractor, scheme: str, examples: Sequence[Example], cells: dict[str, Cell] | None = None
) -> dict[str, dict[str, float]]:
    """Gold pairs by step, and shares of linked mentions and reachable pairs by spans; `cells` instead of the memory."""
    steps: Counter[str] = Counter(dict.fromkeys(STEPS, 0))
    linked: Counter[tuple[str, str]] = Counter()
    for at in range(0, len(examples), BATCH):
        some = examples[at : at + BATCH]
        readings = extractor.encode([e.document for e in some], [scheme])
        for example, reading in zip(some, readings, strict=True):
            sketch = sketch_of(reading)
            known = (extractor.memory.recall(sketch.keys).cells if cells is None
                     else {k: c for k in sketch.keys if (c := cells.get(k))})
            steps.update(_document(extractor, scheme, example, sketch, known, linked))
    pairs: dict[str, dict[str, float]] = {"pairs": dict(steps)}
    return pairs | {
        spans: {
            "right concept": round(linked[spans, "right"] / max(linked[spans, "mentions"], 1), 4),
            "pairs with both concepts": round(linked[spans, "both"] / max(sum(steps.values()), 1), 4),
        } for spans in ("gold", "predicted")
    }


def _document(
    extractor: Extractor, scheme: str, example: Example, sketch: Sketch, known: Mapping[str, Cell],
    linked: Counter[tuple[str, str]],
) -> list[str]:
    """The step at which each gold pair is lost."""
    names, domain = sketch.names, extractor.definition
    decided = decide(names, domain, extractor.gate, scheme, known)
    gold = {(f, e, y): coded(g.concept) if g.concept else "" for f, e, g, y in marks(example, names)}
    mine: Sequence[Span] = [(d.first, d.last, d.label) for d in decided.chosen]
    given: dict[Span, str | None] = {}
    pairs = gold_relations(example, domain.relations[scheme])
    for spans, some in (("gold", list(gold)), ("predicted", mine)):
        given = dict(zip(some, concepts(names, some, decided.knowledge), strict=True))
        linked[spans, "mentions"] += sum(s in gold for s in given)
        linked[spans, "right"] += sum(gold.get(s, "-") == (which or "") for s, which in given.items())
        ids = _ids(w for w in given.values() if w)
        linked[spans, "both"] += sum(head in ids and tail in ids for head, tail, _ in pairs)
    candidates = {r for row in candidate_relations(extractor, sketch, scheme, decided)[0] for r in row}
    predicted = predicted_relations(extractor, sketch, scheme, decided)
    ids = _ids(w for w in given.values() if w)
    out = []
    for pair in pairs:
        lost = [_lost(str(end), gold, given) for end in pair[:2] if end not in ids]
        out.append(
            "found" if pair in predicted else "below the threshold" if pair in candidates
            else min(lost, key=STEPS.index) if lost else "no candidate"
        )
    return out


def _lost(concept: str, gold: dict[Span, str], given: dict[Span, str | None]) -> str:
    mentions = [s for s, which in gold.items() if concept in which.split("|") and s in given]
    if not mentions:
        return "no mention"
    return "no concept" if all(given[s] is None for s in mentions) else "wrong concept"


def _ids(joined: Iterable[str]) -> set[str]:
    return {part for which in joined for part in which.split("|")}


def _of_training(domain: Domain, data: Path) -> dict[str, Cell]:
    return cells_of(c for s in domain.schemes for c in training(dataset.split(data, domain, s, "train")))


if __name__ == "__main__":
    raise SystemExit(main())
