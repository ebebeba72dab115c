"""The way of a document: read, tokenise, batch, extract with memory, write.

Kafka and archives build the same graph; only the feed differs.  An element is a contiguous batch of one partition, or
a tick, the clock of publishing.  The steps run in the process that reads, one batch after the other; what they keep
(model, connections, positions) is the process's :class:`pipelines.job.Serving`, not Beam's.
"""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
from apache_beam.io.unbounded_source import ReadFromUnboundedSource
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner

from pipelines.beam_source import BatchSource
from pipelines.job import Job, serving
from pipelines.parse import parse_batch
from pipelines.parsed import Parsed
from pipelines.shard import Batch, Tick


def build(
    job: Job, runner: PipelineRunner | str, options: PipelineOptions, *, round_s: float = float("inf"),
    bundle_s: float = 3.0, k: int | None = None,
) -> beam.Pipeline:
    """The graph of all shards, or of shard `k`; it ends after `round_s`.  bundle_s: seconds a bundle at most."""
    pipeline = beam.Pipeline(runner=runner, options=options)
    (
        pipeline
        | "Read" >> ReadFromUnboundedSource(
            BatchSource(job, round_s, k), poll_interval=0.1, max_read_time_seconds=bundle_s,
            max_records_per_bundle=2**31,
        )
        | "Parse" >> beam.ParDo(Parse(job))
        | "ExtractWithMemory" >> beam.ParDo(ExtractWithMemory(job))
        | "Write" >> beam.ParDo(Write(job))
    )
    return pipeline


class Step(beam.DoFn):
    def __init__(self, job: Job) -> None:
        self.job = job


class Parse(Step):
    """Raw records become documents, or dead letters that keep them whole."""

    def process(self, element: Batch | Tick) -> Iterator[Parsed | Tick]:
        if isinstance(element, Tick):
            yield element
            return
        config = self.job.config
        yield parse_batch(element, config.source.format, config.domain_name)


class ExtractWithMemory(Step):
    """Steps 3 to 5: tokenise, read with memory, commit, apply.  At a segment's end publishing is due."""

    def process(self, element: Parsed | Tick) -> Iterator[Tick]:
        if isinstance(element, Tick):
            yield element
            return
        here = serving(self.job, element.batch.shard)
        here.attempt(lambda: here.worker.process(element))
        if element.batch.end % self.job.config.tables.segment == 0:
            yield Tick(element.batch.shard)


class Write(Step):
    """Steps 6 and 7: Parquet segments from the log, trimmed when closed."""

    def process(self, element: Tick) -> None:
        here = serving(self.job, element.shard)
        here.attempt(here.worker.publish, again=True)
