"""Where dead letters are put back: a Kafka topic, or a new archive for a backfill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import fsspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from kie_ops.errors import EngramError, InputError, ServiceError
from kie_ops.records import Place, RawRecord
from pipelines import archive
from pipelines.config import Source
from pipelines.dead_letter_replay import HEADER, Letter
from pipelines.kafka_feed import KafkaFeed

AT_ONCE = 100
PATIENCE_S = 60.0
LARGEST = 2**30


class TopicTarget:
    """The topic of `source`; partitions are kept where the topic has them."""

    at_once = AT_ONCE

    def __init__(self, source: Source) -> None:
        self._source = source
        self._feed = KafkaFeed(source.model_copy(update={"start": "earliest"}))
        (stream,) = set(self._feed.partitions().values())
        self.name = f"topic {source.topic} ({stream})"
        known = KafkaProducer.DEFAULT_CONFIG
        options = {name: value for name, value in source.options.items() if name in known}
        try:
            self._producer = KafkaProducer(**{
                **options, "bootstrap_servers": source.bootstrap.split(","), "acks": "all",
                "max_request_size": LARGEST,
            })
        except KafkaError as e:
            self._feed.close()
            raise ServiceError(f"Kafka does not answer: {e}", where=source.bootstrap, next_step="try again") from None

    def ends(self) -> dict[int, int]:
        return self._feed.ends()

    def found(self, since: Mapping[int, int]) -> set[str]:
        names: set[str] = set()
        ends = self._feed.ends()
        for partition in ends:
            self._feed.seek(partition, max(since.get(partition, 0), self._feed.begin(partition)))
        waited = 0.0
        while any(self._feed.position(partition) < end for partition, end in ends.items()):
            records = self._feed.poll(0.5)
            waited = 0.0 if records else waited + 0.5
            if waited >= PATIENCE_S:
                raise ServiceError("nothing came though the topic has more", where=self.name, next_step="try again")
            names.update(_named(records))
        return names

    def put(self, letters: Sequence[Letter]) -> None:
        partitions = self._feed.partitions()
        try:
            sent = [self._send(letter, letter.record.place.partition in partitions) for letter in letters]
            self._producer.flush(timeout=PATIENCE_S)
            for future in sent:
                future.get(timeout=PATIENCE_S)
        except MessageSizeTooLargeError:
            largest = max(letters, key=lambda letter: len(letter.record.value or b""))
            raise InputError("the broker refuses a record of this size", where=largest.name,
                             next_step="raise max.message.bytes of the topic, or use --out") from None
        except KafkaError as e:
            raise ServiceError(f"Kafka did not take all dead letters: {e}", where=self.name,
                               next_step="run it again: it goes on where it was") from None

    def _send(self, letter: Letter, same_partition: bool) -> Any:
        """The client knows no header without a value (readers pass over them), no record without both."""
        record = letter.record
        return self._producer.send(
            self._source.topic, record.value, key=b"" if record.value is None and record.key is None else record.key,
            headers=[(name, value) for name, value in letter.headers if value is not None],
            partition=record.place.partition if same_partition else None, timestamp_ms=record.timestamp,
        )

    def close(self) -> None:
        self._producer.close(timeout=1)
        self._feed.close()


class ArchiveTarget:
    """A new archive at a folder or URL, whose records are a stream of their own."""

    at_once = 2**31

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = f"archive {url}"

    def ends(self) -> dict[int, int]:
        return {}

    def found(self, since: Mapping[int, int]) -> set[str]:
        fs, folder = fsspec.core.url_to_fs(self._url)
        if not fs.exists(f"{folder}/{archive.MANIFEST}"):
            return set()                                # written last: nothing counts yet
        whole = archive.Archive.open(self._url)
        return _named(record for part in whole.partitions for record in whole.records(part.partition, part.start))

    def put(self, letters: Sequence[Letter]) -> None:
        archive.export(_Letters(letters), "dead letters", self._url)

    def close(self) -> None:
        """Nothing is open."""


class _Letters:
    """Letters as a feed: one partition, offsets from 0, a stream named after its letters."""

    def __init__(self, letters: Sequence[Letter]) -> None:
        names = hashlib.sha256(json.dumps([letter.name for letter in letters]).encode()).hexdigest()[:32]
        self._stream = f"dead-letters-{names}"
        self._records = [
            RawRecord(Place(self._stream, 0, n), n, each.record.value, each.record.key, each.headers,
                      each.record.timestamp)
            for n, each in enumerate(letters)
        ]
        self._at = 0

    def partitions(self) -> dict[int, str]:
        return {0: self._stream}

    def begin(self, partition: int) -> int:
        return 0

    def ends(self) -> dict[int, int]:
        return {0: len(self._records)}

    def position(self, partition: int) -> int:
        return self._at

    def seek(self, partition: int, position: int) -> None:
        self._at = position

    def poll(self, timeout_s: float) -> list[RawRecord]:
        given = self._records[self._at : self._at + AT_ONCE]
        self._at += len(given)
        return given

    def exhausted(self) -> bool:
        return self._at >= len(self._records)

    def report(self, partition: int, position: int) -> None:
        """Nobody asks."""

    def lag(self) -> dict[int, int]:
        return {}

    def problems(self) -> list[EngramError]:
        return []

    def close(self) -> None:
        """Nothing is open."""


def _named(records: Any) -> set[str]:
    """Places in the headers of records that were put back."""
    return {value.decode() for record in records for name, value in record.headers if name == HEADER and value}
