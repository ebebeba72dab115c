"""Training: it learns, it can be interrupted, and it resumes exactly."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from kie_ops import dataset
from kie_ops.domain import Domain
from kie_ops.errors import ConfigError, InputError
from kie_ops.evaluation.scoring import choose, dev_scores
from kie_ops.model import ADAPTER, TextModel
from kie_ops.training import loop as training
from kie_ops.training.batches import batches
from kie_ops.training.log import TrainingLog
from kie_ops.training.loop import CHECKPOINT, Settings, Trainer, train
from tests.kie_ops import tiny

FAST = Settings(epochs=2, budget=256, rate=1e-3, head_rate=5e-3, checkpoint_every_s=1e9)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return tiny.domain(tiny.encoder_folder(tmp_path_factory.mktemp("encoder")))


def examples(data: Path, domain: Domain) -> list[dataset.Example]:
    return [e for scheme in domain.schemes for e in dataset.split(data, domain, scheme, "train")]


def weights(model: TextModel) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in model.stored().items()}


def test_it_learns_spans_and_relations_of_both_schemes(data: Path, domain: Domain) -> None:
    fast = Settings(epochs=24, budget=512, rate=3e-3, head_rate=2e-2, dropout=0)
    trainer = Trainer(domain, examples(data, domain), fast)
    while trainer.step < len(trainer.order):
        trainer.advance()
    dev = {scheme: dataset.split(data, domain, scheme, "dev") for scheme in domain.schemes}
    with trainer.averaged() as model:
        scores = dev_scores(model, dev, None)
    assert set(scores) == {"drugs", "drugs/relations", "events"}
    assert min(scores.values()) > 0.9, scores


def test_batches_hold_every_item_once_within_the_budget(data: Path, domain: Domain) -> None:
    trainer = Trainer(domain, examples(data, domain), FAST)
    for epoch in (0, 1):
        made = batches(trainer.items, 256, 2, seed=1, epoch=epoch)
        assert sorted(id(i) for b in made for i in b) == sorted(map(id, trainer.items))
        assert all(len(b) * max(i.window.padded(2) for i in b) <= 256 for b in made if len(b) > 1)
    assert [[id(i) for i in b] for b in batches(trainer.items, 256, 2, 1, 0)] == [
        [id(i) for i in b] for b in batches(trainer.items, 256, 2, 1, 0)
    ]


def test_a_run_starts_from_trained_weights(data: Path, domain: Domain, tmp_path: Path) -> None:
    first = Trainer(domain, examples(data, domain), FAST)
    first.advance()
    first.model.save_adapter(tmp_path / ADAPTER)
    again = Trainer(domain, examples(data, domain), FAST, start=tmp_path / ADAPTER)
    for name, tensor in weights(again.model).items():
        assert torch.allclose(tensor, weights(first.model)[name], atol=1e-2), name
    untrained = Trainer(domain, examples(data, domain), FAST)
    assert any(not torch.equal(t, weights(untrained.model)[n]) for n, t in weights(again.model).items())


def test_train_and_dev_together_keep_the_figures_of_the_run_they_go_on_from(
    data: Path, domain: Domain, tmp_path: Path
) -> None:
    train(domain, data, tmp_path / "first", settings=FAST, quiet=True)
    scored = Domain.load(tmp_path / "first")
    more = train(scored, data, tmp_path / "more", settings=FAST, quiet=True, parts=("train", "dev"),
                 start=tmp_path / "first" / ADAPTER)
    assert not more.scores
    assert Domain.load(tmp_path / "more").trained["dev"] == scored.trained["dev"]
    assert more.steps > scored.trained["steps"]


def test_hidden_tokens_are_words_of_the_text_only(data: Path, domain: Domain) -> None:
    trainer = Trainer(domain, examples(data, domain), FAST)
    rows = trainer.model.rows([(i.prepared, i.window) for i in trainer.items[:6]])
    hidden = training._hidden(trainer.model, rows, 1.0)
    mask = trainer.model.encoder.tokenizer.mask_token_id
    changed = hidden.ids != rows.ids
    assert (hidden.ids[changed] == mask).all()
    assert (changed.sum(dim=1) == rows.mask.sum(dim=1) - trainer.model.encoder.specials).all()
    assert not changed[:, 0].any()
    assert training._hidden(trainer.model, rows, 0.0) is rows


def test_a_resumed_run_ends_with_the_very_same_weights(data: Path, domain: Domain, tmp_path: Path) -> None:
    whole = Trainer(domain, examples(data, domain), FAST)
    for _ in range(6):
        whole.advance()
    half = Trainer(domain, examples(data, domain), FAST)
    for _ in range(3):
        half.advance()
    half.save(tmp_path / CHECKPOINT)
    resumed = Trainer(domain, examples(data, domain), FAST)
    torch.rand(100)  # the state of random numbers is the checkpoint's
    resumed.restore(tmp_path / CHECKPOINT)
    for _ in range(3):
        resumed.advance()
    for name, tensor in weights(whole.model).items():
        assert torch.equal(tensor, weights(resumed.model)[name]), name
    assert all(torch.equal(whole.mean[n], resumed.mean[n]) for n in whole.mean)


def test_an_interrupted_run_goes_on_where_it_was(
    data: Path, domain: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGINT in the middle of an epoch: saved, not finished; run again: the same as an undisturbed one."""
    undisturbed = train(domain, data, tmp_path / "whole", settings=FAST, quiet=True)
    step = Trainer.advance

    def interrupted(self: Trainer) -> float:
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", interrupted)
        first = train(domain, data, tmp_path / "parts", settings=FAST, quiet=True)
    assert (first.finished, first.step) == (False, 3)
    second = train(domain, data, tmp_path / "parts", settings=FAST, quiet=True)
    assert undisturbed.finished
    assert second.finished
    assert second.step == second.steps == undisturbed.steps
    assert (tmp_path / "parts" / ADAPTER).read_bytes() == (tmp_path / "whole" / ADAPTER).read_bytes()
    assert second.scores == undisturbed.scores


