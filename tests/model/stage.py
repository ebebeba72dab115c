"""Who goes next: actors that stop at every point, each in a thread of its own, of which exactly one runs at any time.

An actor is a process of the modelled world (a worker, somebody who corrects or forgets): a program over real code.  At
each of its points the stage asks what happens now: it goes on, another one goes on, it is killed and starts again, or
memory is set back to an older copy.  What an actor knows is a function of all it has seen of storage and memory, so a
rolling hash of that stands for its variables, however many and wherever they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING

import tenacity.nap

from kie_ops.errors import EngramError
from pipelines import faults, recovery
from tests.pipelines.chains import Killed

if TYPE_CHECKING:
    from tests.model.process import Process

DONE = "done"
READY = "ready"
RESTARTS = 3
"""Times an actor starts again after an error that says trying again helps."""


class Violation(AssertionError):
    """A promise was broken."""


class Abandoned(BaseException):
    """The run is over; whoever still waits ends here."""


@dataclass(frozen=True, slots=True)
class Go:
    """Actor `index` runs until its next point."""

    index: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The actor that has just stopped is killed (SIGKILL) and starts again as another process."""

    index: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Memory is what it was after its first `copy` changes (0: it forgets everything)."""

    copy: int


Move = Go | Kill | Restore


@dataclass(eq=False)
class Actor:
    """`seen`: rolling hash of all this process has seen; `status`: ready, done, or the lock it waits for."""

    index: int
    name: str
    program: Callable[[Process], None]
    status: str = READY
    where: str = "start"
    seen: int = 0
    stopped_at: int = -1
    restarts: int = 0
    baton: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def saw(self, *what: object) -> None:
        self.seen = hash((self.seen, what))

    def reborn(self) -> None:
        self.seen, self.stopped_at, self.where, self.status = 0, -1, "start", READY


Chooser = Callable[["Stage", Actor | None, Sequence[Move]], Move | None]
"""Called with the actor that has just stopped and what may happen now, the usual first; None ends the run."""


class Stage:
    """One run of some actors.  `moves_beside`: what else may happen at a point (the world's business)."""

    def __init__(
        self, programs: Sequence[tuple[str, Callable[[Process], None]]], process: Callable[[Actor], Process],
        choose: Chooser, beside: Callable[[Actor | None], Sequence[Move]], happen: Callable[[Move], None],
    ) -> None:
        self.actors = [Actor(index, name, program) for index, (name, program) in enumerate(programs)]
        self.locks: dict[str, int] = {}
        self.failure: BaseException | None = None
        self.over = False
        self._process, self._choose, self._beside, self._happen = process, choose, beside, happen
        self._main = threading.Semaphore(0)
        self._threads = {threading.Thread(target=self._live, args=(a,), daemon=True): a for a in self.actors}
        self._current: Actor | None = None

    def run(self) -> None:
        """Until all are done, or the chooser ends it.  Raises what broke."""
        with self._played():
            for thread in self._threads:
                thread.start()
            self._hand_on(None)
            self._main.acquire()
            self.over = True
            for thread, actor in self._threads.items():
                actor.baton.release()
                thread.join()
        if self.failure is not None:
            raise self.failure

    # -- called by actors -------------------------------------------------------------------------------------------

    def point(self, actor: Actor, where: str, *, lets_others: bool = False) -> None:
        """The actor stops here.  Where it has seen nothing since its last point, it is still there."""
        if self.over:
            raise Abandoned
        if actor.seen == actor.stopped_at and not lets_others:
            return
        actor.stopped_at, actor.where = actor.seen, where
        self._stop(actor, lets_others)

    @contextmanager
    def lock(self, actor: Actor, path: str) -> Iterator[None]:
        while path in self.locks:
            actor.status = path
            self._stop(actor, True)
        self.locks[path] = actor.index
        try:
            yield
        finally:
            if not self.over:
                self.locks.pop(path)
                for other in self.actors:
                    other.status = READY if other.status == path else other.status

    # -- the baton --------------------------------------------------------------------------------------------------

    def _live(self, actor: Actor) -> None:
        actor.baton.acquire()
        try:
            while not self.over and actor.status != DONE:
                self._one_life(actor)
                if not self.over and actor.status != DONE:
                    self._stop(actor, True)
            if not self.over:
                self._hand_on(None)
        except Abandoned:
            pass
        except BaseException as e:
            self._fail(e)

    def _one_life(self, actor: Actor) -> None:
        try:
            actor.program(self._process(actor))
            actor.reborn()
            actor.status = DONE
        except Killed:
            actor.reborn()
        except EngramError as e:
            if not e.retriable or actor.restarts == RESTARTS:
                raise Violation(f"{actor.name} failed: {type(e).__name__}: {e}") from e
            actor.reborn()
            actor.restarts += 1

    def _stop(self, actor: Actor, lets_others: bool) -> None:
        """Asks who goes on; returns when this actor does.  Raises Killed where it does not any more."""
        chosen = self._next(actor, lets_others)
        if chosen is not actor:
            self._pass(chosen)
            actor.baton.acquire()
            if self.over:
                raise Abandoned
            self._current = actor

    def _hand_on(self, actor: Actor | None) -> None:
        try:
            self._pass(self._next(actor, True))
        except Abandoned:
            self._main.release()
        except BaseException as e:
            self._fail(e)

    def _pass(self, chosen: Actor) -> None:
        self._current = chosen
        chosen.baton.release()

    def _next(self, actor: Actor | None, lets_others: bool) -> Actor:
        while True:
            ready = [a for a in self.actors if a.status == READY]
            if not ready:
                if any(a.status != DONE for a in self.actors):
                    raise Violation(f"deadlock: {[(a.name, a.status) for a in self.actors]}")
                self._end()
            ready.sort(key=lambda a: (a is actor) == lets_others)
            move = self._choose(self, actor, [*(Go(a.index) for a in ready), *self._beside(actor)])
            if move is None:
                self._end()
            elif isinstance(move, Go):
                return self.actors[move.index]
            self._happen(move)
            if isinstance(move, Kill):
                raise Killed(self.actors[move.index].where)

    def _end(self) -> None:
        if threading.current_thread() in self._threads:
            self.over = True
            self._main.release()
        raise Abandoned

    def _fail(self, error: BaseException) -> None:
        if not self.over:
            self.failure, self.over = error, True
            self._main.release()

    @contextmanager
    def _played(self) -> Iterator[None]:
        """Named steps are points; waiting before another attempt lets others go; no lock among threads."""
        before = faults.hook, tenacity.nap.time, recovery._reading
        faults.hook = self._hook
        tenacity.nap.time = SimpleNamespace(sleep=lambda s: self._hook("waiting", lets_others=True))  # type: ignore
        recovery._reading = nullcontext()  # type: ignore[assignment]
        try:
            yield
        finally:
            faults.hook, tenacity.nap.time, recovery._reading = before  # type: ignore[assignment]

    def _hook(self, step: str, *, lets_others: bool = False) -> None:
        if self._current is not None:
            self.point(self._current, step, lets_others=lets_others)
