"""TextModel: long texts, results that do not depend on batches, adapters."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st

from kie_ops.domain import Domain
from kie_ops.encoder import Encoder
from kie_ops.errors import ModelError
from kie_ops.heads import Endpoint
from kie_ops.memory import PROTOTYPE_WIDTH
from kie_ops.model import ADAPTER, TextModel
from kie_ops.records import Document
from kie_ops.text_reading import TextReading
from tests.kie_ops import tiny

SENTENCE = "The aspirin caused severe nausea in the patient, who was treated with ibuprofen. "
TEXTS = [
    SENTENCE, SENTENCE * 2, SENTENCE * 9, "fever", "", " \n\x00", "Zinc 中文句。 שלום 👩‍👩‍👧 \ud800 \ufffd naïve",
    "x" * 3_000, "aspirin " * 200,
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    folder = tiny.encoder_folder(tmp_path_factory.mktemp("encoder"))
    torch.manual_seed(5)
    model = TextModel.new(tiny.domain(folder)).eval()
    for head in model.spans.values():
        torch.nn.init.normal_(head.label.weight)  # type: ignore[union-attr, arg-type]
    return model


def documents(texts: list[str]) -> list[Document]:
    return [Document(f"d{number}", text) for number, text in enumerate(texts)]


def same(a: TextReading, b: TextReading) -> bool:
    return np.array_equal(a.states, b.states) and all(
        np.array_equal(a.spans[name].logits, b.spans[name].logits) for name in a.spans
    )


def test_shapes_and_coverage(model: TextModel) -> None:
    for reading in model.read(documents(TEXTS)):
        count = len(reading.words)
        assert reading.characters_read == len(reading.document.text)
        assert reading.states.shape == (count, 32)
        for name, scheme in model.domain.schemes.items():
            scores = reading.spans[name]
            assert scores.labels == scheme.labels
            assert scores.logits.shape == (count, scheme.max_words, len(scheme.labels))
            i, j = np.arange(count)[:, None], np.arange(scheme.max_words)
            assert (np.isfinite(scores.logits).all(axis=-1) == (i + j < count)).all()


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(TEXTS))), budget=st.sampled_from([1, 100, 300, 5_000]))
def test_results_are_bit_identical_in_any_batch(model: TextModel, order: list[int], budget: int) -> None:
    alone = [model.read([d])[0] for d in documents(TEXTS)]
    together = model.read([documents(TEXTS)[k] for k in order], token_budget=budget)
    assert all(same(alone[k], reading) for k, reading in zip(order, together, strict=True))


def test_the_default_encoder_is_bit_identical_in_any_batch() -> None:
    torch.manual_seed(5)
    model = TextModel.new(Domain.load("medical")).eval()
    some = documents([SENTENCE * n for n in (1, 3, 1, 2, 3, 1)])
    alone = [model.read([d])[0] for d in some]
    for budget in (64, 256, 4_096):
        assert all(same(a, b) for a, b in zip(alone, model.read(some, token_budget=budget), strict=True))


def test_a_long_text_reads_like_its_parts(model: TextModel) -> None:
    """Far from window borders a word's state is that of the window that owns it: nothing is left at zero."""
    reading = model.read(documents([SENTENCE * 30]))[0]
    assert reading.windows > 3
    assert (np.abs(reading.states).sum(axis=1) > 0).all()


def test_relate(model: TextModel) -> None:
    reading = model.read(documents([SENTENCE * 9]))[0]
    heads = [Endpoint("Drug", ((1, 1),)), Endpoint("Drug", ((1, 1), (80, 81)))]
    tails = [Endpoint("Problem", ((4, 5),)), Endpoint("Problem", ((100, 100),))]
    logits = model.relate(reading, "drugs", heads, tails)
    assert logits.shape == (2, 1)
    assert np.allclose(logits[:1], model.relate(reading, "drugs", heads[:1], tails[:1]), atol=1e-6)
    assert model.relate(reading, "drugs", [], []).shape == (0, 1)


def test_prototypes(model: TextModel) -> None:
    reading = model.read(documents([SENTENCE]))[0]
    one, other = reading.prototype(0, 1), reading.prototype(4, 4)
    assert len(one) == PROTOTYPE_WIDTH
    assert all(type(v) is int and -127 <= v <= 127 for v in one)
    assert one == reading.prototype(0, 1) != other
    scaled = dataclasses.replace(reading, states=reading.states * 3)
    assert np.abs(np.array(scaled.prototype(0, 1)) - np.array(one)).max() <= 1
    with pytest.raises(IndexError):
        reading.prototype(0, len(reading.words))


def test_adapter_round_trip(model: TextModel, tmp_path: Path) -> None:
    model.domain.save(tmp_path)
    model.save_adapter(tmp_path / ADAPTER)
    loaded, again = TextModel.load(tmp_path), TextModel.load(tmp_path)
    assert loaded.version == again.version == model.fingerprint()
    a, b, c = (m.read(documents([SENTENCE]))[0] for m in (loaded, again, model))
    assert same(a, b)
    assert np.allclose(a.states, c.states, atol=2e-2)
    assert not any("word_embeddings" in name for name in model.stored())
    assert any("shape_embedding" in name for name in model.stored())
    with torch.no_grad():
        again.encoder.shape_embedding.weight[1] += 1
    assert again.fingerprint() != loaded.version


def test_an_adapter_of_another_base_is_refused(model: TextModel, tmp_path: Path) -> None:
    model.domain.save(tmp_path)
    model.save_adapter(tmp_path / ADAPTER)
    other = Encoder.load(model.domain.encoder)
    with torch.no_grad():
        other.words.weight[9] += 1
    with pytest.raises(ModelError, match="another base"):
        TextModel.load(tmp_path, other)


def test_an_adapter_of_other_labels_is_refused(model: TextModel, tmp_path: Path) -> None:
    model.save_adapter(tmp_path / ADAPTER)
    schemes = {**model.domain.schemes, "drugs": dataclasses.replace(model.domain.schemes["drugs"], max_words=9)}
    dataclasses.replace(model.domain, schemes=schemes).save(tmp_path)
    with pytest.raises(ModelError, match="does not fit"):
        TextModel.load(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_missing_or_torn_adapters(model: TextModel, tmp_path: Path, content: bytes | None) -> None:
    model.domain.save(tmp_path)
    if content is not None:
        (tmp_path / ADAPTER).write_bytes(content)
    with pytest.raises(ModelError):
        TextModel.load(tmp_path)
