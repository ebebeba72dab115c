"""Fits the gate of labels without a head: ``python -m kie_ops.training.headless --data FOLDER [--domain DOMAIN]``.

Labels of auxiliary sets, of which the domain's encoder and heads know nothing, play the part of labels never trained:
streams of documents are read with what reviews of the earlier ones taught, from none reviewed to all, with and without
a vocabulary that holds some of the names and some that are none, with wrong labels among the reviews, and with names
corrected one by one.  Chemicals are left out throughout: figures about learning them are given elsewhere.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from kie_ops import contributions
from kie_ops.candidates import Names
from kie_ops.dataset import Example, Gold
from kie_ops.decisions import Decided
from kie_ops.decoding import decode
from kie_ops.domain import Domain
from kie_ops.errors import EngramError, InputError
from kie_ops.evaluation.standing import f1_of
from kie_ops.evidence import OUTCOMES, RELIABILITY, Knowledge, reliability
from kie_ops.gate import MemoryGate
from kie_ops.headless import FILE, TEXT_BOUND, Headless, LearntGate, Seen, empty, look
from kie_ops.learnt import learnt, learnt_key
from kie_ops.memory import SOURCES, Contribution, Increment, field
from kie_ops.model import TextModel
from kie_ops.overlay import Overlay
from kie_ops.records import Document
from kie_ops.surface import key_of_text, written
from kie_ops.training.gate_fit import SHRINK, Evidenced, fit_memory, minimise
from kie_ops.trust import ENTROPY, entropy, sigmoid, trusted

SETS = {
    "jnlpba": ("protein", "cell_type", "DNA"), "craft": ("Taxon", "CL", "GGP"), "bc2gm": ("GENE",),
    "linnaeus": ("Species",),
}
SENTENCES = 8
"""Sentences of a set that make a document."""
READ = 0.4
"""Share of a set's documents that one stream reads: the first ones, or the last after the others were reviewed."""
ROWS = 16_000
"""Candidates that each fit uses, at most."""
UNITS = 8
GRID = tuple(np.round(np.arange(0.3, 0.64, 0.04), 2).tolist())
CORRECTION, NONE = SOURCES.index("correction"), OUTCOMES.index("none")
TRUSTED = 0.99
"""How often a correction by name is taken to be right; these streams cannot show it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`reviewed`: share of documents reviewed whole; `vocabulary`: share of the names in a vocabulary, `junk`: terms
    in it that are none, as a share of those; `wrong`: share of marks in reviews that are left out or moved;
    `corrected`: share of documents in which one name is corrected instead.
    """

    reviewed: float
    vocabulary: float = 0.0
    junk: float = 0.0
    wrong: float = 0.0
    corrected: float = 0.0


PLANS = (
    Plan(0.1), Plan(0.3, wrong=0.1, corrected=0.1), Plan(1.0), Plan(0.0, 0.5, 0.2), Plan(0.1, 0.7, 0.25),
    Plan(0.3, 0.4, 0.15, corrected=0.1), Plan(1.0, 0.6, 0.3), Plan(0.5, 0.3, 0.4, wrong=0.1), Plan(0.1, 0.9, 0.2),
    Plan(0.3, 0.9, 0.15),
)


@dataclass(frozen=True)
class Item:
    """A document read without any head for `label`.  `gold`: (first, last) words, inclusive."""

    names: Names
    scheme: str
    label: str
    doc_id: str
    gold: frozenset[tuple[int, int]]

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset({*self.names.keys(), learnt_key(self.scheme)})

    @cached_property
    def whole(self) -> Contribution:
        """A review without errors."""
        return review(self)


@dataclass(frozen=True)
class Sample:
    item: Item
    seen: Seen
    right: np.ndarray


def stream(items: Sequence[Item], plan: Plan, rng: np.random.Generator, before: int = 0) -> Iterator[Sample]:
    """The documents in order, each read with what those before it left, as `plan` says; the first `before` unread."""
    memory = Overlay({})
    if plan.vocabulary:
        memory.add(vocabulary(items, plan, rng))
    for number, item in enumerate(items):
        if number >= before:
            cells = memory.only(item.keys)
            head = learnt(cells, item.scheme)
            seen = look(item.names, item.scheme, [item.label], Knowledge(cells, item.scheme), head)
            spans = zip(seen.candidates.first.tolist(), seen.candidates.last.tolist(), strict=True)
            yield Sample(item, seen, np.array([s in item.gold for s in spans], dtype=bool))
        if rng.random() < plan.reviewed:
            memory.add(review(item, plan.wrong, rng) if plan.wrong else item.whole)
        elif rng.random() < plan.corrected:
            memory.add(_correction(item, rng))


