from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from kie_ops.records import DeadLetter, Document, Place, RawRecord
from pipelines.config import FieldPaths, Format
from pipelines.parse import parse

PLACE = Place("topic", 2, 7)


def raw(value: object, **fields: object) -> RawRecord:
    data = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    return RawRecord(PLACE, 7, data, **fields)  # type: ignore[arg-type]


def document(value: object, fmt: Format | None = None, **fields: object) -> Document:
    result = parse(raw(value, **fields), fmt or Format(), "medical")
    assert isinstance(result, Document), result
    return result


def letter(value: object, fmt: Format | None = None, **fields: object) -> DeadLetter:
    record = raw(value, **fields)
    result = parse(record, fmt or Format(), "medical")
    assert isinstance(result, DeadLetter), result
    assert result.place == record.place
    assert result.raw == (record.value or b"")
    assert result.key == record.key
    assert result.headers == record.headers
    assert not result.retriable
    return result


@pytest.mark.parametrize(("value", "reason"), [
    (None, "null_value"),
    (b"\xff\xfe", "not_utf8"),
    ('{"text": "caf\u00e9"}'.encode("latin-1"), "not_utf8"),
    (b"", "broken_json"),
    (b'{"text": "half', "broken_json"),
    (b'{"text": "two"} {"text": "values"}', "broken_json"),
    (b"[" * 300 + b"]" * 300, "too_deep"),
    (b'{"a":' * 300 + b"1" + b"}" * 300, "too_deep"),
    (b"[" * 5_000_000, "too_deep"),
    (b'"text"', "not_an_object"),
    (b"[]", "not_an_object"),
    (b"17", "not_an_object"),
    (b"null", "not_an_object"),
    (b"{}", "missing_text"),
    (b'{"text": null}', "missing_text"),
    (b'{"body": "elsewhere"}', "missing_text"),
    (b'{"text": 5}', "wrong_type"),
    (b'{"text": ["a"]}', "wrong_type"),
    (b'{"text": true}', "wrong_type"),
    (b'{"text": ""}', "empty_text"),
    (b'{"text": " \\n\\t"}', "empty_text"),
    (b'{"text": "half a pair \\ud83d"}', "lone_surrogate"),
    (b'{"text": "fine", "title": "\\udc00"}', "lone_surrogate"),
    (b'{"text": "fine", "meta": {"a": "\\udc00"}}', "lone_surrogate"),
    (b'{"text": "fine", "lang": 5.5}', "wrong_type"),
    (b'{"text": "fine", "doc_id": {"a": 1}}', "wrong_type"),
    (b'{"text": "fine", "timestamp": "yesterday"}', "bad_field"),
    (b'{"text": "fine", "timestamp": true}', "bad_field"),
    (b'{"text": "fine", "timestamp": NaN}', "bad_field"),
    (b'{"text": "fine", "timestamp": 1e300}', "bad_field"),
    (b'{"text": "fine", "timestamp": ' + b"9" * 5000 + b"}", "bad_field"),
])
def test_unreadable_records_become_dead_letters_with_stable_reasons(value: bytes | None, reason: str) -> None:
    assert letter(value, key=b"k", headers=(("h", b"\xff"), ("n", None)), timestamp=5).reason == reason


def test_too_large_values_and_texts() -> None:
    fmt = Format(max_bytes=100, max_characters=10)
    assert letter({"text": "x" * 200}, fmt).reason == "too_large"
    assert letter({"text": "x" * 200}, fmt).characters is None
    assert letter({"text": "x" * 11}, fmt).reason == "too_large"
    assert letter({"text": "x" * 11}, fmt).characters == 11
    assert document({"text": "x" * 10}, fmt).text == "x" * 10


def test_characters_of_a_dead_letter_are_counted_where_the_text_could_be_decoded() -> None:
    assert letter({"text": "four", "timestamp": "never"}).characters == 4
    assert letter({"text": "  "}).characters == 2
    assert letter(b"{").characters is None


def test_messages_hold_no_document_text() -> None:
    values = b'{"text": "secret name" ', b'["secret name"]', b'{"text": "secret name", "timestamp": "secret name"}'
    for value in values:
        assert "secret" not in letter(value).message


@pytest.mark.parametrize("text", [
    "nul \x00 and \x07 bell", "raw\ttab and\r\nlines",
    "\u202eright to left \u05d0\u05d1\u202c", "family \U0001f468\u200d\U0001f469 \U0001f9ec",
    "\ufeffbom inside", "line\u2028separator", "\u0627\u0644\u0633\u0644\u0627\u0645", "e\u0301 decomposed",
])
def test_legal_text_stays_as_received(text: str) -> None:
    assert document({"text": text}).text == text
    assert document(json.dumps({"text": text}, ensure_ascii=False).encode()).text == text
    assert document(text.encode(), Format(kind="text")).text == text


def test_raw_control_characters_in_json_strings_are_kept() -> None:
    assert document(b'{"text": "a\nb\x00c"}').text == "a\nb\x00c"


