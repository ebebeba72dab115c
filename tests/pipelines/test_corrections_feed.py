"""Corrections from a topic: each in force once; what cannot be used is a dead letter and stops nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kie_ops.domain import Domain
from kie_ops.errors import PositionError, ServiceError
from kie_ops.records import Place, RawRecord
from memory_store.local import LocalStore
from pipelines.commit_log import Log
from pipelines.config import load as load_config
from pipelines.corrections_feed import CorrectionsFeed, open_corrections
from pipelines.ledger import Ledger
from pipelines.operations import Status
from tests.pipelines.ledger_world import World, content, sum_of

DOMAIN = Domain.parse({
    "name": "small", "schemes": {"drugs": {"labels": ["Drug", "Problem"]}},
    "output": {"entities": {"drugs": {"Drug": "drug", "Problem": "problem"}}},
})


class TopicFeed:
    """A topic of corrections: values by partition; grows; `begin_at` is where retention has left its start."""

    def __init__(self, values: Mapping[int, Sequence[Any]]) -> None:
        self.values = {p: list(v) for p, v in values.items()}
        self.at: dict[int, int] = {}
        self.begin_at = 0
        self.reported: dict[int, int] = {}
        self.given: list[str] = []

    def partitions(self) -> dict[int, str]:
        return dict.fromkeys(self.values, "topic")

    def begin(self, partition: int) -> int:
        return self.begin_at

    def seek(self, partition: int, position: int) -> None:
        if position < self.begin_at:
            raise PositionError("deleted")
        self.at[partition] = position

    def poll(self, timeout_s: float) -> list[RawRecord]:
        out = []
        for p, at in self.at.items():
            for n, value in enumerate(self.values[p][at:], at):
                raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
                out.append(RawRecord(Place("topic", p, n), n, raw, b"k"))
            self.at[p] = len(self.values[p])
        self.given += [str(r.place) for r in out]
        return out

    def exhausted(self) -> bool:
        return False

    def report(self, partition: int, position: int) -> None:
        self.reported[partition] = position

    def lag(self) -> dict[int, int]:
        return {}

    def problems(self) -> list[Any]:
        return []

    def close(self) -> None: ...


def teach(id: str, text: str = "Zorvex", **more: Any) -> dict[str, Any]:
    return {"id": id, "text": text, "label": "Drug", **more}


@pytest.fixture
def world() -> World:
    return World()


def tail(world: World, feed: TopicFeed) -> CorrectionsFeed:
    return CorrectionsFeed(feed, Ledger(world.storage, world.store), DOMAIN)


def known(world: World, key: str = "zorvex") -> dict[str, int]:
    cells = world.store.recall([key]).cells
    return dict(cells[key].counts) if key in cells else {}


def test_in_force_as_soon_as_it_is_taken_in(world: World) -> None:
    feed = TopicFeed({0: [teach("1"), teach("2", reject=True, label=None), {"id": "1", "op": "withdraw"}]})
    outcomes = tail(world, feed).step(0)
    assert [o.status for o in outcomes] == [Status.ADDED, Status.ADDED, Status.UNDONE]
    assert known(world) == {"correction|drugs|none|": 1}
    assert feed.reported == {0: 3}


BAD: list[Any] = [
    None, b"", b"\xff", b"{", b"[" * 100_000, b"[]", {"id": "x"}, teach("x", label="No such label"),
    teach("x", text="12.5"), {**teach("x"), "unknown": 1}, b'{"id": "x", "text": "' + b"a" * 2_000_000 + b'"}',
    b'{"id": "x", "text": "\\ud800", "label": "Drug"}',
]


def test_what_cannot_be_used_becomes_a_dead_letter_and_stops_nothing(world: World) -> None:
    feed = TopicFeed({0: [*BAD, teach("good")]})
    outcomes = tail(world, feed).step(0)
    assert [o.status for o in outcomes] == [Status.NOTED] * len(BAD) + [Status.ADDED]
    assert known(world)
    letters = [row for t in Log(world.storage, "corrections", 0).transactions()
               for row in t.rows("dead_letters").to_pylist()]
    assert [row["raw"] for row in letters] == [
        b"" if v is None else v if isinstance(v, bytes) else json.dumps(v).encode() for v in BAD
    ]
    assert {row["reason"] for row in letters} == {"bad_correction"}
    assert [row["offset"] for row in letters] == list(range(len(BAD)))
    tail(world, feed).step(0)
    assert Log(world.storage, "corrections", 0).end() == len(BAD) + 1


def test_an_id_for_something_else_is_a_dead_letter(world: World) -> None:
    feed = TopicFeed({0: [teach("1"), teach("1", "Quellin"), teach("1")]})
    outcomes = tail(world, feed).step(0)
    assert [o.status for o in outcomes] == [Status.ADDED, Status.CONFLICT, Status.DUPLICATE]
    assert known(world)
    assert not known(world, "quellin")
    (row,) = [row for t in Log(world.storage, "corrections", 0).transactions()
              for row in t.rows("dead_letters").to_pylist()]
    assert row["reason"] == "conflict"


def test_another_process_goes_on_where_this_one_was(world: World) -> None:
    feed = TopicFeed({0: [teach("1"), teach("2")], 1: [teach("3")]})
    tail(world, feed).step(0)
    feed.values[0].append(teach("4"))
    feed.values[2] = [teach("5")]                        # a new partition
    feed.given.clear()
    tail(world, feed).step(0)
    assert feed.given == ["topic/0/2", "topic/2/0"]
    assert set(Ledger(world.storage, world.store).corrections.active()) == {"1", "2", "3", "4", "5"}


def test_new_partitions_are_found_by_a_running_one(world: World) -> None:
    feed = TopicFeed({0: []})
    running = tail(world, feed)
    assert running.step(0) == []
    feed.values[1] = [teach("1")]
    assert [o.status for o in running.step(0)] == [Status.ADDED]


def test_two_processes_that_tail_at_once_count_once(world: World) -> None:
    values = {0: [teach("1"), b"bad", teach("2")]}
    one, two = tail(world, TopicFeed(values)), tail(world, TopicFeed(values))
    one.step(0)
    assert {o.status for o in two.step(0)} == {Status.DUPLICATE}
    assert known(world) == {"correction|drugs|entity|Drug": 2}
    assert Log(world.storage, "corrections", 0).end() == 3


def test_nothing_is_lost_while_memory_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    running = tail(world, TopicFeed({0: [teach("1"), teach("2")]}))
    with monkeypatch.context() as m:
        m.setattr(LocalStore, "positions", _away)
        for _ in range(2):
            with pytest.raises(ServiceError):
                running.step(0)
    assert content(world.store) == sum_of([])
    running.step(0)
    assert known(world) == {"correction|drugs|entity|Drug": 2}
    assert Log(world.storage, "corrections", 0).end() == 2


def _away(*_: object) -> dict[str, int]:
    raise ServiceError("memory does not answer")


def test_corrections_deleted_before_they_were_read_are_said(world: World) -> None:
    feed = TopicFeed({0: [teach("1")]})
    tail(world, feed).step(0)
    feed.values[0] += [teach("2"), teach("3")]
    feed.begin_at = 2
    later = tail(world, feed)
    assert [o.id for o in later.step(0)] == ["3"]


def test_no_topic_no_feed(world: World) -> None:
    assert open_corrections(load_config(None, {}, {}), world.ledger, DOMAIN) is None
