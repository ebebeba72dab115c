"""Hand-made readings and a small domain: what a model would say, without any model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from kie_ops.candidates import FEATURES
from kie_ops.domain import Domain
from kie_ops.evidence import KINDS, OUTCOMES
from kie_ops.extractor import Extractor
from kie_ops.frozen_memory import FrozenMemory
from kie_ops.gate import Calibration, Gate, MemoryGate, TextGate
from kie_ops.heads import Endpoint
from kie_ops.memory import SOURCES, Cell, Contribution
from kie_ops.overlay import Overlay
from kie_ops.records import Document, Place
from kie_ops.text_reading import SpanScores, TextReading
from kie_ops.trust import TRUST
from kie_ops.words import split

SCHEME = "clinic"
LABELS = ("Drug", "Disease")
MAX_WORDS = 6


def domain(**changes: object) -> Domain:
    data: dict[str, object] = {
        "name": "tiny", "schemes": {SCHEME: {"labels": LABELS, "max_words": MAX_WORDS}},
        "output": {"entities": {SCHEME: {"Drug": "drug", "Disease": "disease"}}},
    }
    return Domain.parse(data | changes)


def reading(
    text: str, odds: dict[tuple[str, str], float] | None = None, *, scheme: str = SCHEME,
    labels: tuple[str, ...] = LABELS, doc_id: str = "d1", place: Place | None = None, otherwise: float = -8.0,
) -> TextReading:
    """A reading where the first place of each (surface, label) has the given log-odds, everything else `otherwise`."""
    words = split(text)
    count = len(words)
    logits = np.full((count, MAX_WORDS, len(labels)), otherwise, dtype=np.float32)
    for i in range(count):
        logits[i, count - i :] = -np.inf
    for (surface, label), value in (odds or {}).items():
        start = text.index(surface)
        first = int(np.searchsorted(words.offsets[:, 0], start))
        last = int(np.searchsorted(words.offsets[:, 1], start + len(surface)))
        logits[first, last - first, labels.index(label)] = value
    states = np.random.default_rng(count).normal(size=(count, 8)).astype(np.float32)
    document = Document(doc_id=doc_id, text=text, place=place)
    spans = {scheme: SpanScores(labels, logits)}
    return TextReading(document, words.offsets, words.sentences, spans, states, 1, len(text))


def gate(*schemes: str, threshold: float = 0.5) -> Gate:
    """A plain gate: h is the tagger's own log-odds, memory is trusted by nine tenths where it has anything."""
    linear = np.zeros(len(FEATURES))
    linear[0] = 4.0
    text = TextGate(linear, np.zeros((len(FEATURES), 1)), np.zeros(1), np.zeros(1), {})
    weights = np.ones((len(KINDS), len(SOURCES), len(OUTCOMES))) * 2.0
    weights[:, [SOURCES.index("reviewer"), SOURCES.index("correction")]] = 6.0
    memory = MemoryGate(0.0, weights, np.zeros((len(TRUST), 1)), np.zeros(1), np.zeros(1), 2.2)
    names = schemes or (SCHEME,)
    return Gate(
        dict.fromkeys(names, text), dict.fromkeys(names, memory), dict.fromkeys(names, threshold),
        dict.fromkeys(names, Calibration(1.0, 0.0, 0.5)), dict.fromkeys(names, 0.5),
    )


def cells(*contributions: Contribution) -> dict[str, Cell]:
    overlay = Overlay({})
    for contribution in contributions:
        overlay.add(contribution)
    return dict(overlay.items())


class LexiconModel:
    """Stands in for TextModel: every word has the log-odds that `odds` gives its lower case; all pairs are related."""

    def __init__(self, definition: Domain, odds: dict[tuple[str, str], float], *, pair: float = 3.0) -> None:
        self.domain, self.odds, self.pair, self.version = definition, odds, pair, "lexicon"
        self.reads = 0

    def read(
        self, documents: Sequence[Document], token_budget: int = 4_096, schemes: Collection[str] | None = None
    ) -> list[TextReading]:
        self.reads += len(documents)
        return [self._read(document) for document in documents]

    def _read(self, document: Document) -> TextReading:
        words = split(document.text)
        count = len(words)
        spans = {}
        for scheme, rules in self.domain.schemes.items():
            logits = np.full((count, rules.max_words, len(rules.labels)), -8.0, dtype=np.float32)
            for i, (start, end) in enumerate(words.offsets.tolist()):
                logits[i, count - i :] = -np.inf
                for y, label in enumerate(rules.labels):
                    logits[i, 0, y] = self.odds.get((document.text[start:end].lower(), label), -8.0)
            spans[scheme] = SpanScores(tuple(rules.labels), logits)
        states = np.random.default_rng(count).normal(size=(count, 8)).astype(np.float32)
        return TextReading(document, words.offsets, words.sentences, spans, states, 1, len(document.text))

    def relate(
        self, reading: TextReading, scheme: str, heads: Sequence[Endpoint], tails: Sequence[Endpoint]
    ) -> np.ndarray:
        return np.full((len(heads), len(self.domain.relations[scheme].labels)), self.pair, dtype=np.float32)


def extractor(
    odds: dict[tuple[str, str], float], memory: Mapping[str, Cell] | None = None, *, pair: float = 3.0,
    **changes: object,
) -> Extractor:
    definition = domain(**changes)
    model = LexiconModel(definition, odds, pair=pair)
    return Extractor(model, gate(*definition.schemes), memory=FrozenMemory(memory or {}))  # type: ignore[arg-type]
