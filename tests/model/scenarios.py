"""The worlds that are explored: each the smallest in which its trouble can happen."""

from __future__ import annotations

from tests.model.actors import BROKEN, correct, evict, forget, ledger, records, undo, worker
from tests.model.world import Scenario

FOUR = records("a: aspirin rash", "b: aspirin fever", BROKEN, "c: fever")
THREE = records("a: aspirin rash", "b: aspirin", "c: rash")
AGAIN = records("a: aspirin", "b: rash", "a: aspirin", "c: fever")

SCENARIOS = (
    Scenario("two workers on one partition", {0: FOUR}, [("one", worker()), ("two", worker())]),
    Scenario("two workers on one partition, object store", {0: FOUR}, [("one", worker()), ("two", worker())],
             local=False),
    Scenario("two partitions", {0: THREE, 1: records("d: aspirin", "e: fever", partition=1)},
             [("one", worker(0)), ("two", worker(1))]),
    Scenario("batches of one and two", {0: FOUR}, [("one", worker()), ("two", worker(batch=2))]),
    Scenario("a correction and its undo", {0: THREE[:2]}, [
        ("worker", worker()), ("reviewer", ledger(correct("c1"), correct("c2"))),
        ("another", ledger(undo("c1"), correct("c1"), undo("c2"))),
    ]),
    Scenario("an erasure", {0: THREE}, [("worker", worker()), ("eraser", forget(0))]),
    Scenario("an erasure, object store", {0: THREE}, [("worker", worker()), ("eraser", forget(1))], local=False),
    Scenario("an erasure beside two workers", {0: THREE[:2]},
             [("one", worker()), ("two", worker()), ("eraser", forget(0))]),
    Scenario("an erasure of a dead letter", {0: [FOUR[0], *records("x: x", BROKEN)[1:]]},
             [("worker", worker()), ("eraser", forget(1))]),
    Scenario("a forgotten document that arrives again", {0: AGAIN},
             [("worker", worker()), ("eraser", forget(doc_id="a"))]),
    Scenario("two erasures", {0: THREE}, [("worker", worker()), ("eraser", forget(0)), ("another", forget(1))]),
    Scenario("evictions", {0: THREE[:2]}, [("worker", worker()), ("evicts", ledger(evict(1), evict(1)))]),
    Scenario("an eviction and an erasure", {0: THREE[:2]},
             [("worker", worker()), ("evicts", ledger(evict(1))), ("eraser", forget(0))]),
)
