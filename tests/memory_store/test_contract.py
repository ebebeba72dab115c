"""What both memories promise (memory_store.store)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from kie_ops.errors import EngramError, InputError
from kie_ops.memory import PROTOTYPE_WIDTH, Cell, Increment
from memory_store.cells import LIMIT, unpack
from memory_store.store import ERASURES, Applied, MemoryStore

SEEN, NONE, PROTOTYPE = "self|s|entity|X", "self|s|none|", "self|s|prototype|X"
ONES = (1,) * PROTOTYPE_WIDTH


def one(key: str, field: str = SEEN, count: int = 1, vector: tuple[int, ...] | None = None) -> Increment:
    return Increment(key, field, count, vector)


def test_a_new_memory_is_empty(store: MemoryStore) -> None:
    assert store.positions() == {}
    assert dict(store.recall(["a"]).cells) == {}
    assert list(store.cells()) == []
    stats = store.stats()
    assert (stats.cells, stats.fields, stats.bytes, dict(stats.positions)) == (0, 0, 0, {})


def test_applies_at_its_position_and_advances(store: MemoryStore) -> None:
    assert store.apply("s/0", 0, 5, [one("a"), one("a", count=2), one("b", NONE)], erasures=0) is Applied.APPLIED
    recall = store.recall(["a", "b", "c"])
    assert recall.cells == {"a": Cell("a", {SEEN: 3}), "b": Cell("b", {NONE: 1})}
    assert recall.view == store.positions() == {"s/0": 5}


@pytest.mark.parametrize(
    ("start", "end", "answer"),
    [
        (0, 5, Applied.SKIPPED), (0, 3, Applied.SKIPPED),
        (6, 8, Applied.BEHIND), (0, 8, Applied.BEHIND), (3, 8, Applied.BEHIND),
    ],
)
def test_at_another_position_nothing_is_written(store: MemoryStore, start: int, end: int, answer: Applied) -> None:
    store.apply("s/0", 0, 5, [one("a")], erasures=0)
    assert store.apply("s/0", start, end, [one("a"), one("b")], erasures=0) is answer
    assert list(store.cells()) == [Cell("a", {SEEN: 1})]
    assert store.positions() == {"s/0": 5}


def test_an_empty_transaction_advances(store: MemoryStore) -> None:
    assert store.apply("s/0", 0, 7, [], erasures=0) is Applied.APPLIED
    assert store.positions() == {"s/0": 7}
    assert list(store.cells()) == []


def test_chains_stand_apart(store: MemoryStore) -> None:
    store.apply("s/0", 0, 5, [one("a")], erasures=0)
    assert store.apply("s/1", 5, 6, [one("a")], erasures=0) is Applied.BEHIND
    assert store.apply("s/1", 0, 6, [one("a")], erasures=0) is Applied.APPLIED
    assert store.recall(["a"]).view == {"s/0": 5, "s/1": 6}


def test_a_caller_that_knows_another_erasure_is_stale(store: MemoryStore) -> None:
    store.apply("s/0", 0, 5, [one("a")], erasures=0)
    assert store.apply("s/0", 5, 6, [one("a")], erasures=1) is Applied.STALE
    assert store.erase(0, 1, "s/0", 2, []) is Applied.APPLIED
    assert store.apply("s/0", 5, 6, [one("a")], erasures=0) is Applied.STALE
    assert store.apply("s/0", 0, 5, [one("a")], erasures=0) is Applied.STALE  # before all else
    assert store.apply("s/0", 5, 6, [one("a")], erasures=1) is Applied.APPLIED
    assert store.positions() == {"s/0": 6, ERASURES: 1}


def test_erase_takes_out_what_was_applied(store: MemoryStore) -> None:
    store.apply("s/0", 0, 3, [one("a"), one("b", count=2)], erasures=0)
    assert store.erase(0, 1, "s/0", 2, [one("a", count=-1), one("b", count=-1)]) is Applied.APPLIED
    assert list(store.cells()) == [Cell("b", {SEEN: 1})]


def test_erase_takes_out_nothing_that_was_not_applied(store: MemoryStore) -> None:
    store.apply("s/0", 0, 3, [one("a")], erasures=0)
    assert store.erase(0, 1, "s/0", 3, [one("a", count=-1)]) is Applied.APPLIED
    assert store.erase(1, 2, "s/7", 0, [one("a", count=-1)]) is Applied.APPLIED
    assert list(store.cells()) == [Cell("a", {SEEN: 1})]
    assert store.positions()[ERASURES] == 2


def test_erase_twice_is_erase_once(store: MemoryStore) -> None:
    store.apply("s/0", 0, 3, [one("a", count=3)], erasures=0)
    assert store.erase(1, 2, "s/0", 0, [one("a", count=-1)]) is Applied.BEHIND
    for answer in (Applied.APPLIED, Applied.SKIPPED):
        assert store.erase(0, 1, "s/0", 0, [one("a", count=-1)]) is answer
    assert list(store.cells()) == [Cell("a", {SEEN: 2})]


def test_zero_counts_and_empty_cells_vanish(store: MemoryStore) -> None:
    store.apply("s/0", 0, 1, [one("a"), one("a", NONE), one("b", PROTOTYPE, 1, ONES)], erasures=0)
    store.apply("s/0", 1, 2, [one("a", count=-1), one("b", PROTOTYPE, -1, tuple(-v for v in ONES))], erasures=0)
    assert store.recall(["a", "b"]).cells == {"a": Cell("a", {NONE: 1})}
    assert (store.stats().cells, store.stats().fields) == (1, 1)
    store.apply("s/0", 2, 3, [one("a", NONE, -1), one("b", PROTOTYPE, 1)], erasures=0)
    assert store.recall(["a", "b"]).cells == {"b": Cell("b", {PROTOTYPE: 1})}


def test_counts_may_go_below_zero_and_back(store: MemoryStore) -> None:
    store.apply("s/0", 0, 1, [one("a", count=-2)], erasures=0)
    assert store.recall(["a"]).cells == {"a": Cell("a", {SEEN: -2})}
    store.apply("s/0", 1, 2, [one("a", count=2)], erasures=0)
    assert store.recall(["a"]).cells == {}


def test_vectors_are_int32_sums(store: MemoryStore) -> None:
    vector = tuple(range(-32, 32))
    for n in range(3):
        store.apply("s/0", n, n + 1, [one("a", PROTOTYPE, 1, vector)], erasures=0)
    packed = store.recall(["a"]).cells["a"].vectors[PROTOTYPE]
    assert np.frombuffer(packed, "<i4").tolist() == [3 * v for v in vector]


def test_a_vector_beyond_int32_is_kept_exactly_and_read_clipped(store: MemoryStore) -> None:
    large = (2**31 - 1,) * PROTOTYPE_WIDTH
    store.apply("s/0", 0, 1, [one("a", PROTOTYPE, 0, large)], erasures=0)
    store.apply("s/0", 1, 2, [one("a", PROTOTYPE, 0, large)], erasures=0)
    assert unpack(next(store.cells()).vectors[PROTOTYPE]).tolist() == [2**32 - 2] * PROTOTYPE_WIDTH
    read = store.recall(["a"]).cells["a"].vectors[PROTOTYPE]
    assert np.frombuffer(read, "<i4").tolist() == list(large)
    store.apply("s/0", 2, 3, [one("a", PROTOTYPE, 0, tuple(-v for v in large))], erasures=0)
    assert next(store.cells()).vectors[PROTOTYPE] == np.full(PROTOTYPE_WIDTH, 2**31 - 1, "<i4").tobytes()


@pytest.mark.parametrize(
    "bad",
    [
        one("a", count=LIMIT + 1), one("a", count=1.5), one("a", count=np.int64(1)),  # type: ignore[arg-type]
        one("a", vector=(1, 2)), one("a", vector=(0.5,) * PROTOTYPE_WIDTH),  # type: ignore[arg-type]
        one("a", vector=(2**60,) * PROTOTYPE_WIDTH), one("lone \ud800"), one(b"a"),  # type: ignore[arg-type]
    ],
)
def test_what_no_memory_can_hold_is_refused_whole(store: MemoryStore, bad: Increment) -> None:
    with pytest.raises(InputError):
        store.apply("s/0", 0, 1, [one("b"), bad], erasures=0)
    assert (store.positions(), list(store.cells())) == ({}, [])


@pytest.mark.parametrize("bad", [one("a", count=LIMIT), one("a", PROTOTYPE, 0, (LIMIT,) * PROTOTYPE_WIDTH)])
def test_a_sum_that_leaves_the_range_is_refused_whole(store: MemoryStore, bad: Increment) -> None:
    store.apply("s/0", 0, 1, [bad], erasures=0)
    assert next(store.cells()).counts.get(SEEN, LIMIT) == LIMIT
    with pytest.raises(InputError):
        store.apply("s/0", 1, 2, [one("0"), bad, one("z")], erasures=0)
    assert store.positions() == {"s/0": 1}
    assert [cell.key for cell in store.cells()] == ["a"]


def test_cells_come_sorted_and_by_age(store: MemoryStore) -> None:
    for n, key in enumerate(["m", "z", "a", "纽约", "Z"]):
        store.apply("s/0", n, n + 1, [one(key)], erasures=0)
    store.apply("s/0", 5, 6, [one("m", count=-1), one("z")], erasures=0)
    store.apply("s/0", 6, 7, [one("m")], erasures=0)
    assert [cell.key for cell in store.cells()] == ["Z", "a", "m", "z", "纽约"]
    assert [cell.key for cell in store.by_age()] == ["z", "a", "纽约", "Z", "m"]


def test_a_large_application_passes_in_one_step(store: MemoryStore) -> None:
    many = [one(f"key {n}", f"self|s|entity|{m}") for n in range(4_000) for m in range(3)]
    wide = [one("wide", f"training|s|example|{n}") for n in range(9_500)]  # beyond what Lua unpacks at once
    assert store.apply("s/0", 0, 1, many + wide, erasures=0) is Applied.APPLIED
    assert (store.stats().cells, store.stats().fields) == (4_001, 21_500)
    assert len(store.recall(["wide"]).cells["wide"].counts) == 9_500
    assert store.apply("s/0", 1, 2, [i.negated() for i in many + wide], erasures=0) is Applied.APPLIED
    assert (store.stats().cells, store.stats().fields) == (0, 0)


def test_another_client_sees_new_keys_at_once(store: MemoryStore, another: Callable[[], MemoryStore]) -> None:
    reader = another()
    assert reader.recall(["a", "b"]).cells == {}
    store.apply("s/0", 0, 1, [one("a")], erasures=0)
    assert set(reader.recall(["a", "b"]).cells) == {"a"}
    store.apply("s/0", 1, 2, [one("b"), one("c")], erasures=0)
    read = reader.recall(["a", "b"])
    assert (set(read.cells), read.view) == ({"a", "b"}, {"s/0": 2})


def test_clear_forgets_all_for_every_client(store: MemoryStore, another: Callable[[], MemoryStore]) -> None:
    reader = another()
    for n in range(5):
        store.apply("s/0", n, n + 1, [one(f"{n}"), one("same")], erasures=0)
    assert set(reader.recall(["same"]).cells) == {"same"}
    store.clear()
    assert reader.recall(["same"]) == store.recall(["same"])
    assert (reader.positions(), list(reader.cells()), reader.stats().cells) == ({}, [], 0)
    assert reader.apply("s/0", 0, 1, [one("same"), one("other")], erasures=0) is Applied.APPLIED
    assert set(store.recall(["same", "other", "1"]).cells) == {"same", "other"}
    store.clear()
    store.clear()


def test_a_recall_stays_as_it_was_read(store: MemoryStore) -> None:
    store.apply("s/0", 0, 1, [one("a")], erasures=0)
    read = store.recall(["a"])
    store.apply("s/0", 1, 2, [one("a")], erasures=0)
    assert read.cells["a"].counts == {SEEN: 1}
    assert read.view == {"s/0": 1}


def test_racing_callers_apply_each_transaction_once(store: MemoryStore, another: Callable[[], MemoryStore]) -> None:
    answers: list[Applied] = []
    errors: list[EngramError] = []

    def work() -> None:
        client = another()
        try:
            for n in range(30):
                while (answer := client.apply("s/0", n, n + 1, [one("a"), one(f"{n}")], erasures=0)) is Applied.BEHIND:
                    pass
                answers.append(answer)
        except EngramError as e:
            errors.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert answers.count(Applied.APPLIED) == 30
    assert store.recall(["a"]).cells["a"].counts == {SEEN: 30}


def test_every_read_is_of_one_moment(store: MemoryStore, another: Callable[[], MemoryStore]) -> None:
    """Each transaction adds one to all cells: a read in between two would show unequal counts, or another view."""
    keys = [f"k{n}" for n in range(20)]
    done = threading.Event()

    def write() -> None:
        writer = another()
        for n in range(60):
            writer.apply("s/0", n, n + 1, [one(key) for key in keys] + [one(f"new {n}")], erasures=0)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        read = store.recall([*keys, *(f"new {n}" for n in range(60))])
        at = read.view.get("s/0", 0)
        assert {read.cells[key].counts[SEEN] for key in keys if key in read.cells} <= {at}
        assert sum(key.startswith("new") for key in read.cells) == at
    thread.join()
