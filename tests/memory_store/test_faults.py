"""Redis wiped, cut off, restored from an older copy, or holding what engram did not write: never half done."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from kie_ops.errors import ConfigError, InputError, LogError, ServiceError
from kie_ops.memory import PROTOTYPE_WIDTH, Cell, Increment
from memory_store.redis_store import RedisStore
from memory_store.server import EmbeddedServer
from memory_store.store import Applied

SEEN = "self|s|entity|X"
ONES = (1,) * PROTOTYPE_WIDTH


def ones(*keys: str) -> list[Increment]:
    return [Increment(key, SEEN, 1) for key in keys]


@pytest.fixture
def store(own_server: EmbeddedServer) -> Iterator[RedisStore]:
    store = RedisStore(own_server.url, "faults", patience_s=0.3)
    yield store
    store.close()


@pytest.fixture
def raw(own_server: EmbeddedServer) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(own_server.url)
    yield client
    client.close()


def snapshot(raw: redis.Redis) -> dict[bytes, bytes]:
    return {key: raw.dump(key) for key in raw.keys("*")}  # type: ignore[misc, union-attr]


CELL = "engram:{faults}:c:"


@pytest.mark.parametrize(
    "poison",
    [
        lambda r: r.set(CELL + "p", "text"),
        lambda r: r.set(CELL + "p", '{"f":"many"}'),
        lambda r: r.set(CELL + "p", '{"f":1.5}'),
        lambda r: r.set(CELL + "p", '{"f":9007199254740993}'),
        lambda r: r.set(CELL + "p", "7"),
        lambda r: r.set(CELL + "p", f'{{"{SEEN}":{2**53 - 1}}}'),
        lambda r: r.set(CELL + "p", b'{}\0["f"]\0short'),
        lambda r: r.set(CELL + "p", b'{}\0["f"]'),
        lambda r: r.set(CELL + "p", b'{}\0[]\0'),
        lambda r: (r.delete(CELL + "p"), r.hset(CELL + "p", SEEN, 1)),
        lambda r: r.hset("engram:{faults}:applied", "s/0", "there"),
        lambda r: (r.delete("engram:{faults}:keys"), r.set("engram:{faults}:keys", "text")),
        lambda r: r.hset("engram:{faults}:meta", "cells", "some"),
        lambda r: (r.delete("engram:{faults}:meta"), r.rpush("engram:{faults}:meta", "a")),
    ],
)
def test_a_poisoned_value_leaves_nothing_half_applied(store: RedisStore, raw: redis.Redis, poison) -> None:
    store.apply("s/0", 0, 1, ones("a", "p", "z"), erasures=0)
    poison(raw)
    before = snapshot(raw)
    more = [*ones("a", "new", "p", "z"), Increment("p", SEEN, 0, ONES)]
    with pytest.raises((LogError, InputError)) as caught:
        store.apply("s/0", 1, 2, more, erasures=0)
    assert not caught.value.retriable
    assert caught.value.next_step
    assert snapshot(raw) == before
    with pytest.raises((LogError, InputError)):
        store.erase(0, 1, "s/0", 0, more)
    assert snapshot(raw) == before


@pytest.mark.parametrize(
    "text",
    [b"text", b"7", b"[]", b"\xff", b"{},{}", b"",
     b'{}\0[]\0', b'{}\0["f"]\0short', b'{}\0["f"]', b'{}\0{"f":1}\0', b"{}\0\0"],
)
def test_a_poisoned_cell_is_told_when_read(store: RedisStore, raw: redis.Redis, text: bytes) -> None:
    store.apply("s/0", 0, 1, ones("a", "p"), erasures=0)
    raw.set(CELL + "p", text)
    for read in (lambda: store.recall(["a", "p"]), lambda: list(store.cells())):
        with pytest.raises(LogError, match=r"cell 'p'.*rebuild"):
            read()
    assert set(store.recall(["a"]).cells) == {"a"}


def test_flushed_in_the_middle_positions_are_gone_and_the_caller_is_behind(store: RedisStore, raw: redis.Redis) -> None:
    store.apply("s/0", 0, 5, ones("a", "b"), erasures=0)
    assert set(store.recall(["a", "b"]).cells) == {"a", "b"}
    raw.flushall()
    assert store.apply("s/0", 5, 6, ones("a"), erasures=0) is Applied.BEHIND
    read = store.recall(["a", "b"])
    assert (read.cells, read.view, store.positions()) == ({}, {}, {})
    store.apply("s/0", 0, 5, ones("a", "b"), erasures=0)
    assert store.apply("s/0", 5, 6, ones("a"), erasures=0) is Applied.APPLIED
    assert store.recall(["a", "b"]).cells == {"a": Cell("a", {SEEN: 2}), "b": Cell("b", {SEEN: 1})}


def test_forgotten_scripts_are_loaded_again(store: RedisStore, raw: redis.Redis) -> None:
    store.apply("s/0", 0, 1, ones("a"), erasures=0)
    raw.script_flush()
    assert store.apply("s/0", 1, 2, ones("a"), erasures=0) is Applied.APPLIED
    raw.script_flush()
    assert store.recall(["a"]).view == {"s/0": 2}


def test_a_lost_suffix_written_anew_is_noticed(
    store: RedisStore, raw: redis.Redis, own_server: EmbeddedServer
) -> None:
    """Redis restarts from an older copy; before the reader looks, others have brought the version log to its length."""
    store.apply("s/0", 0, 1, ones("a"), erasures=0)
    copy = snapshot(raw)
    store.apply("s/0", 1, 2, ones("lost"), erasures=0)
    assert set(store.recall(["a", "lost"]).cells) == {"a", "lost"}
    raw.flushall()
    for key, value in copy.items():
        raw.restore(key, 0, value)
    other = RedisStore(own_server.url, "faults")
    assert other.positions() == {"s/0": 1}
    other.apply("s/1", 0, 1, ones("found"), erasures=0)
    other.apply("s/1", 1, 2, ones("found too"), erasures=0)
    other.close()
    assert set(store.recall(["a", "lost", "found", "found too"]).cells) == {"a", "found", "found too"}


def test_clearing_that_was_cut_short_is_finished_by_the_next(
    store: RedisStore, raw: redis.Redis, own_server: EmbeddedServer
) -> None:
    for n in range(4):
        store.apply("s/0", n, n + 1, ones(f"{n}", "same"), erasures=0)
    for step in range(4):  # stopped after so many steps
        cut = RedisStore(own_server.url, "faults")
        left = step
        run = cut._run

        def stopping(script: str, *args: object, run=run, **named: object) -> object:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return run(script, *args, **named)

        cut._run = stopping  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            cut.clear()
        cut.close()
    assert raw.exists("engram:{faults}:meta")
    assert store.recall(["0", "same"]).cells == {}
    assert raw.keys("*") == []
    assert store.apply("s/0", 0, 1, ones("0"), erasures=0) is Applied.APPLIED


class Proxy:
    """A TCP relay to the server's socket that loses answers, or everything, when told."""

    def __init__(self, target: str) -> None:
        self.target, self.lose_answers, self.open = target, 0, True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if not self.open:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.target)
            threading.Thread(target=self._relay, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, True), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if answers and self.lose_answers:
                    self.lose_answers -= 1
                    break
                if not self.open:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def proxy(own_server: EmbeddedServer) -> Iterator[Proxy]:
    proxy = Proxy(str(own_server.socket))
    yield proxy
    proxy.listener.close()


