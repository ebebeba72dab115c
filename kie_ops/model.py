"""TextModel: one encoder with a span head per scheme and a pair head per relation scheme.

Results do not depend on how windows are batched: a window is padded to a length of its own, and float32 matrix
products of equal row shapes are the same in any place of a batch (tested).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kie_ops import adapter, words as wording
from kie_ops.adapter import ADAPTER, Base
from kie_ops.domain import Domain, Scheme
from kie_ops.encoder import SHAPES, Encoder, Tokens
from kie_ops.errors import ModelError
from kie_ops.heads import Endpoint, PairHead, SpanHead, unfold
from kie_ops.records import Document
from kie_ops.text_reading import SpanScores, TextReading, traits
from kie_ops.windows import Window, characters_read, cut, owners
from kie_ops.words import Words

PAIRS_AT_ONCE = 2_048


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text cut into words, tokens and windows: all that needs no model."""

    words: Words
    tokens: Tokens
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Windows as one padded batch.  int64 [rows, tokens]; `first`, `last` [rows, words]; `words` [rows]."""

    ids: torch.Tensor
    shapes: torch.Tensor
    mask: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor
    words: torch.Tensor


class TextModel(nn.Module):
    def __init__(self, domain: Domain, encoder: Encoder) -> None:
        super().__init__()
        self.domain, self.encoder = domain, encoder
        self.spans = nn.ModuleDict({
            name: SpanHead(encoder.hidden, len(s.labels), s.max_words) for name, s in domain.schemes.items()
        })
        self.pairs = nn.ModuleDict({
            name: PairHead(encoder.hidden, len(domain.schemes[name].labels), len(r.labels))
            for name, r in domain.relations.items()
        })
        self.version = ""

    @classmethod
    def new(cls, domain: Domain, encoder: Encoder | None = None) -> TextModel:
        """Untrained heads on the domain's encoder."""
        encoder = encoder or Encoder.load(domain.encoder)
        encoder.use_prefixes(domain.prefixes)
        return cls(domain, encoder)

    @classmethod
    def load(cls, folder: str | Path | Domain, encoder: Encoder | None = None) -> TextModel:
        """A trained domain: a shipped one's name, or a folder with domain.json and the adapter.

        Raises ModelError where files are missing or the adapter was made for another base or other heads.
        """
        domain = folder if isinstance(folder, Domain) else Domain.load(folder)
        model = cls.new(domain, encoder)
        if domain.folder is None or not any((domain.folder / name).is_file() for name in (ADAPTER, adapter.FORMER)):
            raise ModelError("the domain has no trained weights", where=str(domain.folder or domain.name),
                             next_step=f"engram train {domain.name} --data ...")
        model.load_adapter(domain.folder / ADAPTER, fresh=encoder is None)
        return model.eval()

    def stored(self) -> dict[str, torch.Tensor]:
        """All tensors but the base's word embeddings, which come with the base."""
        frozen = self.encoder.words.weight.data_ptr()
        return {name: t for name, t in self.state_dict().items() if t.data_ptr() != frozen}

    def save_adapter(self, path: Path) -> int:
        """Writes the adapter, atomically; its bytes.  What is loaded from it is this model :meth:`settled`."""
        return adapter.write(adapter.encode(self.stored(), self._base()), path)

    def load_adapter(self, path: Path, *, fresh: bool = False) -> None:
        """Takes the weights of a file that :meth:`save_adapter` wrote.  `fresh`: the encoder is as it was loaded.

        Raises ModelError where it cannot be read or was made for another base or other heads.
        """
        payload = adapter.read(path)
        try:
            self._put(payload, self._base(fresh))
        except ModelError as e:
            raise ModelError(e.what, where=str(path), next_step=e.next_step) from None

    def settle(self) -> TextModel:
        """Rounds the weights in place to what an adapter keeps: the model as it will be loaded."""
        base = self._base()
        self._put(adapter.encode(self.stored(), base), base)
        return self

    def fingerprint(self) -> str:
        """Of base, adapter and schemes, as they would be stored."""
        return self._named(adapter.encode(self.stored(), self._base()))

    def _named(self, payload: bytes) -> str:
        digest = hashlib.blake2b(payload, digest_size=10)
        digest.update(repr((sorted(self.domain.schemes.items()), sorted(self.domain.relations.items()))).encode())
        return digest.hexdigest()

    def _put(self, payload: bytes, base: Base) -> None:
        self.load_state_dict(adapter.decode(payload, base, self.stored()), strict=False)
        self.version = self._named(payload)

    def _base(self, fresh: bool = False) -> Base:
        """What the adapter's changes count from: the encoder as it was loaded."""
        encoder = self.encoder if fresh else Encoder.load(self.encoder.name)  # a copy kept would cost each worker 40 MB
        tensors = {f"encoder.model.{name}": t.clone() for name, t in encoder.trainable().items()}
        return Base(f"{self.encoder.fingerprint()}-{adapter.fingerprint(tensors)}", tensors)

    def prepare(self, text: str) -> Prepared:
        words = wording.split(text)
        tokens = self.encoder.tokens(text, words)
        return Prepared(words, tokens, tuple(cut(words, tokens.first, tokens.last, self.encoder.limit, len(text))))

    def rows(self, windows: Sequence[tuple[Prepared, Window]]) -> Rows:
        """Windows as a batch, padded to the longest one's bucket (in reading they all share one)."""
        prefix, suffix, specials = self.encoder.prefix, self.encoder.suffix, self.encoder.specials
        length = max(w.padded(specials) for _, w in windows)
        ids = np.full((len(windows), length), self.encoder.padding, dtype=np.int64)
        shapes, mask, first, last = (np.zeros((len(windows), length), dtype=np.int64) for _ in range(4))
        for row, (p, w) in enumerate(windows):
            inner = [*prefix, *p.tokens.ids[w.first_token : w.last_token].tolist(), *suffix]
            begin = len(prefix)
            ids[row, : len(inner)] = inner
            mask[row, : len(inner)] = 1
            shapes[row, begin : begin + w.last_token - w.first_token] = p.tokens.shapes[w.first_token : w.last_token]
            # A word without tokens of its own in this window takes its neighbour's.
            end = begin + max(w.last_token - w.first_token, 1) - 1
            first[row, : w.last - w.first] = np.clip(p.tokens.first[w.first : w.last] - w.first_token + begin, 0, end)
            last[row, : w.last - w.first] = np.clip(p.tokens.last[w.first : w.last] - 1 - w.first_token + begin, 0, end)
        counts = torch.tensor([w.last - w.first for _, w in windows])
        arrays = {"ids": ids, "shapes": shapes, "mask": mask, "first": first, "last": last}
        return Rows(**{name: torch.from_numpy(array) for name, array in arrays.items()}, words=counts)

    def word_states(self, rows: Rows) -> torch.Tensor:
        """[rows, tokens, hidden]: per word the mean of its first and last token's states; zero past the last word.

        As wide as the padded tokens, so that the shape depends on the bucket alone.
        """
        return _of_words(self.encoder(rows.ids, rows.shapes, rows.mask), rows)

    @torch.inference_mode()
    def read(
        self, documents: Sequence[Document], token_budget: int = 4_096, schemes: Collection[str] | None = None
    ) -> list[TextReading]:
        """Readings of `documents`, in order; forward passes of at most `token_budget` tokens, padding included.

        Spans are scored in `schemes` (default: all).
        """
        self._evaluate()
        wanted = {n: s for n, s in self.domain.schemes.items() if schemes is None or n in schemes}
        prepared = [self.prepare(d.text) for d in documents]
        blank = [self._blank(p, wanted) for p in prepared]
        ranges = [list(owners(p.windows)) for p in prepared]
        jobs = [(d, k) for d, p in enumerate(prepared) for k, w in enumerate(p.windows) if w.last > w.first]
        for group in self._batches(prepared, jobs, token_budget):
            rows = self.rows([(prepared[d], prepared[d].windows[k]) for d, k in group])
            states, inner = (_of_words(s, rows) for s in self.encoder.with_inner(rows.ids, rows.shapes, rows.mask))
            scores = {name: self.spans[name](states, rows.words).numpy() for name in wanted}
            for row, (d, k) in enumerate(group):
                here = {name: logits[row] for name, logits in scores.items()}
                _place(blank[d], prepared[d].windows[k], ranges[d][k], states[row].numpy(), inner[row].numpy(), here)
        return [
            TextReading(
                document=document, words=p.words.offsets, sentences=p.words.sentences,
                spans={n: SpanScores(s.labels, spans[n]) for n, s in wanted.items()},
                states=states, windows=len(p.windows), characters_read=characters_read(p.windows),
                traits=traits(inner, p.tokens.shapes[np.minimum(p.tokens.first, max(len(p.tokens.ids) - 1, 0))]
                              if len(p.tokens.ids) else np.zeros(len(p.words), dtype=np.int64), len(SHAPES)),
            )
            for document, p, (states, inner, spans) in zip(documents, prepared, blank, strict=True)
        ]

    @torch.inference_mode()
    def relate(
        self, reading: TextReading, scheme: str, heads: Sequence[Endpoint], tails: Sequence[Endpoint]
    ) -> np.ndarray:
        """Logits float32 [pairs, labels] that ``heads[k]`` stands in each relation of `scheme` to ``tails[k]``."""
        self._evaluate()
        labels = self.domain.schemes[scheme].labels
        sentence_of = reading.sentence_of()
        parts = [np.zeros((0, len(self.domain.relations[scheme].labels)), dtype=np.float32)]
        for at in range(0, len(heads), PAIRS_AT_ONCE):
            some = slice(at, at + PAIRS_AT_ONCE)
            spans = [span for point in (*heads[some], *tails[some]) for span in point.spans]
            low, high = min(first for first, _ in spans), max(last for _, last in spans) + 1
            near, far = ([point.shifted(-low) for point in side[some]] for side in (heads, tails))
            pairs = unfold(near, far, labels, sentence_of[low:high])  # no work for the rest of a long text
            with _one_thread():
                parts.append(self.pairs[scheme](torch.from_numpy(reading.states[low:high])[None], pairs).numpy())
        return np.concatenate(parts)

    def _evaluate(self) -> None:
        if self.training:  # walking all modules costs more than a small call
            self.eval()

    def _blank(
        self, p: Prepared, schemes: Mapping[str, Scheme]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        count = len(p.words)
        spans = {
            name: np.full((count, s.max_words, len(s.labels)), -np.inf, dtype=np.float32) for name, s in schemes.items()
        }
        states, inner = (np.zeros((count, self.encoder.hidden), dtype=np.float32) for _ in range(2))
        return states, inner, spans

    def _batches(
        self, prepared: Sequence[Prepared], jobs: Iterable[tuple[int, int]], budget: int
    ) -> Iterable[list[tuple[int, int]]]:
        by_length: dict[int, list[tuple[int, int]]] = {}
        for d, k in jobs:
            by_length.setdefault(prepared[d].windows[k].padded(self.encoder.specials), []).append((d, k))
        for length, group in sorted(by_length.items()):
            size = max(1, budget // length)
            yield from (group[at : at + size] for at in range(0, len(group), size))


def _of_words(states: torch.Tensor, rows: Rows) -> torch.Tensor:
    at = torch.arange(len(rows.ids))[:, None]
    real = torch.arange(rows.ids.shape[1])[None, :] < rows.words[:, None]
    return (states[at, rows.first] + states[at, rows.last]) * 0.5 * real[..., None]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Threads share the rows of a product; where these are as many as a text has pairs, that shows in the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _place(
    blank: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]], w: Window, owned: tuple[int, int],
    states: np.ndarray, inner: np.ndarray, scores: dict[str, np.ndarray],
) -> None:
    """Copies what the window owns: word i where i + i, span i..j where i + j lies in the range `owned`."""
    low, high = owned
    count = w.last - w.first
    at = np.arange(w.first, w.last)
    mine = (2 * at >= low) & (2 * at < high)
    blank[0][w.first : w.last][mine] = states[:count][mine]
    blank[1][w.first : w.last][mine] = inner[:count][mine]
    for name, logits in scores.items():
        total = 2 * at[:, None] + np.arange(logits.shape[1])
        mine = (total >= low) & (total < high) & (at[:, None] + np.arange(logits.shape[1]) < w.last)
        blank[2][name][w.first : w.last][mine] = logits[:count][mine]
