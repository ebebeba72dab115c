"""Methods of adaptation: what is trained, that runs resume exactly, and that what is exported is what was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kie_ops import dataset
from kie_ops.domain import Domain
from kie_ops.errors import ConfigError
from kie_ops.model import ADAPTER, TextModel
from kie_ops.records import Document
from kie_ops.training.loop import CHECKPOINT, Settings, Trainer, train
from kie_ops.training.methods import KINDS, Method
from tests.kie_ops import tiny

FAST = Settings(epochs=3, budget=256, rate=1e-3, head_rate=5e-3, checkpoint_every_s=1e9)
TEXT = Document("d", "The aspirin caused severe nausea in the patient.")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return tiny.domain(tiny.encoder_folder(tmp_path_factory.mktemp("encoder")))


def trainer(domain: Domain, data: Path, kind: str) -> Trainer:
    examples = [e for s in domain.schemes for e in dataset.split(data, domain, s, "train")]
    return Trainer(domain, examples, FAST, method=Method(kind, rank=2, prefixes=4))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_with_the_very_same_weights(
    domain: Domain, data: Path, tmp_path: Path, kind: str
) -> None:
    whole = trainer(domain, data, kind)
    before = {n: p.detach().clone() for n, p in whole.model.named_parameters()}
    while whole.step < len(whole.order):
        whole.advance()
    half = trainer(domain, data, kind)  # made now: there is one source of chance in a process
    while half.step < len(half.order) // 2:
        half.advance()
    half.save(tmp_path / CHECKPOINT)
    rest = trainer(domain, data, kind)
    rest.restore(tmp_path / CHECKPOINT)
    while rest.step < len(rest.order):
        rest.advance()
    theirs = dict(rest.model.named_parameters())
    for name, parameter in whole.model.named_parameters():
        assert torch.equal(parameter, theirs[name]), name
        assert parameter.requires_grad or torch.equal(parameter, before[name]), name
    with whole.averaged() as a, rest.averaged() as b:
        assert a.fingerprint() == b.fingerprint()


@pytest.mark.parametrize("kind", ["lora", "adalora"])
def test_low_rank_changes_are_added_to_the_weights(domain: Domain, data: Path, kind: str) -> None:
    run = trainer(domain, data, kind)
    while run.step < len(run.order):
        run.advance()
    run.model.eval()
    run.model.encoder.model.set_attn_implementation("sdpa")  # type: ignore[operator]
    plain = run.tuning.plain().eval()
    (changed,), (merged,) = run.model.read([TEXT]), plain.read([TEXT])
    assert np.allclose(changed.states, merged.states, atol=1e-5)
    assert not any("lora" in name for name in plain.state_dict())


@pytest.mark.parametrize("kind", ["lora", "prefix", "frozen"])
def test_what_is_shipped_is_the_methods(domain: Domain, data: Path, tmp_path: Path, kind: str) -> None:
    out = train(domain, data, tmp_path, settings=FAST, quiet=True,
                method=Method(kind, rank=2, prefixes=4))  # type: ignore[arg-type]
    assert out.finished
    loaded = TextModel.load(tmp_path)
    facts = loaded.domain.trained
    assert facts["method"] == kind
    assert 0 < facts["method_bytes"] == 2 * facts["parameters"]
    full = sum(t.numel() for t in loaded.stored().values())
    assert facts["parameters"] < full
    base = loaded.encoder.trainable()
    untouched = all(torch.equal(t, TextModel.new(domain).encoder.trainable()[n]) for n, t in base.items())
    assert untouched == (kind != "lora")
    assert loaded.domain.prefixes == (4 if kind == "prefix" else 0)
    assert (tmp_path / ADAPTER).is_file()


def test_adalora_prunes_to_its_rank(domain: Domain, data: Path) -> None:
    run = trainer(domain, data, "adalora")
    begin = run.tuning.own_bytes()
    while run.step < len(run.order):
        run.advance()
    left = [int((m["default"] != 0).sum()) for n, m in run.model.named_modules() if n.endswith("lora_E")]
    assert np.mean(left) <= 2
    assert run.tuning.own_bytes() != begin


def test_a_run_too_short_for_adalora(domain: Domain, data: Path) -> None:
    with pytest.raises(ConfigError, match="10 steps or more"):
        Trainer(domain, dataset.split(data, domain, "drugs", "train")[:2], Settings(epochs=1),
                method=Method("adalora"))
