"""Paths, bytes and manifests of Parquet segments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, strategies as st

from pipelines.commit_log import Log
from pipelines.segments import (
    HIVE_NULL,
    MAX_VALUE,
    Manifest,
    Publication,
    Segment,
    collect,
    file_schema,
    from_parquet,
    hive_value,
    intact,
    read_manifest,
    to_parquet,
)
from pipelines.storage import Storage
from tests.pipelines.chains import SIZE, STREAM, open_store, transaction

SEGMENT = Segment(STREAM, 0, 0, SIZE)
NASTY = ["med/ical", "é à", "a.b", "..", "007", "x=y", "%41", "a+b", "2024-01-01", "true", " ", "_x", "'\"\\", "\n",
         "\0", "日本", "عربي", "\U0001f600", "null", "*?[", "a" * MAX_VALUE]


@pytest.fixture(params=["local", "memory"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    return open_store(request.param, tmp_path)


def test_where_segments_lie(tmp_path: Path) -> None:
    segment = Segment.containing(Log(open_store("local", tmp_path)(), "_a/b-c", 7), 12_345, 1_000)
    assert (segment.number, segment.start, segment.end) == (12, 12_000, 13_000)
    assert segment.path("entities", "x/y") == "entities/domain=x%2Fy/%5Fa%2Fb-c-7-00000012.parquet"
    assert segment.path("memory_log") == "memory_log/%5Fa%2Fb-c-7-00000012.parquet"
    assert segment.manifest == "_log/%5Fa%2Fb-c/7/segments/00000012"


@given(st.text(min_size=1, max_size=30))
def test_values_are_safe_and_come_back(value: str) -> None:
    safe = hive_value(value)
    assert safe.isascii()
    assert not set(safe) & set("/\\=*?[]{}'\" \n\0")
    assert len(safe) <= MAX_VALUE
    if 3 * len(value.encode()) <= MAX_VALUE:
        assert unquote(safe, errors="surrogatepass") == value


@pytest.mark.parametrize("value", ["", HIVE_NULL, "x" * 121, "é" * 60])
def test_values_no_reader_gives_back_get_a_hash(value: str) -> None:
    safe = hive_value(value)
    assert safe != hive_value(value + "y")
    assert safe != HIVE_NULL
    assert len(safe) < 80


def test_readers_decode_every_value(tmp_path: Path) -> None:
    storage = open_store("local", tmp_path)()
    table = transaction(0, 2).tables["documents"].drop_columns(["domain"])
    for value in NASTY:
        storage.replace(SEGMENT.path("documents", value), to_parquet(table))
    folder = f"{storage.root}/documents"
    rows = duckdb.sql(f"select domain, count(*) from read_parquet('{folder}/**/*.parquet', hive_partitioning = true, "
                      "hive_types_autocast = false) group by domain").fetchall()
    assert sorted(rows) == sorted((value, 2) for value in NASTY)
    read = ds.dataset(folder, partitioning="hive").to_table(["domain"])
    assert sorted(set(read["domain"].to_pylist())) == sorted(NASTY)


def test_the_same_rows_give_the_same_bytes_also_read_back() -> None:
    for name, table in transaction(0, 30).tables.items():
        rows = table if name == "memory_log" else table.drop_columns(["domain"])
        data = to_parquet(rows)
        chunked = pa.concat_tables([rows.slice(0, 1), rows.slice(1)])
        back = from_parquet(data, name)
        assert back.schema.equals(file_schema(name), check_metadata=True)
        assert to_parquet(chunked) == to_parquet(back) == data


def test_domains_have_files_of_their_own_and_the_first_segment_all_tables() -> None:
    first = collect(SEGMENT, [transaction(0, 2), transaction(2, 4)], first=True)
    domains = {"medical", "other%2F%C3%A9"}
    tables = ("documents", "entities", "relations", "events", "dead_letters")
    assert {path.rpartition("/")[0] for path in first} == {
        "transactions", *(f"{t}/domain={d}" for t in tables for d in domains)}
    assert first[SEGMENT.path("documents", "other/é")]["offset"].to_pylist() == [3]
    later = collect(SEGMENT, [transaction(0, 2), transaction(2, 3)], first=False)
    assert {path.split("/")[0] for path in later} == {"transactions", *tables[:4]}
    assert SEGMENT.path("memory_log") in collect(SEGMENT, [transaction(0, 10)], first=False)


def test_a_manifest_comes_back_and_a_torn_one_counts_as_none(opened: Callable[[], Storage]) -> None:
    storage = opened()
    tables = collect(SEGMENT, [transaction(0, 4)], first=False)
    manifest = Publication(storage, SEGMENT).write(4, tables, durable=False)
    assert manifest is not None
    assert read_manifest(storage, SEGMENT) == manifest == Manifest.from_bytes(manifest.to_bytes())
    assert {path: file.rows for path, file in manifest.files.items()} == {p: t.num_rows for p, t in tables.items()}
    assert intact(storage, manifest)
    data = manifest.to_bytes()
    for torn in (b"", data[:20], b"[]", b'{"to": 1}', b'{"to": 1, "files": {"x": {}}}', b"\xff\xfe"):
        storage.replace(SEGMENT.manifest, torn)
        assert read_manifest(storage, SEGMENT) is None


def test_of_two_publications_begun_at_once_one_is_refused(opened: Callable[[], Storage]) -> None:
    early, late = Publication(opened(), SEGMENT), Publication(opened(), SEGMENT)
    assert late.write(8, collect(SEGMENT, [transaction(0, 8)], first=False), durable=False)
    assert early.write(4, collect(SEGMENT, [transaction(0, 4)], first=False), durable=False) is None
    manifest = read_manifest(opened(), SEGMENT)
    assert manifest is not None
    assert manifest.to == 8
    assert intact(opened(), manifest)


def test_documents_are_written_last_and_the_manifest_first(
    opened: Callable[[], Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, written = opened(), list[str]()
    replace_if = storage.replace_if

    def noted(path: str, data: bytes, version: str | None, *, durable: bool = True) -> bool:
        written.append(path.split("/")[0])
        return replace_if(path, data, version, durable=durable)

    monkeypatch.setattr(storage, "replace_if", noted)
    Publication(storage, SEGMENT).write(10, collect(SEGMENT, [transaction(0, 10)], first=True), durable=True)
    assert written[0] == "_log"
    assert written[-3:] == ["documents", "documents", "memory_log"]
    assert "documents" not in written[:-3]
