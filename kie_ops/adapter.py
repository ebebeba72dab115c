"""The weights of a trained domain as a small file: int8 changes to the encoder's base, a scale a row, zstd.

Of each matrix the difference to the base is kept, symmetrically quantised by output row (as LLM.int8 does with whole
weights, Dettmers et al. 2022); what is not in the base counts from zero; vectors and small heads are float16.  What
was not trained is left out.  Encoding what was decoded gives the same bytes, so a model's version is of its file.
``python -m kie_ops.adapter FOLDER`` converts an adapter of the former format (all weights in float16).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
import zstandard

from kie_ops.errors import EngramError, ModelError

ADAPTER = "adapter.safetensors.zst"
FORMER = "adapter.safetensors"
SCALE = "/scale"
"""Ends the name of a tensor of scales: bfloat16, so that scale times integer is exact in float32."""
SMALL = 4_096
"""Up to so many elements a tensor outside the base is float16: the last layer of a head, its biases."""
LEVEL = 12
FAINT = 2.0**-14
"""Changes below this part of a row's largest weight are left out: float32 sums would lose bits of steps or scale."""

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Base:
    """An encoder before training: its trainable tensors, float32, and a fingerprint of all of it."""

    fingerprint: str
    tensors: Tensors


def encode(tensors: Tensors, base: Base) -> bytes:
    """The content of an adapter: `tensors` as changes to `base` (names alike; `tensors` may have more).

    The same tensors give the same bytes.  Raises ModelError for weights that are not finite.
    """
    packed: dict[str, torch.Tensor] = {}
    for name, tensor in sorted(tensors.items()):
        packed.update(_packed(name, tensor.detach(), base.tensors.get(name)))
    # One entry: the order of several is not settled.
    return safetensors.torch.save(packed, metadata={"base": base.fingerprint})


def decode(payload: bytes, base: Base, like: Tensors) -> dict[str, torch.Tensor]:
    """The tensors of `payload`, names and shapes as in `like`, float32; those left out are the base's.

    Raises ModelError where it was made for another base or other shapes.
    """
    try:
        packed = safetensors.torch.load(payload)
        made_for = _made_for(payload)
    except (safetensors.SafetensorError, ValueError) as e:
        raise ModelError(f"cannot read the adapter: {e}") from None
    if made_for != base.fingerprint:
        raise ModelError(f"the adapter was trained on another base (has {made_for}, found {base.fingerprint})",
                         next_step="install the encoder that domain.json names, or train anew")
    scales = {name.removesuffix(SCALE): packed.pop(name) for name in list(packed) if name.endswith(SCALE)}
    wrong = [n for n in like.keys() | packed.keys() | scales.keys() if not _fits(n, packed, scales, base.tensors, like)]
    if wrong:
        raise ModelError(f"the adapter does not fit domain.json: {min(wrong)} and {len(wrong) - 1} others",
                         next_step="restore the two files of one training, or train anew")
    return {name: _unpacked(packed[name], scales.get(name), base.tensors.get(name)) if name in packed
            else base.tensors[name] for name in like}


def fingerprint(tensors: Tensors) -> str:
    """Of all tensors, bit for bit."""
    digest = hashlib.blake2b(digest_size=10)
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().data)
    return digest.hexdigest()


def write(payload: bytes, path: Path) -> int:
    """Writes `payload` compressed, atomically; the file's bytes."""
    content = zstandard.ZstdCompressor(level=LEVEL).compress(payload)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
    return len(content)


def read(path: Path) -> bytes:
    """What :func:`write` wrote.  Raises ModelError for a file that is missing, torn or of the former format."""
    former = path.with_name(FORMER) if path.name == ADAPTER else path
    if former.is_file() and (former == path or not path.is_file()) and former.suffix == ".safetensors":
        raise ModelError("the weights are in the format of an earlier version", where=str(former),
                         next_step=f"python -m kie_ops.adapter {former.parent}")
    try:
        return zstandard.ZstdDecompressor().decompress(path.read_bytes())
    except (OSError, zstandard.ZstdError) as e:
        raise ModelError(f"cannot read the adapter: {e}", where=str(path),
                         next_step="restore it, or train anew") from None


def convert(folder: Path) -> Path:
    """Writes the former adapter of the domain in `folder` anew and removes it; the new file.

    Raises ModelError where there is none or it does not fit.
    """
    from kie_ops.domain import Domain
    from kie_ops.model import TextModel

    former = folder / FORMER
    if not former.is_file():
        raise ModelError("there is no former adapter", where=str(former))
    model = TextModel.new(Domain.load(folder))
    have = model.stored()
    try:
        values = {name: t.float() if t.is_floating_point() else t for name, t in
                  safetensors.torch.load(former.read_bytes()).items()}
    except safetensors.SafetensorError as e:
        raise ModelError(f"cannot read the adapter: {e}", where=str(former)) from None
    if {n: t.shape for n, t in values.items()} != {n: t.shape for n, t in have.items()}:
        raise ModelError("the adapter does not fit domain.json", where=str(former))
    model.load_state_dict(values, strict=False)
    model.save_adapter(folder / ADAPTER)
    former.unlink()
    return folder / ADAPTER


def _packed(name: str, tensor: torch.Tensor, base: torch.Tensor | None) -> dict[str, torch.Tensor]:
    if not tensor.is_floating_point():
        return {} if base is not None and torch.equal(tensor, base) else {name: tensor.contiguous()}
    if not torch.isfinite(tensor).all():
        raise ModelError(f"weights are not finite: {name}", next_step="train anew with a smaller --rate")
    if tensor.ndim < 2 or (base is None and tensor.numel() <= SMALL):
        half = tensor.half()
        unchanged = base is not None and (torch.equal(tensor, base) or torch.equal(half.float(), base))
        return {} if unchanged else {name: half.contiguous()}
    change = (tensor if base is None else tensor - base).flatten(1)
    top = change.abs().amax(dim=1)
    scale = (top / 127).bfloat16()
    if base is not None:
        scale[top < FAINT * base.flatten(1).abs().amax(dim=1)] = 0
    divisor = torch.where(scale > 0, scale.float(), torch.inf)
    steps = (change / divisor[:, None]).round().clamp(-127, 127).to(torch.int8)
    if base is not None and not steps.any():
        return {}
    return {name: steps.reshape(tensor.shape).contiguous(), name + SCALE: scale}


def _unpacked(packed: torch.Tensor, scale: torch.Tensor | None, base: torch.Tensor | None) -> torch.Tensor:
    if scale is None:
        return packed.float() if packed.is_floating_point() else packed
    change = packed.float() * scale.float().reshape(-1, *(1,) * (packed.ndim - 1))
    return change if base is None else base + change


def _fits(name: str, packed: Tensors, scales: Tensors, base: Tensors, like: Tensors) -> bool:
    if name not in like or (name in scales and name not in packed):
        return False
    if name not in packed:
        return name in base and base[name].shape == like[name].shape
    shape = packed[name].shape
    if packed[name].dtype == torch.int8 and (name not in scales or scales[name].shape != shape[:1]):
        return False
    return shape == like[name].shape


def _made_for(payload: bytes) -> str:
    """The metadata's one entry; the format's header is its length in 8 bytes, then JSON."""
    length = int.from_bytes(payload[:8], "little")
    return str(json.loads(payload[8 : 8 + length]).get("__metadata__", {}).get("base"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Convert a domain's weights from the former format.")
    parser.add_argument("folder", type=Path, help="folder with domain.json and adapter.safetensors")
    given = parser.parse_args(arguments)
    try:
        path = convert(given.folder)
    except EngramError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    print(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
