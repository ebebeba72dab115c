"""One modelled world: a disk, a memory with its older copies, the truth beside them, and the actors of a scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kie_ops.records import Place, RawRecord
from memory_store.local import LocalStore
from memory_store.store import Applied
from pipelines import commit_log, erasure, recovery
from tests.model import laws
from tests.model.disk import Disk
from tests.model.process import Process, ProcessStorage, ProcessStore
from tests.model.stage import Actor, Chooser, Kill, Move, Restore, Stage
from tests.model.truth import Truth
from tests.pipelines.ledger_world import restore, snapshot

Program = Callable[["World", Process], None]
SEGMENT = 2


@dataclass(frozen=True)
class Scenario:
    """What there is to read, who acts on it, and how large the world may grow."""

    name: str
    records: Mapping[int, Sequence[RawRecord]]
    actors: Sequence[tuple[str, Program]]
    local: bool = True
    kills: int = 1
    restores: int = 1


class WatchedStore(LocalStore):
    """A memory that tells when it changed."""

    changed: Callable[[], None] = staticmethod(lambda: None)

    def _advance(self, *given: Any) -> Applied:
        done = super()._advance(*given)
        if done is Applied.APPLIED:
            self.changed()
        return done

    def clear(self) -> None:
        super().clear()
        self.changed()


@dataclass
class World:
    scenario: Scenario
    grain: str
    choose: Chooser
    store: WatchedStore = field(default_factory=lambda: WatchedStore("model"))
    copies: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Digest and content of every memory there has been, in order; the first is empty."""
    setbacks: int = 0
    """How often memory lost something: restored or cleared."""
    killed: int = 0
    restored: int = 0

    def __post_init__(self) -> None:
        self.truth = Truth(self.scenario.records)
        self.disk = Disk(self.scenario.local)
        self.disk.files.update({
            recovery.IDENTITY: b"model", erasure.KEY: b"k" * 32, commit_log.META: b'{"segment": %d}' % SEGMENT,
        })
        self.disk.wrote = lambda *what: laws.wrote(self.truth, self.disk, *what)
        self._remember()
        self.store.changed = self._changed  # type: ignore[method-assign]
        programs = [(name, _bound(self, program)) for name, program in self.scenario.actors]
        self.stage = Stage(programs, self._process, self.choose, self._beside, self._happen)

    def run(self) -> None:
        self.stage.run()

    def key(self, current: Actor | None) -> int:
        """Digest of everything that what happens next depends on."""
        return hash((
            self.disk.digest, tuple(sorted(self.stage.locks.items())), self.copies[-1][0],
            tuple((a.seen, a.status, a.restarts, a.where) for a in self.stage.actors),
            None if current is None else current.index, self.killed, self.restored,
            frozenset(digest for digest, _ in self.copies) if self.restored < self.scenario.restores else None,
            frozenset(self.truth.forgotten),
        ))

    def resting(self) -> int:
        """The same for the end, when nobody knows anything."""
        return hash((self.disk.digest, self.copies[-1][0], frozenset(self.truth.forgotten)))

    # -- what else may happen ---------------------------------------------------------------------------------------

    def _beside(self, actor: Actor | None) -> list[Move]:
        moves: list[Move] = []
        if actor is not None and actor.where != "start" and self.killed < self.scenario.kills:
            moves.append(Kill(actor.index))
        if self.restored < self.scenario.restores:
            now, seen = self.copies[-1][0], set[int]()
            for number, (digest, _) in enumerate(self.copies):
                if digest != now and digest not in seen:
                    seen.add(digest)
                    moves.append(Restore(number))
        return moves

    def _happen(self, move: Move) -> None:
        if isinstance(move, Kill):
            self.killed += 1
            return
        assert isinstance(move, Restore)
        self.restored += 1
        self.setbacks += 1
        restore(self.store, self.copies[move.copy][1])
        self._remember()

    def _changed(self) -> None:
        if not self.store.positions():
            self.setbacks += 1
        self._remember()
        laws.memory(self.truth, self.store)

    def _remember(self) -> None:
        cells = tuple((cell.key, tuple(sorted(cell.counts.items()))) for cell in self.store.by_age())
        digest = hash((cells, tuple(sorted(self.store.positions().items()))))
        self.copies.append((digest, snapshot(self.store)))

    def _process(self, actor: Actor) -> Process:
        storage = ProcessStorage(self.disk, self.stage, actor, self.grain)
        return Process(actor, storage, ProcessStore(self.store, self.stage, actor, self.grain))

    # -- what actors tell -------------------------------------------------------------------------------------------

    @contextmanager
    def ticking(self, process: Process, own: Mapping[str, int]) -> Iterator[None]:
        """Around a tick of a worker whose chains end there."""
        before = {chain: end for chain, end in self.truth.ends().items() if chain in LEDGER}
        setbacks = self.setbacks
        process.actor.saw("tick", tuple(sorted(before.items())))
        yield
        if self.setbacks == setbacks and not self.stage.over:
            laws.tick(self.truth, self.store, before, own)

    def forgot(self, process: Process, places: Sequence[Place]) -> None:
        if not self.stage.over:
            laws.forgotten(self.truth, self.disk, dict.fromkeys(places))
            process.actor.saw("forgotten", tuple(places))


LEDGER = ("corrections/0", "imports/0", "erasures/0", "evictions/0")


def _bound(world: World, program: Program) -> Callable[[Process], None]:
    return lambda process: program(world, process)
