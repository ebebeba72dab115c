"""Kinds of encoder that a user may name, as small random ones: each trains, is saved, loaded, and reads alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import RobertaProcessing, TemplateProcessing
from tokenizers.trainers import UnigramTrainer
from transformers import (
    AutoModel,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

from kie_ops import dataset
from kie_ops.encoder import Encoder
from kie_ops.errors import ModelError
from kie_ops.model import ADAPTER, TextModel
from kie_ops.records import Document
from kie_ops.training.loop import Settings, Trainer
from kie_ops.training.methods import Method
from tests.kie_ops import tiny

SENTENCES = ["The aspirin caused severe nausea in the patient.", "He was treated with zinc, ibuprofen and lead.",
             "患者服用阿司匹林后出现恶心。", "Fever (39.5) came back; the head pain did not."]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
NAMED = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
BERT = {"pad_token_id": 0}
KINDS: dict[str, tuple[str, Any]] = {
    "roberta": ("bytes", lambda n: RobertaConfig(vocab_size=n, max_position_embeddings=130, pad_token_id=1, **SHAPE)),
    "gpt2": ("causal", lambda n: GPT2Config(vocab_size=n, n_positions=128, n_embd=32, n_layer=2, n_head=2)),
    "xlm-r": ("pieces", lambda n: XLMRobertaConfig(vocab_size=n, max_position_embeddings=100, pad_token_id=1, **SHAPE)),
    "deberta-v2": ("pieces", lambda n: DebertaV2Config(
        vocab_size=n, max_position_embeddings=128, relative_attention=True, position_biased_input=False,
        pos_att_type=["p2c", "c2p"], position_buckets=16, pad_token_id=1, **SHAPE)),
    "electra": ("words", lambda n: ElectraConfig(
        vocab_size=n, embedding_size=16, max_position_embeddings=128, **SHAPE, **BERT)),
    "distilbert": ("words", lambda n: DistilBertConfig(
        vocab_size=n, dim=32, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=128, **BERT)),
    "bert": ("words", None),
}


def tokenizer(kind: str, folder: Path) -> PreTrainedTokenizerFast:
    if kind in ("bytes", "causal"):
        pieces = ByteLevelBPETokenizer()
        pieces.train_from_iterator(SENTENCES * 4, vocab_size=330, special_tokens=SPECIAL)
        if kind == "causal":
            return PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, eos_token="</s>", model_max_length=128)
        pieces._tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
        return PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, model_max_length=128, **NAMED)
    made = Tokenizer(Unigram())
    made.pre_tokenizer = Metaspace()
    made.train_from_iterator(SENTENCES * 4, UnigramTrainer(
        vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False))
    made.post_processor = TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=128, **NAMED)


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model and tokeniser, as from the hub."""
    kind, config = KINDS[request.param]
    out = tmp_path_factory.mktemp("kind") / request.param
    if kind == "words":
        tiny.encoder_folder(out)
        if config is None:
            return out
        size = len((out / "vocab.txt").read_text(encoding="utf-8").splitlines())
        (out / "config.json").unlink()
    else:
        made = tokenizer(kind, out)
        made.save_pretrained(out)
        size = len(made)
    torch.manual_seed(0)
    AutoModel.from_config(config(size)).save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_data(tmp_path_factory.mktemp("data"))


def documents() -> list[Document]:
    texts = [SENTENCES[0], " ".join(SENTENCES), SENTENCES[2], " ".join(SENTENCES * 6), "x" * 400, ""]
    return [Document(f"d{n}", text) for n, text in enumerate(texts)]


def test_it_trains_is_saved_loaded_and_reads_alike(folder: Path, data: Path, tmp_path: Path) -> None:
    domain = tiny.domain(folder)
    examples = [e for s in domain.schemes for e in dataset.split(data, domain, s, "train")]
    trainer = Trainer(domain, examples, Settings(epochs=1, budget=256, rate=1e-2, head_rate=1e-2))
    for _ in range(2):
        assert np.isfinite(trainer.advance())
    with trainer.averaged() as model:
        model.settle().domain.save(tmp_path)
        model.save_adapter(tmp_path / ADAPTER)
        model.encoder.model.set_attn_implementation(Encoder.load(str(folder)).model.config._attn_implementation)
        before = [model.read([d])[0] for d in documents()]
    loaded = TextModel.load(tmp_path)
    untrained = Encoder.load(str(folder)).trainable()
    assert any(not torch.equal(t, untrained[n]) for n, t in loaded.encoder.trainable().items())
    together = loaded.read(documents())
    for document, one, other in zip(documents(), before, together, strict=True):
        assert other.characters_read == len(document.text)
        assert np.array_equal(one.states, other.states), "neither the file nor the batch shows in the numbers"
        assert all(np.array_equal(one.spans[n].logits, other.spans[n].logits) for n in one.spans)


def test_words_find_their_tokens(folder: Path) -> None:
    from kie_ops import words

    encoder = Encoder.load(str(folder))
    text = "The aspirin, 患者!"
    split = words.split(text)
    tokens = encoder.tokens(text, split)
    assert len(split) == 6
    assert (tokens.first < tokens.last).all()
    assert encoder.limit + encoder.specials in (96, 128)


def test_prefixes_of_no_effect_change_nothing_but_attention_alone(folder: Path) -> None:
    """A padded row and a full one see the same prefixes; kinds that take none say so."""
    encoder = Encoder.load(str(folder))
    if encoder.model.config.model_type in ("distilbert", "deberta-v2"):
        with pytest.raises(ModelError, match="takes no prefixes"):
            encoder.use_prefixes(4)
        return
    ids, shapes = torch.tensor([[5, 6, 7, 8, 9, 10]]), torch.zeros(1, 6, dtype=torch.long)
    mask = torch.ones(1, 6, dtype=torch.long)
    with torch.inference_mode():
        plain = encoder(ids, shapes, mask)
        encoder.use_prefixes(4)
        assert encoder.prefixes is not None
        encoder.prefixes.values[:, 0] = 100.0  # keys that all of a query's entries weigh alike
        encoder.prefixes.values[:, 1] = 0.0
        other = encoder(ids, shapes, mask)
        assert not torch.allclose(plain, other, atol=1e-3)
        padded = encoder(torch.nn.functional.pad(ids, (0, 3)), torch.nn.functional.pad(shapes, (0, 3)),
                         torch.nn.functional.pad(mask, (0, 3)))
        assert torch.allclose(padded[:, :6], other, atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "prefix", "frozen"])
def test_methods_fit_any_kind(folder: Path, data: Path, kind: str) -> None:
    domain = tiny.domain(folder)
    examples = dataset.split(data, domain, "drugs", "train")
    method = Method(kind, rank=2, prefixes=4)  # type: ignore[arg-type]
    if kind == "prefix" and folder.name in ("distilbert", "deberta-v2"):
        return  # refused, see above
    trainer = Trainer(domain, examples, Settings(epochs=1, budget=256), method=method)
    assert np.isfinite(trainer.advance())
    with trainer.averaged() as model:
        assert model.read(documents())[0].states.shape[1] == 32
