"""Is everything a run needs there, and safe?  Each check says what it found and which line to change.

The checks are independent: one that fails does not hide the others.  Nothing is changed but for one small file in
the log's folder that is made and removed again.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from kie_ops.errors import EngramError
from pipelines import session, topic_safety
from pipelines.config import Config, Source

if TYPE_CHECKING:
    from rich.console import Console

Level = Literal["ok", "warn", "fail"]
LITTLE_SPACE = 2 * 2**30
ANSWER_MS = 5_000


@dataclass(frozen=True, slots=True)
class Finding:
    """`setting` is the dotted name of the line to change, `line` its number in the configuration's file."""

    check: str
    level: Level
    what: str
    setting: str | None = None
    next_step: str | None = None
    line: int | None = None


def check(config: Config, path: Path | None = None) -> Iterator[Finding]:
    """All findings, check after check.  Never raises: a check that cannot be made is a finding."""
    checks: tuple[tuple[str, Callable[[Config], Iterable[Finding]]], ...] = (
        ("packages", packages), ("settings", settings), ("tables", tables), ("memory", memory),
        ("kafka", kafka), ("model", model),
    )
    for name, run in checks:
        try:
            for finding in run(config):
                yield replace(finding, line=line_of(path, finding.setting))
        except EngramError as e:
            setting = {"tables": "tables.root", "memory": "memory.url", "kafka": "source.bootstrap",
                       "model": "domain"}.get(name)
            what = e.what if e.where is None else f"{e.what} ({e.where})"
            yield Finding(name, "fail", what, setting, e.next_step, line_of(path, setting))
        except Exception as e:
            yield Finding(name, "fail", f"the check itself failed: {type(e).__name__}: {e}")


def show(findings: Iterable[Finding], out: Console) -> list[Finding]:
    """Prints findings as they come; returns them."""
    from rich.text import Text

    marks: dict[Level, tuple[str, str]] = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}
    seen = []
    for f in findings:
        seen.append(f)
        mark, style = marks[f.level]
        out.print(Text.assemble((mark, style), f"  {f.check}: {f.what}"), soft_wrap=True)
        where = f.setting if f.line is None else f"{f.setting} (line {f.line})"
        if f.level != "ok" and (f.setting or f.next_step):
            out.print(Text("      " + ": ".join(part for part in (where, f.next_step) if part)), soft_wrap=True)
    return seen


def line_of(path: Path | None, setting: str | None) -> int | None:
    """The line of `setting`, or of the nearest section above it, in a YAML file; None where it stands nowhere."""
    if path is None or setting is None:
        return None
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    line = None
    for name in setting.split("."):
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((k, v) for k, v in node.value if k.value == name), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


# -- checks ---------------------------------------------------------------------------------------------------------


def packages(config: Config) -> Iterator[Finding]:
    """Installed versions against what this package asks for, and against constraints.txt where it lies next to it."""
    from packaging.requirements import InvalidRequirement, Requirement

    lines = list(importlib.metadata.requires("engram-kie") or ())
    constraints = Path(__file__).parent.parent / "constraints.txt"
    if constraints.is_file():
        lines += [line.partition("#")[0].strip() for line in constraints.read_text(encoding="utf-8").splitlines()]
    wrong, right = [], set()
    for line in filter(None, lines):
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra that is not installed
        if requirement.specifier.contains(found, prereleases=True):
            right.add(requirement.name)
        else:
            wrong.append(f"{requirement.name} is {found}, tested with {requirement.specifier}")
    for what in wrong:
        yield Finding("packages", "warn", what, None, "pip install -c constraints.txt engram-kie")
    if not wrong:
        yield Finding("packages", "ok", f"{len(right)} packages have the versions this was tested with")


def settings(config: Config) -> Iterator[Finding]:
    """Settings that cannot work together, or take a promise back."""
    found = [*_consumer_options(config.source.options), *_combinations(config)]
    yield from found
    if not found:
        yield Finding("settings", "ok", "no unsafe settings")


def _consumer_options(options: Mapping[str, Any]) -> Iterator[Finding]:
    from pipelines import kafka_feed

    for name in options:
        try:
            kafka_feed.check_options(Source.model_validate({"options": {name: options[name]}}))
        except EngramError as e:
            yield Finding("settings", "fail", e.what, f"source.options.{name}", e.next_step)
    fetch = options.get("max_partition_fetch_bytes")
    if isinstance(fetch, int) and fetch < 65_536:
        yield Finding("settings", "warn", f"fetches of {fetch} bytes are slow",
                      "source.options.max_partition_fetch_bytes", "1048576 or more")


