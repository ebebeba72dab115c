"""Storage and memory as one process of the model sees them: every answer is remembered, most calls are points."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from kie_ops.memory import Cell, Increment, Recall
from memory_store.local import LocalStore
from memory_store.store import Applied, Stats
from pipelines import commit_log, erasure, recovery
from tests.model.disk import Disk, DiskStorage
from tests.model.stage import Abandoned, Actor, Stage

GRAINS = ("steps", "writes", "calls")
"""Where actors stop: at the named steps of pipelines.faults; also before whatever changes or recalls; also before
every other look."""
CONSTANT = frozenset((commit_log.META, recovery.IDENTITY, erasure.KEY))


class ProcessStorage(DiskStorage):
    def __init__(self, disk: Disk, stage: Stage, actor: Actor, grain: str) -> None:
        super().__init__(disk)
        self._stage, self._actor = stage, actor
        self._writes, self._looks = grain != "steps", grain == "calls"

    def create(self, path: str, data: bytes) -> bool:
        self._before(f"create {path}", self._writes and path not in CONSTANT)
        made = super().create(path, data)
        self._actor.saw("create", path, made)
        return made

    def replace(self, path: str, data: bytes, *, durable: bool = True) -> None:
        super().replace(path, data)
        self._actor.saw("replace", path)

    def replace_if(self, path: str, data: bytes, version: str | None, *, durable: bool = True) -> bool:
        self._actor.saw("replacing", path)
        done = super().replace_if(path, data, version)
        self._actor.saw("replace", path, done)
        return done

    def version(self, path: str) -> str | None:
        self._before(f"version {path}", self._looks and path not in CONSTANT)
        found = super().version(path)
        self._actor.saw("version", path, found)
        return found

    def read(self, path: str) -> bytes:
        self._before(f"read {path}", self._looks and path not in CONSTANT)
        self._actor.saw("read", path, self.disk.files.get(path))
        return super().read(path)

    def names(self, folder: str) -> list[str]:
        self._before(f"names {folder}", self._looks)
        found = super().names(folder)
        self._actor.saw("names", folder, tuple(found))
        return found

    def delete(self, path: str) -> None:
        self._before(f"delete {path}", self._writes)
        super().delete(path)
        self._actor.saw("delete", path)

    def lock(self, path: str) -> AbstractContextManager[None]:
        if not self.disk.local:
            return nullcontext()
        self._before(f"lock {path}", self._writes)
        return self._stage.lock(self._actor, path)

    def _before(self, where: str, stops: bool) -> None:
        if stops or self._stage.over:
            self._stage.point(self._actor, where)


class ProcessStore:
    """MemoryStore over the world's one memory."""

    def __init__(self, store: LocalStore, stage: Stage, actor: Actor, grain: str) -> None:
        self._store, self._stage, self._actor = store, stage, actor
        self.namespace = store.namespace
        self._writes, self._looks = grain != "steps", grain == "calls"

    def recall(self, keys: Collection[str]) -> Recall:
        self._before("recall", self._writes)
        found = self._store.recall(keys)
        cells = tuple((key, _seen(found.cells[key].counts)) for key in sorted(found.cells))
        self._actor.saw("recall", _seen(found.view), cells)
        return found

    def positions(self) -> dict[str, int]:
        self._before("positions", self._looks)
        found = self._store.positions()
        self._actor.saw("positions", _seen(found))
        return found

    def apply(
        self, chain: str, start: int, end: int, increments: Sequence[Increment], *, erasures: int
    ) -> Applied:
        self._before(f"apply {chain}", self._writes)
        applied = self._store.apply(chain, start, end, increments, erasures=erasures)
        self._actor.saw("apply", chain, applied)
        return applied

    def erase(self, position: int, end: int, chain: str, offset: int, inverse: Sequence[Increment]) -> Applied:
        self._before(f"erase {chain}/{offset}", self._writes)
        applied = self._store.erase(position, end, chain, offset, inverse)
        self._actor.saw("erase", chain, offset, applied)
        return applied

    def cells(self) -> Iterator[Cell]:
        return iter(self._all("cells", self._store.cells))

    def by_age(self) -> Iterator[Cell]:
        return iter(self._all("by_age", self._store.by_age))

    def stats(self) -> Stats:
        self._before("stats", self._looks)
        stats = self._store.stats()
        self._actor.saw("stats", stats.cells, _seen(stats.positions))
        return stats

    def clear(self) -> None:
        self._before("clear", self._writes)
        self._store.clear()
        self._actor.saw("clear")

    def compact(self) -> bool:
        return True

    def close(self) -> None: ...

    def _all(self, name: str, read: Callable[[], Iterator[Cell]]) -> list[Cell]:
        self._before(name, self._looks)
        cells = list(read())
        self._actor.saw(name, tuple((cell.key, _seen(cell.counts)) for cell in cells))
        return cells

    def _before(self, where: str, stops: bool) -> None:
        if self._stage.over:
            raise Abandoned
        if stops:
            self._stage.point(self._actor, where)


class Process:
    """One life of an actor."""

    def __init__(self, actor: Actor, storage: ProcessStorage, store: ProcessStore) -> None:
        self.actor, self.storage, self.store = actor, storage, store


def _seen(mapping: object) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(mapping.items()))  # type: ignore[attr-defined]
