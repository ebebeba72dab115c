"""A poisoned stream loses nothing and stops nothing."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.integration import checks
from tests.integration.documents import texts
from tests.integration.harness import as_records, engram, send, settings
from tests.integration.services import Kafka, Redis

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_200)]


def good(text: str, doc_id: str = "same") -> tuple[bytes, str]:
    return json.dumps({"doc_id": doc_id, "text": text}, ensure_ascii=False).encode(), text


BAD: dict[str, bytes | None] = {
    "broken_json": b'{"doc_id": "a", "text": "He had a rash',
    "two_values": b'{"text": "one"} {"text": "two"}',
    "not_utf8": b'{"doc_id": "a", "text": "caf\xe9 au lait"}',
    "utf16": '{"text": "rash"}'.encode("utf-16"),
    "empty_text": b'{"doc_id": "a", "text": ""}',
    "blank": good(" \n\t ")[0],
    "missing_text": b'{"doc_id": "a", "title": "no text here"}',
    "null_text": b'{"doc_id": "a", "text": null}',
    "number_text": b'{"doc_id": "a", "text": 17}',
    "list": b'["text"]',
    "null": b"null",
    "empty": b"",
    "tombstone": None,
    "300_arrays": b'{"doc_id": "a", "text": "x", "meta": ' + b"[" * 300 + b"]" * 300 + b"}",
    "100000_arrays": b"[" * 100_000,
    "lone_surrogate": rb'{"doc_id": "a", "text": "half \ud83d of one"}',
    "50_MB": b'{"doc_id": "big", "text": "' + b"lithium caused tremor. " * 2_200_000 + b'"}',
    "nan": b'{"doc_id": "a", "text": NaN}',
    "random": bytes(range(256)) * 4,
}
GOOD: dict[str, tuple[bytes, str]] = {
    "duplicate_id_1": good("Lithium caused a tremor."),
    "duplicate_id_2": good("Lithium caused a tremor."),
    "null_characters": good("Lith\x00ium \x00 caused a tremor.\x00"),
    "control_characters": good("\x01\x02\x1b[31mLithium\x1b[0m caused\x07 a\x7f tremor.\x85\u2028\u2029"),
    "right_to_left": good("\u202eLithium\u202c \u05d2\u05e8\u05dd \u05dc\u05e8\u05e2\u05d3 (tremor) "
                          "\u0627\u0644\u0644\u064a\u062b\u064a\u0648\u0645."),
    "emoji": good("\U0001f48a Lithium \U0001f469\u200d\u2695\ufe0f caused "
                  "\U0001f3f3\ufe0f\u200d\U0001f308 tremor \U0001f1e9\U0001f1ea."),
    "one_character": good("x"),
    "one_long_word": good("lithium" * 20_000),
    "combining": good("e\u0301" * 500 + " lithium"),
    "cjk": good("\u7528\u9502\u540e\u51fa\u73b0\u9707\u98a4\u3002" * 50),
    "odd_fields": (
        json.dumps({
            "doc_id": "../../etc/passwd\n", "text": "Lithium caused a tremor.", "domain": "a/b=c\\..",
            "lang": "x" * 5_000, "title": "\x00", "meta": {"": "", "k": None, "n": {"deep": [1, 2.5, True]}},
        }).encode(),
        "Lithium caused a tremor.",
    ),
}


def test_nothing_is_lost_and_nothing_stops(
    kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path
) -> None:
    topic = f"poison-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(topic, 2)
    before, after = as_records(texts(20, seed=7)), as_records(texts(20, seed=8))
    poison: list[tuple[bytes | None, str | None]] = [(value, None) for value in BAD.values()]
    sent = send(kafka, topic, [*before, *poison, *GOOD.values(), *after], partitions=2)
    config = settings(tmp_path / "poison", kafka.bootstrap, topic, redis_server.url, small_domain)
    engram("run", config)
    tables = tmp_path / "poison" / "tables"
    totals = checks.check(tables, sent)
    assert totals.dead_letters == len(BAD)
    outside = list(tmp_path.parent.rglob("*passwd*"))
    assert not outside, f"a document's field became a path: {outside}"
    letters = {row["raw"]: row for row in checks.rows(tables, "dead_letters")}
    assert all(row["key"] == b"key" for row in letters.values())
    assert letters[BAD["50_MB"] or b""]["reason"] == "too_large"
    assert letters[BAD["broken_json"] or b""]["reason"] == "broken_json"
    assert letters[BAD["not_utf8"] or b""]["reason"] == "not_utf8"
    assert not any("lithium caused" in row["message"].lower() for row in letters.values()), "text in a message"