def test_odd_but_harmless_json() -> None:
    assert document(b'\xef\xbb\xbf{"text": "after a byte order mark"}').text == "after a byte order mark"
    assert document(b'{"text": "first", "text": "last"}').text == "last"
    assert document(b'{"text": "fine", "x": NaN, "y": -Infinity, "z": ' + b"9" * 5000 + b"}").text == "fine"
    assert document(b'{"text": "' + b"[{" * 200 + b'\\"]"}').text.startswith("[{[{")


def test_fields_of_a_document() -> None:
    got = document({"doc_id": 17, "text": "t", "domain": "financial", "lang": "en", "title": "T",
                    "timestamp": "2024-02-29T12:00:00.5Z", "meta": {"b": 1, "a": "x", "n": None}})
    assert (got.doc_id, got.domain, got.lang, got.title) == ("17", "financial", "en", "T")
    assert got.timestamp == 1_709_208_000_500
    assert dict(got.meta) == {"a": "x", "b": "1"}
    assert got.place == PLACE


def test_missing_fields_fall_back() -> None:
    got = document({"text": "t", "doc_id": "", "domain": None, "lang": ""}, timestamp=99)
    assert (got.doc_id, got.domain, got.lang, got.timestamp) == ("topic/2/7", "medical", None, 99)


@pytest.mark.parametrize(("value", "ms"), [
    (1_700_000_000_000, 1_700_000_000_000), ("1700000000000", 1_700_000_000_000), (12.9, 12),
    ("1969-12-31", -86_400_000),
    ("2024-01-01T00:00:00+01:00", 1_704_063_600_000), ("2024-01-01T00:00:00", 1_704_067_200_000),
])
def test_timestamps(value: object, ms: int) -> None:
    assert document({"text": "t", "timestamp": value}).timestamp == ms


def test_key_and_headers_are_kept() -> None:
    got = document({"text": "t"}, key=b"k\xff", headers=(("trace", b"1"), ("none", None), ("trace", b"\xfe")))
    assert dict(got.meta) == {"key": "k\\xff", "header.trace": "\\xfe"}


def test_dotted_paths() -> None:
    fields = FieldPaths(text="doc.body.0.text", doc_id="id.value", domain=None, lang="a.b", timestamp=None)
    value = {"doc": {"body": [{"text": "deep"}]}, "id": {"value": "x"}, "a.b": "de", "domain": "not read",
             "timestamp": "not read"}
    got = document(value, Format(fields=fields))
    assert (got.text, got.doc_id, got.domain, got.lang, got.timestamp) == ("deep", "x", "medical", "de", None)
    assert letter({"doc": {"body": []}}, Format(fields=fields)).reason == "missing_text"
    assert letter({"doc": "flat"}, Format(fields=fields)).reason == "missing_text"


def test_plain_text_with_headers() -> None:
    fmt = Format(kind="text")
    headers = (("doc_id", b"d"), ("lang", b"fr"), ("domain", b"financial"), ("x", b"y"))
    got = document(b"plain", fmt, headers=headers, key=b"k")
    assert (got.text, got.doc_id, got.lang, got.domain) == ("plain", "d", "fr", "financial")
    assert got.meta["header.x"] == "y"
    assert document(b"plain", fmt, key=b"k").doc_id == "k"
    assert document(b"plain", fmt).doc_id == "topic/2/7"
    assert letter(b"\xc3", fmt).reason == "not_utf8"
    assert letter(b"", fmt).reason == "empty_text"


LEAVES = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(st.characters()))
VALUES = st.recursive(LEAVES, lambda v: st.one_of(st.lists(v, max_size=4), st.dictionaries(st.text(), v, max_size=4)))
NAMES = st.sampled_from(["text", "doc_id", "domain", "lang", "title", "timestamp", "meta", "x"])
FIELDS = st.dictionaries(NAMES, VALUES)
RAW = st.one_of(st.none(), st.binary(), FIELDS.map(lambda v: json.dumps(v).encode()))
FORMATS = st.sampled_from([Format(), Format(kind="text"), Format(max_depth=2, max_characters=3, max_bytes=40)])
HEADERS = st.lists(st.tuples(st.text(), st.none() | st.binary()), max_size=3).map(tuple)


@given(RAW, st.none() | st.binary(), HEADERS, FORMATS)
def test_parse_never_raises_and_loses_nothing(
    value: bytes | None, key: bytes | None, headers: tuple[tuple[str, bytes | None], ...], fmt: Format
) -> None:
    result = parse(RawRecord(PLACE, 7, value, key, headers), fmt, "medical")
    if isinstance(result, DeadLetter):
        assert result.raw == (value or b"")
        assert result.reason != "internal_error"
        return
    fields = [result.doc_id, result.text, result.domain, result.lang, result.title, *result.meta, *result.meta.values()]
    for text in fields:
        assert text is None or text.encode("utf-8") is not None
