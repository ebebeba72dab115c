from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings as tuned, strategies as st

from kie_ops.errors import ServiceError
from pipelines.commit_log import Log, Transaction
from pipelines.shard import Batch, Shard, Tick
from pipelines.storage import open_storage
from tests.pipelines.source_fakes import DOWN, EOF, FakeFeed, assert_contiguous, record, settings


class Clock:
    """Every look at it costs `step_s`, so that waiting ends without sleeping."""

    def __init__(self, step_s: float = 0.01) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


def make(tmp_path: Path, feed: FakeFeed, clock: Clock | None = None, **overrides: object) -> Shard:
    config = settings(tmp_path, **{"tables__segment": 100, "batch__documents": 8, **overrides})
    storage = open_storage(str(tmp_path))
    shard = Shard(feed, lambda s, p: Log(storage, s, p), config, clock=clock or Clock())
    for partition in shard.logs:
        shard.rewind(partition)
    return shard


def drain(shard: Shard, limit: int = 10_000) -> list[Batch]:
    batches = []
    for _ in range(limit):
        element = shard.gather(5.0)
        if isinstance(element, Batch):
            batches.append(element)
        if element is None and shard.ended():
            return batches
    raise AssertionError("the shard did not end")


def test_batches_are_contiguous_and_full_when_there_is_enough(tmp_path: Path) -> None:
    shard = make(tmp_path, FakeFeed({0: [*(record(i) for i in range(50)), EOF]}))
    batches = drain(shard)
    assert [len(b.records) for b in batches] == [8] * 6 + [2]
    assert assert_contiguous([(b.start, b.end) for b in batches], 0, 100) == 50


def test_a_batch_waits_no_longer_than_gather_s(tmp_path: Path) -> None:
    clock = Clock()
    feed = FakeFeed({0: [record(0), record(1)]})
    shard = make(tmp_path, feed, clock, batch__gather_s=0.5, tables__publish_every_s=60)
    batch = shard.gather(10.0)
    assert isinstance(batch, Batch)
    assert (batch.start, batch.end) == (0, 2)
    assert 0.5 <= clock.now < 1.5


def test_a_batch_is_cut_at_its_characters_and_a_longer_document_goes_alone(tmp_path: Path) -> None:
    sizes = [40, 40, 40, 500, 30, 30]
    feed = FakeFeed({0: [*(record(i, b"x" * n) for i, n in enumerate(sizes)), EOF]})
    batches = drain(make(tmp_path, feed, batch__characters=100))
    assert [[len(r.value or b"") for r in b.records] for b in batches] == [[40, 40], [40], [500], [30, 30]]


def test_a_batch_never_crosses_a_segments_end(tmp_path: Path) -> None:
    feed = FakeFeed({0: [*(record(i) for i in range(25)), EOF]}, step=100)
    batches = drain(make(tmp_path, feed, tables__segment=10))
    assert [(b.start, b.end) for b in batches] == [(0, 8), (8, 10), (10, 18), (18, 20), (20, 25)]


def test_where_a_segment_ends_in_a_hole_the_batch_ends_with_the_segment(tmp_path: Path) -> None:
    offsets = [3, 4, 13, 14, 55]
    batches = drain(make(tmp_path, FakeFeed({0: [*map(record, offsets), EOF]}, step=100), tables__segment=10))
    assert [(b.start, b.end, len(b.records)) for b in batches] == [
        (0, 10, 2), (10, 20, 2), (20, 30, 0), (30, 40, 0), (40, 50, 0), (50, 56, 1)]


@tuned(max_examples=60, deadline=None)
@given(gaps=st.lists(st.integers(1, 25), min_size=1, max_size=60), step=st.integers(1, 20), documents=st.integers(1, 9),
       segment=st.integers(1, 30), sizes=st.lists(st.integers(0, 80), min_size=60, max_size=60))
