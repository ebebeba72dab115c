"""All rows of a table, wherever they lie: in the log, or where that was trimmed in Parquet."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import segments
from pipelines.commit_log import Log, chains
from pipelines.storage import Storage


def whole_table(storage: Storage, name: str) -> Iterator[pa.Table]:
    """Every row of the table `name` at least once (twice where it is trimmed meanwhile), the log's first.

    Rows of trimmed segments are without the column `domain`, as in their files.  Of `transactions` only those of
    trimmed segments: the others are the log.
    """
    floors: dict[tuple[str, int], int] = {}
    for stream, partition in chains(storage):
        log = Log(storage, stream, partition)
        for transaction in log.transactions():
            yield transaction.rows(name)
        floors[stream, partition] = log.floor()     # looked up last: what is not in the log any more lies below
    for path in files(storage, name):
        table = segments.from_parquet(storage.read(path), name)
        if len(table):
            floor = floors.get((table["stream"][0].as_py(), table["partition"][0].as_py()), 0)
            yield table.filter(pc.less(table["from" if name == "transactions" else "offset"], floor))


def files(storage: Storage, folder: str = "") -> Iterator[str]:
    """Paths of the Parquet files below `folder`, sorted; of all tables by default."""
    for name in storage.names(folder):
        path = f"{folder}/{name}" if folder else name
        if name.startswith(("_", ".")):
            continue
        if name.endswith(".parquet"):
            yield path
        else:
            yield from files(storage, path)
