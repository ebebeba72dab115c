"""The doctor finds what is wrong, names the line, and finds nothing where all is well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import config, doctor
from pipelines.broker import EmbeddedBroker
from pipelines.commands.main import run_command
from pipelines.doctor import Finding
from pipelines.topic_safety import Topic

YAML = """\
domain: none
source:
  bootstrap: 127.0.0.1:1
  options:
    bootstrap_timeout_ms: 200
tables:
  root: {root}
memory:
  url: local
"""


def settings(tmp_path: Path, **overrides: object) -> config.Config:
    given = {"tables.root": str(tmp_path / "tables"), "memory.url": "local", "source.bootstrap": "127.0.0.1:1"}
    return config.load(None, {**given, **{k.replace("__", "."): v for k, v in overrides.items()}}, {})


def bad(findings: object) -> list[tuple[str, str | None]]:
    return [(f.level, f.setting) for f in findings if f.level != "ok"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("options", "setting"), [
    ({"enable_auto_commit": True}, "source.options.enable_auto_commit"),
    ({"auto_offset_reset": "latest"}, "source.options.auto_offset_reset"),
    ({"isolation_level": "read_uncommitted"}, "source.options.isolation_level"),
    ({"group_id": "x"}, "source.options.group_id"),
    ({"nonsense": 1}, "source.options.nonsense"),
])
def test_unsafe_consumer_options_fail(options: dict[str, object], setting: str, tmp_path: Path) -> None:
    found = bad(doctor.settings(settings(tmp_path, memory__url="embedded", source__options=options)))
    assert found == [("fail", setting)]


def test_safe_settings_are_well(tmp_path: Path) -> None:
    safe = {"enable_auto_commit": False}
    (found,) = doctor.settings(settings(tmp_path, memory__url="redis://h", source__options=safe))
    assert found.level == "ok"


def test_memory_in_process_cannot_be_shared(tmp_path: Path) -> None:
    assert bad(doctor.settings(settings(tmp_path, source__shards=2))) == [("fail", "memory.url")]
    assert bad(doctor.settings(settings(tmp_path))) == [("warn", "memory.url")]


def test_a_taken_metrics_port_is_found(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = bad(doctor.settings(settings(tmp_path, memory__url="embedded", run__metrics_port=port)))
    assert found == [("warn", "run.metrics_port")]


def test_tables_are_written_and_left_as_they_were(tmp_path: Path) -> None:
    assert bad(doctor.tables(settings(tmp_path))) == []
    assert [p for p in (tmp_path / "tables").rglob("*") if p.is_file() and "CHECK" in str(p)] == []


def test_tables_of_another_segment_size_fail(tmp_path: Path) -> None:
    from pipelines.commit_log import settle_segment_size
    from pipelines.storage_local import LocalStorage

    settle_segment_size(LocalStorage(tmp_path / "tables"), 7)
    assert bad(doctor.tables(settings(tmp_path))) == [("fail", "tables.segment")]


def test_a_root_that_is_a_file_fails_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ANSWER_MS", 100)
    root = tmp_path / "file"
    root.write_text("")
    path = tmp_path / "c.yaml"
    path.write_text(YAML.format(root=root))
    found = {f.check: f for f in doctor.check(config.load(path, environ={}), path) if f.level == "fail"}
    assert found["tables"].setting == "tables.root"
    assert found["tables"].line == 7
    assert found["kafka"].line == 3
    assert found["kafka"].next_step


def test_redis_down_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ANSWER_MS", 100)
    findings = doctor.check(settings(tmp_path, domain="none", memory__url="redis://127.0.0.1:1"))
    (found,) = [f for f in findings if f.check == "memory"]
    assert (found.level, found.setting) == ("fail", "memory.url")


def test_a_check_that_breaks_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "packages", lambda _: 1 // 0)
    monkeypatch.setattr(doctor, "ANSWER_MS", 100)
    found = next(iter(doctor.check(settings(tmp_path))))
    assert found.level == "fail"
    assert "ZeroDivisionError" in found.what


@pytest.mark.parametrize(("have", "level", "setting"), [
    ({"retention.ms": "3600000"}, "fail", "source.topic"),
    ({"retention.bytes": "1000000"}, "warn", "source.topic"),
    ({"max.message.bytes": "90000000"}, "warn", "source.format.max_bytes"),
    ({"cleanup.policy": "compact,delete"}, "fail", "source.topic"),
])
def test_unsafe_topics_are_found(
    have: dict[str, str], level: str, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {"cleanup.policy": "delete", "retention.ms": "604800000"}
    monkeypatch.setattr(doctor, "_topic", lambda _: Topic(4, usual | have))
    assert bad(doctor.kafka(settings(tmp_path))) == [(level, setting)]


def test_a_topic_is_described_and_a_missing_one_is_a_failure(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        broker.create_topic("notes", 3)
        reached = {"source__bootstrap": broker.bootstrap}
        (found,) = doctor.kafka(settings(tmp_path, source__topic="notes", **reached))
        assert (found.level, "3 partitions" in found.what) == ("ok", True)
        assert bad(doctor.kafka(settings(tmp_path, source__topic="notes", source__shards=5, **reached))) == [
            ("warn", "source.shards")]
        assert bad(doctor.kafka(settings(tmp_path, source__topic="nope", **reached))) == [("fail", "source.topic")]


@pytest.mark.parametrize(("setting", "line"), [
    ("domain", 1), ("source.bootstrap", 3), ("source.options.bootstrap_timeout_ms", 5), ("source.topic", 2),
    ("memory.url", 9), ("engine.threads", None), (None, None),
])
def test_lines_of_settings(setting: str | None, line: int | None, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(YAML.format(root="tables"))
    assert doctor.line_of(path, setting) == line


def test_exit_code_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(YAML.format(root=tmp_path / "tables"))
    for level, code in (("ok", 0), ("warn", 0), ("fail", 1)):
        monkeypatch.setattr(doctor, "check", lambda *_, level=level: iter([Finding("x", level, "what", "memory.url")]))
        assert run_command(["doctor", str(path), "--json"]) == code
        said = json.loads(capsys.readouterr().out)
        assert said["ok"] == (code == 0)
        assert run_command(["doctor", str(path)]) == code
        assert "what" in capsys.readouterr().out
