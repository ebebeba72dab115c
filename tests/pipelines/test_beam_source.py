from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from apache_beam.utils.timestamp import MAX_TIMESTAMP
from kafka import KafkaProducer

from kie_ops.errors import LogError
from pipelines import local_runner
from pipelines.archive_feed import ArchiveFeed, inputs
from pipelines.beam_source import BatchReader, BatchSource
from pipelines.broker import EmbeddedBroker
from pipelines.commit_log import Log
from pipelines.config import Config
from pipelines.job import Job, serving
from pipelines.kafka_feed import KafkaFeed
from pipelines.shard import Batch, Tick
from pipelines.storage import open_storage
from tests.pipelines.source_fakes import (
    EOF,
    CommittingWorker,
    FakeFeed,
    Here,
    assert_contiguous,
    chain,
    journal,
    open_committing,
    record,
    settings,
)


def job(config: Config, feed: FakeFeed) -> Job:
    return Job(config, Here(lambda k, shards: feed), open_committing)


def elements(reader: BatchReader) -> Iterator[Batch | Tick]:
    more = reader.start()
    while more:
        current = reader.get_current()
        assert current is not None
        yield current
        more = reader.advance()


def commit_all(reader: BatchReader) -> list[Batch]:
    batches = []
    for element in elements(reader):
        if isinstance(element, Batch):
            batches.append(element)
            serving(reader._source.job, 0).shard.logs[element.partition].tail = element.end
    return batches


def test_a_round_ends_with_the_maximal_watermark_after_a_last_tick(tmp_path: Path) -> None:
    reader = BatchSource(job(settings(tmp_path), FakeFeed({0: [record(0), EOF]}))).create_reader(None, None)
    assert isinstance(reader, BatchReader)
    got = list(elements(reader))
    assert [type(e) for e in got] == [Batch, Tick]
    assert reader.get_watermark() == MAX_TIMESTAMP


def test_a_round_ends_in_time_also_when_idle(tmp_path: Path) -> None:
    reader = BatchReader(BatchSource(job(settings(tmp_path), FakeFeed({0: []})), round_s=0.3))
    assert [e for e in elements(reader) if isinstance(e, Batch)] == []
    assert reader.get_watermark() == MAX_TIMESTAMP


def test_an_idle_topic_ends_a_run_where_that_is_asked_for(tmp_path: Path) -> None:
    reader = BatchReader(BatchSource(job(settings(tmp_path, run__until_idle_s=0.2), FakeFeed({0: [record(0)]}))))
    assert len(commit_all(reader)) == 1


def test_what_was_gathered_ahead_survives_rounds(tmp_path: Path) -> None:
    feed = FakeFeed({0: [*(record(i) for i in range(100)), EOF]}, step=100)
    work = job(settings(tmp_path, batch__documents=7), feed)
    offsets: list[int] = []
    for _ in range(40):
        reader = BatchReader(BatchSource(work, round_s=1e-9 if offsets else 5))
        for n, element in enumerate(elements(reader)):
            if isinstance(element, Batch):
                offsets += [r.place.offset for r in element.records]
            if n == 2:
                reader._until = 0
    assert offsets == list(range(len(offsets)))
    assert feed.positions[0] == 100


def test_the_number_of_shards_is_a_setting_not_the_runners_choice(tmp_path: Path) -> None:
    source = BatchSource(job(settings(tmp_path, source__shards=3), FakeFeed({})))
    assert [s.k for s in source.split(20)] == [0, 1, 2]
    assert [s.k for s in BatchSource(source.job, k=2).split(20)] == [2]


def test_a_source_can_be_pickled(tmp_path: Path) -> None:
    config = settings(tmp_path)
    source = BatchSource(Job(config, partial(KafkaFeed, config.source), open_committing), k=0)
    again = pickle.loads(pickle.dumps(source))
    assert again.job.id == source.job.id
    assert again.job.config == config


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


def send(broker: EmbeddedBroker, topic: str, start: int, end: int) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    for i in range(start, end):
        value = b'{"text": "document %d"}' % i if i % 10 else b"broken"
        producer.send(topic, value, partition=i % 2)
    producer.flush(30)
    producer.close()


