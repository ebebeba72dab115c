"""The demo, as a user runs it: an embedded end-to-end run from documents to a query, with a correction taught."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration import checks
from tests.integration.harness import ENGRAM, environment


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """(folder it ran in, what it printed as JSON)."""
    import subprocess

    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [*ENGRAM, "demo", "--json"], cwd=folder, env=environment(), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=600, check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return folder, json.loads(done.stdout)


@pytest.mark.timeout(900)
def test_a_first_query_has_results(demo: tuple[Path, dict[str, list[dict[str, object]]]]) -> None:
    told = demo[1]
    assert {row["label"] for row in told["entities"]} == {"chemical", "disease"}
    assert len(told["entities"]) == 10
    assert told["relations"]
    assert told["events"]


def test_what_is_taught_shows_with_its_evidence(demo: tuple[Path, dict[str, list[dict[str, object]]]]) -> None:
    told = demo[1]
    assert told["before"] == []
    assert {row["doc_id"] for row in told["after"]} == {"medical-later-002", "medical-later-003"}
    assert all(float(str(row["memory"])) > 0 for row in told["after"])
    assert any(e["source"] == "correction" for e in told["evidence"])


def test_what_is_taken_back_is_gone(demo: tuple[Path, dict[str, object]]) -> None:
    assert demo[1]["after_undo"] == 0


def test_the_tables_keep_their_promises(demo: tuple[Path, dict[str, object]]) -> None:
    from pipelines.demo import samples

    texts = {d["doc_id"]: d["text"] for d in (*samples("medical"), *samples("medical-later"))}
    tables = demo[0] / "engram-demo" / "tables"
    sent = [
        checks.Sent(row["partition"], row["offset"], None, texts[row["doc_id"]])
        for row in checks.rows(tables, "documents")
    ]
    assert checks.check(tables, sent).documents == len(texts)
