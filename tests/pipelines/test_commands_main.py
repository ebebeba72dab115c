"""The command line as a new user meets it: quick help, exit codes, one readable message for each error."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from kie_ops.errors import LogError, ServiceError
from pipelines.commands import doctor, extract
from pipelines.commands.main import app, run_command
from pipelines.commands.options import parse_overrides, plain, shown
from pipelines.config import Config
from pipelines.metrics import Metrics

CAPTURE = pytest.CaptureFixture[str]


def config(folder: Path, **settings: object) -> str:
    """A configuration that reaches nothing but `folder`."""
    path = folder / "engram.yaml"
    path.write_text(json.dumps({
        "tables": {"root": str(folder / "tables")}, "memory": {"url": "local"},
        "source": {"bootstrap": "127.0.0.1:1", "options": {"bootstrap_timeout_ms": 300}}, **settings,
    }))
    return str(path)


def test_help_loads_neither_torch_nor_beam_nor_arrow() -> None:
    code = (
        "import sys; from pipelines.commands.main import run_command; code = run_command(['--help']);"
        "heavy = {'torch', 'apache_beam', 'pyarrow', 'kafka', 'redis', 'duckdb'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "backfill" in done.stdout


@pytest.mark.parametrize("arguments", [
    ["nonsense"], ["run"], ["run", "x.yaml", "--nonsense"], ["memory"], ["memory", "nonsense"], ["extract"],
    ["backfill", "x.yaml"], ["train", "medical"], ["evaluate", "medical"], ["report", "out.html", "--documents", "0"],
    ["doctor", "x.yaml", "--set", "no-value"], ["doctor", "x.yaml", "--set", "=3"], ["memory", "correct"],
    ["memory", "forget"], ["memory", "forget", "a", "--place", "b"], ["memory", "forget", "--place", "x/y", "--yes"],
    ["replay", "x.yaml"], ["memory", "correct", "a name"], ["memory", "show", " "],
    ["memory", "review"], ["review-queue", "--limit", "0"],
], ids=" ".join)
def test_wrong_arguments_are_usage_errors(arguments: list[str], capsys: CAPTURE) -> None:
    assert run_command(arguments) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    assert "Usage" in said.err + said.out


@pytest.mark.parametrize("arguments", [
    ["run", "missing.yaml"], ["backfill", "missing.yaml", "in"], ["doctor", "missing.yaml"],
    ["memory", "stats", "--config", "missing.yaml"], ["extract", "missing.txt"],
    ["replay", "missing.yaml", "--recorded"],
    ["replay-dead-letters", "missing.yaml"], ["archive", "t", "out", "--config", "missing.yaml"],
    ["memory", "import", "missing.csv"], ["evaluate", "medical", "--data", "missing"],
    ["report", "o.html", "--config", "missing.yaml"], ["review-queue", "--config", "missing.yaml"],
    ["memory", "review", "--file", "missing.jsonl"], ["memory", "conflicts", "--config", "missing.yaml"],
], ids=" ".join)
def test_a_missing_file_is_named(
    arguments: list[str], capsys: CAPTURE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == 2
    said = capsys.readouterr().err
    assert "missing" in said
    assert "next:" in said
    assert "Traceback" not in said


def test_an_unknown_setting_gets_the_nearest_name(tmp_path: Path, capsys: CAPTURE) -> None:
    assert run_command(["doctor", config(tmp_path), "--set", "source.topik=x"]) == 2
    assert "did you mean topic?" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "says", "next_step"), [
    (b"source: [1", "not YAML", "mend that line"), (b"- a", "not a mapping", "sections"),
    (b"\xff", "not UTF-8", "save the file"), (b"batch: 3", "batch = 3: this is a section", "ENGRAM_BATCH"),
    (b"source: {shards: abc}", "source.shards = 'abc'", "ENGRAM_SOURCE__SHARDS"),
])
def test_a_configuration_that_cannot_be_read_says_what_to_mend(
    content: bytes, says: str, next_step: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    path = tmp_path / "engram.yaml"
    path.write_bytes(content)
    assert run_command(["doctor", str(path)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert next_step in said.partition("next:")[2]
    assert run_command(["doctor", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["run"], ["backfill"], ["report"], ["doctor"]], ids=" ".join)
def test_tables_that_are_a_file_are_said_at_once(command: list[str], tmp_path: Path, capsys: CAPTURE) -> None:
    (tmp_path / "f.txt").write_text("Lithium.")
    settings = config(tmp_path, tables={"root": str(tmp_path / "f.txt")})
    more = {"run": [settings], "backfill": [settings, str(tmp_path / "f.txt")],
            "doctor": [settings, "--set", "domain=none"], "report": [str(tmp_path / "o.html"), "--config", settings]}
    assert run_command([*command, *more[command[0]]]) == (1 if command == ["doctor"] else 2)
    said = capsys.readouterr()
    assert "tables need a folder" in said.err + said.out


def test_an_unknown_domain_is_said_before_kafka_is_waited_for(tmp_path: Path, capsys: CAPTURE) -> None:
    assert run_command(["run", config(tmp_path, domain="nonsense")]) == 6
    assert "medical" in capsys.readouterr().err


def test_a_mistyped_id_is_told_the_nearest(tmp_path: Path, capsys: CAPTURE) -> None:
    path = config(tmp_path)
    taught = ["memory", "correct", "Zorvex", "--label", "chemical", "--id", "zorvex-1"]
    assert run_command([*taught, "--config", path]) == 0
    said = capsys.readouterr().out
    assert "Zorvex reaches 0 rows" in said
    assert "exact" in said
    assert run_command(["memory", "undo", "zorvex-2", "--config", path]) == 0
    assert "if another was meant, there are: zorvex-1" in capsys.readouterr().err


def test_a_missing_input_is_said_before_the_model_is_loaded(tmp_path: Path, capsys: CAPTURE) -> None:
    assert run_command(["backfill", config(tmp_path, domain="nonsense"), str(tmp_path / "nowhere.jsonl")]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


def test_an_unknown_domain_is_a_model_error_that_names_those_there_are(tmp_path: Path, capsys: CAPTURE) -> None:
    (tmp_path / "a.txt").write_text("Lithium.")
    assert run_command(["extract", str(tmp_path / "a.txt"), "--domain", "nonsense"]) == 6
    assert "medical" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"\xff\xfe caf\xe9", b"", b" \n"], ids=["not utf-8", "empty", "blank"])
def test_a_text_that_is_none_is_an_input_error(content: bytes, tmp_path: Path, capsys: CAPTURE) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert run_command(["extract", str(tmp_path / "a.txt")]) == 2
    assert "a.txt" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [
    ["memory", "stats"], ["memory", "show", "x"], ["memory", "undo", "x"], ["memory", "export", "out.jsonl"],
    ["memory", "rebuild"], ["memory", "correct", "x", "--label", "chemical"], ["memory", "conflicts"],
], ids=" ".join)
def test_redis_down_is_a_service_error(
    arguments: list[str], tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("memory", "memory_write", "memory_conflicts"):
        monkeypatch.setattr(f"pipelines.commands.{module}.PATIENCE_S", 0.1)
    monkeypatch.chdir(tmp_path)
    path = config(tmp_path, memory={"url": "redis://127.0.0.1:1"})
    assert run_command([*arguments, "--config", path, "--json"]) == ServiceError.exit_code
    said = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert "does not answer" in said["what"]
    assert "127.0.0.1:1" in said["where"]
    assert said["next_step"]


def test_kafka_down_is_a_service_error(tmp_path: Path, capsys: CAPTURE) -> None:
    assert run_command(["archive", "t", str(tmp_path / "out"), "--config", config(tmp_path)]) == ServiceError.exit_code
    assert "127.0.0.1:1" in capsys.readouterr().err


def test_errors_carry_their_exit_code_and_tracebacks_need_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LogError("torn", where="_log/x", next_step="restore it")

    monkeypatch.setattr(doctor, "load_config", fail)
    assert run_command(["doctor", config(tmp_path)]) == 4
    assert capsys.readouterr().err == "error: torn\n   at: _log/x\n next: restore it\n"
    assert run_command(["--debug", "doctor", config(tmp_path)]) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_our_own_says_so(monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "load_config", lambda *_: 1 // 0)
    assert run_command(["doctor", config(tmp_path)]) == 70
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "--debug" in said
    assert "Traceback" not in said


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE) -> None:
    # Whoever starts the tests in the background may have SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(extract, "read_text", lambda _: signal.raise_signal(signal.SIGINT))
    try:
        assert run_command(["extract", "-"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Traceback" not in capsys.readouterr().err


def test_overrides_are_yaml() -> None:
    assert parse_overrides(["a.b=3", "c=null", "d=[1, x]", "e=", "f=a=b"]) == {
        "a.b": 3, "c": None, "d": [1, "x"], "e": "", "f": "a=b"}


def test_terminal_text_holds_no_control_characters() -> None:
    assert shown("a\x1b[31m\u202eb\nc\x00") == "a\\x1b[31m\\u202eb c\\x00"
    assert shown("naïve 药 \U0001f489") == "naïve 药 \U0001f489"


def test_plain_is_json_whatever_comes() -> None:
    assert json.dumps(plain({"a": (1, b"\x01", {2: {3}}), "b": object})) is not None


def names_of(model: type[BaseModel], before: str = "") -> list[str]:
    """Dotted names of all settings."""
    out: list[str] = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        below = isinstance(kind, type) and issubclass(kind, BaseModel)
        out += names_of(kind, f"{before}{name}.") if below else [before + name]  # type: ignore[arg-type]
    return out


def test_operations_names_every_setting_metric_and_command() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    fields = "source.format.fields."
    for name in names_of(Config):
        assert f"`{name}`" in text or (name.startswith(fields) and f"`.{name.removeprefix(fields)}`" in text), name
    for family in Metrics().registry.collect():
        assert f"engram_{family.name.removeprefix('engram_')}" in text, family.name
    commands = [str(c.name) for c in app.registered_commands]
    commands += [f"memory {c.name}" for g in app.registered_groups for c in g.typer_instance.registered_commands]
    for command in commands:
        assert f"engram {command}" in text, command
