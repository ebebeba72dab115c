"""A study of a stream: several memories and plans, each over the same orders of arrival and the same reviews."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kie_ops.evaluation.stream_scores import MODES, Cuts, count, tuned
from kie_ops.evaluation.streams import Plan, Stream, order, run
from kie_ops.memory import Cell

TUNING_ORDERS = 2
"""Orders of the dev stream on which settings are chosen."""


@dataclass(frozen=True)
class Arm:
    """One memory to start with and one plan."""

    name: str
    memory: Mapping[str, Cell]
    plan: Plan


@dataclass(frozen=True)
class Emitted:
    """Spans that memory on emitted in one order: `score` float64 [n], `right` bool [n]."""

    score: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Trial:
    """One arm over all orders.  `counts` int64 [orders, documents, modes, 3]; `found` int64 [orders, documents, modes,
    kinds] and `gold` int64 [orders, documents, kinds]: gold mentions apart; documents are numbered as in the stream.
    """

    arm: Arm
    cuts: Cuts
    counts: np.ndarray
    found: np.ndarray
    gold: np.ndarray
    emitted: tuple[Emitted, ...]


@dataclass(frozen=True)
class Study:
    """`turns` int64 [orders, documents]: the documents' numbers in order of arrival; `seeds` of the orders."""

    scheme: str
    labels: tuple[str, ...]
    documents: int
    dev_documents: int
    seeds: tuple[int, ...]
    turns: np.ndarray
    trials: tuple[Trial, ...]
    precision: float | None = None

    def later(self) -> np.ndarray:
        """bool [orders, documents]: whether a document came in the second half."""
        out = np.zeros(self.turns.shape, dtype=bool)
        for n, turns in enumerate(self.turns):
            out[n, turns[len(turns) // 2 :]] = True
        return out


def study(
    stream: Stream, dev: Stream, arms: Sequence[Arm], *, orders: int = 10, precision: float | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Study:
    """Every arm over orders 0 .. orders - 1 (0: as the documents come).

    The dictionary's threshold, and those for `precision`, are found for each arm on `dev`, a stream of the same scheme
    that is read with the same memory and by the same plan.  `progress` is called with (arm, orders done, orders).
    """
    seeds = tuple(range(orders))
    stream, dev = (some.among(arm.memory for arm in arms) for some in (stream, dev))
    trials = tuple(_trial(stream, dev, arm, seeds, precision, progress) for arm in arms)
    turns = np.array([order(len(stream.reads), seed) for seed in seeds], dtype=np.int64)
    return Study(stream.scheme, stream.labels, len(stream.reads), len(dev.reads), seeds, turns, trials, precision)


def _trial(
    stream: Stream, dev: Stream, arm: Arm, seeds: Sequence[int], precision: float | None,
    progress: Callable[[str, int, int], None] | None,
) -> Trial:
    cuts = tuned(dev, [list(run(dev, arm.memory, arm.plan, seed)) for seed in range(TUNING_ORDERS)], precision)
    size = len(stream.reads)
    counts, found, gold, emitted = [], [], [], []
    for n, seed in enumerate(seeds):
        rows = sorted(((s.number, count(stream, s, cuts)) for s in run(stream, arm.memory, arm.plan, seed)),
                      key=lambda row: row[0])
        counts.append([c.counts for _, c in rows])
        found.append([c.found for _, c in rows])
        gold.append([c.gold for _, c in rows])
        emitted.append(Emitted(np.array([x for _, c in rows for x in c.scores], dtype=np.float64),
                               np.array([x for _, c in rows for x in c.right], dtype=bool)))
        if progress is not None:
            progress(arm.name, n + 1, len(seeds))
    shape = (len(seeds), size, len(MODES))
    return Trial(
        arm, cuts, np.array(counts).reshape(*shape, 3), np.array(found).reshape(*shape, -1),
        np.array(gold).reshape(len(seeds), size, -1), tuple(emitted),
    )
