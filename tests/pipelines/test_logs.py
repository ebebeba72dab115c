"""Logs say where, never what: no document text, however it gets near a log line."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given, strategies as st

from kie_ops.records import DeadLetter, Document, Place, RawRecord, Reading
from pipelines import logs

SECRET = "Patient Maria has gout"
PLACE = Place("notes", 0, 7)
DOCUMENT = Document("d", SECRET, title=SECRET, place=PLACE)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def written(*, json: bool = True, **fields: Any) -> str:
    out = io.StringIO()
    logs.configure(json=json, stream=out)
    logs.get().info("read", **fields)
    return out.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("fields", [
    {"text": SECRET}, {"raw": SECRET.encode()}, {"value": SECRET}, {"title": SECRET}, {"surface": SECRET},
    {"payload": SECRET.encode()}, {"doc": DOCUMENT}, {"documents": [DOCUMENT, DOCUMENT]},
    {"reading": Reading(DOCUMENT)}, {"anything": {"d": DOCUMENT}},
    {"record": RawRecord(PLACE, 7, SECRET.encode())}, {"extra": {"deep": {"text": SECRET}}},
    {"letter": DeadLetter(PLACE, "broken_json", "E", "m", False, SECRET.encode())},
    {"document": Document("d", SECRET)}, {"thing": Document("d", SECRET)},
], ids=lambda fields: next(iter(fields)))
def test_document_text_never_reaches_a_log(as_json: bool, fields: dict[str, Any]) -> None:
    line = written(json=as_json, **fields)
    assert "read" in line
    assert "Maria" not in line


def test_tracebacks_show_no_local_variables() -> None:
    for as_json in (True, False):
        out = io.StringIO()
        logs.configure(json=as_json, stream=out)
        try:
            text = SECRET
            raise ValueError(len(text))
        except ValueError:
            logs.get().exception("failed")
        assert "ValueError" in out.getvalue()
        assert "Maria" not in out.getvalue().replace("text = SECRET", "")


def test_records_are_named_by_their_place() -> None:
    assert json.loads(written(doc=DOCUMENT))["doc"] == "notes/0/7"


def test_a_withheld_field_keeps_its_length() -> None:
    assert json.loads(written(text=SECRET))["text"] == f"<withheld str, {len(SECRET)} long>"


@given(st.dictionaries(st.sampled_from(["chain", "start", "seconds", "reason"]), st.integers() | st.text()))
def test_plain_fields_arrive_as_given(fields: dict[str, Any]) -> None:
    line = json.loads(written(**fields))
    assert {name: line[name] for name in fields} == fields
    assert line["level"] == "info"


def test_libraries_log_in_the_same_form_and_kafka_not_at_all() -> None:
    out = io.StringIO()
    logs.configure(json=True, stream=out)
    logging.getLogger("somebody").warning("hello %s", "you")
    logging.getLogger("kafka.client").error("cannot connect")
    logging.getLogger("apache_beam.io").info("bundle")
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["event"] == "hello you"
