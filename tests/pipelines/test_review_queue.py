"""The review queue: its rule, its order, and what reviewers have settled."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from kie_ops.memory import Contribution, Increment, field
from kie_ops.records import Document, Evidence, Mention, Place, Reading, span_id
from memory_store.local import LocalStore
from pipelines import review_queue
from pipelines.commands.main import run_command
from pipelines.ledger import Ledger
from pipelines.queries import Tables
from pipelines.review_queue import contradiction, sentence
from pipelines.storage_local import LocalStorage
from tests.pipelines.written import commit, new, publish

SELF = Evidence("k", "self", "entity", "Drug", 3)
NONE = Evidence("k", "reviewer", "none", "", 3)
Said = tuple[str, str, float, float, float, tuple[Evidence, ...]]
"""(surface, label, score, text_score, soft_weight, evidence)."""
SURE: Said = ("Naproxen", "drug", 1.0, 1.0, 0.2, (SELF,))
DOUBTED: Said = ("Zorvex", "drug", 0.5, 0.5, 0.2, (SELF,))
CARRIED: Said = ("rash", "problem", 1.0, 0.1, 0.9, (SELF,))
DISPUTED: Said = ("Sunday Best", "drug", 1.0, 1.0, 0.5, (SELF, NONE))
NEW: Said = ("Quellin", "drug", 1.0, 1.0, 0.0, ())


def tables(folder: Path, *documents: tuple[Said, ...]) -> Tables:
    storage = new(folder)
    readings = []
    for offset, said in enumerate(documents):
        place = Place("notes", 0, offset)
        text = f"It was {' and '.join(s[0] for s in said)}. So it went."
        mentions = []
        for surface, label, score, text_score, weight, evidence in said:
            start = text.index(surface)
            name = span_id(place, "", "entity", start, start + len(surface), label)
            mentions.append(Mention(name, start, start + len(surface), surface, label, score, text_score, weight, None,
                                    evidence))
        readings.append(Reading(Document(f"doc-{offset}", text, "medical", place=place), tuple(mentions), (), (),
                                len(text), 1))
    publish(storage, commit(storage, readings))
    return Tables(storage)


def test_each_reason_by_its_rule(tmp_path: Path) -> None:
    found = {a.key: a for a in review_queue.keys(tables(tmp_path, (SURE, DOUBTED, CARRIED, DISPUTED, NEW)))}
    assert found["zorvex"].reasons == {"uncertain": 1.0, "disagreement": 0.0, "contradiction": 0.0, "new": 0.0}
    assert found["rash"].reasons["disagreement"] == pytest.approx(0.9 * 0.8)
    assert found["sunday best"].reasons["contradiction"] == 1.0
    assert found["quellin"].reasons["new"] == 0.5
    assert found["naproxen"].doubt == 0.0
    assert found["rash"].rank == pytest.approx(found["rash"].doubt * math.log2(2))
    assert (found["zorvex"].why, found["rash"].why) == ("score near the threshold", "memory and text disagree")
    assert (found["quellin"].why, found["naproxen"].why) == ("new name", "in some doubt")


def test_one_answer_settles_many_rows_so_frequent_keys_come_first(tmp_path: Path) -> None:
    given = tables(tmp_path, (NEW, DOUBTED), *[(NEW,)] * 8, (NEW, SURE))
    found = {a.key: a for a in review_queue.keys(given)}
    assert list(found) == ["quellin", "zorvex", "naproxen"]
    assert found["quellin"].occurrences == 10
    assert found["quellin"].why == "new name; frequent"
    assert found["quellin"].rank == pytest.approx(0.5 * math.log2(11))
    assert found["zorvex"].rank == pytest.approx(1.0)


def test_labels_are_grouped_below_one_key(tmp_path: Path) -> None:
    other: Said = ("Zorvex", "problem", *DOUBTED[2:])
    (found,) = review_queue.keys(tables(tmp_path, (DOUBTED,), (other,), (DOUBTED,)))
    assert found.labels == {"drug": 2, "problem": 1}
    assert found.example.doc_id == "doc-0"
    (only,) = review_queue.keys(tables(tmp_path / "again", (DOUBTED,), (other,)), label="problem")
    assert only.labels == {"problem": 1}


def test_documents_that_settle_most_come_first_and_copies_do_not(tmp_path: Path) -> None:
    given = tables(tmp_path, (DOUBTED, NEW), (DOUBTED, NEW), (CARRIED,), (SURE,))
    asked = review_queue.keys(given)
    found = review_queue.documents(given, asked, 10)
    assert [d.doc_id for d in found] == ["doc-0", "doc-2"]
    assert found[0].settles == ("zorvex", "quellin")
    assert [d.doc_id for d in review_queue.documents(given, asked, 10, reviewed={"doc-0"})] == ["doc-1", "doc-2"]
    assert len(review_queue.documents(given, asked, 1)) == 1


def test_contradiction_is_a_share() -> None:
    def of(*evidence: Evidence) -> float:
        return contradiction({"outcome": e.outcome, "label": e.label, "count": e.count} for e in evidence)

    assert of() == of(SELF) == of(SELF, SELF) == 0.0
    assert of(SELF, NONE) == 1.0
    assert 0 < of(SELF, Evidence("k", "reviewer", "none", "", 1)) < 1
    assert of(SELF, Evidence("k", "self", "part", "Drug", 9)) == 0.0


def test_the_sentence_of_a_mention() -> None:
    text = "It rained. Zorvex was given. He left."
    assert sentence(text, text.index("Zorvex"), text.index("Zorvex") + 6) == "Zorvex was given."


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables(tmp_path / "t", (SURE, DOUBTED, NEW), (CARRIED,))
    base = ["review-queue", "--set", f"tables.root={tmp_path / 't'}", "--set", "memory.url=local"]
    assert run_command([*base, "--json", "--limit", "2"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(row["key"], row["why"]) for row in said] == [
        ("zorvex", "score near the threshold"), ("rash", "memory and text disagree")]
    archive = tmp_path / "in.jsonl"
    archive.write_text(json.dumps({"doc_id": "doc-0", "text": "It was Naproxen and Zorvex and Quellin. So it went."}))
    assert run_command([*base, "--csv", str(tmp_path / "q.csv"), "--input", str(archive)]) == 0
    rows = list(csv.DictReader((tmp_path / "q.csv").open()))
    assert rows[0]["example"] == "It was Naproxen and Zorvex and Quellin."
    assert run_command([*base, "--documents"]) == 0
    assert "doc-0" in capsys.readouterr().out
    assert run_command([*base, "--label", "nonsense"]) == 2
    assert "drug, problem" in capsys.readouterr().err


def test_what_reviewers_settled_is_asked_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables(tmp_path / "t", (DOUBTED, NEW))
    ledger = Ledger(LocalStorage(tmp_path / "t"), LocalStore())
    ledger.correct("c-1", Contribution("c-1", (Increment("zorvex", field("reviewer", "s", "entity", "Drug"), 1),)))
    base = ["review-queue", "--json", "--set", f"tables.root={tmp_path / 't'}"]

    def asked(*more: str) -> list[str]:
        assert run_command([*base, *more]) == 0
        return [row["key"] for row in json.loads(capsys.readouterr().out)]

    assert asked() == ["quellin"]
    assert asked("--all") == ["zorvex", "quellin"]
    ledger.undo("c-1")
    assert asked() == ["zorvex", "quellin"]


def test_empty_tables_ask_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["review-queue", "--set", f"tables.root={tmp_path / 't'}"]) == 0
    assert "nothing to review" in capsys.readouterr().out
