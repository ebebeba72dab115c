"""Streams documents through real Kafka and real Redis into Parquet, checks every row, and prints the figures.

    python -m benchmarks.stream --domain medical --partitions 4 --backfill abstracts.jsonl

Starts its own broker and its own redis-server in a new folder under runs/bench.  Every line printed is JSON.  What
was read is replayed with its recorded views, and with --backfill the topic is archived and read again from there: the
hashes of all tables but `transactions` are printed side by side.  With --only-backfill the topic is archived as it was
sent, and read from there alone.  Exit code 1 where anything is not as promised.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from benchmarks import backfill, measure
from benchmarks.inputs import records
from tests.integration import checks
from tests.integration.harness import send
from tests.integration.services import ROOT, Kafka, Redis, missing

TOPIC = "documents"


def main() -> int:
    arguments = _arguments()
    if lacks := missing():
        raise SystemExit(f"this machine lacks {'; '.join(lacks)}")
    folder = (arguments.folder or ROOT / "runs" / "bench" / time.strftime("%Y%m%d-%H%M%S")).resolve()
    kafka, redis = Kafka(folder / "kafka"), Redis(folder / "redis")
    measure.say("machine", None, measure.machine())
    try:
        kafka.start()
        redis.start()
        return _bench(arguments, folder, kafka, redis)
    finally:
        kafka.stop()
        redis.stop()
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="JSON Lines, plain or compressed")
    parser.add_argument("--domain", default="medical")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--shards", type=int, default=1, help="processes that share the partitions")
    parser.add_argument("--limit", type=int, help="documents at most")
    parser.add_argument("--segment", type=int, default=100, help="offsets a Parquet file")
    parser.add_argument("--backfill", action="store_true", help="also archive, backfill, replay and compare")
    parser.add_argument("--only-backfill", action="store_true", help="archive the topic and backfill it; no stream")
    parser.add_argument("--folder", type=Path, help="work folder (default: a new one under runs/bench)")
    parser.add_argument("--keep", action="store_true", help="leave the work folder")
    return parser.parse_args()


def _bench(arguments: argparse.Namespace, folder: Path, kafka: Kafka, redis: Redis) -> int:
    kafka.create_topic(TOPIC, arguments.partitions)
    sent = send(kafka, TOPIC, records(arguments.files, arguments.limit), arguments.partitions)
    config = settings(folder / "stream", arguments, redis.url, kafka.bootstrap)
    if arguments.only_backfill:
        _backfill(arguments, folder, config, redis.url, sent)
        return 0
    tables = folder / "stream" / "tables"
    measured = measure.run(["run", str(config)], tables)
    totals = checks.check(tables, sent)
    right = totals.documents + totals.dead_letters == len(sent)
    measure.say("stream", measured, measure.rates(measured, totals.documents, totals.characters) | asdict(totals))
    measure.say("stream: tables", None, {"sha256": checks.one_hash(checks.hashes(tables))})
    right &= backfill.replayed("stream", config, folder / "stream-again", tables)
    if arguments.backfill:
        filled = _backfill(arguments, folder, config, redis.url, sent)
        same = checks.hashes(filled) == checks.hashes(tables)
        measure.say("backfill equals stream", None, {"same_bytes": same, "must_be": arguments.partitions == 1})
        right &= same or arguments.partitions > 1
    return 0 if right else 1


def _backfill(
    arguments: argparse.Namespace, folder: Path, config: Path, memory: str, sent: Sequence[checks.Sent]
) -> Path:
    """Archives the topic that `config` reads, reads it again from there and checks every row; the tables' folder."""
    archive = folder / "archive"
    measure.command("archive", TOPIC, str(archive), "--config", str(config))
    filled = backfill.fill(settings(folder / "backfill", arguments, memory), [str(archive)])
    measure.say("backfill: every row checked", None, asdict(checks.check(filled, sent)))
    return filled


def settings(folder: Path, arguments: argparse.Namespace, memory: str, bootstrap: str = "127.0.0.1:1") -> Path:
    """Writes folder/config.yaml: defaults but for services, folders and the segment.  Returns its path."""
    folder.mkdir(parents=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({
        "domain": arguments.domain,
        "source": {"bootstrap": bootstrap, "topic": TOPIC, "shards": arguments.shards},
        "tables": {"root": str(folder / "tables"), "segment": arguments.segment},
        "memory": {"url": memory, "namespace": folder.name},
        "run": {"until_idle_s": 5.0},
    }))
    return path


if __name__ == "__main__":
    raise SystemExit(main())
