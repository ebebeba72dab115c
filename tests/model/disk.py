"""The files of a modelled world: a Storage's promises in a dictionary, with a digest of everything there is.

Two kinds, as the protocol rests on different fences: a *local* disk has locks, and its versions never come again; an
*object store* has conditional writes, locks hold nobody up, and a version is a hash of the content (an ETag), so that
the same bytes written again look as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipelines import faults


@dataclass
class Disk:
    """Files by path.  `wrote(path, before, after)` is called after each change; None stands for no file."""

    local: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)
    digest: int = 0
    wrote: Callable[[str, bytes | None, bytes | None], None] = lambda path, before, after: None

    def version(self, path: str) -> str | None:
        if path not in self.files:
            return None
        return str(self.writes[path] if self.local else hash(self.files[path]))

    def put(self, path: str, data: bytes | None) -> None:
        before = self.files.get(path)
        self.digest ^= self._mark(path)
        if data is None:
            self.files.pop(path, None)
        else:
            self.files[path] = data
            self.writes[path] = self.writes.get(path, 0) + 1
        self.digest ^= self._mark(path)
        self.wrote(path, before, data)

    def names(self, folder: str) -> list[str]:
        start = f"{folder}/" if folder else ""
        return sorted({path[len(start):].split("/")[0] for path in self.files if path.startswith(start)})

    def _mark(self, path: str) -> int:
        data = self.files.get(path)
        return 0 if data is None else hash((path, data, self.writes[path] if self.local else 0))


class DiskStorage:
    """Storage on a Disk, as one process sees it that nobody interrupts."""

    root = "model"

    def __init__(self, disk: Disk) -> None:
        self.disk = disk

    def create(self, path: str, data: bytes) -> bool:
        if path in self.disk.files:
            return False
        self.disk.put(path, data)
        return True

    def replace(self, path: str, data: bytes, *, durable: bool = True) -> None:
        faults.at("temp-written")
        self.disk.put(path, data)

    def replace_if(self, path: str, data: bytes, version: str | None, *, durable: bool = True) -> bool:
        """On a local disk the version is looked at first and the file renamed afterwards: the lock keeps others out."""
        if self.disk.local and self.disk.version(path) != version:
            return False
        faults.at("temp-written")
        if not self.disk.local and self.disk.version(path) != version:
            return False
        self.disk.put(path, data)
        return True

    def version(self, path: str) -> str | None:
        return self.disk.version(path)

    def read(self, path: str) -> bytes:
        try:
            return self.disk.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def names(self, folder: str) -> list[str]:
        return self.disk.names(folder)

    def delete(self, path: str) -> None:
        if path in self.disk.files:
            self.disk.put(path, None)

    @contextmanager
    def lock(self, path: str) -> Iterator[None]:
        yield
