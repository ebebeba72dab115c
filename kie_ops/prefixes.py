"""Prefix tuning (Li & Liang 2021): trained keys and values that every token of every layer attends to.

The encoder's own weights stay as they are, so that the prefixes and the heads are all that a domain ships.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from kie_ops.errors import ModelError

KINDS = ("bert", "roberta", "xlm-roberta", "electra", "gpt2")
"""Kinds of model that take keys and values from outside."""


class Prefixes(nn.Module):
    """`count` keys and values a layer: float32 [layers, 2, heads, count, width of a head]."""

    def __init__(self, model: nn.Module, count: int) -> None:
        super().__init__()
        config: Any = model.config
        if config.model_type not in KINDS:
            raise ModelError(f"an encoder of kind {config.model_type} takes no prefixes",
                             next_step=f"choose another method, or an encoder of kind {', '.join(KINDS)}")
        self.count = count
        layers, heads = int(config.num_hidden_layers), int(config.num_attention_heads)
        width = int(config.hidden_size) // heads
        # From a seed of their own: the heads, made after them, begin alike with every method.
        random = torch.Generator().manual_seed(0)
        self.values = nn.Parameter(torch.randn(layers, 2, heads, count, width, generator=random) * 0.02)

    def arguments(self, mask: torch.Tensor, skipped: int) -> dict[str, Any]:
        """What the encoder is called with besides its embeddings, for a `mask` [rows, tokens].

        `skipped`: the position of the first token, which is where it were without prefixes.
        """
        from transformers import DynamicCache

        rows, tokens = mask.shape
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self.values):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
        return {
            "past_key_values": cache, "use_cache": False,
            "attention_mask": torch.cat([mask.new_ones(rows, self.count), mask], dim=1),
            "position_ids": (torch.arange(tokens) + skipped).expand(rows, -1),
        }
