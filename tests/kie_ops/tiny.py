"""A very small random BERT with a tokeniser of its own, and sentences written for these tests."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from kie_ops.domain import Domain

LETTERS = string.ascii_lowercase + string.digits + string.punctuation + "中文句"
PIECES = ["aspirin", "caused", "severe", "nausea", "in", "the", "patient", "fever", "was", "treated", "with", "ibu"]


def encoder_folder(folder: Path, *, positions: int = 128) -> Path:
    """Writes the encoder into `folder`: 2 layers, 32 wide."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *PIECES, *LETTERS, *("##" + c for c in LETTERS)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    pieces = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    PreTrainedTokenizerFast(
        tokenizer_object=pieces._tokenizer, model_max_length=positions, **names
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=positions,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def domain(encoder: Path, name: str = "small") -> Domain:
    return Domain.parse({
        "name": name, "encoder": str(encoder),
        "schemes": {
            "drugs": {"labels": ["Drug", "Problem"], "max_words": 4},
            "events": {"labels": ["trigger:Harm", "Effect", "Effect.Part"], "max_words": 6, "nested": True},
        },
        "relations": {"drugs": {"labels": ["causes"], "pairs": [["Drug", "Problem"]], "max_sentences": 0}},
        "output": {"entities": {"drugs": {"Drug": "drug", "Problem": "problem"}},
                   "relations": {"drugs": {"causes": "causes"}}},
    })


def _span(text: str, surface: str, **fields: str) -> dict[str, object]:
    start = text.index(surface)
    return {"start": start, "end": start + len(surface), "text": surface, **fields}


def records() -> dict[str, list[dict[str, object]]]:
    """Annotated documents by scheme: 12 of drugs, 12 of events."""
    drugs, problems = ("aspirin", "ibuprofen", "zinc", "lead"), ("nausea", "fever", "head pain")
    out: dict[str, list[dict[str, object]]] = {"drugs": [], "events": []}
    for number in range(12):
        drug, problem = drugs[number % 4], problems[number % 3]
        text = f"The {drug} caused severe {problem} in patient {number}.\nHe was treated with the best."
        out["drugs"].append({
            "doc_id": f"d{number}", "text": text,
            "entities": [_span(text, drug, id="T1", label="Drug"), _span(text, problem, id="T2", label="Problem")],
            "relations": [{"head": "T1", "tail": "T2", "label": "causes", "level": "mention"}],
        })
        out["events"].append({
            "doc_id": f"e{number}", "text": text,
            "events": [{
                "label": "Harm", "triggers": [_span(text, "caused")],
                "arguments": [_span(text, f"severe {problem}", role="Effect"),
                              _span(text, problem, role="Effect.Part")],
            }],
        })
    return out


def write_data(folder: Path) -> Path:
    """Writes the records as a data folder: train and dev are the same documents under other ids."""
    for scheme, documents in records().items():
        (folder / scheme).mkdir(parents=True, exist_ok=True)
        for split in ("train", "dev"):
            lines = [json.dumps({**d, "doc_id": f"{split}-{d['doc_id']}"}) for d in documents]
            (folder / scheme / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
