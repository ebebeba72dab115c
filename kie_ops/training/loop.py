"""Training of a domain on JSON Lines: mixed batches over schemes, resumable at any step.

A run folder holds checkpoint.pt (everything, atomic), curve.jsonl and curve.png, TensorBoard events, and after each
epoch domain.json with the adapter (averaged weights, rounded as it keeps them), usable at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from kie_ops import dataset
from kie_ops.dataset import Example
from kie_ops.domain import Domain
from kie_ops.encoder import Encoder
from kie_ops.errors import InputError
from kie_ops.evaluation.scoring import dev_scores
from kie_ops.heads import join
from kie_ops.model import ADAPTER, Rows, TextModel
from kie_ops.training.batches import Item, batches, items
from kie_ops.training.log import TrainingLog
from kie_ops.training.methods import FULL, Method, Tuning

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Settings:
    """`rate` is the top layer's; each layer below has `layer_decay` of the one above.  `budget`: tokens a step.

    `average`: part of the run that the averaged weights look back on, about; 0: none are averaged.  `mask`: share of
    tokens hidden from the encoder in each step, so that it learns to use context.  `dev_documents`: a scheme, at epoch
    ends (the last epoch takes them all).
    """

    epochs: int = 10
    rate: float = 3e-4
    head_rate: float = 1e-3
    layer_decay: float = 0.9
    weight_decay: float = 0.01
    warm_up: float = 0.08
    budget: int = 2_048
    average: float = 0.04
    clip: float = 1.0
    dropout: float = 0.1
    mask: float = 0.1
    seed: int = 1
    checkpoint_every_s: float = 180.0
    dev_documents: int = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """`finished` is False where the run was interrupted; run it again to go on."""

    finished: bool
    step: int
    steps: int
    folder: Path
    scores: Mapping[str, float]


class Trainer:
    """Model, optimiser and averaged weights of one run.  `step` counts optimiser steps done."""

    def __init__(
        self, domain: Domain, examples: Sequence[Example], settings: Settings, encoder: Encoder | None = None,
        start: Path | None = None, method: Method = FULL,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.method = settings, method
        self.model = TextModel.new(method.domain(domain), encoder)
        if start is not None:
            self.model.load_adapter(adapter_file(start))
        tune(self.model, settings.dropout)
        self.items = items(self.model, examples)
        if not self.items:
            raise InputError("there is nothing to train on", next_step="give documents with annotated spans")
        specials = self.model.encoder.specials
        self.order = [
            (epoch, at) for epoch in range(settings.epochs)
            for at in range(len(batches(self.items, settings.budget, specials, settings.seed, epoch)))
        ]
        self.step = 0
        self.tuning = Tuning(self.model, method, len(self.order))
        self.optimiser = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98), eps=1e-6)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._factor)
        self.mean = {n: p.detach().clone() for n, p in self.model.named_parameters() if p.requires_grad}
        self.half = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        self._epoch: tuple[int, list[list[Item]]] = (-1, [])

    def advance(self) -> float:
        """One step; the loss, a word."""
        epoch, at = self.order[self.step]
        if self._epoch[0] != epoch:
            specials = self.model.encoder.specials
            self._epoch = (epoch, batches(self.items, self.settings.budget, specials, self.settings.seed, epoch))
        self.model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half):
            loss = batch_loss(self.model, self._epoch[1][at], self.settings.mask) + self.tuning.penalty()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimiser.step()
        self.schedule.step()
        self.step += 1
        self.tuning.stepped(self.step)
        self._average()
        return float(loss.detach())

    def tokens(self) -> int:
        """Of the last step, padding left out."""
        return sum(i.window.last_token - i.window.first_token for i in self._epoch[1][self.order[self.step - 1][1]])

    def save(self, path: Path) -> None:
        """Everything needed to go on exactly, atomically."""
        state = {
            "model": self.model.stored(), "mean": self.mean, "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(), "step": self.step, "rng": torch.get_rng_state(), "run": self._run(),
            "tuning": self.tuning.state(),
        }
        temporary = path.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def restore(self, path: Path) -> None:
        """Raises InputError where the checkpoint is of another run (settings, data or domain changed)."""
        try:
            state = torch.load(path, weights_only=True)
        except Exception as e:  # torch raises many kinds for a torn file
            raise InputError(f"cannot read the checkpoint: {type(e).__name__}", where=str(path),
                             next_step="remove it to begin anew") from None
        if state["run"] != self._run():
            raise InputError("the checkpoint is of a run with other settings, data or labels", where=str(path),
                             next_step="give the same ones, another folder, or remove it to begin anew")
        self.model.load_state_dict(state["model"], strict=False)
        self.mean = state["mean"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = state["step"]
        self.tuning.restore(state.get("tuning", {}))
        torch.set_rng_state(state["rng"])

    @contextlib.contextmanager
    def averaged(self) -> Iterator[TextModel]:
        """The model with its averaged weights; a plain one, whatever the method."""
        live = {n: p.detach().clone() for n, p in self.model.named_parameters() if n in self.mean}
        self._put(self.mean)
        try:
            yield self.tuning.plain().eval()
        finally:
            self._put(live)

    def _put(self, values: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in values:
                    parameter.copy_(values[name])

    def _average(self) -> None:
        """Exponential moving average; its memory is a part of the run, shorter at its beginning."""
        keep = min(1 - 1 / max(2.0, self.settings.average * len(self.order)), (1 + self.step) / (10 + self.step))
        keep = keep if self.settings.average else 0.0
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in self.mean:
                    self.mean[name].lerp_(parameter.detach(), 1 - keep)

    def _run(self) -> str:
        """What has to be the same for a checkpoint to fit."""
        s = dataclasses.replace(self.settings, checkpoint_every_s=0.0, dev_documents=0)
        domain = self.model.domain
        method = () if self.method == FULL else (self.method,)
        return repr((s, *method, sorted(domain.schemes.items()), sorted(domain.relations.items()), domain.encoder,
                     len(self.items), sum(len(i.gold) for i in self.items)))

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by rate: heads and word features, then the encoder's layers from the top down."""
        s = self.settings
        layers = int(self.model.encoder.model.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:
                continue
            rate = s.head_rate
            if name.startswith("encoder.model.") and "lora_" not in name:
                number = next((int(part) for part in name.split(".") if part.isdigit()), -1)
                rate = s.rate * s.layer_decay ** (layers - 1 - number)
            decay = s.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
        return [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]

    def _factor(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero."""
        total = len(self.order)
        warm = max(1, int(self.settings.warm_up * total))
        return (step + 1) / warm if step < warm else max(0.0, (total - step) / max(1, total - warm))


def tune(model: TextModel, dropout: float) -> None:
    """Makes the encoder ready for training: plain attention is a fifth faster than fused where there is a backward."""
    model.encoder.model.set_attn_implementation("eager")  # type: ignore[operator]
    for module in model.encoder.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            module.p = dropout


def batch_loss(model: TextModel, batch: Sequence[Item], mask: float = 0.0) -> torch.Tensor:
    """Binary cross-entropy of all spans and pairs, summed and divided by the words: each item trains its own heads."""
    rows = _hidden(model, model.rows([(i.prepared, i.window) for i in batch]), mask)
    states = F.dropout(model.word_states(rows), 0.1, model.training)
    total = states.new_zeros((), dtype=torch.float32)
    for scheme in sorted({i.scheme for i in batch}):
        mine = [k for k, i in enumerate(batch) if i.scheme == scheme]
        width = int(rows.words[mine].max())
        logits = model.spans[scheme](states[mine, :width], rows.words[mine])
        gold = [batch[k].gold for k in mine]
        row = np.repeat(np.arange(len(mine)), [len(g) for g in gold])
        at = torch.from_numpy(np.concatenate([row[:, None], np.concatenate(gold)], axis=1))
        total = total + F.softplus(logits).sum() - logits[tuple(at.T)].sum()
        parts = [(dataclasses.replace(p, row=p.row + k), i.holds) for k, i in enumerate(batch)
                 if i.scheme == scheme and (p := i.pairs) is not None]
        if parts:
            scores = model.pairs[scheme](states, join([p for p, _ in parts]))
            holds = torch.from_numpy(np.concatenate([h for _, h in parts if h is not None]))
            total = total + F.binary_cross_entropy_with_logits(scores, holds, reduction="sum")
    return total / rows.words.sum()


def _hidden(model: TextModel, rows: Rows, share: float) -> Rows:
    """The rows with a share of their tokens replaced by the tokeniser's mask, where it has one."""
    token = model.encoder.tokenizer.mask_token_id
    if not share or token is None:
        return rows
    first, last = len(model.encoder.prefix), rows.mask.sum(dim=1, keepdim=True) - len(model.encoder.suffix)
    at = torch.arange(rows.ids.shape[1])
    hide = (torch.rand(rows.ids.shape) < share) & (at >= first) & (at < last)
    return dataclasses.replace(rows, ids=rows.ids.masked_fill(hide, token))


def train(
    domain: Domain, data: str | Path, out: str | Path, *, settings: Settings = Settings(), resume: bool = True,
    threads: int | None = None, encoder: Encoder | None = None, quiet: bool = False, wandb: str | None = None,
    parts: Sequence[str] = ("train",), start: Path | None = None, method: Method = FULL,
    documents: int | None = None,
) -> Outcome:
    """Trains `domain` on the named parts below `data` into the run folder `out`; SIGINT saves and ends cleanly.

    `resume`: goes on from a checkpoint in `out`.  `wandb`: project name, where that package is installed.  `start`: a
    trained domain with the same heads to begin from, its folder or adapter.  Where `parts` has dev, nothing is left to
    score.  `documents`: at most so many a scheme and part.
    Raises InputError for data or a checkpoint that cannot be used.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if threads:
        torch.set_num_threads(threads)

    def some(scheme: str, part: str) -> list[Example]:
        return dataset.split(data, domain, scheme, part)[:documents]

    examples = [e for scheme in domain.schemes for part in parts for e in some(scheme, part)]
    dev = {} if "dev" in parts else {scheme: some(scheme, "dev") for scheme in domain.schemes}
    trainer = Trainer(domain, examples, settings, encoder, start, method)
    if resume and (folder / CHECKPOINT).is_file():
        trainer.restore(folder / CHECKPOINT)
    with TrainingLog(folder, domain.name, len(trainer.order), trainer.step, quiet=quiet, wandb=wandb) as log, \
            _interruptible() as stop:
        scores = _run(trainer, dev, folder, log, stop)
    return Outcome(trainer.step == len(trainer.order), trainer.step, len(trainer.order), folder, scores)


def _run(
    trainer: Trainer, dev: Mapping[str, Sequence[Example]], folder: Path, log: TrainingLog, stop: threading.Event
) -> dict[str, float]:
    scores: dict[str, float] = {}
    saved = time.monotonic()
    while trainer.step < len(trainer.order) and not stop.is_set():
        epoch = trainer.order[trainer.step][0]
        loss = trainer.advance()
        log.step(trainer.step, loss, trainer.tokens(), float(trainer.schedule.get_last_lr()[0]))
        last = trainer.step == len(trainer.order)
        if last or trainer.order[trainer.step][0] != epoch:
            with trainer.averaged() as model:
                export(model.settle(), folder)
                scores = dev_scores(model, dev, None if last else trainer.settings.dev_documents)
                log.scores(trainer.step, epoch + 1, scores)
                if last:
                    before = model.domain.trained if not dev else {}  # of the run that this one goes on from
                    trained = {**before, "steps": trainer.step, "epochs": epoch + 1,
                               "base": model.encoder.fingerprint()} | trainer.tuning.facts()
                    if dev:
                        trained["dev"] = {k: round(v, 4) for k, v in scores.items()}
                    dataclasses.replace(model.domain, trained=trained, folder=None).save(folder)
        if time.monotonic() - saved > trainer.settings.checkpoint_every_s:
            trainer.save(folder / CHECKPOINT)
            saved = time.monotonic()
    trainer.save(folder / CHECKPOINT)
    return scores


def adapter_file(start: Path) -> Path:
    """The adapter that `start` means: itself, or the one in that folder."""
    return start / ADAPTER if start.is_dir() else start


def export(model: TextModel, folder: Path) -> None:
    """Writes domain.json and the adapter: a domain that TextModel.load takes."""
    model.domain.save(folder)
    model.save_adapter(folder / ADAPTER)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM; a second SIGINT interrupts as usual."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
