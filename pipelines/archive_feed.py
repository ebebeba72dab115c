"""Archives and files as a feed.

An engram archive keeps its stream's identity, partitions, offsets and times.  Other files are one stream: its id is a
hash of their sorted names, the partition is the file's number among them, the offset the row.  Plain texts of one
folder share a partition, a file a row.  Files may grow at their end; another set of files is another stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fsspec

from kie_ops.errors import EngramError, InputError, PositionError
from kie_ops.records import Place, RawRecord
from pipelines.archive import MANIFEST, Archive, ArchivedPartition
from pipelines.config import Format
from pipelines.file_reading import KINDS, TEXTS, kind, rows

POLL_RECORDS, POLL_BYTES = 256, 4 * 2**20


@dataclass(frozen=True)
class FileSet:
    """Plain files as one stream; picklable.  `groups[p]` are the files of partition p (several only for texts)."""

    groups: tuple[tuple[str, ...], ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stream(self) -> str:
        names = "\n".join("\t".join(group) for group in self.groups)
        return f"files-{hashlib.sha256(names.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"


Input = Archive | FileSet
"""What one feed reads.  Several archives are several streams, so each has a feed of its own."""


def inputs(names: Sequence[str], options: Mapping[str, Any] | None = None) -> list[Input]:
    """The archives and files that paths, folders (with all below them) and URLs stand for.

    Returns every archive on its own, then all plain files as one.  Raises InputError where a name does not exist,
    a folder holds nothing that can be read, or a file is of no known kind.
    """
    archives: dict[str, Archive] = {}
    files: set[str] = set()
    for name in names:
        found = _found(name, options or {})
        for url in found:
            if url.rsplit("/", 1)[-1] == MANIFEST:
                folder = url.rsplit("/", 1)[0]
                archives[folder] = Archive.open(folder, options)
            else:
                files.add(url)
    inside = tuple(f"{folder}/" for folder in archives)
    plain = sorted(url for url in files if not url.startswith(inside))
    result: list[Input] = [archives[folder] for folder in sorted(archives)]
    return result + ([FileSet(_groups(plain), options or {})] if plain else [])


def _found(name: str, options: Mapping[str, Any]) -> list[str]:
    url = name if "://" in name else str(Path(name).expanduser().resolve())
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
        if fs.isfile(path):
            if kind(url) is None and url.rsplit("/", 1)[-1] != MANIFEST:
                raise InputError("a file of no known kind", where=name, next_step=f"known: {' '.join(KINDS)}, "
                                 "compressed by .gz .xz .bz2 .zst, and folders written by engram archive")
            return [url]
        below = [_unstripped(fs, found, url) for found in fs.find(path)] if fs.exists(path) else None
    except (OSError, ValueError, ImportError) as e:
        raise InputError(f"cannot be opened: {e}", where=name) from None
    if below is None:
        raise InputError("no such file or folder", where=name, next_step="check the path")
    readable = [u for u in below if kind(u) or u.rsplit("/", 1)[-1] == MANIFEST]
    if not readable:
        raise InputError("nothing in this folder can be read", where=name, next_step=f"known: {' '.join(KINDS)}")
    return readable


def _unstripped(fs: Any, path: str, url: str) -> str:
    return str(fs.unstrip_protocol(path)) if "://" in url else path


def _groups(files: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    folders: dict[str, list[str]] = {}
    for url in files:
        folders.setdefault(url.rsplit("/", 1)[0] if kind(url) in TEXTS else url, []).append(url)
    return tuple(tuple(group) for _, group in sorted(folders.items()))


class ArchiveFeed:
    """The feed (:class:`pipelines.feed.Feed`) of one archive or file set.  Reads one partition after another."""

    def __init__(self, source: Input, fmt: Format, shard: int = 0, shards: int = 1) -> None:
        self._source, self._fmt = source, fmt
        self._streams = {p: s for p, s in _streams(source).items() if p % shards == shard}
        self._positions: dict[int, int] = {}
        self._reading: tuple[int, Iterator[RawRecord]] | None = None
        self._ended: set[int] = set()
        self._problems: dict[int, EngramError] = {}

    def partitions(self) -> dict[int, str]:
        return dict(self._streams)

    def begin(self, partition: int) -> int:
        return _archived(self._source, partition).start if isinstance(self._source, Archive) else 0

    def seek(self, partition: int, position: int) -> None:
        if isinstance(self._source, Archive):
            part = _archived(self._source, partition)
            if not part.start <= position <= part.end:
                raise PositionError(
                    f"the log ends at {position}, the archive holds {part.start} to {part.end}",
                    where=f"{self._source.url}, partition {partition}",
                    next_step="export the topic again, or backfill into other tables",
                )
        self._positions[partition] = position
        self._ended.discard(partition)
        self._problems.pop(partition, None)
        if self._reading and self._reading[0] == partition:
            self._reading = None

    def poll(self, timeout_s: float) -> list[RawRecord]:
        taken: list[RawRecord] = []
        size = 0
        while len(taken) < POLL_RECORDS and size < POLL_BYTES:
            if self._reading is None and not self._open_next():
                break
            assert self._reading is not None
            partition, records = self._reading
            try:
                record = next(records, None)
            except EngramError as e:
                self._problems[partition] = e
                record = None
            if record is None:
                self._ended.add(partition)
                self._reading = None
                continue
            taken.append(record)
            size += len(record.value or b"")
            self._positions[partition] = record.place.offset + 1
        return taken

    def _open_next(self) -> bool:
        waiting = sorted(self._positions.keys() - self._ended)
        if waiting:
            self._reading = waiting[0], self._records(waiting[0], self._positions[waiting[0]])
        return bool(waiting)

    def _records(self, partition: int, position: int) -> Iterator[RawRecord]:
        if isinstance(self._source, Archive):
            for record in self._source.records(partition, position):
                yield replace(record, before=max(record.before, position))
            return
        before = position
        stream = self._streams[partition]
        for row in rows(self._source.groups[partition], position, self._fmt, dict(self._source.options)):
            yield RawRecord(Place(stream, partition, row.number), before, row.value, headers=row.headers)
            before = row.number + 1

    def exhausted(self) -> bool:
        return self._ended >= self._streams.keys()

    def report(self, partition: int, position: int) -> None:
        """An archive keeps no positions."""

    def lag(self) -> dict[int, int]:
        """Of archives alone: how many rows a file has is not known before its end."""
        if not isinstance(self._source, Archive):
            return {}
        return {p: max(0, _archived(self._source, p).end - at) for p, at in self._positions.items()
                if p not in self._ended}

    def problems(self) -> list[EngramError]:
        return [self._problems[p] for p in sorted(self._problems)]

    def close(self) -> None:
        self._reading = None


def _streams(source: Input) -> dict[int, str]:
    if isinstance(source, Archive):
        return {p.partition: source.stream for p in source.partitions}
    return dict.fromkeys(range(len(source.groups)), source.stream)


def _archived(archive: Archive, partition: int) -> ArchivedPartition:
    return next(p for p in archive.partitions if p.partition == partition)
