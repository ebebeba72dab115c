from __future__ import annotations

import json

from hypothesis import given, strategies as st

from memory_store import key_filter
from memory_store.key_filter import KeyFilter


def entry(token: str, *keys: str) -> bytes:
    return json.dumps([token, *keys]).encode()


def test_an_empty_filter_contains_nothing() -> None:
    assert KeyFilter().may_contain(["a"]) == []
    assert KeyFilter().follow(None, 0, []) == set()


@given(st.lists(st.sets(st.text(max_size=3), max_size=5), max_size=20), st.sets(st.text(max_size=3)), st.integers(1, 8))
def test_contains_exactly_what_the_log_names(log: list[set[str]], others: set[str], merge_at: int) -> None:
    before, key_filter._MERGE_AT = key_filter._MERGE_AT, merge_at
    try:
        followed, entries = KeyFilter(), [entry(f"t{n}", *keys) for n, keys in enumerate(log)]
        while followed.known < len(entries):
            at = followed.known
            assert followed.follow("e", len(entries), entries[max(0, at - 1):at + 3]) is not None
        exist = set().union(*log)
        asked = exist | others
        assert set(followed.may_contain(asked)) == exist
        assert len(followed) >= len(exist)
    finally:
        key_filter._MERGE_AT = before


def test_another_epoch_a_shorter_log_or_another_token_starts_over() -> None:
    log = [entry("t0", "a"), entry("t1", "b")]
    for epoch, length, given_entries in [
        ("f", 2, log[1:]), ("e", 1, []), ("e", 2, [entry("t9", "b")]), (None, 0, []),
    ]:
        followed = KeyFilter()
        assert followed.follow("e", 2, log) == {"a", "b"}
        assert followed.follow(epoch, length, given_entries) is None
        assert (len(followed), followed.known, followed.may_contain(["a"])) == (0, 0, [])
        assert followed.follow(epoch, 1, [entry("u0", "c")]) == {"c"}
        assert followed.may_contain(["a", "c"]) == ["c"]


def test_costs_at_most_forty_bytes_a_key_once_sorted_in() -> None:
    followed = KeyFilter()
    followed.follow("e", 1, [entry("t", *(f"key {n}" for n in range(200_000)))])
    assert followed.size <= 40 * 200_000
    assert len(followed.may_contain(f"key {n}" for n in range(199_000, 201_000))) == 1_000


def test_finds_all_and_only_its_keys_at_any_size() -> None:
    followed, known = KeyFilter(), 0
    for n in range(60):
        keys = [f"{n} {m}" for m in range(n * n)]
        entries = [entry(f"t{n - 1}")] * (n > 0) + [entry(f"t{n}", *keys)]
        assert followed.follow("e", n + 1, entries) is not None
        known += len(keys)
    everything = [f"{n} {m}" for n in range(60) for m in range(2 * n * n)]
    found = followed.may_contain(everything)
    assert len(found) == known
    assert all(int(key.split()[1]) < int(key.split()[0]) ** 2 for key in found)
