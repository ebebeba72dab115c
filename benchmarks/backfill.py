"""Reads archives into Parquet with the embedded memory, and prints the figures; no Kafka, no Redis.

    python -m benchmarks.backfill --domain medical abstracts.jsonl
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import measure
from tests.integration import checks
from tests.integration.services import ROOT


def fill(config: Path, inputs: Sequence[str]) -> Path:
    """Backfills `inputs`, prints what was measured, and returns the tables' folder (tables, beside `config`)."""
    tables = config.parent / "tables"
    measured = measure.run(["backfill", str(config), *inputs], tables)
    read = [pq.ParquetFile(path).read(columns=["characters", "characters_read"])
            for path in checks.files(tables, "documents")]
    documents = sum(table.num_rows for table in read)
    characters = sum(pc.sum(table["characters"]).as_py() or 0 for table in read)
    assert characters == sum(pc.sum(table["characters_read"]).as_py() or 0 for table in read), "characters were lost"
    counts = {
        name: sum(pq.ParquetFile(path).metadata.num_rows for path in checks.files(tables, name))
        for name in ("dead_letters", "entities", "relations", "events")
    }
    measure.say("backfill", measured, measure.rates(measured, documents, characters)
                | {"documents": documents, "characters": characters} | counts)
    return tables


def replayed(title: str, config: Path, out: Path, tables: Path) -> bool:
    """Whether reading every batch again with its recorded view gives the same bytes; prints both hashes."""
    measure.command("replay", str(config), "--recorded", "--out", str(out), "--set", "source.shards=1", "--json")
    first, second = checks.hashes(tables), checks.hashes(out)
    measure.say(f"{title}: replay with recorded views", None, {
        "files": len(first), "sha256": checks.one_hash(first), "sha256_again": checks.one_hash(second),
        "same_bytes": first == second,
    })
    return first == second


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", help="archives, as engram backfill takes them")
    parser.add_argument("--domain", default="medical")
    parser.add_argument("--keep", action="store_true", help="leave the work folder")
    arguments = parser.parse_args()
    folder = ROOT / "runs" / "bench" / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    config = folder / "config.yaml"
    config.write_text(f"domain: {arguments.domain}\ntables: {{root: {folder / 'tables'}, segment: 100}}\n")
    measure.say("machine", None, measure.machine())
    try:
        tables = fill(config, arguments.inputs)
        return 0 if replayed("backfill", config, folder / "again", tables) else 1
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
