"""Storage on a local disk.

A file is written whole under a temporary name in ``_tmp`` and gets its own name by link (exclusive) or rename, so that
no reader ever sees half of one.  Its writer holds a lock on the temporary file; whatever in ``_tmp`` nobody holds was
left by a killed process and is removed when a storage is opened.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kie_ops.errors import ConfigError, EngramError, ServiceError
from pipelines import faults

TEMPORARY = "_tmp"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.ENOSYS, errno.EMLINK)
_numbers = itertools.count()


class LocalStorage:
    """Files below a folder, which is made when first written to."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = str(Path(root).absolute())
        self._durable: set[str] = set()      # folders this process knows to be on disk, with their parents
        with _explained(self.root):
            self._sweep()

    def create(self, path: str, data: bytes) -> bool:
        target = self._target(path)
        with _explained(target):
            self._ensure(os.path.dirname(target), durable=True)
            with self._temporary(data, durable=True) as temporary:
                try:
                    os.link(temporary, target)
                except FileExistsError:
                    return False
                except OSError as e:
                    if e.errno in _NO_LINKS:
                        raise ConfigError(f"the file system has no exclusive creation by hard link: {e.strerror}",
                                          where=target, next_step="put tables.root on another file system") from e
                    raise
            _sync_folder(os.path.dirname(target))
        return True

    def replace(self, path: str, data: bytes, *, durable: bool = True) -> None:
        target = self._target(path)
        with _explained(target):
            self._ensure(os.path.dirname(target), durable)
            with self._temporary(data, durable) as temporary:
                faults.at("temp-written")
                os.replace(temporary, target)
            if durable:
                _sync_folder(os.path.dirname(target))

    def replace_if(self, path: str, data: bytes, version: str | None, *, durable: bool = True) -> bool:
        if self.version(path) != version:
            return False
        self.replace(path, data, durable=durable)
        return True

    def version(self, path: str) -> str | None:
        target = self._target(path)
        with _explained(target):
            try:
                stat = os.stat(target)
            except FileNotFoundError:
                return None
        return f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}"

    def read(self, path: str) -> bytes:
        target = self._target(path)
        with _explained(target), open(target, "rb") as file:
            return file.read()

    def names(self, folder: str) -> list[str]:
        target = self._target(folder)
        with _explained(target):
            try:
                return sorted(name for name in os.listdir(target) if folder or name != TEMPORARY)
            except (FileNotFoundError, NotADirectoryError):
                return []

    def delete(self, path: str) -> None:
        target = self._target(path)
        with _explained(target), suppress(FileNotFoundError):
            os.unlink(target)

    @contextmanager
    def lock(self, path: str) -> Iterator[None]:
        target = self._target(path)
        with _explained(target):
            self._ensure(os.path.dirname(target), durable=False)
            handle = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with _explained(target):
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _target(self, path: str) -> str:
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"not a path below the root: {path!r}")
        return os.path.join(self.root, *path.split("/")) if path else self.root

    def _ensure(self, folder: str, durable: bool) -> None:
        """Makes a folder.  Durable: also syncs every folder above it once, as another process may have made one of
        them a moment ago, and a file is only as durable as the way to it."""
        if folder in self._durable:
            return
        os.makedirs(folder, exist_ok=True)
        if durable:
            above = folder
            while len(above) > len(self.root):
                above = os.path.dirname(above)
                _sync_folder(above)
            with suppress(PermissionError):          # the root's own parent need not be ours
                _sync_folder(os.path.dirname(self.root))
            self._durable.add(folder)

    @contextmanager
    def _temporary(self, data: bytes, durable: bool) -> Iterator[str]:
        """A written temporary file, held by a lock; gone afterwards, if it was not renamed away."""
        path, handle = self._hold_new()
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view):]
            if durable:
                os.fsync(handle)
            yield path
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.close(handle)

    def _hold_new(self) -> tuple[str, int]:
        folder = os.path.join(self.root, TEMPORARY)
        os.makedirs(folder, exist_ok=True)
        while True:
            path = os.path.join(folder, f"{os.getpid()}-{threading.get_ident()}-{next(_numbers)}")
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:                 # left by a process of the same number
                continue
            with suppress(BlockingIOError):         # a sweep came between: take another name
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(handle).st_nlink:
                    return path, handle
            os.close(handle)

    def _sweep(self) -> None:
        folder = os.path.join(self.root, TEMPORARY)
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError, BlockingIOError):
                handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
                finally:
                    os.close(handle)


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turns an OSError (but FileNotFoundError, which says there is no such file) into a ServiceError."""
    try:
        yield
    except (FileNotFoundError, EngramError):
        raise
    except OSError as e:
        steps = {
            errno.ENOSPC: "free space on this disk; nothing is lost, the work goes on from the log's end",
            errno.EDQUOT: "raise the quota; nothing is lost, the work goes on from the log's end",
            errno.EACCES: "give this user the right to write there",
            errno.EPERM: "give this user the right to write there",
            errno.EROFS: "mount the disk writable",
            errno.ENAMETOOLONG: "choose a shorter tables.root or stream name",
        }
        raise ServiceError(f"the disk refused: {e.strerror or e}", where=path,
                           next_step=steps.get(e.errno or 0, "check the disk and the path")) from e