def kafka_settings(root: Path, broker: EmbeddedBroker, topic: str, **overrides: object) -> Config:
    return settings(root, **{
        "source__bootstrap": broker.bootstrap, "source__topic": topic, "tables__segment": 50, "batch__documents": 7,
        "batch__gather_s": 0.05, "tables__publish_every_s": 0.1, "run__until_idle_s": 1.0, **overrides})


def check(root: Path, stream: str, partitions: int, count: int) -> None:
    """Chains contiguous; every document and dead letter once."""
    storage = open_storage(str(root))
    for p in range(partitions):
        ranges = chain(Log(storage, stream, p))
        assert assert_contiguous(ranges, 0, 50) == count // partitions
        lines = [line for line in journal(root) if line["p"] == p]
        assert sorted((line["start"], line["end"]) for line in lines) == ranges
        offsets = [offset for line in lines for offset, _ in line["documents"]]
        assert len(offsets) == len(set(offsets))
        assert len(offsets) + sum(line["dead"] for line in lines) == count // partitions


def test_from_broker_through_the_runner_no_gap_and_no_overlap_across_rounds_and_a_restart(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    broker.create_topic("rounds", 2)
    send(broker, "rounds", 0, 300)
    config = kafka_settings(tmp_path, broker, "rounds", run__round_s=0.2)
    feeds = partial(KafkaFeed, config.source)
    local_runner.run_feeds(config, feeds, open_committing, threading.Event())
    check(tmp_path, "topic-rounds", 2, 300)
    send(broker, "rounds", 300, 500)
    local_runner.run_feeds(config, feeds, open_committing, threading.Event())
    check(tmp_path, "topic-rounds", 2, 500)


def test_a_stop_in_the_middle_and_a_new_start_lose_nothing(broker: EmbeddedBroker, tmp_path: Path) -> None:
    broker.create_topic("stops", 2)
    send(broker, "stops", 0, 400)
    config = kafka_settings(tmp_path, broker, "stops", run__round_s=0.3)
    for batches in (3, 11, 10_000):
        stop = threading.Event()
        worker = Here(partial(stopping, stop, batches))
        local_runner.run_feeds(config, partial(KafkaFeed, config.source), worker, stop)
    check(tmp_path, "topic-stops", 2, 400)


def stopping(stop: threading.Event, after: int, *args: object) -> CommittingWorker:
    """A worker that has the run stopped after so many batches."""
    worker = CommittingWorker(*args)  # type: ignore[arg-type]
    commit, left = worker.process, iter(range(after))

    def process(parsed: object) -> None:
        commit(parsed)  # type: ignore[arg-type]
        if next(left, None) is None:
            stop.set()

    worker.process = process  # type: ignore[method-assign]
    return worker


def test_an_archive_goes_the_same_way(broker: EmbeddedBroker, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for p in range(2):
        lines = [b'{"text": "document %d"}\n' % i if i % 10 else b"broken\n" for i in range(p, 300, 2)]
        (tmp_path / "in" / f"{p}.jsonl").write_bytes(b"".join(lines))
    (found,) = inputs([str(tmp_path / "in")])
    config = kafka_settings(tmp_path / "out", broker, "unused", run__until_idle_s=None)
    feeds = partial(ArchiveFeed, found, config.source.format)
    local_runner.run_feeds(config, feeds, open_committing, threading.Event())
    check(tmp_path / "out", feeds(0, 1).partitions()[0], 2, 300)


def test_an_error_that_somebody_must_act_on_ends_the_run_as_itself(tmp_path: Path) -> None:
    feed = FakeFeed({0: [*(record(i) for i in range(10)), EOF]})

    class Failing(CommittingWorker):
        def process(self, parsed: object) -> None:
            raise LogError("torn", where="here", next_step="mend it")

    config = settings(tmp_path)
    with pytest.raises(LogError, match=r"torn \(at here\)\. Next: mend it"):
        local_runner.run_feeds(config, Here(lambda k, shards: feed), Here(Failing), threading.Event())
    assert feed.closed
