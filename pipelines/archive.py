"""A topic kept as files: one of JSON Lines (.jsonl.zst) a partition, and manifest.json, written last.

A line is one record as it was received; bytes that are UTF-8 stand as text, others as ``{"base64": ...}``::

    {"offset": 7, "before": 7, "timestamp": 1700000000000, "key": "a", "headers": [["lang", "en"]], "value": "{...}"}

The manifest holds the topic's name and stream identity and, by partition, the range of positions ``[start, end)``,
the number of records and the file's SHA-256.  A backfill adopts identity, offsets and times, so its tables are those
of the stream, byte for byte.  A folder without a manifest is an unfinished export and is not read.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Protocol, cast

import fsspec
import zstandard

from kie_ops.errors import InputError, ServiceError
from kie_ops.records import Place, RawRecord
from pipelines.feed import Feed
from pipelines.file_reading import open_bytes

FORMAT, VERSION = "engram-archive", 1
MANIFEST = "manifest.json"
LEVEL = 6
_OFFSET = re.compile(rb'\{"offset": (\d+),')


class Exportable(Feed, Protocol):
    """A feed that knows where its partitions end now."""

    def ends(self) -> dict[int, int]:
        """Position after the last record by partition, as of now."""
        ...

    def position(self, partition: int) -> int:
        """Where reading stands, holes after the last record included."""
        ...


@dataclass(frozen=True)
class ArchivedPartition:
    partition: int
    file: str
    start: int
    end: int
    records: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """An archive that was written to its end."""

    url: str
    topic: str
    stream: str
    partitions: tuple[ArchivedPartition, ...]

    @classmethod
    def open(cls, url: str, options: Mapping[str, Any] | None = None) -> Archive:
        """Raises InputError where there is no archive, or one this version cannot read."""
        where = join(url, MANIFEST)
        try:
            with fsspec.open(where, "rb", **(options or {})) as file:
                data = json.load(file)
            if data["format"] != FORMAT or data["version"] != VERSION:
                raise InputError(f"an archive of format {data['format']} {data['version']}", where=where,
                                 next_step=f"this version reads {FORMAT} {VERSION}")
            partitions = tuple(ArchivedPartition(**p) for p in data["partitions"])
            return cls(url, data["topic"], data["stream"], partitions)
        except FileNotFoundError:
            raise InputError("no archive, or one whose export did not end", where=where,
                             next_step="engram archive TOPIC OUT writes one") from None
        except (ValueError, KeyError, TypeError) as e:
            raise InputError(f"not an archive's manifest: {e}", where=where) from None

    def records(self, partition: int, position: int, options: Mapping[str, Any] | None = None) -> Iterator[RawRecord]:
        """The records at or after `position`.  Raises InputError where the file is not what the manifest says."""
        part = next(p for p in self.partitions if p.partition == partition)
        url = join(self.url, part.file)
        count = 0
        try:
            with open_bytes(url, dict(options or {})) as file:
                for line in file:
                    count += 1
                    if _offset(line) >= position:
                        yield from_line(line, self.stream, partition)
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise InputError(f"the archive cannot be read on: {e}", where=f"{url}, line {count + 1}",
                             next_step="fetch or export it again") from None
        if count != part.records:
            raise InputError(f"{count} records where the manifest says {part.records}", where=url,
                             next_step="fetch or export it again")

    def verify(self, options: Mapping[str, Any] | None = None) -> None:
        """Reads every file: raises InputError where one is missing or differs from the manifest."""
        for part in self.partitions:
            url = join(self.url, part.file)
            digest = hashlib.sha256()
            try:
                with fsspec.open(url, "rb", **(options or {})) as file:
                    while piece := file.read(2**20):
                        digest.update(piece)
            except OSError as e:
                raise InputError(f"missing from the archive: {e}", where=url, next_step="export it again") from None
            if digest.hexdigest() != part.sha256:
                raise InputError("the file is not the one that was exported", where=url, next_step="export it again")
            for _ in self.records(part.partition, part.end, options):
                raise InputError("a record beyond the archive's end", where=url, next_step="export it again")


def export(
    feed: Exportable, topic: str, url: str, *, patience_s: float = 60.0, options: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda records: None,
) -> Archive:
    """Writes every record of `feed` that stands there now to the folder or URL `url`, and verifies it.

    feed: of all partitions, to be read from where each begins.  progress: called with the records written so far.
    Raises InputError where `url` holds an archive, ServiceError where nothing came for `patience_s`.
    """
    fs, folder = fsspec.core.url_to_fs(url, **(options or {}))
    if fs.exists(f"{folder}/{MANIFEST}"):
        raise InputError("there is an archive already", where=url, next_step="choose another folder, or delete it")
    fs.makedirs(folder, exist_ok=True)
    streams = feed.partitions()
    if len(set(streams.values())) != 1:
        raise InputError("an archive holds one stream", where=topic, next_step="export each topic on its own")
    ends = feed.ends()
    starts = {p: feed.begin(p) for p in streams}
    for partition, start in starts.items():
        feed.seek(partition, start)
    with ExitStack() as stack:
        files = {p: stack.enter_context(fs.open(f"{folder}/{_name(p)}", "wb")) for p in streams}
        counts, digests = _copy(feed, files, ends, patience_s, progress)
    partitions = tuple(
        ArchivedPartition(p, _name(p), starts[p], max(ends[p], starts[p]), counts[p], digests[p])
        for p in sorted(streams)
    )
    archive = Archive(url, topic, next(iter(streams.values())), partitions)
    manifest = {"format": FORMAT, "version": VERSION, "topic": topic, "stream": archive.stream,
                "partitions": [asdict(p) for p in partitions]}
    archive.verify(options)
    fs.pipe(f"{folder}/{MANIFEST}", json.dumps(manifest, indent=2).encode())
    return archive


def _copy(
    feed: Exportable, files: Mapping[int, BinaryIO], ends: Mapping[int, int], patience_s: float,
    progress: Callable[[int], None],
) -> tuple[dict[int, int], dict[int, str]]:
    sinks = {p: _Sink(file) for p, file in files.items()}
    compressing = {p: zstandard.ZstdCompressor(level=LEVEL).stream_writer(cast(BinaryIO, sink), closefd=False)
                   for p, sink in sinks.items()}
    counts = dict.fromkeys(files, 0)
    waited = 0.0
    while any(feed.position(p) < ends[p] for p in files):
        records = feed.poll(0.5)
        waited = 0.0 if records else waited + 0.5
        if waited >= patience_s:
            raise ServiceError(f"nothing came for {patience_s:.0f} s though the topic has more",
                               next_step="check the broker, then export again")
        for record in records:
            partition = record.place.partition
            if record.place.offset < ends[partition]:
                compressing[partition].write(to_line(record))
                counts[partition] += 1
        progress(sum(counts.values()))
    for writer in compressing.values():
        writer.close()
    return counts, {p: sink.digest.hexdigest() for p, sink in sinks.items()}


class _Sink(io.RawIOBase):
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self._file.write(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def join(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/{name}"


def _name(partition: int) -> str:
    return f"{partition:05d}.jsonl.zst"


# -- lines ----------------------------------------------------------------------------------------------------------


def to_line(record: RawRecord) -> bytes:
    line = {
        "offset": record.place.offset, "before": record.before, "timestamp": record.timestamp,
        "key": _text(record.key), "headers": [[name, _text(value)] for name, value in record.headers],
        "value": _text(record.value),
    }
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def from_line(line: bytes, stream: str, partition: int) -> RawRecord:
    data = json.loads(line)
    return RawRecord(
        place=Place(stream, partition, data["offset"]), before=data["before"], value=_bytes(data["value"]),
        key=_bytes(data["key"]), headers=tuple((name, _bytes(value)) for name, value in data["headers"]),
        timestamp=data["timestamp"],
    )


def _offset(line: bytes) -> int:
    match = _OFFSET.match(line)
    return int(match[1]) if match else int(json.loads(line)["offset"])


def _text(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _bytes(value: str | dict[str, str] | None) -> bytes | None:
    if value is None:
        return None
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode()
