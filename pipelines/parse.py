"""A source's raw record becomes a document, or a dead letter that keeps it whole.

JSON values (RFC 8259, UTF-8) have their parts at configurable dotted paths; plain values are UTF-8 text whose id,
domain, language and title stand in headers.  Text stays as received: NUL and control characters, emoji and
right-to-left text are legal.  The record's key and headers are kept in `Document.meta` as ``key`` and ``header.NAME``.

Reasons of dead letters are stable words: null_value, too_large, not_utf8, lone_surrogate, broken_json, too_deep,
not_an_object, missing_text, wrong_type, empty_text, bad_field, internal_error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from kie_ops.errors import DocumentError
from kie_ops.records import DeadLetter, Document, RawRecord
from pipelines.config import FieldPaths, Format
from pipelines.parsed import Parsed
from pipelines.shard import Batch

FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""Milliseconds of the years 1 and 9999: what every reader of the tables can show."""
MAX_DIGITS = 1_000
"""Longer integers stay text: Python refuses to convert very long ones, and nothing here needs them."""

_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_batch(batch: Batch, fmt: Format, domain: str) -> Parsed:
    read = [parse(record, fmt, domain) for record in batch.records]
    documents = tuple(r for r in read if isinstance(r, Document))
    return Parsed(batch, documents, tuple(r for r in read if isinstance(r, DeadLetter)))


def parse(record: RawRecord, fmt: Format, domain: str) -> Document | DeadLetter:
    """Reads one record.  `domain` stands where the record names none.  Never raises."""
    try:
        return _read(record, fmt, domain)
    except DocumentError as e:
        return _dead(record, e.reason, type(e).__name__, str(e), getattr(e, "characters", None))
    except Exception as e:  # a stream must not stop at one record, whatever it holds
        return _dead(record, "internal_error", type(e).__name__, f"reading failed with {type(e).__name__}", None)


def _dead(record: RawRecord, reason: str, error_class: str, message: str, characters: int | None) -> DeadLetter:
    return DeadLetter(
        place=record.place, reason=reason, error_class=error_class, message=message, retriable=False,
        raw=record.value or b"", key=record.key, headers=record.headers, timestamp=record.timestamp,
        characters=characters,
    )


def _read(record: RawRecord, fmt: Format, domain: str) -> Document:
    value = record.value
    where = str(record.place)
    if value is None:
        raise DocumentError("null_value", "the record has no value (a tombstone)", where=where)
    if len(value) > fmt.max_bytes:
        raise DocumentError("too_large", f"{len(value)} bytes are more than {fmt.max_bytes}", where=where,
                            next_step="raise source.format.max_bytes, then replay the dead letter")
    headers = _headers(record)
    part = _text_parts(value, headers, record) if fmt.kind == "text" else _json_parts(value, fmt, where)
    text = _checked_text(part.get("text"), fmt, where)
    try:
        return Document(
            doc_id=_string(part, "doc_id") or str(record.place),
            text=text,
            domain=_string(part, "domain") or domain,
            lang=_string(part, "lang"),
            title=_string(part, "title"),
            timestamp=_timestamp(part.get("timestamp"), record.timestamp),
            meta=_meta(part.get("meta"), record, headers),
            place=record.place,
        )
    except DocumentError as e:
        raise _with_characters(DocumentError(e.reason, e.what, where=where, next_step=e.next_step), text) from None


def _with_characters(error: DocumentError, text: str) -> DocumentError:
    error.characters = len(text)  # type: ignore[attr-defined]
    return error


# -- parts of a value -----------------------------------------------------------------------------------------------


def _text_parts(value: bytes, headers: Mapping[str, str], record: RawRecord) -> dict[str, Any]:
    text = _decode(value, str(record.place))
    parts: dict[str, Any] = {name: headers.get(name) for name in ("doc_id", "domain", "lang", "title", "timestamp")}
    if not parts["doc_id"] and record.key:
        parts["doc_id"] = record.key.decode("utf-8", "backslashreplace")
    return parts | {"text": text}


def _json_parts(value: bytes, fmt: Format, where: str) -> dict[str, Any]:
    _check_depth(value, fmt.max_depth, where)
    text = _decode(value, where).removeprefix("\ufeff")
    try:
        data = _DECODER.decode(text)
    except RecursionError:
        raise DocumentError("too_deep", "nested too deeply", where=where) from None
    except json.JSONDecodeError as e:
        raise DocumentError("broken_json", f"not JSON: {e.msg} at character {e.pos}", where=where,
                            next_step="mend the producer, or set source.format.kind to text") from None
    if not isinstance(data, dict):
        raise DocumentError("not_an_object", f"a JSON {_json_kind(data)}, not an object", where=where)
    paths = fmt.fields
    parts = {name: _at(data, path) for name in FieldPaths.model_fields if (path := getattr(paths, name))}
    if parts.get("text") is None:
        raise DocumentError("missing_text", f"no text at {paths.text}", where=where,
                            next_step="check source.format.fields.text")
    return parts


