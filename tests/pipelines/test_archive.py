from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from kafka import KafkaProducer

from kie_ops.errors import InputError, PositionError, ServiceError
from kie_ops.records import Place, RawRecord
from pipelines import archive
from pipelines.archive import Archive
from pipelines.archive_feed import ArchiveFeed, inputs
from pipelines.broker import EmbeddedBroker
from pipelines.config import Format, Source
from pipelines.kafka_feed import KafkaFeed
from tests.pipelines.source_fakes import FakeFeed, record

VALUES = [
    b'{"text": "plain"}', b"\xff\x00 not utf-8", b"", "caf\u00e9 \u2028 \U0001f9ec".encode(), b"line\nbreak",
    b"x" * 300_000,
]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        running.create_topic("notes", 2)
        producer = KafkaProducer(bootstrap_servers=running.bootstrap)
        for i, value in enumerate(VALUES * 3):
            producer.send("notes", value, partition=i % 2, key=b"\xfe%d" % i, timestamp_ms=int(time.time() * 1000) + i,
                          headers=[("lang", b"en"), ("odd", b"\xff")] if i % 3 else [])
        producer.send("notes", None, partition=0, key=b"tombstone")
        producer.flush(30)
        producer.close()
        yield running


def source(broker: EmbeddedBroker) -> Source:
    return Source(bootstrap=broker.bootstrap, topic="notes")


def read_all(feed: ArchiveFeed) -> list[RawRecord]:
    records: list[RawRecord] = []
    while not feed.exhausted():
        records += feed.poll(0.1)
    return records


def from_kafka(broker: EmbeddedBroker) -> list[RawRecord]:
    with closing(KafkaFeed(source(broker))) as feed:
        for p in feed.partitions():
            feed.seek(p, feed.begin(p))
        records: list[RawRecord] = []
        while any(feed.position(p) < end for p, end in feed.ends().items()):
            records += feed.poll(0.5)
    return sorted(records, key=lambda r: r.place)


def test_an_archive_gives_the_records_of_the_stream(broker: EmbeddedBroker, tmp_path: Path) -> None:
    seen: list[int] = []
    with closing(KafkaFeed(source(broker))) as feed:
        written = archive.export(feed, "notes", str(tmp_path / "out"), progress=seen.append)
    assert seen[-1] == 19
    assert [(p.start, p.end, p.records) for p in written.partitions] == [(0, 10, 10), (0, 9, 9)]
    assert Archive.open(str(tmp_path / "out")) == written
    (found,) = inputs([str(tmp_path / "out")])
    again = ArchiveFeed(found, Format())
    for p in again.partitions():
        again.seek(p, again.begin(p))
    assert read_all(again) == from_kafka(broker)
    assert again.partitions() == dict.fromkeys((0, 1), "topic-notes")


def test_reading_goes_on_anywhere_but_beyond_the_archive(broker: EmbeddedBroker, tmp_path: Path) -> None:
    with closing(KafkaFeed(source(broker))) as feed:
        written = archive.export(feed, "notes", str(tmp_path))
    again = ArchiveFeed(written, Format(), shard=1, shards=2)
    assert set(again.partitions()) == {1}
    again.seek(1, 5)
    assert again.lag() == {1: 4}
    assert [r.place.offset for r in read_all(again)] == [5, 6, 7, 8]
    assert again.lag() == {}
    again.seek(1, 9)
    assert read_all(again) == []
    with pytest.raises(PositionError, match="the log ends at 10, the archive holds 0 to 9"):
        again.seek(1, 10)


def test_an_object_store_url_holds_an_archive_too(broker: EmbeddedBroker) -> None:
    url = "memory://bucket/notes"
    with closing(KafkaFeed(source(broker))) as feed:
        written = archive.export(feed, "notes", url)
    (found,) = inputs([url])
    assert isinstance(found, Archive)
    assert found.partitions == written.partitions
    feed2 = ArchiveFeed(found, Format())
    feed2.seek(1, 0)
    feed2.seek(0, 0)
    assert len(read_all(feed2)) == 19


def test_an_archive_is_never_overwritten(broker: EmbeddedBroker, tmp_path: Path) -> None:
    with closing(KafkaFeed(source(broker))) as feed:
        archive.export(feed, "notes", str(tmp_path))
        with pytest.raises(InputError, match="archive already"):
            archive.export(feed, "notes", str(tmp_path))


class Exportable(FakeFeed):
    """A fake topic with a hole at its end, as transactions leave one."""

    def ends(self) -> dict[int, int]:
        return {0: 12}

    def position(self, partition: int) -> int:
        return 12 if self.at[0] == len(self.data[0]) else self.positions[partition]


def test_holes_are_kept(tmp_path: Path) -> None:
    feed = Exportable({0: [record(2), record(5), record(9)]}, step=1)
    written = archive.export(feed, "t", str(tmp_path))
    got = ArchiveFeed(written, Format())
    got.seek(0, 0)
    assert [(r.before, r.place.offset) for r in read_all(got)] == [(0, 2), (3, 5), (6, 9)]
    assert written.partitions[0].end == 12
    got.seek(0, 4)
    assert [(r.before, r.place.offset) for r in read_all(got)] == [(4, 5), (6, 9)]


def test_an_export_that_does_not_end_leaves_no_archive(tmp_path: Path) -> None:
    feed = Exportable({0: [record(2)]})
    feed.position = lambda partition: 3  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match="nothing came"):
        archive.export(feed, "t", str(tmp_path), patience_s=1.0)
    with pytest.raises(InputError, match="export did not end"):
        Archive.open(str(tmp_path))


def damaged(tmp_path: Path) -> tuple[Archive, Path]:
    feed = Exportable({0: [record(i, bytes([65 + i]) * 5000) for i in range(10)]})
    return archive.export(feed, "t", str(tmp_path)), tmp_path / "00000.jsonl.zst"


def test_a_truncated_archive_gives_all_it_can_and_an_error(tmp_path: Path) -> None:
    written, path = damaged(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not the one that was exported"):
        written.verify()
    feed = ArchiveFeed(written, Format())
    feed.seek(0, 0)
    records = read_all(feed)
    assert [r.place.offset for r in records] == list(range(len(records)))
    (problem,) = feed.problems()
    assert "00000.jsonl.zst" in str(problem)


def test_a_missing_file_is_a_problem_of_its_partition(tmp_path: Path) -> None:
    written, path = damaged(tmp_path)
    path.unlink()
    feed = ArchiveFeed(written, Format())
    feed.seek(0, 0)
    assert read_all(feed) == []
    assert len(feed.problems()) == 1


@pytest.mark.parametrize("manifest", [
    "{", "[]", '{"format": "other", "version": 1}', '{"format": "engram-archive", "version": 2}',
])
def test_what_is_no_manifest_is_refused(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(InputError):
        Archive.open(str(tmp_path))


BYTES = st.none() | st.binary() | st.text().map(lambda s: s.encode("utf-8"))


TIMES = st.none() | st.integers(0, 2**60)


@given(BYTES, BYTES, st.lists(st.tuples(st.text(), BYTES)).map(tuple), TIMES, st.integers(0, 2**60))
def test_a_line_gives_the_record_back_byte_for_byte(
    value: bytes | None, key: bytes | None, headers: tuple[tuple[str, bytes | None], ...], ms: int | None, offset: int
) -> None:
    before = RawRecord(Place("s", 3, offset), max(0, offset - 2), value, key, headers, ms)
    line = archive.to_line(before)
    assert line.count(b"\n") == 1
    json.loads(line)
    assert archive.from_line(line, "s", 3) == before
