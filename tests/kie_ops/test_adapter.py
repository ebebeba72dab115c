"""The adapter's file: small, the same bytes for the same weights, and no further rounding when written again."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings, strategies as st

from kie_ops import adapter
from kie_ops.adapter import ADAPTER, FORMER, Base
from kie_ops.errors import ModelError
from kie_ops.model import TextModel
from tests.kie_ops import tiny


def weights(seed: int, size: float) -> tuple[dict[str, torch.Tensor], Base]:
    random = torch.Generator().manual_seed(seed)
    shapes = {"matrix": (24, 70), "vector": (24,), "untouched": (9, 70)}
    base = {name: torch.randn(shape, generator=random) * 0.05 for name, shape in shapes.items()}
    tensors = {n: t + size * torch.randn(t.shape, generator=random) for n, t in base.items() if n != "untouched"}
    tensors["matrix"][3] = base["matrix"][3]
    head = torch.randn(90, 70, generator=random)
    tensors |= {"untouched": base["untouched"], "head": head, "bias": head[0].clone()}
    return tensors, Base("b", base)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), power=st.integers(-9, 2))
def test_what_was_read_is_written_as_the_same_bytes(seed: int, power: int) -> None:
    tensors, base = weights(seed, 10.0**power)
    payload = adapter.encode(tensors, base)
    read = adapter.decode(payload, base, tensors)
    assert adapter.encode(read, base) == payload
    again = adapter.decode(adapter.encode(read, base), base, tensors)
    assert all(torch.equal(read[n], again[n]) for n in tensors)


def test_rounding_is_fine_and_what_was_not_trained_is_exact_and_free() -> None:
    tensors, base = weights(1, 1e-3)
    payload = adapter.encode(tensors, base)
    read = adapter.decode(payload, base, tensors)
    change = tensors["matrix"] - base.tensors["matrix"]
    step = change.abs().amax(dim=1, keepdim=True) / 127
    assert ((read["matrix"] - tensors["matrix"]).abs() <= 0.6 * step + 1e-8).all()
    assert torch.equal(read["untouched"], tensors["untouched"])
    assert torch.equal(read["matrix"][3], base.tensors["matrix"][3])
    assert set(safetensors.torch.load(payload)) == {
        "matrix", "matrix/scale", "vector", "head", "head/scale", "bias"}


def test_weights_that_are_no_numbers_are_refused() -> None:
    tensors, base = weights(1, 1e-3)
    tensors["head"][0, 0] = torch.nan
    with pytest.raises(ModelError, match="not finite: head"):
        adapter.encode(tensors, base)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.encoder_folder(tmp_path_factory.mktemp("encoder"))


def test_the_former_format_is_refused_and_converted(encoder: Path, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(2)
    model = TextModel.new(tiny.domain(encoder))
    model.domain.save(tmp_path)
    former = {n: t.half() if t.is_floating_point() else t for n, t in model.stored().items()}
    (tmp_path / FORMER).write_bytes(safetensors.torch.save({n: t.contiguous() for n, t in former.items()}))
    with pytest.raises(ModelError, match=r"earlier version.*python -m kie_ops\.adapter"):
        TextModel.load(tmp_path)
    assert adapter.main([str(tmp_path)]) == 0
    assert not (tmp_path / FORMER).exists()
    loaded = TextModel.load(tmp_path)
    assert all(torch.allclose(t, loaded.stored()[n], atol=2e-2) for n, t in model.stored().items())
    assert adapter.main([str(tmp_path)]) == 6
    assert "no former adapter" in capsys.readouterr().err


def test_a_settled_model_is_the_one_that_is_loaded(encoder: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = TextModel.new(tiny.domain(encoder))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.02)
    model.settle().domain.save(tmp_path)
    size = model.save_adapter(tmp_path / ADAPTER)
    loaded = TextModel.load(tmp_path)
    assert size == (tmp_path / ADAPTER).stat().st_size
    assert loaded.version == model.version == model.fingerprint() == loaded.fingerprint()
    assert all(torch.equal(t, loaded.stored()[n]) for n, t in model.stored().items())