def _decode(value: bytes, where: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as e:
        raise DocumentError("not_utf8", f"not UTF-8: {e.reason} at byte {e.start}", where=where) from None


def _check_depth(value: bytes, limit: int, where: str) -> None:
    """Before decoding, so that no nesting can exhaust the stack.  Linear in the value's length."""
    if value.count(b"[") + value.count(b"{") <= limit:
        return
    depth = 0
    for match in _BRACKETS.finditer(value):
        sign = match[0]
        if sign in (b"[", b"{"):
            depth += 1
            if depth > limit:
                raise DocumentError("too_deep", f"nested deeper than {limit}", where=where,
                                    next_step="flatten it, or raise source.format.max_depth")
        elif sign in (b"]", b"}"):
            depth -= 1


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_DIGITS else digits


_DECODER = json.JSONDecoder(parse_int=_integer, strict=False)
"""Not strict: raw control characters inside strings are what some producers send, and no character is lost by it."""


def _json_kind(data: Any) -> str:
    kinds = ((bool, "boolean"), (list, "array"), (str, "string"), (type(None), "null"))
    return next((name for kind, name in kinds if isinstance(data, kind)), "number")


def _at(data: Any, path: str) -> Any:
    """The value at a dotted path; a key that itself holds dots goes first; digits index arrays."""
    if isinstance(data, dict):
        if path in data:
            return data[path]
        head, dot, rest = path.partition(".")
        while dot:
            if head in data:
                return _at(data[head], rest)
            more, dot, rest = rest.partition(".")
            head = f"{head}.{more}"
        return None
    if isinstance(data, list):
        head, dot, rest = path.partition(".")
        if head.isascii() and head.isdigit() and len(head) < 10 and int(head) < len(data):
            return _at(data[int(head)], rest) if dot else data[int(head)]
    return None


# -- checked fields -------------------------------------------------------------------------------------------------


def _checked_text(text: Any, fmt: Format, where: str) -> str:
    if not isinstance(text, str):
        raise DocumentError("wrong_type", f"the text is a JSON {_json_kind(text)}, not a string", where=where)
    if _SURROGATE.search(text):
        raise _with_characters(DocumentError(
            "lone_surrogate", "the text holds half a surrogate pair, which no UTF-8 can express", where=where), text)
    if not text.strip():
        raise _with_characters(DocumentError("empty_text", "the text is empty", where=where), text)
    if len(text) > fmt.max_characters:
        raise _with_characters(DocumentError(
            "too_large", f"{len(text)} characters are more than {fmt.max_characters}", where=where,
            next_step="raise source.format.max_characters, then replay the dead letter"), text)
    return text


def _string(parts: Mapping[str, Any], name: str) -> str | None:
    """An optional field as text; null and empty are absent; an integer is as good as its digits."""
    value = parts.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DocumentError("wrong_type", f"{name} is a JSON {_json_kind(value)}, not a string")
    return _plain(value, name)


def _plain(value: str, name: str) -> str:
    if _SURROGATE.search(value):
        raise DocumentError("lone_surrogate", f"{name} holds half a surrogate pair, which no UTF-8 can express")
    return value


def _timestamp(value: Any, received: int | None) -> int | None:
    """Milliseconds since 1970-01-01 UTC, of a number of them or an ISO 8601 date; else the record's own."""
    if value is None or value == "":
        return received
    ms: int | None = None
    if isinstance(value, float) and math.isfinite(value):
        ms = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        ms = value
    elif isinstance(value, str):
        ms = _text_ms(value.strip())
    if ms is None or not FIRST_MS <= ms <= LAST_MS:
        raise DocumentError("bad_field", "timestamp is neither milliseconds nor an ISO 8601 date",
                            next_step="mend it, or set source.format.fields.timestamp to null")
    return ms


def _text_ms(value: str) -> int | None:
    if re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    try:
        at = datetime.fromisoformat(value[:-1] + "+00:00" if value[-1:] in "Zz" else value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    since = at - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def _headers(record: RawRecord) -> dict[str, str]:
    """Headers as text; what is not UTF-8 in them is escaped (the last of several of one name counts, as in Kafka)."""
    return {name: value.decode("utf-8", "backslashreplace") for name, value in record.headers if value is not None}


def _meta(value: Any, record: RawRecord, headers: Mapping[str, str]) -> dict[str, str]:
    """The value's meta field, then key and headers, all as text in order of name."""
    meta: dict[str, str] = {}
    if isinstance(value, dict):
        meta = {_plain(k, "meta"): _as_text(v) for k, v in value.items() if v is not None}
    elif value is not None and value != "":
        meta = {"meta": _as_text(value)}
    if record.key is not None:
        meta["key"] = record.key.decode("utf-8", "backslashreplace")
    meta |= {f"header.{_escaped(name)}": text for name, text in headers.items()}
    return dict(sorted(meta.items()))


def _escaped(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return _plain(value, "meta")
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
