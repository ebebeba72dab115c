"""What people are told about rows and memory is what was written, wherever it lies by now."""

from __future__ import annotations

from pathlib import Path

import pytest

from kie_ops.errors import InputError
from kie_ops.memory import Cell, Contribution, Increment, field
from kie_ops.records import Evidence, Place
from pipelines import queries, rows
from pipelines.commit_log import Log
from pipelines.queries import Tables, Verdict
from pipelines.transaction import Transaction
from tests.pipelines.written import KEY, SEGMENT, commit, new, publish, reading

TEXT = "Lefamulin caused a mild rash."
REVIEWED = field("reviewer", "bc5cdr", "entity", "Chemical")
SPANS = (("Lefamulin", "Chemical"), ("rash", "Disease"))


def test_a_mention_is_explained_before_it_is_published(tmp_path: Path) -> None:
    storage = new(tmp_path)
    first, second, third = (reading(i, TEXT, SPANS) for i in range(3))
    commit(storage, [first, second, third])
    found = queries.why(Tables(storage), second.mentions[0].mention_id)
    assert found.mention["text"] == "Lefamulin"
    assert found.document["doc_id"] == "doc-1"
    assert found.hard_weight == pytest.approx(0.25)
    assert [o.origin for o in found.origins] == ["notes/0/0"], "only those before it in its batch"


def test_a_published_mention_is_explained_by_published_and_open_contributions(tmp_path: Path) -> None:
    storage = new(tmp_path)
    first = reading(0, TEXT, SPANS)
    log = commit(storage, [first], end=SEGMENT)
    publish(storage, log)
    log.advance(SEGMENT)
    log.trim(SEGMENT)
    assert log.starts() == []
    second = reading(SEGMENT + 1, TEXT, SPANS)
    commit(storage, [reading(SEGMENT, TEXT, SPANS), second])
    found = queries.why(Tables(storage), second.mentions[0].mention_id)
    assert [(o.origin, o.count) for o in found.origins] == [("notes/0/0", 1), (f"notes/0/{SEGMENT}", 1)]
    assert found.forgotten == 0
    early = queries.why(Tables(storage), first.mentions[0].mention_id)
    assert early.mention["domain"] == "medical"
    assert (early.origins, early.forgotten) == ((), 2)


def test_a_contribution_kept_in_table_and_log_is_told_once(tmp_path: Path) -> None:
    storage = new(tmp_path)
    log = commit(storage, [reading(0, TEXT, SPANS)], end=SEGMENT)
    publish(storage, log)  # memory_log is written, the log file is there still
    assert [o.origin for o in queries.origins(Tables(storage), [KEY])] == ["notes/0/0"]


def test_only_so_many_origins_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    storage = new(tmp_path)
    readings = [reading(i, TEXT, SPANS) for i in range(6)]
    commit(storage, readings)
    found = queries.why(Tables(storage), readings[5].mentions[0].mention_id, limit=2)
    assert [o.origin for o in found.origins] == ["notes/0/0", "notes/0/1"]
    assert found.origins_left_out == 3


def test_a_view_says_what_of_other_chains_was_known(tmp_path: Path) -> None:
    storage = new(tmp_path)
    for stream in ("corrections", "late"):
        row = rows.memory_log([(Place(stream, 0, 0), Contribution("c-1", (Increment(KEY, REVIEWED, 1),)))])
        assert Log(storage, stream, 0).commit(Transaction(stream, 0, 0, 1, {}, "test", {"memory_log": row}))
    evidence = (Evidence(KEY, "reviewer", "entity", "Chemical", 1),)
    first = reading(0, TEXT, SPANS, evidence=evidence)
    commit(storage, [first], view={"corrections/0": 1})
    found = queries.why(Tables(storage), first.mentions[0].mention_id)
    assert [str(o.place) for o in found.origins] == ["corrections/0/0"]
    assert found.view == {"corrections/0": 1}


def test_an_unknown_mention_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such mention"):
        queries.why(Tables(new(tmp_path)), "0" * 20)


@pytest.mark.parametrize("domain", ["medical", "notes/2024", "naïve = yes", "it's"])
def test_document_rows_carry_their_mentions_and_domain(tmp_path: Path, domain: str) -> None:
    storage = new(tmp_path / "it's a root")
    log = commit(storage, [reading(i, TEXT, SPANS, domain=domain) for i in range(3)])
    publish(storage, log)
    found = queries.document_rows(Tables(storage), 2)
    assert [row["doc_id"] for row in found] == ["doc-0", "doc-1"]
    assert [m["text"] for m in found[1]["mentions"]] == ["Lefamulin", "rash"]
    assert [r["label"] for r in found[0]["relation_rows"]] == ["CID"]
    assert found[0]["event_rows"][0]["arguments"][0]["role"] == "Drug"
    assert {row["domain"] for row in found} == {domain}


def test_empty_tables_are_empty(tmp_path: Path) -> None:
    tables = Tables(new(tmp_path))
    assert tables.rows("select count(*) as n from entities") == [{"n": 0}]
    assert queries.document_rows(tables, 5) == []


def test_sources_that_contradict_each_other_are_marked() -> None:
    cell = Cell("rash", {
        field("training", "ncbi", "entity", "Disease"): 7, field("training", "ncbi", "none"): 2,
        field("reviewer", "medical", "none"): 1, field("self", "ncbi", "part", "Disease"): 4,
        field("self", "ncbi", "entity", "Disease"): 3,
    })
    known = queries.knowledge(cell)
    assert known.verdicts == (
        Verdict("training", "ncbi", "Disease", ("reviewer medical",)),
        Verdict("reviewer", "medical", "none", ("training ncbi", "self ncbi")),
        Verdict("self", "ncbi", "Disease", ("reviewer medical",)),
    )
    assert sum(c.count for c in known.counts) == 17
    assert known.counts[0].source == "training"


def test_sources_that_agree_contradict_nobody() -> None:
    cell = Cell("rash", {field("training", "a", "entity", "Disease"): 1, field("self", "b", "entity", "Disease"): 1})
    assert [v.against for v in queries.knowledge(cell).verdicts] == [(), ()]
