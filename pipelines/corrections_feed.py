"""Corrections from a Kafka topic: JSON values as pipelines.corrections and pipelines.reviews describe them.

Each operation remembers the record it came from, so reading goes on behind the last one that was committed; records
whose operations changed nothing may be read again, which changes nothing.  A record that cannot be used becomes a dead
letter of the chain ``corrections/0`` and stops nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from kie_ops.domain import Domain
from kie_ops.errors import EngramError, InputError, PositionError
from kie_ops.records import DeadLetter, RawRecord
from pipelines import logs, reviews
from pipelines.config import Config
from pipelines.corrections import validate
from pipelines.feed import Feed
from pipelines.ledger import Ledger, operation
from pipelines.operations import Op, Operation, Outcome, Status

if TYPE_CHECKING:
    from kie_ops.extractor import Extractor

MAX_BYTES = 1_000_000
FROM = "from"


class CorrectionsFeed:
    """Tails one feed into one ledger.  Not safe among threads: one for each process that tails.

    Reviews of whole documents are read with `extractor`; without one they are refused.
    """

    def __init__(self, feed: Feed, ledger: Ledger, domain: Domain, extractor: Extractor | None = None) -> None:
        self.feed, self.ledger, self.domain, self.extractor = feed, ledger, domain, extractor
        self._held: list[RawRecord] = []
        self._sought: set[int] = set()
        self._seek()

    def step(self, timeout_s: float) -> list[Outcome]:
        """Takes in what has arrived (waiting at most `timeout_s`); in force when this returns.

        Raises ServiceError where log or memory do not answer: nothing is lost, call it again.
        """
        self._seek()
        self._held += self.feed.poll(timeout_s)
        if not self._held:
            return []
        outcomes = self.ledger.apply([self._operation(record) for record in self._held])
        conflicts = [
            (record, InputError("this id stands for another correction", where=outcome.id))
            for record, outcome in zip(self._held, outcomes, strict=True) if outcome.status is Status.CONFLICT
        ]
        if conflicts:
            self.ledger.apply([_refused(record, error, "conflict") for record, error in conflicts])
        for record in self._held:
            self.feed.report(record.place.partition, record.place.offset + 1)
        self._held = []
        return outcomes

    def close(self) -> None:
        self.feed.close()

    def _operation(self, record: RawRecord) -> Operation:
        try:
            made = self._made(_json(record))
        except InputError as e:
            return _refused(record, e, "bad_correction")
        return replace(made, meta={**made.meta, FROM: str(record.place)})

    def _made(self, data: object) -> Operation:
        if not isinstance(data, Mapping) or data.get("op") != reviews.KIND:
            return operation(self.domain, validate(data))
        if self.extractor is None:
            raise InputError("reviews of documents need a model", next_step="send them to a worker's topic")
        return reviews.operation(self.extractor, reviews.validate(data, self.domain))

    def _seek(self) -> None:
        """New partitions too: each behind the last record that was taken in."""
        fresh = {p: stream for p, stream in self.feed.partitions().items() if p not in self._sought}
        if not fresh:
            return
        reached: dict[str, int] = {}
        for entry in self.ledger.corrections.entries():
            chain, _, offset = str(entry.meta.get(FROM, "")).rpartition("/")
            if chain:
                reached[chain] = max(reached.get(chain, 0), int(offset) + 1)
        for partition, stream in sorted(fresh.items()):
            begin = self.feed.begin(partition)
            try:
                self.feed.seek(partition, reached.get(f"{stream}/{partition}", begin))
            except PositionError as e:
                logs.get().warning("corrections were deleted from their topic before they were read", error=str(e))
                self.feed.seek(partition, begin)
            self._sought.add(partition)


def open_corrections(
    config: Config, ledger: Ledger, domain: Domain, extractor: Extractor | None = None
) -> CorrectionsFeed | None:
    """The feed of `memory.corrections_topic`; None where none is set.  Raises ConfigError, ServiceError."""
    if config.memory.corrections_topic is None:
        return None
    from pipelines.kafka_feed import KafkaFeed

    source = config.source.model_copy(update={
        "topic": config.memory.corrections_topic, "start": "earliest", "group": f"{config.source.group}-corrections",
    })
    return CorrectionsFeed(KafkaFeed(source), ledger, domain, extractor)


def _json(record: RawRecord) -> object:
    value = record.value
    if value is None:
        raise InputError("the record has no value")
    if len(value) > MAX_BYTES:
        raise InputError(f"{len(value)} bytes are no correction")
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise InputError("not JSON in UTF-8") from None


def _refused(record: RawRecord, error: EngramError, reason: str) -> Operation:
    place = record.place
    letter = DeadLetter(
        place, reason, type(error).__name__, str(error), False, record.value or b"", record.key, record.headers,
        record.timestamp,
    )
    logs.get().warning("a correction cannot be used", place=str(place), reason=reason, error=error.what)
    return Operation(Op.NOTE, f"refused:{place}", (), {FROM: str(place), "reason": reason}, letter=letter)
