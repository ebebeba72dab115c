"""Commands that read documents and memory, on the small trained domain."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.commands.main import run_command

CAPTURE = pytest.CaptureFixture[str]
TEXT = "The patient had a history of rash. Tremor was seen under enalapril."
Engram = Callable[..., Any]


@pytest.fixture
def engram(capsys: CAPTURE) -> Engram:
    """Runs one command with --json and gives what it printed; fails where its exit code is not `expect`."""

    def run(*arguments: object, expect: int = 0) -> Any:
        capsys.readouterr()
        code = run_command([*map(str, arguments), "--json"])
        said = capsys.readouterr()
        assert code == expect, said.err
        return json.loads(said.out) if said.out else None

    return run


@pytest.fixture
def config(tmp_path: Path, small_domain: str) -> Path:
    path = tmp_path / "engram.yaml"
    path.write_text(yaml.safe_dump({
        "domain": small_domain, "tables": {"root": str(tmp_path / "tables"), "segment": 5},
        "memory": {"url": "embedded"}, "batch": {"documents": 4}, "engine": {"threads": 1},
    }))
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    lines = [json.dumps({"doc_id": f"d{i}", "text": TEXT}) for i in range(12)]
    path.write_text("\n".join([*lines, "{broken"]) + "\n")
    return path


def test_extract_gives_offsets_into_the_text(
    engram: Engram, small_domain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE
) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    found = engram("extract", tmp_path / "a.txt", "--domain", small_domain)
    assert found["characters_read"] == found["characters"] == len(TEXT)
    assert found["entities"]
    assert all(TEXT[m["start"]:m["end"]] == m["text"] for m in found["entities"])
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(TEXT.encode())))
    assert engram("extract", "-", "--domain", small_domain, "--no-memory")["entities"]
    assert run_command(["extract", str(tmp_path / "a.txt"), "--domain", small_domain]) == 0
    assert "rash" in capsys.readouterr().out


def test_evaluate_scores_every_mode(engram: Engram, small_domain: str, tmp_path: Path, capsys: CAPTURE) -> None:
    line = {"doc_id": "x", "text": TEXT, "entities": [{"id": "1", "start": 29, "end": 33, "label": "Disease"}]}
    (tmp_path / "test.jsonl").write_text(json.dumps(line) + "\n")
    report = engram("evaluate", small_domain, "--data", f"small={tmp_path / 'test.jsonl'}")
    assert {s["mode"] for s in report["scores"] if s["task"] == "spans"} == {"off", "dictionary", "on"}
    assert report["documents"] == {"small": 1}
    assert run_command(["evaluate", small_domain, "--data", str(tmp_path)]) == 0
    assert "over memory off" in capsys.readouterr().out


def test_the_life_of_an_archive(engram: Engram, config: Path, archive: Path, tmp_path: Path) -> None:
    """Read, explained, taught, untaught, reported, replayed, forgotten; and read again nothing is doubled."""
    done = engram("backfill", config, archive)
    assert (done["documents"], done["dead_letters"], done["interrupted"]) == (12, 1, False)
    (ends,) = done["positions"].values()
    assert ends == {"from": None, "to": 13}
    assert engram("backfill", config, archive)["documents"] == 0

    rows = _mentions(tmp_path / "tables")
    later = next(row for row in rows if row["doc_id"] == "d9" and row["evidence"])
    why = engram("memory", "why", later["mention_id"], "--config", config)
    assert why["mention"]["text"] == later["text"]
    assert why["origins"]
    assert all(o["place"]["offset"] < 9 for o in why["origins"])
    assert why["forgotten"] == 0

    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    engram("memory", "export", before, "--config", config)
    asked = ("--mention", later["mention_id"], "--reject", "--config", config)
    (planned,) = engram("memory", "correct", "--dry-run", *asked)
    assert planned["reach"]["forms"][0]["rows"] == 12
    assert planned["reach"]["against"]
    assert engram("memory", "stats", "--config", config)["corrections"] == 0
    (taught,) = engram("memory", "correct", *asked)
    assert taught["reach"] == planned["reach"]
    assert taught["status"] == "added"
    shown = engram("memory", "show", later["text"], "--config", config)
    assert any(v["source"] == "correction" and v["against"] for cell in shown["cells"] for v in cell["verdicts"])
    assert any(d["sides"][0]["voices"] for d in shown["disputes"])
    assert engram("memory", "conflicts", "--config", config)
    assert engram("memory", "stats", "--config", config)["corrections"] == 1
    assert engram("memory", "undo", taught["id"], "--config", config)["status"] == "undone"
    engram("memory", "export", after, "--config", config)
    assert after.read_bytes() == before.read_bytes()

    page = engram("report", tmp_path / "out.html", "--config", config, "--input", archive, "--documents", 5)
    assert (page["documents"], page["with_text"]) == (5, 5)
    again = engram("replay", config, "--recorded", "--input", archive)
    assert again["same"]
    assert again["documents"] == 12

    assert engram("memory", "forget", "d3", "--yes", "--config", config)["places"]
    assert engram("memory", "rebuild", "--verify", "--config", config)["differences"] == []
    assert "d3" not in {row["doc_id"] for row in _mentions(tmp_path / "tables")}
    assert engram("memory", "forget", "never-seen", "--yes", "--config", config, expect=2) is None


def test_vocabularies_are_imported_once_and_taken_back(engram: Engram, config: Path, tmp_path: Path) -> None:
    (tmp_path / "drugs.csv").write_text("term,id,label\nLefamulin,MESH:C1,chemical\nPretomanid,,chemical\n")
    added = engram("memory", "import", tmp_path / "drugs.csv", "--config", config)
    assert added["status"] == "added"
    assert engram("memory", "import", tmp_path / "drugs.csv", "--config", config)["status"] == "duplicate"
    (cell,) = engram("memory", "show", "LEFAMULIN", "--config", config)["cells"]
    assert {c["source"] for c in cell["counts"]} == {"vocabulary"}
    assert engram("memory", "undo", "drugs.csv", "--config", config)["kind"] == "import"
    assert engram("memory", "show", "Lefamulin", "--config", config, expect=1)["cells"] == []


def test_corrections_come_from_a_file(engram: Engram, config: Path, tmp_path: Path) -> None:
    lines = [{"id": "a", "text": "Lefamulin", "label": "chemical"}, {"id": "a", "op": "withdraw"}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    said = engram("memory", "correct", "--file", tmp_path / "c.jsonl", "--config", config)
    assert [one["status"] for one in said] == ["added", "undone"]
    (tmp_path / "c.jsonl").write_text('{"id": "b", "text": "x"}\n{')
    engram("memory", "correct", "--file", tmp_path / "c.jsonl", "--config", config, expect=2)
    assert engram("memory", "stats", "--config", config)["corrections"] == 0, "a broken file teaches nothing of it"


def test_a_document_is_reviewed_and_the_review_taken_back(
    engram: Engram, config: Path, archive: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    engram("backfill", config, archive)
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    engram("memory", "export", before, "--config", config)
    start = TEXT.index("history of rash")
    line = {"doc_id": "d3", "entities": [{"start": start, "end": start + 15, "label": "Habit"}]}
    reviewed = tmp_path / "r.jsonl"
    reviewed.write_text(json.dumps(line) + "\n")
    given = ("memory", "review", "d3", "--file", reviewed, "--config", config)
    engram(*given, expect=2)                             # neither text nor archive
    (done,) = engram(*given, "--input", archive)
    assert (done["status"], done["mentions"], done["new_labels"]) == ("added", 1, ["Habit"])
    assert engram(*given, "--input", archive)[0]["status"] == "duplicate"
    shown = engram("memory", "show", "history of rash", "--config", config)
    assert ("reviewer", "Habit") in {(c["source"], c["label"]) for c in shown["cells"][0]["counts"]}
    assert "d3" not in {d["doc_id"] for d in engram("review-queue", "--documents", "--config", config)}
    reviewed.write_text(json.dumps({**line, "text": TEXT + " More."}) + "\n")
    engram(*given, expect=2)
    assert run_command([*map(str, given)]) == 2
    assert "not the one that was read" in capsys.readouterr().err
    assert engram("memory", "undo", done["id"], "--config", config)["status"] == "undone"
    engram("memory", "export", after, "--config", config)
    assert after.read_bytes() == before.read_bytes()


def _mentions(root: Path) -> list[dict[str, Any]]:
    from pipelines.queries import Tables
    from pipelines.storage_local import LocalStorage

    return Tables(LocalStorage(root)).rows("select * from entities order by partition, \"offset\", start")


def test_evaluate_stream_scores_every_control(
    engram: Engram, small_domain: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    lines = [{"doc_id": f"x{n}", "text": f"{TEXT} Visit {n}.",
              "entities": [{"id": "1", "start": 29, "end": 33, "label": "Problem"}]} for n in range(12)]
    path = tmp_path / "other.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ["--orders", "2", "--reviewed", "1", "--map", "Problem:Disease", "--readings", str(tmp_path / "kept")]
    report = engram("evaluate-stream", small_domain, "--data", f"small={path}", *arguments, "--attack", "random")
    assert {(r["mode"], r["part"]) for r in report["rows"]} == {
        (mode, part) for mode in ("off", "dictionary", "on") for part in ("whole", "second half")}
    assert set(report["arms"]) == {"training", "training, random"}
    assert report["documents"] + report["dev_documents"] == 12
    assert run_command(["evaluate-stream", small_domain, "--data", str(path), "--memory", "none", *arguments]) == 0
    assert "other (Disease)" in capsys.readouterr().out
    assert run_command(["evaluate-stream", small_domain, "--data", str(path), "--map", "Problem"]) == 2