def review(item: Item, wrong: float = 0.0, rng: np.random.Generator | None = None) -> Contribution:
    """The whole document reviewed; of its marks a share is left out or begins a word late."""
    spans = []
    for first, last in sorted(item.gold):
        if rng is not None and rng.random() < wrong:
            if first == last or rng.random() < 0.5:
                continue
            first += 1
        spans.append(contributions.Marked(item.scheme, item.label, first, last))
    nothing = np.zeros(0)
    alone = Decided(empty(item.scheme), nothing, nothing, nothing, (), None)
    return contributions.of_review("", item.names, spans, alone, item.doc_id)


def vocabulary(items: Sequence[Item], plan: Plan, rng: np.random.Generator) -> Contribution:
    """Some of the names, and some other words of the texts, as a vocabulary has them."""
    names = sorted({k for i in items for f, e in i.gold for k in [i.names.key(f, e)] if k is not None})
    known = {*names}
    others = sorted({k for i in items for k, f, e in i.names.surfaces.occurrences() if e == f} - known)
    terms = [n for n in names if rng.random() < plan.vocabulary]
    if others:
        terms += [others[int(n)] for n in rng.integers(len(others), size=int(plan.junk * len(terms)))]
    name = field("vocabulary", items[0].scheme, "entity", items[0].label)
    return Contribution("", tuple(Increment(k, name, 1) for k in sorted({w for t in terms for w in written(t)})))


def _correction(item: Item, rng: np.random.Generator) -> Contribution:
    if not item.gold:
        return Contribution("")
    first, last = sorted(item.gold)[int(rng.integers(len(item.gold)))]
    start, end = item.names.reading.span(first, last)
    key = key_of_text(item.names.reading.document.text[start:end])
    name = field("correction", item.scheme, "entity", item.label)
    return Contribution("", tuple(Increment(k, name, 1) for k in (written(key) if key else ())))


def fit(samples: Sequence[Sample], seed: int = 1) -> Headless:
    """h on all candidates of learnt heads, then m and w_s on those that memory knows, then the threshold."""
    x, y = np.concatenate([s.seen.x for s in samples]), np.concatenate([s.right for s in samples]).astype(np.float64)
    rng = np.random.default_rng(seed)
    some = rng.permutation(len(y))[:ROWS]
    text = fit_text(x[some], y[some])
    parts = [_evidenced(s, text) for s in samples]
    parts += [_anew(s, text, rng) for s in samples]
    data = Evidenced.join(parts)
    some = rng.permutation(len(data.h))[:ROWS]
    memory = fit_memory(Evidenced(*(getattr(data, n)[some] for n in Evidenced.__dataclass_fields__)))
    return with_threshold(text, memory, samples)


def fit_text(x: np.ndarray, y: np.ndarray) -> LearntGate:
    """Logistic regression with one hidden layer; `x` [n, FEATURES, SPAN and LISTED], `y` [n] 0 or 1."""
    inputs, target = torch.from_numpy(x), torch.from_numpy(y)
    generator = torch.Generator().manual_seed(1)
    size = x.shape[1]
    hidden = torch.randn(size, UNITS, dtype=torch.float64, generator=generator) * 0.5
    linear, hidden_bias, out, bias = (torch.zeros(n, dtype=torch.float64) for n in (size, UNITS, UNITS, 1))

    def loss() -> torch.Tensor:
        z = inputs @ linear + torch.tanh(inputs @ hidden + hidden_bias) @ out + bias
        penalty = (linear**2).sum() + (hidden**2).sum() + (out**2).sum()
        value = F.binary_cross_entropy_with_logits(TEXT_BOUND * torch.tanh(z / TEXT_BOUND), target)
        return value + SHRINK / len(target) * penalty

    minimise([linear, hidden, hidden_bias, out, bias], loss)
    return LearntGate(linear.detach().numpy(), hidden.detach().numpy(), hidden_bias.detach().numpy(),
                      out.detach().numpy(), float(bias))


def _evidenced(sample: Sample, text: LearntGate) -> Evidenced:
    known = sample.seen.remembered
    at = known.present
    h = text.odds(sample.seen.x)
    return Evidenced(h[at], known.counts[at], trusted(known, h)[at], sample.seen.candidates.label[at],
                     sample.right[at].astype(np.float64), np.ones(int(at.sum())))


