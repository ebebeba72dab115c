"""How a domain is adapted: all weights, or few of them.

``full``: all but word embeddings.  ``lora`` (Hu et al. 2022) and ``adalora`` (Zhang et al. 2023): low-rank changes to
every matrix of the layers, added to the weights for export.  ``prefix``: see kie_ops.prefixes.  ``frozen``: heads only.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from kie_ops.domain import Domain
from kie_ops.encoder import Encoder
from kie_ops.errors import ConfigError, ModelError
from kie_ops.model import TextModel

Kind = Literal["full", "lora", "adalora", "prefix", "frozen"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NAME = "default"
"""What peft calls the one set of low-rank matrices."""
ORTHOGONAL = 0.1
"""Weight of AdaLoRA's penalty on directions that are not orthogonal (gamma in the paper)."""
ALLOCATED = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""What peft's rank allocator keeps between steps."""


@dataclass(frozen=True, slots=True)
class Method:
    """`rank`: of low-rank changes (AdaLoRA begins at 1.5 times it).  `prefixes`: keys and values a layer.

    `shapes`: whether how words are written is learnt (encoder.SHAPES).
    """

    kind: Kind = "full"
    rank: int = 8
    prefixes: int = 16
    shapes: bool = True

    def domain(self, domain: Domain) -> Domain:
        """The domain as this method makes it."""
        return dataclasses.replace(domain, prefixes=self.prefixes) if self.kind == "prefix" else domain


FULL = Method()


class Tuning:
    """Makes a model's trainable part that of `method`, in place, for a run of `steps`.

    Raises ConfigError where peft is needed and missing, ModelError for an encoder the method does not fit.
    """

    def __init__(self, model: TextModel, method: Method, steps: int) -> None:
        self.model, self.method = model, method
        self.allocator: Any = None
        if method.kind in ("lora", "adalora"):
            self._add_low_rank(steps)
        elif method.kind != "full":
            model.encoder.model.requires_grad_(False)
        model.encoder.shape_embedding.requires_grad_(method.shapes and method.kind != "frozen")

    def penalty(self) -> torch.Tensor | float:
        """What the method adds to the loss."""
        if self.method.kind != "adalora":
            return 0.0
        parts = [_skew(p if "lora_A" in n else p.T) for n, p in self.model.named_parameters()
                 if "lora_A" in n or "lora_B" in n]
        return ORTHOGONAL * torch.stack(parts).mean()

    def stepped(self, step: int) -> None:
        """After optimiser step `step`, counted from 1, with its gradients still there."""
        if self.allocator is not None:
            self.allocator.update_and_allocate(step)

    def state(self) -> dict[str, Any]:
        """Of what the method keeps between steps besides parameters, for a checkpoint."""
        if self.allocator is None:
            return {}
        ranks = self.allocator.rankallocator
        return {**{n: dict(getattr(ranks, n)) for n in ALLOCATED},
                "pattern": self.allocator.peft_config[NAME].rank_pattern}

    def restore(self, state: Mapping[str, Any]) -> None:
        if self.allocator is not None:
            for name in ALLOCATED:
                setattr(self.allocator.rankallocator, name, state[name])
            self.allocator.peft_config[NAME].rank_pattern = state["pattern"]

    def plain(self) -> TextModel:
        """The model as the rest of engram knows it: low-rank changes added to the weights."""
        if self.method.kind not in ("lora", "adalora"):
            return self.model
        plain = TextModel.new(self.model.domain, Encoder.load(self.model.encoder.name))
        plain.load_state_dict(self._merged(), strict=False)
        return plain

    def parameters(self) -> int:
        """Trained ones."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def own_bytes(self) -> int:
        """What the method alone needs shipped, float16, without compression: trained parameters, of AdaLoRA those
        of the ranks it kept."""
        total = self.parameters()
        for name, module in self.model.named_modules():
            if name.endswith("lora_E"):
                values = module[NAME]  # type: ignore[index]
                total -= int((values == 0).sum()) * self._triplet(name.removesuffix(".lora_E"))
        return 2 * total

    def facts(self) -> dict[str, Any]:
        """For domain.json's `trained`; nothing where all weights are trained, which is the rule."""
        if self.method.kind == "full":
            return {}
        return {"method": self.method.kind, "parameters": self.parameters(), "method_bytes": self.own_bytes()}

    def _triplet(self, layer: str) -> int:
        module: Any = self.model.get_submodule(layer)
        return 1 + int(module.lora_A[NAME].shape[1]) + int(module.lora_B[NAME].shape[0])

    def _add_low_rank(self, steps: int) -> None:
        if importlib.util.find_spec("peft") is None:
            raise ConfigError(f"--method {self.method.kind} needs peft", next_step="pip install peft")
        from peft import AdaLoraConfig, LoraConfig, inject_adapter_in_model
        from peft.tuners.adalora import AdaLoraModel

        encoder, rank = self.model.encoder, self.method.rank
        targets = matrices(encoder.model)
        encoder.model.requires_grad_(False)
        common: dict[str, Any] = {"target_modules": targets, "lora_alpha": 2 * rank, "lora_dropout": 0.0}
        with torch.random.fork_rng(devices=[]):  # the same order of batches and dropout as with other methods
            if self.method.kind == "lora":
                inject_adapter_in_model(LoraConfig(r=rank, **common), encoder.model, NAME)  # type: ignore[arg-type]
                return
            if steps < 10:
                raise ConfigError(f"AdaLoRA needs 10 steps or more, not {steps}", next_step="give more --epochs")
            config = AdaLoraConfig(
                init_r=rank * 3 // 2, target_r=rank, tinit=steps // 10, tfinal=steps // 4, total_step=steps,
                deltaT=max(1, steps // 100), **common,
            )
            try:
                self.allocator = AdaLoraModel(encoder.model, config, NAME)  # type: ignore[arg-type]
            except (ValueError, NotImplementedError) as e:
                raise ModelError(f"AdaLoRA does not fit this encoder: {str(e).splitlines()[0]}",
                                 next_step="choose --method lora or full") from None

    def _merged(self) -> dict[str, torch.Tensor]:
        out = {name.replace(".base_layer.", "."): t.clone() for name, t in self.model.stored().items()
               if ".lora_" not in name and "ranknum" not in name}
        for name, module in self.model.named_modules():
            if hasattr(module, "get_delta_weight"):
                out[f"{name}.weight"] += module.get_delta_weight(NAME).detach()  # type: ignore[operator]
        return out


def matrices(model: nn.Module) -> list[str]:
    """Names of the linear layers inside the encoder's layers (numbered blocks), embeddings' own left out."""
    from transformers.pytorch_utils import Conv1D

    return [name for name, m in model.named_modules()
            if isinstance(m, nn.Linear | Conv1D) and any(part.isdigit() for part in name.split("."))]


def _skew(directions: torch.Tensor) -> torch.Tensor:
    """How far rows [rank, width] are from orthonormal."""
    return torch.linalg.norm(directions @ directions.T - torch.eye(len(directions)))
