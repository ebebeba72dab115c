from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from kie_ops.errors import ConfigError, PositionError, ServiceError
from kie_ops.records import RawRecord
from pipelines.broker import EmbeddedBroker
from pipelines.config import Source
from pipelines.kafka_feed import KafkaFeed, check_options, identity


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


def send(broker: EmbeddedBroker, topic: str, partition: int, values: list[bytes], **fields: object) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    for value in values:
        producer.send(topic, value, partition=partition, **fields)
    producer.flush(30)
    producer.close()


def source(broker: EmbeddedBroker, topic: str, **fields: object) -> Source:
    return Source.model_validate({"bootstrap": broker.bootstrap, "topic": topic, **fields})


def read(feed: KafkaFeed, count: int) -> list[RawRecord]:
    records: list[RawRecord] = []
    deadline = time.monotonic() + 20
    while len(records) < count and time.monotonic() < deadline:
        records += feed.poll(0.5)
    return records


def test_records_carry_all_that_kafka_gives(broker: EmbeddedBroker) -> None:
    broker.create_topic("whole", 1)
    now = int(time.time() * 1000)
    send(broker, "whole", 0, [b"v\xff"], key=b"k", headers=[("h", b"1"), ("h", b"\xfe")], timestamp_ms=now)
    with closing(KafkaFeed(source(broker, "whole"))) as feed:
        feed.seek(0, feed.begin(0))
        (record,) = read(feed, 1)
    assert (record.value, record.key, record.timestamp) == (b"v\xff", b"k", now)
    assert record.headers == (("h", b"1"), ("h", b"\xfe"))
    assert str(record.place) == "topic-whole/0/0"


def test_partitions_are_shared_by_shards_and_read_from_any_position(broker: EmbeddedBroker) -> None:
    broker.create_topic("shared", 3)
    for p in range(3):
        send(broker, "shared", p, [b"%d" % i for i in range(20)])
    seen = {}
    for k in range(2):
        with closing(KafkaFeed(source(broker, "shared"), k, 2)) as feed:
            for p in feed.partitions():
                feed.seek(p, 15)
            for r in read(feed, 5 * len(feed.partitions())):
                assert r.before == r.place.offset
                seen[r.place.partition, r.place.offset] = r.value
    assert seen == {(p, i): b"%d" % i for p in range(3) for i in range(15, 20)}


def test_a_seek_back_reads_again_and_other_partitions_go_on(broker: EmbeddedBroker) -> None:
    broker.create_topic("again", 2)
    for p in range(2):
        send(broker, "again", p, [b"%d" % i for i in range(10)])
    with closing(KafkaFeed(source(broker, "again"))) as feed:
        feed.seek(0, 0)
        assert [r.place.offset for r in read(feed, 10)] == list(range(10))
        feed.seek(1, 4)
        feed.seek(0, 7)
        got = sorted((r.place.partition, r.place.offset) for r in read(feed, 9))
        assert got == [(0, 7), (0, 8), (0, 9), *((1, i) for i in range(4, 10))]
        assert feed.position(0) == 10
        assert feed.ends() == {0: 10, 1: 10}


@pytest.mark.parametrize(("start", "first"), [("earliest", 0), ("latest", 10), (4, 4)])
def test_the_first_position_is_a_setting(broker: EmbeddedBroker, start: object, first: int) -> None:
    topic = f"first-{start}"
    broker.create_topic(topic, 1)
    send(broker, topic, 0, [b"x"] * 10)
    with closing(KafkaFeed(source(broker, topic, start=start))) as feed:
        assert feed.begin(0) == first


def test_a_position_beyond_the_topic_stops_with_a_next_step(broker: EmbeddedBroker) -> None:
    broker.create_topic("short", 1)
    with closing(KafkaFeed(source(broker, "short"))) as feed, pytest.raises(PositionError, match=r"ends at 0.*Next:"):
        feed.seek(0, 5)


def test_new_partitions_are_found_while_reading() -> None:
    with EmbeddedBroker() as own:
        own.create_topic("grows", 1)
        with closing(KafkaFeed(source(own, "grows", discover_every_s=0.05))) as feed:
            assert set(feed.partitions()) == {0}
            described = feed._admin.describe_topics(["grows"])
            described[0]["partitions"].append({"partition_index": 1})
            feed._admin = SimpleNamespace(describe_topics=lambda topics: described, close=lambda: None)
            until(lambda: feed.poll(0.05) == [] and set(feed.partitions()) == {0, 1})


def until(condition: object, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "did not happen"


def test_a_topic_made_anew_while_reading_stops_it(broker: EmbeddedBroker) -> None:
    broker.create_topic("anew", 1)
    with closing(KafkaFeed(source(broker, "anew", discover_every_s=0.01))) as feed:
        described = feed._admin.describe_topics(["anew"])
        described[0]["topic_id"] = "b4c1f6de-0000-4000-8000-000000000000"
        feed._admin = SimpleNamespace(describe_topics=lambda topics: described, close=lambda: None)
        time.sleep(0.02)
        with pytest.raises(PositionError, match="made anew"):
            feed.poll(0.1)


def test_identity_is_the_topics_uuid_where_the_broker_tells() -> None:
    assert identity("notes", None) == "topic-notes"
    assert identity("notes", "b4c1f6de-0000-4000-8000-000000000000") == "b4c1f6de-0000-4000-8000-000000000000"  # type: ignore[arg-type]


def test_a_missing_topic_is_an_error_and_is_not_created(broker: EmbeddedBroker) -> None:
    with pytest.raises(ServiceError, match=r"no such topic.*missing.*Next: create it"):
        KafkaFeed(source(broker, "missing"))
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap)
    assert "missing" not in consumer.topics()
    consumer.close()