def _anew(sample: Sample, text: LearntGate, rng: np.random.Generator, share: float = 0.15) -> Evidenced:
    """Candidates with a person's word on this very name, for or against, who is right in TRUSTED of the cases."""
    take = np.flatnonzero(rng.random(len(sample.right)) < share)
    n = len(take)
    old = sample.seen.remembered.reliability[take]
    raw = np.expm1(sample.seen.remembered.counts[take])
    raw[:, :, CORRECTION] = 0.0
    raw[:, 1] = 0.0
    raw[rng.random(n) < 0.5] = 0.0
    entity = rng.random(n) < 0.5
    raw[np.arange(n), 0, CORRECTION, np.where(entity, 0, NONE)] = rng.integers(1, 3, n)
    at = RELIABILITY.index("tokens")
    trust = reliability(raw, np.zeros((n, 2)), old[:, at : at + 2])
    y = np.where(rng.random(n) < TRUSTED, entity, ~entity).astype(np.float64)
    h = text.odds(sample.seen.x)
    seen = trusted(sample.seen.remembered, h)[take]
    trust = np.column_stack([trust, seen[:, len(RELIABILITY):]])  # of the head, and of the document's other names
    trust[:, ENTROPY] = entropy(h[take])
    return Evidenced(h[take], np.log1p(raw), trust, sample.seen.candidates.label[take], y, np.ones(n))


def with_threshold(text: LearntGate, memory: MemoryGate, samples: Sequence[Sample]) -> Headless:
    """The threshold of the best F1, summed over all streams."""
    gate = Headless(text, memory, 0.5)
    total = np.zeros((len(GRID), 3), dtype=np.int64)
    for s in samples:
        c, score = s.seen.candidates, sigmoid(gate.decide(s.seen)[2])
        for n, threshold in enumerate(GRID):
            picked = decode(c.first, c.last, c.label, score, threshold)
            total[n] += (int(s.right[picked].sum()), len(picked), len(s.item.gold))
    best = int(np.argmax(f1_of(total)))
    print(f"F1 over all streams {f1_of(total)[best]:.4f} at threshold {GRID[best]}", file=sys.stderr)
    return Headless(text, memory, GRID[best])


def documents(path: Path, scheme: str, limit: int) -> list[Example]:
    """Sentences of an auxiliary set joined to documents, at most `limit`.  InputError where there is none."""
    out: list[Example] = []
    rows: list[dict[str, object]] = []
    try:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                rows.append(json.loads(line))
                if len(rows) == SENTENCES:
                    out.append(_joined(rows, scheme, f"{scheme}-{len(out)}"))
                    rows = []
                if len(out) == limit:
                    break
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read: {e}", where=str(path),
                         next_step="give the folder that holds aux/*.jsonl.xz") from None
    return out


def _joined(rows: Iterable[dict[str, object]], scheme: str, doc_id: str) -> Example:
    text, spans = "", []
    for row in rows:
        for e in row["entities"]:  # type: ignore[attr-defined]
            spans.append(Gold(e["start"] + len(text), e["end"] + len(text), e["label"]))
        text += f"{row['text']}\n"
    return Example(scheme, Document(doc_id=doc_id, text=text), tuple(spans))


def items_of(examples: Sequence[Example], names: Sequence[Names], label: str) -> list[Item]:
    """The documents with the spans of one label."""
    out = []
    for example, each in zip(examples, names, strict=True):
        gold = set()
        words = each.reading.words
        for g in example.spans:
            if g.label == label:
                first = int(np.searchsorted(words[:, 1], g.start, side="right"))
                gold.add((first, int(np.searchsorted(words[:, 0], g.end, side="left")) - 1))
        out.append(Item(each, example.scheme, label, example.document.doc_id, frozenset(gold)))
    return out


def simulate(items: Sequence[Sequence[Item]], seed: int = 1) -> list[Sample]:
    """Samples of every label's streams; plans take turns, and so do beginnings of streams and later stretches."""
    out: list[Sample] = []
    for n, some in enumerate(items):
        for k, plan in enumerate(PLANS):
            if (n + k) % 2 == 0:
                rng = np.random.default_rng([seed, n, k])
                order = [some[int(i)] for i in rng.permutation(len(some))]
                read = int(READ * len(order))
                later = (n + k) % 4 == 0
                out += stream(order if later else order[:read], plan, rng, len(order) - read if later else 0)
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fit the gate of labels without a head.")
    parser.add_argument("--data", type=Path, required=True, help="folder with aux/*.jsonl.xz")
    parser.add_argument("--domain", default="medical", help="whose encoder reads; it must not know these labels")
    parser.add_argument("--documents", type=int, default=150, help="of each set")
    given = parser.parse_args(arguments)
    try:
        model = TextModel.load(Domain.load(given.domain))
        items = []
        for scheme, labels in SETS.items():
            examples = documents(given.data / "aux" / f"{scheme}.jsonl.xz", scheme, given.documents)
            names = [Names(r) for r in model.read([e.document for e in examples], schemes=[])]
            items += [items_of(examples, names, label) for label in labels]
        fit(simulate(items)).save()
        print(f"wrote {FILE}", file=sys.stderr)
    except EngramError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())


