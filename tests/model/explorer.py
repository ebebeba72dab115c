"""Every schedule of a scenario, by the number of times it leaves the usual way.

A schedule is a list of deviations from "whoever runs goes on": at the n-th decision another actor goes on, the one
that runs is killed, memory is set back.  Schedules with fewer deviations come first; each is run from the start, as a
thread cannot be copied, and goes on from its last deviation until it reaches a state that was seen before (then all
that follows has been explored with as few deviations) or the end.  A state is the digest of disk, memory, locks, what
may still happen, and of all that every living process has ever seen.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from memory_store.local import LocalStore
from pipelines import recovery
from tests.model import laws
from tests.model.actors import open_worker, work
from tests.model.disk import DiskStorage
from tests.model.process import GRAINS
from tests.model.quick import quick
from tests.model.stage import Actor, Move, Stage, Violation
from tests.model.world import Scenario, World

Schedule = tuple[tuple[int, Move], ...]


@dataclass(frozen=True)
class Found:
    """A violation, and the shortest schedule that was found for it."""

    said: str
    schedule: Schedule
    way: tuple[str, ...]


@dataclass
class Report:
    """`deviations`: every schedule of so many deviations was explored (None: not even the usual one)."""

    scenario: str
    states: int = 0
    schedules: int = 0
    ends: int = 0
    deviations: int | None = None
    left: int = 0
    violations: list[Found] = field(default_factory=list)

    def __str__(self) -> str:
        done = "everything" if not self.left else f"all of {self.deviations} deviations"
        return (f"{self.scenario}: {self.states} states, {self.schedules} schedules, {self.ends} ends, {done}, "
                f"{len(self.violations)} violations")


class Explorer:
    """Explores one scenario up to a number of states; `seed` is the order among schedules of equal length."""

    def __init__(self, scenario: Scenario, *, grain: str = "writes", states: int = 10_000, seed: int = 1,
                 deviations: int = 1_000, stop_at: int = 1, seconds: float = float("inf")) -> None:
        assert grain in GRAINS
        self.scenario, self.grain, self.limit = scenario, grain, states
        self._deviations, self._stop_at = deviations, stop_at
        self._until = time.process_time() + seconds
        self._random = random.Random(seed)
        self._states: set[int] = set()
        self._ends: set[int] = set()
        self.report = Report(scenario.name)

    def run(self) -> Report:
        with quick():
            return self._run()

    def _run(self) -> Report:
        level: list[Schedule] = [()]
        depth = 0
        while level and depth <= self._deviations:
            self._random.shuffle(level)
            after: list[Schedule] = []
            while level:
                if self._enough():
                    self.report.left = len(level) + len(after)
                    return self.report
                self._try(level.pop(), after)
            self.report.deviations, level, depth = depth, after, depth + 1
        self.report.left = len(level)
        return self.report

    def _enough(self) -> bool:
        return (len(self._states) >= self.limit or len(self.report.violations) >= self._stop_at
                or time.process_time() > self._until)

    def _try(self, schedule: Schedule, after: list[Schedule]) -> None:
        way: list[str] = []
        run = _Run(self, schedule, after, way)
        world = run.world = World(self.scenario, self.grain, run.choose)
        try:
            world.run()
            if not run.known:
                self._rest(world)
        except Violation as e:
            self.report.violations.append(Found(str(e), schedule, tuple(way)))
        self.report.schedules += 1
        self.report.states = len(self._states)

    def _rest(self, world: World) -> None:
        """All are done: a worker comes by, and everything is as it should be."""
        end = hash((world.resting(), world.killed))
        if end in self._ends:
            return
        self._ends.add(end)
        self.report.ends = len(self._ends)
        storage = DiskStorage(world.disk)
        if not world.killed:
            laws.swept(world.truth, world.disk)
        try:
            one = open_worker(self.scenario, storage, world.store)
            work(one, one.publish)
            laws.at_rest(world.truth, world.disk, world.store)
            again = LocalStore("again")
            recovery.catch_up(storage, again)
        except Violation:
            raise
        except Exception as e:
            raise Violation(f"a worker that came by failed: {type(e).__name__}: {e}") from e
        if laws.counts(again) != laws.counts(world.store):
            raise Violation("memory: summed anew from the log it is another")


class _Run:
    """One schedule: where it deviates, and where it reaches what is known."""

    world: World

    def __init__(self, explorer: Explorer, schedule: Schedule, after: list[Schedule], way: list[str]) -> None:
        self._explorer, self._schedule, self._after, self._way = explorer, schedule, after, way
        self._turns = dict(schedule)
        self._last = schedule[-1][0] if schedule else -1
        self._at = -1
        self.known = False

    def choose(self, stage: Stage, actor: Actor | None, moves: Sequence[Move]) -> Move | None:
        self._at += 1
        if self._at <= self._last:
            move = self._turns.get(self._at, moves[0])
            if move not in moves:
                raise RuntimeError(f"the code under test is not deterministic: {move} is not among {moves}")
            if self._at in self._turns:
                who = "at the start" if actor is None else f"{actor.name} at {actor.where}"
                self._way.append(f"{self._at}: {who}: {move}")
            return move
        key = self.world.key(actor)
        if key in self._explorer._states:
            self.known = True
            return None
        self._explorer._states.add(key)
        self._after += [(*self._schedule, (self._at, move)) for move in moves[1:]]
        return moves[0]
