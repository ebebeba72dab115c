"""Fitting the numbers of the gate: calibration of the text, odds of memory, trust in memory, calibration of pairs.

All fits are full-batch L-BFGS in float64 from a fixed start, so that the same data give the same gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from kie_ops.candidates import FEATURES, Candidates
from kie_ops.evidence import KINDS, OUTCOMES
from kie_ops.gate import (
    CLASSES,
    MEMORY_BOUND,
    SCALE,
    SIGNS,
    STEEPEST,
    TEXT_BOUND,
    MemoryGate,
    TextGate,
    soft_bound,
    vocabulary_classes,
)
from kie_ops.memory import SOURCES
from kie_ops.trust import CONTEXT, TRUST, context

TEXT_UNITS, TRUST_UNITS = 6, 8
SHRINK = 0.5
"""L2 penalty of networks' weights, in units of one candidate's loss: a Gaussian prior of variance 1."""
PULL = 5.0
"""The same of memory's log weights: what no data speak of stays near where it starts."""
WORD = 6.0
"""Where the weights of corrections by name start, those of all other counts at 1 (plain log odds)."""
ALONE = 0.3
"""Weight of the loss of memory alone, which keeps m calibrated by itself."""


CORRECTION, VOCABULARY = SOURCES.index("correction"), SOURCES.index("vocabulary")


@dataclass(frozen=True)
class Evidenced:
    """Candidates with evidence: `h` [n] text odds, `counts` [n, kinds, sources, outcomes] log(1 + count),
    `trust` [n, len(TRUST)], `label` [n] numbers of labels, `right` [n] 0 or 1, `weight` [n].
    """

    h: np.ndarray
    counts: np.ndarray
    trust: np.ndarray
    label: np.ndarray
    right: np.ndarray
    weight: np.ndarray

    @classmethod
    def join(cls, parts: Sequence[Evidenced]) -> Evidenced:
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in cls.__dataclass_fields__))


def fit_text(found: Sequence[Candidates], right: Sequence[np.ndarray], labels: tuple[str, ...]) -> TextGate:
    """h of one scheme, from candidates of the text alone and whether each is right."""
    if not sum(map(len, found)):
        return TextGate(*_plain_text(), dict.fromkeys(labels, 0.0))
    x = torch.from_numpy(np.concatenate([c.features for c in found]) / SCALE)
    label = torch.from_numpy(np.concatenate([c.label for c in found]).astype(np.int64))
    y = torch.from_numpy(np.concatenate(right).astype(np.float64))
    start = torch.zeros(len(FEATURES), dtype=torch.float64)
    start[0] = SCALE[0]
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(len(FEATURES), TEXT_UNITS, dtype=torch.float64, generator=generator) * 0.5
    linear, hidden, hidden_bias, out, bias = parameters = [
        start, hidden, *(torch.zeros(n, dtype=torch.float64) for n in (TEXT_UNITS, TEXT_UNITS, len(labels)))
    ]

    def loss() -> torch.Tensor:
        h = x @ linear + torch.tanh(x @ hidden + hidden_bias) @ out + bias[label]
        h = TEXT_BOUND * torch.tanh(h / TEXT_BOUND)
        penalty = ((linear - start) ** 2).sum() + (hidden**2).sum() + (out**2).sum() + (bias**2).sum()
        return F.binary_cross_entropy_with_logits(h, y) + SHRINK / len(y) * penalty

    start = start.clone()
    minimise(parameters, loss)
    values = [p.detach().numpy() for p in parameters]
    biases = {name: float(v) for name, v in zip(labels, values[4], strict=True)}
    return TextGate(values[0], values[1], values[2], values[3], biases)


def _plain_text() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The tagger's own log-odds, for want of data."""
    linear = np.zeros(len(FEATURES))
    linear[0] = SCALE[0]
    return linear, np.zeros((len(FEATURES), 1)), np.zeros(1), np.zeros(1)


