from __future__ import annotations

import bz2
import csv
import datetime
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from kie_ops.errors import InputError
from kie_ops.records import DeadLetter, Document, RawRecord
from pipelines import file_reading
from pipelines.archive_feed import ArchiveFeed, FileSet, inputs
from pipelines.config import FieldPaths, Format
from pipelines.parse import parse

LINES = [json.dumps({"doc_id": f"d{i}", "text": f"Text number {i}."}).encode() for i in range(20)]


def open_feed(*names: Path | str, fmt: Format | None = None, at: int = 0) -> ArchiveFeed:
    (found,) = inputs([str(name) for name in names])
    feed = ArchiveFeed(found, fmt or Format())
    for partition in feed.partitions():
        feed.seek(partition, at)
    return feed


def read(feed: ArchiveFeed) -> list[RawRecord]:
    records: list[RawRecord] = []
    while not feed.exhausted():
        records += feed.poll(0.1)
    return records


def documents(feed: ArchiveFeed, fmt: Format | None = None) -> list[Document | DeadLetter]:
    return [parse(r, fmt or Format(), "medical") for r in read(feed)]


def texts(feed: ArchiveFeed, fmt: Format | None = None) -> list[str]:
    return [d.text if isinstance(d, Document) else d.reason for d in documents(feed, fmt)]


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstandard.compress,
}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_json_lines_plain_and_compressed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](b"\n".join(LINES)))
    records = read(open_feed(path))
    assert [r.value for r in records] == LINES
    assert [(r.place.partition, r.place.offset, r.before) for r in records] == [(0, i, i) for i in range(20)]
    assert [r.place.offset for r in read(open_feed(path, at=17))] == [17, 18, 19]


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".zst"])
def test_several_compressed_parts_in_one_file_are_all_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    parts = [COMPRESS[suffix](line + b"\n") for line in LINES]
    path.write_bytes(b"".join(parts))
    assert len(read(open_feed(path))) == 20


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".zst"])
def test_a_truncated_file_gives_what_it_has_and_then_an_error_while_others_go_on(tmp_path: Path, suffix: str) -> None:
    data = b"".join(json.dumps({"text": f"{i} {hash((i, j))}"}).encode() + b"\n" for i in range(20_000) for j in (1,))
    whole = COMPRESS[suffix](data)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(whole[: len(whole) * 3 // 4])
    (tmp_path / "b.jsonl").write_bytes(LINES[0] + b"\n")
    feed = open_feed(tmp_path)
    records = read(feed)
    first = [r for r in records if r.place.partition == 0]
    assert [r.value for r in records if r.place.partition == 1] == [LINES[0]]
    assert [r.place.offset for r in first] == list(range(len(first)))
    (problem,) = feed.problems()
    assert f"after row {len(first)}" in str(problem)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(whole)  # mended: reading goes on where it stopped
    feed.seek(0, len(first))
    assert len(first) + len(read(feed)) == 20_000
    assert feed.problems() == []


def test_broken_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\r\n\n   \n{"text": "tw\n\xff\xfe\n[1]\n{"text": "last"}')
    feed = open_feed(path)
    records = read(feed)
    assert [(r.place.offset, r.before) for r in records] == [(0, 0), (3, 1), (4, 4), (5, 5), (6, 6)]
    got = [parse(r, Format(), "m") for r in records]
    assert [d.text if isinstance(d, Document) else d.reason for d in got] == [
        "one", "broken_json", "not_utf8", "not_an_object", "last"]


def test_a_line_longer_than_any_document_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_reading, "LINE_LIMIT", 1000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "' + b"x" * 2500 + b'"}\n{"text": "after"}\n')
    assert texts(open_feed(path)) == ["broken_json"] * 3 + ["after"]


def test_a_json_array_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"text": "one"}]')
    feed = open_feed(path)
    assert read(feed) == []
    assert "jq -c" in str(feed.problems()[0])


def test_parquet_by_field_paths(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    when = datetime.datetime(2024, 1, 1)
    texts = [None if i == 3 else f"Text {i}." for i in range(250)]
    rows = [{"id": i, "body": {"text": text}, "when": when, "blob": b"\x01"} for i, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    fmt = Format(fields=FieldPaths(text="body.text", doc_id="id", timestamp="when"))
    got = documents(open_feed(path, fmt=fmt), fmt)
    assert len(got) == 250
    assert isinstance(got[3], DeadLetter)
    assert isinstance(got[4], Document)
    assert (got[4].doc_id, got[4].text, got[4].timestamp) == ("4", "Text 4.", 1_704_067_200_000)
    assert [r.place.offset for r in read(open_feed(path, fmt=fmt, at=205))] == list(range(205, 250))


def test_what_is_no_parquet_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really")
    feed = open_feed(tmp_path)
    assert read(feed) == []
    assert "a.parquet" in str(feed.problems()[0])


def test_csv(tmp_path: Path) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows([["doc_id", "text", "lang", "timestamp"], ["a", "with, comma\nand line", "en", "1700000000000"],
                      ["b", 'a "quote"', "", ""], ["c", "x" * 500_000, "", ""]])
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + out.getvalue().encode()))
    a, b, c = documents(open_feed(tmp_path))
    assert isinstance(a, Document)
    assert isinstance(b, Document)
    assert isinstance(c, Document)
    assert (a.doc_id, a.text, a.lang, a.timestamp) == ("a", "with, comma\nand line", "en", 1_700_000_000_000)
    assert (b.text, b.lang, len(c.text)) == ('a "quote"', None, 500_000)


