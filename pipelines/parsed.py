"""A batch whose records were read as documents."""

from __future__ import annotations

from dataclasses import dataclass

from kie_ops.records import DeadLetter, Document
from pipelines.shard import Batch


@dataclass(frozen=True, slots=True)
class Parsed:
    """Documents and dead letters, together all records of the batch."""

    batch: Batch
    documents: tuple[Document, ...]
    dead_letters: tuple[DeadLetter, ...]
