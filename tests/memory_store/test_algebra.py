"""Memory is the sum of its contributions: any order, any batches, any undo give the same bytes, in both memories."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kie_ops.memory import Increment
from memory_store.dump import lines
from memory_store.local import LocalStore
from memory_store.redis_store import RedisStore
from memory_store.store import ERASURES, Applied, MemoryStore
from tests.memory_store.strategies import KEYS, batches

SHARED = settings(
    deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def content(store: MemoryStore) -> bytes:
    return b"".join(lines(store.cells()))


def fill(store: MemoryStore, parts: list[list[Increment]], chain: str = "s/0") -> None:
    for part in parts:
        at = store.positions().get(chain, 0)
        assert store.apply(chain, at, at + 1, part, erasures=0) is Applied.APPLIED


@SHARED
@given(parts=st.lists(batches, max_size=6), data=st.data())
def test_any_order_and_any_split_give_the_same_bytes(
    store: MemoryStore, parts: list[list[Increment]], data: st.DataObject
) -> None:
    store.clear()
    fill(store, parts)
    one_way = content(store)
    flat = data.draw(st.permutations([i for part in parts for i in part]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(flat)), max_size=4)))
    store.clear()
    for n, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(flat)], strict=True)):
        fill(store, [flat[a:b]], chain=f"s/{n % 2}")
    assert content(store) == one_way


@SHARED
@given(before=batches, undone=batches, after=batches)
def test_undo_gives_the_memory_that_never_saw_it(
    store: MemoryStore, before: list[Increment], undone: list[Increment], after: list[Increment]
) -> None:
    store.clear()
    fill(store, [before, after])
    never = content(store)
    store.clear()
    fill(store, [before, undone, after, [i.negated() for i in undone]])
    assert content(store) == never


@SHARED
@given(parts=st.lists(batches, min_size=1, max_size=4))
def test_applied_twice_is_applied_once(store: MemoryStore, parts: list[list[Increment]]) -> None:
    store.clear()
    fill(store, parts)
    once = content(store)
    for n, part in enumerate(parts):
        assert store.apply("s/0", n, n + 1, part, erasures=0) is Applied.SKIPPED
    assert content(store) == once


class BothMemories(RuleBasedStateMachine):
    """The same random calls to both give the same answers and the same memory; a second client reads along."""

    url = ""

    @initialize()
    def open(self) -> None:
        self.local = LocalStore("test")
        namespace = f"test-{uuid.uuid4().hex}"
        self.redis = RedisStore(self.url, namespace, verify=False)
        self.reader = RedisStore(self.url, namespace, verify=False)

    def both(self, name: str, *args: object, **named: object) -> object:
        answers = [getattr(store, name)(*args, **named) for store in (self.local, self.redis)]
        assert answers[0] == answers[1]
        return answers[0]

    @rule(chain=st.sampled_from(["s/0", "s/1"]), shift=st.sampled_from([0, 0, 0, 1, -1]), size=st.integers(0, 3),
          increments=batches, known=st.sampled_from([0, 0, 0, 1]))
    def apply(self, chain: str, shift: int, size: int, increments: list[Increment], known: int) -> None:
        view = self.local.positions()
        start = max(0, view.get(chain, 0) + shift)
        self.both("apply", chain, start, start + size, increments, erasures=view.get(ERASURES, 0) + known)

    @rule(chain=st.sampled_from(["s/0", "s/1"]), shift=st.sampled_from([0, 0, 1, -1]), offset=st.integers(0, 5),
          inverse=batches)
    def erase(self, chain: str, shift: int, offset: int, inverse: list[Increment]) -> None:
        start = max(0, self.local.positions().get(ERASURES, 0) + shift)
        self.both("erase", start, start + 1, chain, offset, inverse)

    @rule(keys=st.sets(st.sampled_from([*KEYS, "never seen"])))
    def recall(self, keys: set[str]) -> None:
        assert self.both("recall", keys) == self.reader.recall(keys)

    @precondition(lambda self: self.local.positions())
    @rule()
    def clear(self) -> None:
        self.both("clear")

    @rule()
    def compact(self) -> None:
        self.reader.compact()

    @invariant()
    def equal(self) -> None:
        if not hasattr(self, "local"):
            return
        assert content(self.local) == content(self.redis)
        assert [c.key for c in self.local.by_age()] == [c.key for c in self.redis.by_age()]
        mine, theirs = self.local.stats(), self.redis.stats()
        assert (mine.cells, mine.fields, mine.positions) == (theirs.cells, theirs.fields, theirs.positions)

    def teardown(self) -> None:
        if hasattr(self, "local"):
            self.redis.clear()
            self.redis.close()
            self.reader.close()


@pytest.fixture
def machine(redis_url: str) -> type[BothMemories]:
    return type("BothMemoriesHere", (BothMemories,), {"url": redis_url})


def test_both_memories_agree_on_any_calls(machine: type[BothMemories]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(deadline=None, max_examples=30, stateful_step_count=25, derandomize=True))