def test_any_holes_sizes_and_timing_give_contiguous_batches_with_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], step: int, documents: int, segment: int, sizes: list[int]
) -> None:
    offsets, at = [], -1
    for gap in gaps:
        at += gap
        offsets.append(at)
    feed = FakeFeed({0: [*(record(o, b"x" * n) for o, n in zip(offsets, sizes, strict=False)), EOF]}, step)
    shard = make(tmp_path_factory.mktemp("log"), feed, Clock(0.1), tables__segment=segment, batch__documents=documents,
                 batch__characters=100, tables__publish_every_s=1.0)
    batches = drain(shard)
    assert assert_contiguous([(b.start, b.end) for b in batches], 0, segment) == offsets[-1] + 1
    assert [r.place.offset for b in batches for r in b.records] == offsets
    for b in batches:
        assert all(b.start <= r.place.offset < b.end for r in b.records)
        assert len(b.records) <= documents
        assert len(b.records) <= 1 or sum(len(r.value or b"") for r in b.records) <= 100


def test_ticks_come_also_when_nothing_arrives(tmp_path: Path) -> None:
    shard = make(tmp_path, FakeFeed({0: []}), tables__publish_every_s=1.0)
    ticks = [shard.gather(3.0) for _ in range(3)]
    assert ticks == [Tick(0)] * 3
    assert shard.idle_s > 0.5
    assert not shard.ended()


def test_gather_gives_none_when_its_time_is_over(tmp_path: Path) -> None:
    assert make(tmp_path, FakeFeed({0: []}), tables__publish_every_s=60).gather(0.2) is None


def test_step_1_goes_on_at_the_logs_end_and_keeps_what_was_gathered_when_it_still_fits(tmp_path: Path) -> None:
    feed = FakeFeed({0: [*(record(i) for i in range(30)), EOF]}, step=100)
    shard = make(tmp_path, feed)
    first = shard.gather(5)
    assert isinstance(first, Batch)
    assert shard.logs[0].commit(Transaction("s", 0, 0, 8, {}, "e", {}))
    shard.rewind(0)
    assert feed.positions[0] == 30  # nothing was read again
    assert shard.logs[0].commit(Transaction("s", 0, 8, 20, {}, "e", {}))  # as if somebody else had
    shard.rewind(0)
    assert [(b.start, b.end) for b in drain(shard)] == [(20, 28), (28, 30)]


def test_an_empty_log_begins_where_the_feed_says(tmp_path: Path) -> None:
    feed = FakeFeed({0: [*(record(i) for i in range(40, 50)), EOF]})
    feed.begin = lambda partition: 40  # type: ignore[method-assign]
    batches = drain(make(tmp_path, feed))
    assert (batches[0].start, batches[-1].end) == (40, 50)


def test_new_partitions_are_adopted_on_a_tick(tmp_path: Path) -> None:
    feed = FakeFeed({0: []})
    shard = make(tmp_path, feed, tables__publish_every_s=0.5, batch__gather_s=0.1)
    feed.data[1] = [record(0, partition=1), EOF]
    elements = [shard.gather(5.0) for _ in range(3)]
    batch = next(e for e in elements if isinstance(e, Batch))
    assert (batch.partition, batch.start, batch.end) == (1, 0, 1)


def test_a_slow_partition_does_not_starve_another(tmp_path: Path) -> None:
    feed = FakeFeed({0: [*(record(i) for i in range(1000)), EOF], 1: [record(0, partition=1), EOF]}, step=100)
    order = [b.partition for b in drain(make(tmp_path, feed))]
    assert 1 in order


def test_committed_positions_are_reported(tmp_path: Path) -> None:
    feed = FakeFeed({0: [record(0), EOF]})
    shard = make(tmp_path, feed)
    shard.logs[0].commit(Transaction("s", 0, 0, 1, {}, "e", {}))
    shard.report(0)
    assert feed.reported == {0: 1}


def test_an_error_of_the_feed_passes_through_and_nothing_is_lost(tmp_path: Path) -> None:
    feed = FakeFeed({0: [record(0), DOWN, record(1), EOF]})
    shard = make(tmp_path, feed)
    with pytest.raises(ServiceError):
        drain(shard)
    shard.rewind(0)
    assert [r.place.offset for b in drain(shard) for r in b.records] == [0, 1]