def fit_memory(data: Evidenced, labels: tuple[str, ...] = ()) -> MemoryGate:
    """m and w_s, with h as it is; without `labels` one bias serves all."""
    if not len(data.h):
        weights = np.ones((len(KINDS), len(SOURCES), len(OUTCOMES)))
        return MemoryGate(0.0, weights, np.zeros((len(TRUST), 1)), np.zeros(1), np.zeros(1), 0.0)
    h, counts, y, weight = (torch.from_numpy(np.asarray(a, dtype=np.float64)) for a in (
        data.h, data.counts, data.right, data.weight))
    x = torch.from_numpy(data.trust)
    here = torch.from_numpy(context(data.trust))
    label = torch.from_numpy(data.label.astype(np.int64))
    listed = torch.from_numpy(vocabulary_classes(data.counts, data.trust))
    signs = torch.from_numpy(SIGNS)
    generator = torch.Generator().manual_seed(1)

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float64)

    log_classes, start = zeros(len(CLASSES)) - 1, zeros(len(KINDS), len(SOURCES), len(OUTCOMES))
    start[:, CORRECTION] = float(np.log(WORD))
    log_weights = start.clone()
    hidden = torch.randn(x.shape[1], TRUST_UNITS, dtype=torch.float64, generator=generator) * 0.3
    bias, out_bias, hidden_bias, out = zeros(), zeros(), zeros(TRUST_UNITS), zeros(TRUST_UNITS)
    of_label, of_context, steep = zeros(len(labels)), zeros(len(CONTEXT)), zeros(len(SOURCES), len(CONTEXT))
    anywhere = F.one_hot(torch.tensor(CORRECTION), len(SOURCES)) == 0  # a correction means the same in all places
    of_vocabulary = F.one_hot(torch.tensor(VOCABULARY), len(SOURCES))

    def loss() -> torch.Tensor:
        by_source = torch.einsum("nkso,kso->ns", counts, log_weights.exp() * signs)
        mine = (listed @ log_classes.exp())[:, None] * of_vocabulary
        factor = (here @ steep.T * anywhere).clamp(-STEEPEST, STEEPEST).exp()
        m = bias + (of_label[label] if labels else 0.0) + here @ of_context + ((by_source + mine) * factor).sum(dim=1)
        m = MEMORY_BOUND * torch.tanh(m / MEMORY_BOUND)
        w = torch.sigmoid(torch.tanh(x @ hidden + hidden_bias) @ out + out_bias)
        z = (1 - w) * h + w * m
        together = F.binary_cross_entropy_with_logits(z, y, weight)
        both = together + ALONE * F.binary_cross_entropy_with_logits(m, y, weight)
        penalty = PULL * (((log_weights - start) ** 2).sum() + ((log_classes + 1) ** 2).sum() + (of_label**2).sum())
        penalty = penalty + PULL * ((of_context**2).sum() + (steep**2).sum())
        penalty = penalty + SHRINK * ((hidden**2).sum() + (out**2).sum())
        return both + penalty / len(y)

    free = [bias, log_weights, log_classes, hidden, hidden_bias, out, out_bias, of_context, steep]
    minimise([*free, of_label] if labels else free, loss)
    return MemoryGate(
        float(bias), log_weights.detach().exp().numpy(), hidden.detach().numpy(), hidden_bias.detach().numpy(),
        out.detach().numpy(), float(out_bias), log_classes.detach().exp().numpy(),
        {name: float(v) for name, v in zip(labels, of_label.detach(), strict=True)},
        of_context.detach().numpy(), (steep * anywhere[:, None]).detach().numpy(),
    )


SHARP = tuple(np.round(np.arange(0.8, 2.01, 0.05), 2).tolist())


def sharpened(gate: MemoryGate, clean: Evidenced, labels: Sequence[str] = ()) -> MemoryGate:
    """`gate` with m as steep as `clean` streams have it, in which nothing is wrong.

    Fitted on streams with wrong memories too, m is too modest where all is well, as most real streams are.  One factor,
    so that what memory favours and what it does not stay on their sides.
    """
    if not len(clean.h):
        return gate
    bias = np.array([gate.labels.get(labels[n], 0.0) for n in clean.label]) if labels else 0.0
    m = gate.raised(clean.counts, clean.trust) + bias
    w = gate.weight(clean.trust)

    def loss(factor: float) -> float:
        z = (1.0 - w) * clean.h + w * soft_bound(factor * m, MEMORY_BOUND)
        return float(np.mean(np.logaddexp(0.0, z) - z * clean.right))

    return scaled(gate, min(SHARP, key=loss))


def scaled(gate: MemoryGate, factor: float) -> MemoryGate:
    """`gate` with all that is added up to m times `factor`, before m is bounded."""
    return replace(gate, bias=gate.bias * factor, weights=gate.weights * factor, classes=gate.classes * factor,
                   labels={name: value * factor for name, value in gate.labels.items()},
                   context=gate.context * factor)


def minimise(parameters: list[torch.Tensor], loss: Callable[[], torch.Tensor]) -> None:
    """Minimises `loss` in place by L-BFGS from where the parameters are."""
    for p in parameters:
        p.requires_grad_(True)
    optimiser = torch.optim.LBFGS(parameters, max_iter=250, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    for p in parameters:
        p.requires_grad_(False)