def _combinations(config: Config) -> Iterator[Finding]:
    if config.memory.url == "local" and config.source.shards > 1:
        yield Finding("settings", "fail", "each shard is a process, and memory `local` lives in one", "memory.url",
                      "embedded, or a Redis server")
    elif config.memory.url == "local":
        yield Finding("settings", "warn", "memory `local` is read from the log anew at every start", "memory.url",
                      "embedded, or a Redis server")
    if config.batch.gather_s > config.tables.publish_every_s:
        yield Finding("settings", "warn", "a batch may gather longer than rows may wait", "batch.gather_s",
                      f"at most tables.publish_every_s = {config.tables.publish_every_s}")
    port = config.run.metrics_port
    if port is not None:
        for shard in range(config.source.shards):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("0.0.0.0", port + shard))
                except (OSError, OverflowError) as e:
                    yield Finding("settings", "warn", f"the metrics port {port + shard} cannot be had: {e}",
                                  "run.metrics_port", "a free port; shard k listens k ports higher")


def tables(config: Config) -> Iterator[Finding]:
    from pipelines import commit_log
    from pipelines.storage import local_root, verify_exclusive

    storage = session.open_tables(config)
    verify_exclusive(storage)
    yield Finding("tables", "ok", f"{storage.root} can be written, and honours exclusive creation")
    settled = commit_log.segment_size(storage)
    if settled not in (None, config.tables.segment):
        yield Finding("tables", "fail", f"these tables have segments of {settled} offsets", "tables.segment",
                      f"set it to {settled}, or write elsewhere")
    root = local_root(storage)
    if root is not None:
        free = shutil.disk_usage(root).free
        level: Level = "warn" if free < LITTLE_SPACE else "ok"
        yield Finding("tables", level, f"{free / 2**30:,.1f} GB free", "tables.root",
                      "make room, or write elsewhere" if level == "warn" else None)


def memory(config: Config) -> Iterator[Finding]:
    store = session.open_store(config, patience_s=ANSWER_MS / 1_000, verify=False)
    try:
        for found in getattr(store, "check", list)():
            yield Finding("memory", "fail" if found.level == "error" else "warn", found.what, "memory.url",
                          found.next_step)
        stats = store.stats()
        yield Finding("memory", "ok", f"{config.memory.url} answers: {stats.cells:,} cells in {config.namespace}")
        if stats.cells > config.memory.max_cells:
            yield Finding("memory", "warn", f"more than {config.memory.max_cells:,} cells", "memory.max_cells",
                          "raise it, or let a run evict")
    finally:
        store.close()


def kafka(config: Config) -> Iterator[Finding]:
    """The topic's settings.  ServiceError where no broker answers."""
    source, described = config.source, _topic(config)
    if described is None:
        yield Finding("kafka", "fail", f"{source.bootstrap} has no topic {source.topic}", "source.topic",
                      "check the name, or create it")
        return
    partitions, have = described.partitions, described.settings
    yield Finding("kafka", "ok", f"{source.topic} at {source.bootstrap}: {partitions} partitions")
    if source.shards > partitions:
        yield Finding("kafka", "warn", f"{source.shards} shards share {partitions} partitions: some stay idle",
                      "source.shards", f"at most {partitions}")
    if not have:
        yield Finding("kafka", "warn", "the topic's settings may not be read: whether it keeps its records is unknown",
                      "source.topic", "let this user describe the topic's configuration")
    level: Level = "warn" if source.allow_unsafe_topic else "fail"
    for danger in topic_safety.dangers(source, have):
        yield Finding("kafka", level, danger.what, "source.topic", danger.mend)
    yield from _sizes(config, have)


def _topic(config: Config) -> topic_safety.Topic | None:
    return topic_safety.describe(config.source, ANSWER_MS)


def _sizes(config: Config, have: Mapping[str, str]) -> Iterator[Finding]:
    kept, largest = int(have.get("retention.bytes", -1)), int(have.get("max.message.bytes", 0))
    if kept >= 0:
        yield Finding("kafka", "warn", f"only {kept:,} bytes a partition are kept, however old", "source.topic",
                      topic_safety.alter(config.source, "retention.bytes=-1"))
    if largest > config.source.format.max_bytes:
        yield Finding("kafka", "warn", f"the topic takes records of {largest:,} bytes, larger than are read here",
                      "source.format.max_bytes", "raise it; larger records become dead letters")


def model(config: Config) -> Iterator[Finding]:
    extractor = session.open_extractor(config)
    yield Finding("model", "ok", f"{extractor.domain}, version {extractor.version}")