def test_a_lost_answer_is_asked_for_again_and_nothing_is_added_twice(proxy: Proxy) -> None:
    store = RedisStore(proxy.url, "faults", patience_s=5)
    store.apply("s/0", 0, 1, ones("a"), erasures=0)
    proxy.lose_answers = 1
    assert store.apply("s/0", 1, 2, ones("a"), erasures=0) is Applied.SKIPPED  # the first attempt took effect
    proxy.lose_answers = 1
    assert store.recall(["a"]).cells == {"a": Cell("a", {SEEN: 2})}
    store.close()


def test_a_cut_connection_is_a_retriable_error_and_passes(proxy: Proxy) -> None:
    store = RedisStore(proxy.url, "faults", patience_s=0.3)
    store.apply("s/0", 0, 1, ones("a"), erasures=0)
    proxy.open = False
    for call in (
        lambda: store.apply("s/0", 1, 2, ones("a"), erasures=0), lambda: store.recall(["a"]), store.positions,
        lambda: list(store.cells()), store.stats, store.clear,
    ):
        with pytest.raises(ServiceError) as caught:
            call()
        assert caught.value.retriable
        assert "127.0.0.1" in str(caught.value)
        assert caught.value.next_step
    proxy.open = True
    assert store.recall(["a"]).cells == {"a": Cell("a", {SEEN: 1})}
    store.close()


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="nobody"):
        RedisStore(f"unix://{tmp_path}/nobody.sock", "faults", patience_s=0.1)


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ServiceError) as caught:
        RedisStore(f"redis://user:secret@127.0.0.1:{port}/0", "faults", patience_s=0.1)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "", "redis://localhost:port/0"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError):
        RedisStore(url, "faults", patience_s=0.1)


@pytest.mark.parametrize("namespace", ["", "a{b", "a}b", "a\nb", "x" * 201])
def test_a_namespace_that_cannot_be(namespace: str) -> None:
    with pytest.raises(ConfigError):
        RedisStore("redis://localhost", namespace, verify=False)


def test_an_export_while_the_memory_changes_says_so(store: RedisStore, own_server: EmbeddedServer) -> None:
    store.apply("s/0", 0, 1, ones(*(f"{n:05}" for n in range(2_500))), erasures=0)
    reading = store.cells()
    next(reading)
    other = RedisStore(own_server.url, "faults")
    other.apply("s/0", 1, 2, ones("02400"), erasures=0)
    other.close()
    with pytest.raises(ServiceError, match="changed"):
        list(reading)


def test_a_full_server_refuses_whole_and_says_what_to_raise(store: RedisStore, raw: redis.Redis) -> None:
    store.apply("s/0", 0, 1, ones("a"), erasures=0)
    before = snapshot(raw)
    raw.config_set("maxmemory", "1mb")
    with pytest.raises(ServiceError, match="maxmemory"):
        store.apply("s/0", 1, 2, ones("a", "b"), erasures=0)
    assert snapshot(raw) == before
    assert store.recall(["a"]).view == {"s/0": 1}