def test_broken_csv_rows_are_dead_letters_and_the_file_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        b'doc_id,text\na,one\nb,two,too many\nc,not utf-8 \xff\nd,"wrong" quotes\ne,nul \x00 inside\nf\ng,"never\nends')
    assert texts(open_feed(tmp_path)) == [
        "one", "not_an_object", "not_utf8", "not_an_object", "nul \x00 inside", "not_an_object", "not_an_object"]
    last = read(open_feed(tmp_path, at=6))[0]
    assert json.loads(last.value or b"") == ['g,"never\n', "ends"]


def test_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("doc_id\ttext\na\tone, two\n")
    assert texts(open_feed(tmp_path)) == ["one, two"]


def test_a_folder_of_texts_is_one_partition_a_file_a_row(tmp_path: Path) -> None:
    for name, data in (("b.txt", b"second"), ("a.txt", "f\u00fcrst".encode()), ("c.txt", b"\xff"), ("d.txt", b"")):
        (tmp_path / name).write_bytes(data)
    feed = open_feed(tmp_path)
    assert feed.partitions().keys() == {0}
    assert texts(feed) == ["f\u00fcrst", "second", "not_utf8", "empty_text"]
    fmt = Format(fields=FieldPaths(text="body.text", doc_id="body.id"))
    first = documents(open_feed(tmp_path, fmt=fmt), fmt)[0]
    assert isinstance(first, Document)
    assert first.doc_id == "a"
    plain = Format(kind="text")
    second = documents(open_feed(tmp_path, fmt=plain), plain)[1]
    assert isinstance(second, Document)
    assert (second.doc_id, second.text) == ("b", "second")


def test_a_folder_of_everything_is_one_stream_whose_id_is_its_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.jsonl").write_bytes(LINES[0])
    (tmp_path / "sub" / "a.csv").write_text("text\nfrom csv\n")
    (tmp_path / "sub" / "t.txt").write_text("from text")
    (tmp_path / "README.md").write_text("left alone")
    feed = open_feed(tmp_path)
    streams = feed.partitions()
    assert sorted(streams) == [0, 1, 2]
    assert len(set(streams.values())) == 1
    assert sorted(texts(feed)) == ["Text number 0.", "from csv", "from text"]
    (tmp_path / "b.jsonl").write_bytes(LINES[0] + b"\n" + LINES[1])  # grows: the same stream
    assert open_feed(tmp_path).partitions() == streams
    (tmp_path / "c.jsonl").write_bytes(LINES[2])
    assert open_feed(tmp_path).partitions()[0] != streams[0]


def test_shards_share_the_files(tmp_path: Path) -> None:
    for i in range(5):
        (tmp_path / f"{i}.jsonl").write_bytes(LINES[i])
    (found,) = inputs([str(tmp_path)])
    assert set(ArchiveFeed(found, Format(), 1, 2).partitions()) == {1, 3}
    assert ArchiveFeed(FileSet((("x",),)), Format(), 1, 2).exhausted()


def test_urls_are_read_too() -> None:
    with fsspec.open("memory://in/a.jsonl.gz", "wb") as f:
        f.write(gzip.compress(b"\n".join(LINES)))
    with fsspec.open("memory://in/b.txt", "wb") as f:
        f.write(b"text")
    feed = open_feed("memory://in")
    assert len(read(feed)) == 21


@pytest.mark.parametrize("name", ["missing.jsonl", "image.png", "empty", "nowhere://x/y.jsonl"])
def test_inputs_that_cannot_be_used_are_errors(tmp_path: Path, name: str) -> None:
    (tmp_path / "image.png").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"at "):
        inputs([name if "://" in name else str(tmp_path / name)])


def test_large_files_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    with path.open("wb") as raw, zstandard.ZstdCompressor().stream_writer(raw) as out:
        for i in range(3000):
            out.write(json.dumps({"text": f"{i} " + "x" * 50_000}).encode() + b"\n")
    feed = open_feed(path)
    count, most = 0, 0
    while not feed.exhausted():
        got = feed.poll(0.1)
        count += len(got)
        most = max(most, sum(len(r.value or b"") for r in got))
    assert count == 3000
    assert most < 8 * 2**20
