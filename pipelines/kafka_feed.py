"""A Kafka topic as a feed: one consumer over the partitions p with p mod K = k, assigned by hand.

The commit log is the position, so nothing here depends on committed offsets: they are reported for lag only.  The
stream's identity is the topic's UUID, so that a topic made anew is a new stream; a broker that cannot tell it (before
2.8, or the embedded one) gives ``topic-NAME`` instead, under which a topic made anew is not noticed.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import (
    KafkaConfigurationError,
    KafkaError,
    LogTruncationError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    UnsupportedVersionError,
)
from kafka.structs import OffsetAndMetadata

from kie_ops.errors import ConfigError, EngramError, PositionError, ServiceError
from kie_ops.records import Place, RawRecord
from pipelines import logs
from pipelines.config import Source

ASK_MS = 5_000
"""How long a question about topic or offsets may take: less than would hold up publishing for long."""
DOWN_RETRY_S = 2.0
FETCH: dict[str, Any] = {
    # A broker gives at least one record however large (KIP-74), so these bound memory, not what can be read.
    "fetch_min_bytes": 65_536, "fetch_max_wait_ms": 200, "max_poll_records": 1_000,
    "max_partition_fetch_bytes": 4 * 2**20, "fetch_max_bytes": 64 * 2**20, "receive_message_max_bytes": 2**30,
    "reconnect_backoff_max_ms": 5_000, "bootstrap_timeout_ms": 15_000,
}
REFUSED: dict[str, str] = {
    "enable_auto_commit": "positions come from the commit log; committing ahead of it would hide documents",
    "auto_offset_reset": "a position that is missing must stop the run, not jump; set source.start for the first one",
    "isolation_level": "records of aborted transactions are no documents: read_committed is fixed",
    "bootstrap_servers": "set source.bootstrap",
    "group_id": "set source.group",
    "key_deserializer": "keys are kept as bytes",
    "value_deserializer": "values are kept as bytes: set source.format",
    "allow_auto_create_topics": "a misspelt topic must not be created",
}
SAFE = {"enable_auto_commit": False, "auto_offset_reset": "none", "isolation_level": "read_committed",
        "allow_auto_create_topics": False}
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_WRONG = (KafkaConfigurationError, SaslAuthenticationFailedError, TopicAuthorizationFailedError,
          UnsupportedVersionError)


def check_options(source: Source) -> None:
    """Raises ConfigError naming the line of `source.options` that is unsafe or unknown."""
    for name, value in source.options.items():
        where = f"source.options.{name}"
        if name in REFUSED and SAFE.get(name, object()) != value:
            raise ConfigError(f"{name} = {value!r} is refused: {REFUSED[name]}", where=where,
                              next_step="delete this line")
        if name not in KafkaConsumer.DEFAULT_CONFIG:
            raise ConfigError("kafka-python knows no such consumer setting", where=where,
                              next_step="see the settings of kafka.KafkaConsumer")
        if name.startswith("ssl_") and name.endswith("file") and value and not Path(value).is_file():
            raise ConfigError(f"no such file: {value}", where=where, next_step="check the path")
        if name == "security_protocol" and value not in PROTOCOLS:
            raise ConfigError(f"no such protocol: {value}", where=where, next_step=f"one of {', '.join(PROTOCOLS)}")


def admin(source: Source) -> KafkaAdminClient:
    """A client for questions about topics, with the connection settings of `source`.  Raises as the feed does."""
    known = KafkaAdminClient.DEFAULT_CONFIG
    options = {n: v for n, v in (FETCH | source.options).items() if n in known}
    return _open(KafkaAdminClient, source, options | {"request_timeout_ms": ASK_MS})


def identity(topic: str, topic_id: uuid.UUID | None) -> str:
    return str(topic_id) if topic_id else f"topic-{topic}"


class KafkaFeed:
    """The feed (:class:`pipelines.feed.Feed`) of shard `k` of `K`.  Not thread safe.

    Raises ConfigError for unsafe settings and refused credentials, ServiceError where broker or topic are not there.
    """

    def __init__(self, source: Source, shard: int = 0, shards: int = 1) -> None:
        check_options(source)
        self._source, self._shard, self._shards = source, shard, shards
        self._where = f"{source.bootstrap}, topic {source.topic}"
        self._admin = admin(source)
        self._consumer = _open(KafkaConsumer, source, FETCH | dict(source.options) | SAFE | {"group_id": source.group})
        self._next: dict[int, int] = {}
        self._reported: dict[int, int] = {}
        self._down_since: float | None = None
        self._stream, self._partitions = self._describe()
        self._discover_at = time.monotonic() + source.discover_every_s

    # -- partitions -------------------------------------------------------------------------------------------------

    def partitions(self) -> dict[int, str]:
        return dict.fromkeys((p for p in self._partitions if p % self._shards == self._shard), self._stream)

    def _describe(self) -> tuple[str, tuple[int, ...]]:
        try:
            (topic,) = self._admin.describe_topics([self._source.topic])
        except KafkaError as e:
            raise self._explained(e) from None
        if topic["error_code"] == 29:  # TOPIC_AUTHORIZATION_FAILED
            raise self._explained(TopicAuthorizationFailedError(self._source.topic))
        if not topic["partitions"]:
            raise ServiceError("no such topic", where=self._where, next_step="create it, or mend source.topic")
        numbers = tuple(sorted(p["partition_index"] for p in topic["partitions"]))
        return identity(self._source.topic, topic.get("topic_id")), numbers

    def _discover(self) -> None:
        """Looks for new partitions when due; a broker that is away is waited for, with a warning a while."""
        now = time.monotonic()
        if now < self._discover_at:
            return
        self._discover_at = now + self._source.discover_every_s
        try:
            stream, numbers = self._describe()
        except ServiceError as e:
            self._discover_at = min(self._discover_at, now + DOWN_RETRY_S)
            self._down_since = self._down_since or now
            logs.get().warning("waiting for kafka", error=str(e), seconds=round(now - self._down_since))
            return
        if self._down_since is not None:
            logs.get().info("kafka is back", where=self._where, seconds=round(now - self._down_since))
            self._down_since = None
        if stream != self._stream:
            raise PositionError("the topic was made anew while it was read", where=self._where,
                                next_step="start again: it is read as a new stream, from source.start")
        if numbers != self._partitions:
            logs.get().info("partitions found", where=self._where, partitions=len(numbers))
        self._partitions = numbers

    # -- positions --------------------------------------------------------------------------------------------------

    def begin(self, partition: int) -> int:
        start = self._source.start
        if start == "earliest":
            return self._offsets(self._consumer.beginning_offsets, partition)
        if start == "latest":
            return self._offsets(self._consumer.end_offsets, partition)
        return start

    def seek(self, partition: int, position: int) -> None:
        tp = self._tp(partition)
        first = self._offsets(self._consumer.beginning_offsets, partition)
        last = self._offsets(self._consumer.end_offsets, partition)
        if position < first:
            raise PositionError(
                f"reading must go on at {position}, the topic begins at {first}: retention has passed it",
                where=f"{self._where}, partition {partition}",
                next_step="backfill the missing range from an archive (engram archive keeps one), or, where nothing "
                "was read yet, set source.start to earliest",
            )
        if position > last:
            raise PositionError(
                f"reading must go on at {position}, the topic ends at {last}: it was truncated or made anew",
                where=f"{self._where}, partition {partition}",
                next_step="give the new topic a new name or new tables",
            )
        if tp not in self._consumer.assignment():
            self._consumer.assign([*self._consumer.assignment(), tp])
            for number, at in self._next.items():  # assigning anew forgets where the others stood
                self._consumer.seek(self._tp(number), at)
        self._consumer.seek(tp, position)
        self._next[partition] = position

    def position(self, partition: int) -> int:
        """Where reading stands; holes after the last record are behind it as soon as the broker has shown them."""
        at: int | None = self._consumer.position(self._tp(partition), timeout_ms=ASK_MS)
        return max(at or 0, self._next[partition])

    def ends(self) -> dict[int, int]:
        """Position after the last record that can be read now, by partition."""
        return {p: self._offsets(self._consumer.end_offsets, p) for p in self.partitions()}

    def _offsets(self, ask: Any, partition: int) -> int:
        tp = self._tp(partition)
        try:
            return int(ask([tp], timeout_ms=ASK_MS)[tp])
        except KafkaError as e:
            raise self._explained(e) from None

    def _tp(self, partition: int) -> TopicPartition:
        return TopicPartition(self._source.topic, partition)

    # -- records ----------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> list[RawRecord]:
        """A broker that is away gives nothing and a warning: the client reconnects by itself."""
        self._discover()
        try:
            fetched = self._consumer.poll(timeout_ms=max(1, int(timeout_s * 1000)))
        except KafkaError as e:
            error = self._explained(e)
            if not error.retriable:
                raise error from None
            logs.get().warning("kafka poll failed", error=str(error))
            time.sleep(min(timeout_s, DOWN_RETRY_S))
            return []
        return [record for tp, some in fetched.items() for record in self._records(tp.partition, some)]

    def _records(self, partition: int, fetched: Iterable[Any]) -> Iterable[RawRecord]:
        for r in fetched:
            before = self._next[partition]
            if r.offset < before:  # a broker may begin earlier than asked
                continue
            self._next[partition] = r.offset + 1
            yield RawRecord(
                place=Place(self._stream, partition, r.offset), before=before, value=r.value, key=r.key,
                headers=tuple((str(name), value) for name, value in r.headers),
                timestamp=r.timestamp if r.timestamp is not None and r.timestamp >= 0 else None,
            )

    def exhausted(self) -> bool:
        return False

    # -- lag --------------------------------------------------------------------------------------------------------

    def report(self, partition: int, position: int) -> None:
        if self._reported.get(partition) == position:
            return
        self._reported[partition] = position
        try:
            offsets = {self._tp(partition): OffsetAndMetadata(position, "", -1)}
            self._consumer.commit_async(offsets, callback=_note_commit)
        except KafkaError as e:
            _note_commit({}, e)

    def lag(self) -> dict[int, int]:
        lags = {}
        for partition, at in self._next.items():
            end = self._consumer.highwater(self._tp(partition))
            if end is not None:
                lags[partition] = max(0, end - self._reported.get(partition, at))
        return lags

    def problems(self) -> list[EngramError]:
        return []

    def close(self) -> None:
        for client in (self._consumer, self._admin):
            try:
                client.close(timeout_ms=1_000) if client is self._consumer else client.close()
            except KafkaError as e:
                logs.get().debug("closing a kafka client failed", error=e)

    def _explained(self, e: KafkaError) -> EngramError:
        return _explain(e, self._where)


def _open(client: Any, source: Source, options: dict[str, Any]) -> Any:
    where = f"source.bootstrap = {source.bootstrap}"
    if not logging.getLogger().isEnabledFor(logging.DEBUG):  # the library repeats at ERROR what is said here once
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        return client(bootstrap_servers=source.bootstrap.split(","), **options)
    except KafkaError as e:
        raise _explain(e, where) from None
    except (OSError, ValueError, TypeError, AssertionError) as e:  # certificates, host names, kinds of values
        raise ConfigError(f"Kafka client: {e}", where="source", next_step="check bootstrap and options") from None


def _explain(e: KafkaError, where: str) -> EngramError:
    if isinstance(e, OffsetOutOfRangeError | LogTruncationError):
        return PositionError(f"the topic no longer has the position to read on: {e}", where=where,
                             next_step="backfill the missing range from an archive of the topic")
    if isinstance(e, _WRONG):
        return ConfigError(f"Kafka refuses: {e}", where=where, next_step="check credentials, rights and source.options")
    return ServiceError(f"Kafka does not answer: {e}", where=where,
                        next_step="check that the broker runs and source.bootstrap reaches it")


def _note_commit(_: Any, result: Any) -> None:
    if isinstance(result, Exception):
        logs.get().info("offsets for lag were not reported", error=result)
