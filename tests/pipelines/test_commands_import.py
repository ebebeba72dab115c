"""`engram memory import` of terms: what it says, what memory holds, and that undo takes all of it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kie_ops.vocabularies import registry
from kie_ops.vocabularies.registry import Vocabulary
from kie_ops.vocabularies.term import Term
from pipelines.commands.main import run_command

CAPTURE = pytest.CaptureFixture[str]
Engram = Callable[..., Any]
OBO = """format-version: 1.2
data-version: zo/2031

[Term]
id: ZO:1
name: Glowing disorder

[Term]
id: ZO:2
name: Glowing of hand
synonym: "Zorvash" EXACT []
synonym: "same" EXACT []
is_a: ZO:1
"""


@pytest.fixture
def config(tmp_path: Path, small_domain: str) -> Path:
    path = tmp_path / "engram.yaml"
    path.write_text(yaml.safe_dump({
        "domain": small_domain, "tables": {"root": str(tmp_path / "tables"), "segment": 5},
        "memory": {"url": "embedded"}, "engine": {"threads": 1},
    }))
    return path


@pytest.fixture
def engram(capsys: CAPTURE, config: Path) -> Engram:
    def run(*arguments: object, expect: int = 0) -> Any:
        capsys.readouterr()
        code = run_command([*map(str, arguments), "--config", str(config), "--json"])
        said = capsys.readouterr()
        assert code == expect, said.err
        return json.loads(said.out) if said.out else said.err

    return run


def test_an_ontology_is_imported_shown_and_taken_back(
    engram: Engram, tmp_path: Path, config: Path, capsys: CAPTURE
) -> None:
    (tmp_path / "zo.obo").write_text(OBO)
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    engram("memory", "export", before)
    done = engram("memory", "import", tmp_path / "zo.obo", "--label", "Disease")
    assert (done["name"], done["status"], done["kind"]) == ("zo.obo", "added", "obo")
    assert (done["terms"], done["names"], done["systems"]) == (2, 3, ["ZO 2031"])
    assert done["left_out"] == {"common word": 1}
    assert engram("memory", "import", tmp_path / "zo.obo", "--label", "Disease")["status"] == "duplicate"

    shown = engram("memory", "show", "Zorvash")
    assert shown["concepts"] == [{
        "concept": "ZO:2", "name": "Glowing of hand", "systems": ["ZO 2031"],
        "ancestors": [{"concept": "ZO:1", "name": "Glowing disorder", "steps": 1}]}]
    assert engram("memory", "show", "ZO:1")["concepts"][0]["name"] == "Glowing disorder"
    engram("memory", "show", "same", expect=1)
    assert run_command(["memory", "show", "Zorvash", "--config", str(config)]) == 0
    assert "ZO:1 Glowing disorder" in capsys.readouterr().out

    assert engram("memory", "undo", "zo.obo")["status"] == "undone"
    engram("memory", "export", after)
    assert before.read_bytes() == after.read_bytes()
    assert engram("memory", "rebuild", "--verify")["differences"] == []


def test_a_vocabulary_is_imported_by_name(engram: Engram, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    terms = [Term("Zorvanex", None, "Z:1", ("of",), (), "Z", "7")]
    known = Vocabulary("zoo", "", "pytest", ("no such", "Disease"), "Z", "", lambda: iter(terms))
    monkeypatch.setattr(registry, "VOCABULARIES", {"zoo": known})
    monkeypatch.chdir(tmp_path)
    done = engram("memory", "import", "zoo")
    assert (done["name"], done["kind"], done["package"], done["names"]) == ("zoo", "vocabulary", "pytest", 1)
    assert done["left_out"] == {"no key": 1}
    assert engram("memory", "undo", "zoo")["status"] == "undone"
    assert "no such file or vocabulary" in engram("memory", "import", "zoological", expect=2)
    absent = Vocabulary("none", "", "no-such-words", ("Disease",), "Z", "", lambda: iter(terms))
    monkeypatch.setattr(registry, "VOCABULARIES", {"none": absent})
    assert "pip install" in engram("memory", "import", "none", expect=2)
