"""Readings, dead letters and contributions as rows, and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from kie_ops.errors import DocumentError, LogError
from kie_ops.memory import PROTOTYPE_WIDTH, Contribution, Increment, field
from kie_ops.records import EMPTY, Document, Place, Reading
from kie_ops.schemas import TABLES
from pipelines import rows
from pipelines.segments import from_parquet, to_parquet
from tests.pipelines.chains import DOMAIN, STREAM, TEXT, contribution, dead_letter, reading

INTEGERS = st.integers(-2**31, 2**31 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
INCREMENTS = st.builds(
    Increment, key=TEXTS, field=st.sampled_from([field("self", "s", "none"), field("reviewer", "a|b", "entity", "X")]),
    count=st.integers(-2**63, 2**63 - 1),
    vector=st.none() | st.lists(INTEGERS, min_size=PROTOTYPE_WIDTH, max_size=PROTOTYPE_WIDTH).map(tuple),
)


def test_every_table_has_its_schema() -> None:
    tables = rows.to_tables([reading(0)], [dead_letter(4)], [contribution(0)], DOMAIN, "v")
    assert set(tables) == set(TABLES) - {"transactions"}
    for name, table in tables.items():
        assert table.schema.equals(TABLES[name], check_metadata=True)
        assert table.num_rows
    empty = rows.to_tables([], [], [], DOMAIN, "v")
    assert all(table.num_rows == 0 and table.schema == TABLES[name] for name, table in empty.items())


def test_rows_say_what_was_read() -> None:
    tables = rows.to_tables([reading(6)], [dead_letter(4)], [], DOMAIN, "v")
    (document,) = tables["documents"].to_pylist()
    assert (document["doc_id"], document["characters"], document["entities"], document["model_version"]) == (
        "doc-6", len(TEXT), 2, "v")
    assert document["meta"] == [("a", "6"), ("b", "2")]
    assert document["timestamp"].timestamp() == 1_700_000_000
    for row in tables["entities"].to_pylist():
        assert TEXT[row["start"]:row["end"]] == row["text"]
        assert row["evidence"][0]["example_doc"] == "pmid:1"
    (relation,) = tables["relations"].to_pylist()
    assert {relation["head"], relation["tail"]} == set(tables["entities"]["mention_id"].to_pylist())
    (letter,) = tables["dead_letters"].to_pylist()
    assert (letter["raw"], letter["headers"][1]) == (b"\xff{4", {"name": "h", "value": None})


def test_a_document_without_a_domain_has_the_pipelines() -> None:
    tables = rows.to_tables([reading(3), reading(5), reading(6)], [], [], DOMAIN, "v")
    assert tables["documents"]["domain"].to_pylist() == ["other/é", DOMAIN, DOMAIN]


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(6)), st.booleans())
def test_rows_do_not_depend_on_the_order_given(order: list[int], flip: bool) -> None:
    def mixed(r: Reading) -> Reading:
        return replace(r, mentions=r.mentions[::-1]) if flip else r

    want = rows.to_tables(map(reading, range(6)), map(dead_letter, range(6, 9)), map(contribution, range(6)), "d", "v")
    got = rows.to_tables([mixed(reading(o)) for o in order], [dead_letter(o) for o in (8, 6, 7)],
                         [contribution(o) for o in order], "d", "v")
    assert got == want


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.lists(INCREMENTS, max_size=4)), max_size=6, unique_by=lambda p: p[0]))
def test_contributions_come_back_from_parquet(given: list[tuple[int, list[Increment]]]) -> None:
    placed = [(Place(STREAM, 0, o), Contribution(f"id-{o}", tuple(found))) for o, found in sorted(given)]
    table = from_parquet(to_parquet(rows.memory_log(placed)), "memory_log")
    assert rows.increments(table) == [i for _, c in placed for i in c.increments]
    assert list(rows.contributions(table)) == [(place, c) for place, c in placed if c.increments]


def test_a_contribution_of_no_document_is_an_error() -> None:
    with pytest.raises(LogError, match="no document in this batch"):
        rows.to_tables([reading(0)], [], [contribution(1)], DOMAIN, "v")


def test_what_cannot_be_stored_is_named() -> None:
    bad = replace(reading(7), document=replace(reading(7).document, title="\ud800"))
    with pytest.raises(DocumentError, match=f"{STREAM}/0/7"):
        rows.to_tables([reading(6), bad], [], [], DOMAIN, "v")
    with pytest.raises(LogError, match="has no place"):
        rows.to_tables([Reading(Document("x", "y", meta=EMPTY))], [], [], DOMAIN, "v")
    with pytest.raises(LogError, match=r"dead_letters\.message is empty"):
        rows.to_tables([], [replace(dead_letter(4), message=None)], [], DOMAIN, "v")  # type: ignore[arg-type]
