"""A domain for tests that loads at once: a two-layer encoder of our own, trained for seconds on sentences of our own.

It goes the way of every domain: ``kie_ops.training.loop.train`` writes it.  Its gate is set by hand: the text counts as
it is, memory weighs half wherever it knows something, and a reviewer's word is strong.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np

from kie_ops.candidates import FEATURES
from kie_ops.evidence import KINDS, OUTCOMES
from kie_ops.gate import Calibration, Gate, MemoryGate, TextGate
from kie_ops.memory import SOURCES
from kie_ops.trust import TRUST
from tests.integration.documents import CHEMICALS, DISEASES, SENTENCES, sentence

NAME = "small"
SPLITS = {"train": 240, "dev": 30, "test": 30}


def build(folder: Path) -> Path:
    """Writes encoder, data and domain below `folder`; returns the domain's folder.  The same bytes each time."""
    from kie_ops.domain import Domain
    from kie_ops.training.loop import Settings, train

    encoder, data, out = folder / "encoder", folder / "data", folder / NAME
    _encoder(encoder)
    (data / NAME).mkdir(parents=True)
    for seed, (split, count) in enumerate(SPLITS.items()):
        lines = [json.dumps(record) for record in records(count, seed)]
        (data / NAME / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    labels = ["Chemical", "Disease"]
    domain = Domain.parse({
        "name": NAME, "encoder": str(encoder),
        "schemes": {NAME: {"labels": labels, "max_words": 4}},
        "relations": {NAME: {"labels": ["CID"], "level": "sentence", "pairs": [labels]}},
        "output": {
            "entities": {NAME: {label: label.lower() for label in labels}},
            "relations": {NAME: {"CID": "chemical-induced-disease"}},
        },
    })
    settings = Settings(epochs=8, rate=2e-3, head_rate=4e-3, budget=1_024)
    train(domain, data, out, settings=settings, threads=1, quiet=True)
    gate().save(out / "gate.json")
    return out


def gate() -> Gate:
    linear = np.array([4.0 if name == "own" else 0.0 for name in FEATURES])  # FEATURES come divided by 4
    weights = np.ones((len(KINDS), len(SOURCES), len(OUTCOMES)))
    weights[:, [SOURCES.index("reviewer"), SOURCES.index("correction")], :] = 12.0
    return Gate(
        text={NAME: TextGate(linear, np.zeros((len(FEATURES), 1)), np.zeros(1), np.zeros(1), {})},
        memory={NAME: MemoryGate(-1.0, weights, np.zeros((len(TRUST), 1)), np.zeros(1), np.zeros(1), 0.0)},
        thresholds={NAME: 0.5}, relations={NAME: Calibration()}, dictionary={NAME: 0.5},
    )


def records(count: int, seed: int) -> list[dict[str, Any]]:
    """Annotated documents of one to three sentences; chemical and disease of one sentence are related."""
    random_ = random.Random(1_000 + seed)
    names = {**dict.fromkeys(CHEMICALS, "Chemical"), **dict.fromkeys(DISEASES, "Disease")}
    pattern = re.compile("|".join(sorted(map(re.escape, names), key=len, reverse=True)), re.IGNORECASE)
    out = []
    for i in range(count):
        text, entities, relations = "", [], []
        for _ in range(random_.randint(1, 3)):
            text += " " if text else ""
            start, first = len(text), len(entities)
            text += sentence(random_)
            for found in pattern.finditer(text, start):
                entities.append({"id": f"T{len(entities)}", "start": found.start(), "end": found.end(),
                                 "text": found[0], "label": names[found[0].lower()]})
            if "induced" in text[start:]:
                relations += [
                    {"head": a["id"], "tail": b["id"], "label": "CID", "level": "mention"}
                    for a in entities[first:] for b in entities[first:]
                    if (a["label"], b["label"]) == ("Chemical", "Disease")
                ]
        out.append({"doc_id": f"{NAME}-{seed}-{i}", "domain": NAME, "lang": "en", "date": None, "title": None,
                    "text": text, "entities": entities, "relations": relations, "events": [], "meta": {}})
    return out


def _encoder(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = sorted({w for text in (*CHEMICALS, *DISEASES, *SENTENCES) for w in re.findall(r"[a-z]+", text.lower())})
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    vocabulary = {w: i for i, w in enumerate(dict.fromkeys([*special, *letters, *(f"##{c}" for c in letters), *words]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=48, num_hidden_layers=2, num_attention_heads=4,
                        intermediate_size=96, max_position_embeddings=128, pad_token_id=0)
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=128,
    ).save_pretrained(folder)