def test_what_a_run_leaves(data: Path, domain: Domain, tmp_path: Path) -> None:
    outcome = train(domain, data, tmp_path, settings=FAST, quiet=True)
    points = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [p["epoch"] for p in points if "dev" in p] == [1, 2]
    assert any("loss" in p for p in points)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").iterdir())
    model = TextModel.load(tmp_path)
    assert model.domain.trained["steps"] == outcome.steps
    assert set(model.domain.trained["dev"]) == {"drugs", "drugs/relations", "events"}
    again = train(domain, data, tmp_path, settings=FAST, quiet=True)
    assert (again.finished, again.step) == (True, outcome.steps)


def test_another_runs_checkpoint_is_refused(data: Path, domain: Domain, tmp_path: Path) -> None:
    Trainer(domain, examples(data, domain), FAST).save(tmp_path / CHECKPOINT)
    other = Trainer(domain, examples(data, domain), Settings(epochs=3, budget=256))
    with pytest.raises(InputError, match="other settings, data or labels"):
        other.restore(tmp_path / CHECKPOINT)
    (tmp_path / CHECKPOINT).write_bytes(b"torn")
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        other.restore(tmp_path / CHECKPOINT)


def test_upper_layers_learn_faster_and_word_embeddings_not_at_all(data: Path, domain: Domain) -> None:
    trainer = Trainer(domain, examples(data, domain), FAST)
    rate = {id(p): g["initial_lr"] for g in trainer.optimiser.param_groups for p in g["params"]}
    named = dict(trainer.model.named_parameters())

    def of(part: str) -> float:
        return next(rate[id(p)] for n, p in named.items() if part in n and id(p) in rate)

    assert of("spans.") > of("layer.1.") > of("layer.0.") > of("position_embeddings")
    assert not any("word_embeddings" in n and id(p) in rate for n, p in named.items())


def test_nothing_to_train_on(domain: Domain) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        Trainer(domain, [], FAST)


def test_flat_spans_do_not_overlap() -> None:
    import numpy as np

    logits = np.full((4, 3, 2), -1.0)
    logits[0, 1, 0], logits[1, 0, 1], logits[1, 2, 0], logits[3, 0, 1] = 2.0, 3.0, 1.0, 0.5
    assert choose(logits, nested=False) == [(1, 0, 1), (3, 0, 1)]
    assert len(choose(logits, nested=True)) == 4


def test_wandb_is_only_for_those_who_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "wandb":
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="pip install wandb"):
        TrainingLog(tmp_path, "x", 1, 0, quiet=True, wandb="project")


def test_a_torn_curve_is_read_to_where_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "curve.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 9, "loss": 0.5}\n{"ste')
    with TrainingLog(tmp_path, "x", 10, 5, quiet=True) as log:
        assert [p["step"] for p in log.points] == [1]


def test_the_loss_is_finite_at_long_and_short_rows(data: Path, domain: Domain) -> None:
    trainer = Trainer(domain, examples(data, domain), FAST)
    loss = training.batch_loss(trainer.model, trainer.items)
    assert torch.isfinite(loss)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in trainer.model.parameters() if p.grad is not None)
