"""What every source promises: contiguous records of the partitions one shard owns, from any position.

A *position* is an offset of the next record; offsets grow and may have holes, so every record carries the position
just before it (`RawRecord.before`).  The commit log decides where reading goes on; a feed only obeys :meth:`seek`.
"""

from __future__ import annotations

from typing import Protocol

from kie_ops.errors import EngramError
from kie_ops.records import RawRecord


class Feed(Protocol):
    """Records of the partitions p with p mod K = k.

    Not promised: any order between partitions, or that a record is delivered only once (after a seek it comes again).
    Promised: within a partition, from the position of the last :meth:`seek` on, no record is left out.
    """

    def partitions(self) -> dict[int, str]:
        """Stream id by partition; may grow from call to call.  Raises ServiceError."""
        ...

    def begin(self, partition: int) -> int:
        """The first position to read, where the partition's log is still empty.  Raises ServiceError."""
        ...

    def seek(self, partition: int, position: int) -> None:
        """The next record polled of the partition is the first at or after `position`.

        Raises PositionError where the source cannot supply it, ServiceError where it does not answer.
        """
        ...

    def poll(self, timeout_s: float) -> list[RawRecord]:
        """Some next records of partitions that were sought; empty after `timeout_s` without any."""
        ...

    def exhausted(self) -> bool:
        """Whether no record can come any more: an archive read to its end; a topic never."""
        ...

    def report(self, partition: int, position: int) -> None:
        """Tells the source how far documents are committed, for lag only.  Never raises."""
        ...

    def lag(self) -> dict[int, int]:
        """Records behind the source's end by partition, as far as known without asking."""
        ...

    def problems(self) -> list[EngramError]:
        """What could not be read to its end (a truncated file), once everything else was."""
        ...

    def close(self) -> None:
        """Lets connections and files go.  Never raises."""
        ...
