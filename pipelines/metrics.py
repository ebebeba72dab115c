"""What a process counts while it works, for Prometheus and for the progress line.

One registry of our own, :data:`METRICS`, a process.  Names follow Prometheus' conventions (base units, ``_total``
for counters); docs/operations.md lists them.  Nothing here holds document text: labels are partitions, stages,
reasons and entity types.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, start_http_server

from kie_ops.errors import ConfigError
from kie_ops.records import Reading

STAGE_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of the progress line, at one moment."""

    documents: int
    dead_letters: int
    characters: int
    lag: int
    memory_cells: int
    resident_bytes: int


class Metrics:
    """Counters, gauges and histograms of one process.

    ``METRICS.dead_letters.labels(reason).inc()``, ``METRICS.lag.labels(chain).set(12)``,
    ``with METRICS.stage_seconds.labels("read").time(): ...``.
    """

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.documents = Counter("engram_documents", "documents committed", registry=own)
        self.characters = Counter("engram_characters", "characters of committed documents", registry=own)
        self.batches = Counter("engram_batches", "batches committed", registry=own)
        self.discarded = Counter("engram_batches_discarded", "batches read in vain, another was first", registry=own)
        self.relations = Counter("engram_relations", "relations read", registry=own)
        self.events = Counter("engram_events", "events read", registry=own)
        self.memory_cells = Gauge("engram_memory_cells", "cells in memory", registry=own)
        self.soft_weight = Summary("engram_soft_weight", "w_s of the mentions read: mean = sum / count", registry=own)
        self.resident = Gauge("engram_resident_memory_bytes", "resident memory of this process", registry=own)
        self.resident.set_function(_resident)
        self.dead_letters = Counter("engram_dead_letters", "records that are no documents", ["reason"], registry=own)
        self.entities = Counter("engram_entities", "mentions read", ["label"], registry=own)
        self.stage_seconds = Histogram(
            "engram_stage_seconds", "seconds a batch spent in a stage", ["stage"], buckets=STAGE_SECONDS,
            registry=own)
        self.lag = Gauge("engram_lag_documents", "records behind the partition's end", ["partition"], registry=own)
        self.position = Gauge("engram_position", "end of the partition's log", ["partition"], registry=own)
        about = ["signal", "domain", "label"]
        self.window = Gauge("engram_window", "level of a signal over the last documents", about, registry=own)
        self.drift = Gauge("engram_drift", "how far a signal is from its reference; 1: worth a look", about,
                           registry=own)

    def read(self, readings: Iterable[Reading]) -> None:
        """Counts what stands in `readings`: mentions by label with their soft weights, relations, events."""
        for reading in readings:
            for mention in reading.mentions:
                self.entities.labels(mention.label).inc()
                self.soft_weight.observe(mention.soft_weight)
            self.relations.inc(len(reading.relations))
            self.events.inc(len(reading.events))

    def snapshot(self) -> Snapshot:
        return Snapshot(
            documents=self._sum("engram_documents_total"),
            dead_letters=self._sum("engram_dead_letters_total"),
            characters=self._sum("engram_characters_total"),
            lag=self._sum("engram_lag_documents"),
            memory_cells=self._sum("engram_memory_cells"),
            resident_bytes=int(_resident()),
        )

    def _sum(self, sample: str) -> int:
        families = self.registry.restricted_registry([sample]).collect()
        return int(sum(s.value for family in families for s in family.samples if s.name == sample))


def _resident() -> float:
    return float(psutil.Process().memory_info().rss)


METRICS = Metrics()


def serve(port: int, *, shard: int = 0) -> int:
    """Serves :data:`METRICS` at ``http://0.0.0.0:(port + shard)/metrics`` from a daemon thread; returns the port.

    Each shard is a process of its own, so shard k listens k ports higher.  Raises ConfigError where it is taken.
    """
    port += shard
    try:
        start_http_server(port, registry=METRICS.registry)
    except (OSError, OverflowError) as e:
        raise ConfigError(
            f"cannot serve metrics: {e}", where=f"run.metrics_port = {port}",
            next_step="choose a free port, or null for no endpoint",
        ) from None
    return port