def test_a_broker_that_is_down_at_the_start() -> None:
    nowhere = Source(bootstrap="127.0.0.1:1", topic="t", options={"bootstrap_timeout_ms": 500})
    with pytest.raises(ServiceError, match=r"127.0.0.1:1.*Next: check that the broker runs") as e:
        KafkaFeed(nowhere)
    assert e.value.retriable


def test_a_broker_that_goes_down_is_waited_for_and_nothing_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedBroker() as own:
        own.create_topic("t", 1)
        send(own, "t", 0, [b"%d" % i for i in range(5)])
        with closing(KafkaFeed(source(own, "t", discover_every_s=0.05))) as feed:
            feed.seek(0, 0)
            first = read(feed, 5)
            own._process.terminate()
            own._process.wait()
            until(lambda: feed.poll(0.1) == [] and feed._down_since is not None)
            with pytest.raises(ServiceError):
                feed.seek(0, 2)
            with EmbeddedBroker(own.data, port=own.port):
                send(own, "t", 0, [b"%d" % i for i in range(5, 9)])
                later = read(feed, 4)
                until(lambda: feed.poll(0.1) == [] and feed._down_since is None)
    assert [r.value for r in first + later] == [b"%d" % i for i in range(9)]


@pytest.mark.parametrize("options", [
    {"enable_auto_commit": True}, {"auto_offset_reset": "earliest"}, {"isolation_level": "read_uncommitted"},
    {"bootstrap_servers": "x"}, {"group_id": "x"}, {"value_deserializer": "x"}, {"fetch_min_byte": 1},
])
def test_unsafe_and_unknown_options_are_refused_with_their_line(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"source\.options\.{next(iter(options))}"):
        check_options(Source(options=options))


def test_safe_options_are_taken(broker: EmbeddedBroker) -> None:
    broker.create_topic("safe", 1)
    options = {"enable_auto_commit": False, "max_poll_records": 7, "client_id": "mine"}
    with closing(KafkaFeed(source(broker, "safe", options=options))) as feed:
        assert feed._consumer.config["max_poll_records"] == 7
        assert feed._consumer.config["auto_offset_reset"] == "none"


def test_wrong_connection_settings_are_configuration_errors(broker: EmbeddedBroker) -> None:
    for options in ({"security_protocol": "SSL", "ssl_cafile": "/no/such/file"}, {"security_protocol": "NONE"}):
        with pytest.raises(ConfigError):
            KafkaFeed(source(broker, "t", options=options))


@pytest.mark.parametrize(("error", "kind"), [
    (OffsetOutOfRangeError({}), PositionError), (TopicAuthorizationFailedError("t"), ConfigError),
])
def test_errors_of_a_poll_that_somebody_must_act_on(broker: EmbeddedBroker, error: Exception, kind: type) -> None:
    broker.create_topic("errors", 1)
    with closing(KafkaFeed(source(broker, "errors"))) as feed:
        feed._consumer = _Raising(feed._consumer, error)
        with pytest.raises(kind):
            feed.poll(0.1)


def test_passing_errors_of_a_poll_are_waited_out(broker: EmbeddedBroker) -> None:
    broker.create_topic("errors", 1)
    with closing(KafkaFeed(source(broker, "errors"))) as feed:
        feed._consumer = _Raising(feed._consumer, KafkaTimeoutError("late"))
        assert feed.poll(0.01) == []


class _Raising:
    def __init__(self, consumer: object, error: Exception) -> None:
        self._consumer, self._error = consumer, error

    def poll(self, **_: object) -> None:
        raise self._error

    def close(self, **_: object) -> None:
        self._consumer.close()  # type: ignore[attr-defined]


def test_offsets_are_reported_for_lag_only(broker: EmbeddedBroker) -> None:
    broker.create_topic("lag", 1)
    send(broker, "lag", 0, [b"x"] * 10)
    with closing(KafkaFeed(source(broker, "lag", group="g"))) as feed:
        feed.seek(0, 0)
        read(feed, 10)
        assert feed.lag() == {0: 0}
        feed.report(0, 6)
        assert feed.lag() == {0: 4}
        checker = KafkaConsumer(bootstrap_servers=broker.bootstrap, group_id="g")
        until(lambda: feed.poll(0.05) == [] and checker.committed(TopicPartition("lag", 0)) == 6)
        checker.close()
    with closing(KafkaFeed(source(broker, "lag", group="g"))) as feed:
        assert feed.begin(0) == 0  # a committed offset is no position


def test_an_aborted_report_is_ignored() -> None:
    with EmbeddedBroker() as own:
        own.create_topic("t", 1)
        with closing(KafkaFeed(source(own, "t"))) as feed:
            feed.seek(0, 0)
            own._process.kill()
            own._process.wait()
            feed.report(0, 3)
            assert feed.poll(0.2) == []
