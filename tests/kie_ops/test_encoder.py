"""The encoder: alignment of tokens to words, word features, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from kie_ops import words
from kie_ops.encoder import DEFAULT, SHAPES, Encoder, find, shape
from kie_ops.errors import ModelError
from tests.kie_ops import tiny


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.load(str(tiny.encoder_folder(tmp_path_factory.mktemp("encoder"))))


@pytest.mark.parametrize(("word", "name"), [
    ("aspirin", "lower"), ("Aspirin", "Capitalised"), ("DNA", "CAPITALS"), ("A", "Single"), ("mRNA", "mIxed"),
    ("p53", "d1git-mix"), ("2019", "digits"), ("(", "punctuation"), ("👍", "punctuation"), ("שלום", "other"),
    ("中", "other"),
])
def test_shapes(word: str, name: str) -> None:
    assert SHAPES[shape(word)] == name


def test_words_find_their_tokens(encoder: Encoder) -> None:
    text = "The Aspirin, ibuprofen!"
    tokens = encoder.tokens(text, words.split(text))
    pieces = encoder.tokenizer.convert_ids_to_tokens(tokens.ids.tolist())
    of_word = ["".join(pieces[a:b]).replace("##", "") for a, b in zip(tokens.first, tokens.last, strict=True)]
    assert of_word == ["the", "aspirin", ",", "ibuprofen", "!"]
    assert SHAPES[tokens.shapes[tokens.first[1]]] == "Capitalised"


@settings(deadline=None, max_examples=100)
@given(text=st.text(st.characters(exclude_categories=()), max_size=120))
def test_any_text_aligns(encoder: Encoder, text: str) -> None:
    w = words.split(text)
    tokens = encoder.tokens(text, w)
    assert len(tokens.first) == len(tokens.last) == len(w)
    assert len(tokens.shapes) == len(tokens.ids)
    assert (np.diff(tokens.first) >= 0).all()
    assert (np.diff(tokens.last) >= 0).all()
    if len(tokens.ids):
        assert (tokens.first < tokens.last).all()
        assert (tokens.last <= len(tokens.ids)).all()


def test_word_features_start_without_effect_and_then_have_one(encoder: Encoder) -> None:
    ids, mask = torch.tensor([[2, 5, 6, 3]]), torch.ones(1, 4, dtype=torch.long)
    none, some = torch.zeros(1, 4, dtype=torch.long), torch.tensor([[0, 3, 1, 0]])
    with torch.inference_mode():
        assert torch.equal(encoder(ids, none, mask), encoder(ids, some, mask))
        encoder.shape_embedding.weight[3] += 1
        assert not torch.equal(encoder(ids, none, mask), encoder(ids, some, mask))
        encoder.shape_embedding.weight[3] -= 1


def test_word_embeddings_are_frozen_and_attention_has_no_dropout(encoder: Encoder) -> None:
    assert not encoder.words.weight.requires_grad
    assert encoder.model.config.attention_probs_dropout_prob == 0.0
    assert encoder.limit == 126
    assert (encoder.prefix, encoder.suffix) == ([2], [3])


def test_fingerprint_follows_the_base(encoder: Encoder, tmp_path: Path) -> None:
    other = Encoder.load(str(tiny.encoder_folder(tmp_path / "e")))
    assert other.fingerprint() == encoder.fingerprint()
    with torch.no_grad():
        other.words.weight[7, 0] += 1e-3
    assert other.fingerprint() != encoder.fingerprint()


def test_the_default_lies_in_its_package() -> None:
    assert (Path(find(DEFAULT)) / "config.json").is_file()


def test_an_encoder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"cannot load the encoder.*Next: give a folder"):
        Encoder.load(str(tmp_path / "nothing"))
