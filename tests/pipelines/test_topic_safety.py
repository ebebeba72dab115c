"""Topics that lose documents are refused with the line to change, unless a setting allows them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kie_ops.errors import ConfigError
from pipelines import local_runner, topic_safety
from pipelines.config import Source, load
from pipelines.topic_safety import Topic, dangers, refuse

SOURCE = Source(topic="notes", bootstrap="kafka:9092")
USUAL = {"cleanup.policy": "delete", "retention.ms": "604800000"}


@pytest.mark.parametrize(("have", "says", "line"), [
    ({"cleanup.policy": "compact"}, "compacted", "--add-config cleanup.policy=delete"),
    ({"cleanup.policy": "compact,delete"}, "compacted", "--add-config cleanup.policy=delete"),
    ({"retention.ms": "3600000"}, "kept 1 h", "--add-config retention.ms=604800000"),
    ({"retention.ms": "86399999"}, "kept 24 h", "--add-config retention.ms=604800000"),
])
def test_an_unsafe_topic_is_refused_with_the_line_to_change(have: dict[str, str], says: str, line: str) -> None:
    with pytest.raises(ConfigError, match=says) as e:
        refuse(SOURCE, Topic(4, USUAL | have))
    assert e.value.where == "source.topic = notes"
    assert line in str(e.value.next_step)
    assert "--bootstrap-server kafka:9092" in str(e.value.next_step)
    assert "allow_unsafe_topic: true" in str(e.value.next_step)


@pytest.mark.parametrize("have", [
    {}, {"retention.ms": "86400000"}, {"retention.ms": "-1"}, {"retention.bytes": "1000"},
])
def test_a_safe_topic_is_read(have: dict[str, str]) -> None:
    refuse(SOURCE, Topic(4, USUAL | have))


def test_unknown_settings_and_a_missing_topic_are_left_to_others() -> None:
    refuse(SOURCE, Topic(4))
    refuse(SOURCE, None)


def test_a_setting_allows_it() -> None:
    allowed = SOURCE.model_copy(update={"allow_unsafe_topic": True})
    refuse(allowed, Topic(4, {"cleanup.policy": "compact"}))


def test_the_least_retention_is_a_setting() -> None:
    week = SOURCE.model_copy(update={"min_retention_h": 400.0})
    (found,) = dangers(week, USUAL)
    assert "retention.ms=1440000000" in found.mend
    assert not list(dangers(SOURCE.model_copy(update={"min_retention_h": 0.0}), {"retention.ms": "1"}))


def test_a_run_ends_before_it_reads_an_unsafe_topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_safety, "describe", lambda _: Topic(1, {"cleanup.policy": "compact"}))
    monkeypatch.setattr(topic_safety, "KafkaFeed", lambda *_: pytest.fail("the topic was opened"))
    config = load(None, {"tables.root": str(tmp_path / "tables"), "memory.url": "local", "domain": "none"}, {})
    with pytest.raises(ConfigError, match="compacted"):
        local_runner.run(config, None, threading.Event())
    assert not (tmp_path / "tables" / "_log").exists()
