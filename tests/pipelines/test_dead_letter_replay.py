"""Dead letters are put back as they were received, and none twice, wherever it was interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from kafka import KafkaProducer

from kie_ops.errors import InputError, ServiceError
from kie_ops.records import DeadLetter, Place
from pipelines import dead_letter_replay, rows
from pipelines.archive import Archive
from pipelines.broker import EmbeddedBroker
from pipelines.commit_log import Log, settle_segment_size
from pipelines.config import Source, load as load_config
from pipelines.dead_letter_replay import HEADER, Letter, put_back
from pipelines.ledger import Ledger
from pipelines.publisher import Publisher
from pipelines.replay_targets import ArchiveTarget, TopicTarget
from pipelines.storage import Storage, open_storage
from pipelines.transaction import Transaction
from tests.pipelines.chains import KillAt, Killed, hooked
from tests.pipelines.ledger_world import World, empty_storage

SEGMENT = 4


def letter(offset: int, reason: str = "broken_json", raw: bytes | None = None) -> DeadLetter:
    headers = (("lang", b"en"), ("empty", None), ("lang", b"de"))
    return DeadLetter(Place("notes", 0, offset), reason, "DocumentError", "what", False,
                      b"{\xff%d" % offset if raw is None else raw, b"key", headers, 1_700_000_000_123)


LETTERS = (letter(0), letter(1, "too_large", b"x" * 500_000), letter(2, "null_value", b""), letter(3), letter(5))


@pytest.fixture(params=[False, True], ids=["log", "trimmed"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """Five dead letters, in the log or the first four in Parquet."""
    made = empty_storage()
    fill(made)
    if request.param:
        Publisher(made, SEGMENT).publish(Log(made, "notes", 0))
    return made


def fill(storage: Storage) -> None:
    settle_segment_size(storage, SEGMENT)
    log = Log(storage, "notes", 0)
    for start, end in ((0, 2), (2, 4), (4, 6)):
        found = [each for each in LETTERS if start <= each.place.offset < end]
        tables = rows.to_tables([], found, [], "medical", "v")
        assert log.commit(Transaction("notes", 0, start, end, {}, "e", tables))


class FakeTarget:
    """A topic in a list; `fail` raises ServiceError after so many letters of a call."""

    name = "fake"

    def __init__(self, at_once: int = 2) -> None:
        self.at_once, self.fail = at_once, None
        self.got: list[Letter] = []
        self.searched: list[int] = []

    def ends(self) -> dict[int, int]:
        return {0: len(self.got)}

    def found(self, since: Mapping[int, int]) -> set[str]:
        self.searched.append(since[0])
        return {each.name for each in self.got[since[0]:]}

    def put(self, letters: Sequence[Letter]) -> None:
        for n, each in enumerate(letters):
            if n == self.fail:
                raise ServiceError("the broker went away")
            self.got.append(each)

    def close(self) -> None: ...

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.got]


EVERY = [f"notes/0/{n}" for n in (0, 1, 2, 3, 5)]


def test_each_as_it_was_received_and_once(storage: Storage) -> None:
    target = FakeTarget()
    done = put_back(storage, target)
    assert (done.put, done.before, done.reasons) == (5, 0, {"broken_json": 3, "too_large": 1, "null_value": 1})
    assert target.names == EVERY
    first, null = target.got[0], target.got[2]
    assert first.record.value == b"{\xff0"
    assert null.record.value is None
    assert first.record.timestamp == 1_700_000_000_123
    assert first.headers == (*LETTERS[0].headers, (HEADER, b"notes/0/0"))
    again = put_back(storage, target)
    assert (again.put, again.before) == (0, 5)
    assert target.names == EVERY


def test_by_reason_and_by_place(storage: Storage) -> None:
    target = FakeTarget()
    assert put_back(storage, target, reason="too_large").put == 1
    assert put_back(storage, target, places=[Place("notes", 0, 5)]).put == 1
    assert target.names == ["notes/0/1", "notes/0/5"]
    assert put_back(storage, target).put == 3
    with pytest.raises(InputError, match="no such dead letter"):
        put_back(storage, target, places=[Place("notes", 0, 4)])


@pytest.mark.parametrize("n", range(1, 12))
def test_killed_at_every_step(storage: Storage, n: int) -> None:
    target = FakeTarget()
    try:
        with hooked(KillAt(n)):
            put_back(storage, target)
    except Killed:
        put_back(storage, target)
    assert sorted(target.names) == EVERY


def test_a_broker_that_goes_away_in_the_middle(storage: Storage) -> None:
    target = FakeTarget(at_once=3)
    target.fail = 2
    with pytest.raises(ServiceError):
        put_back(storage, target)
    assert target.names == EVERY[:2]
    target.fail = None
    assert put_back(storage, target).put == 3
    assert target.names == EVERY
    assert target.searched == [0]
    put_back(storage, target)
    assert target.searched == [0]                       # what was ended is not searched again


def test_an_interrupted_one_is_ended_with_its_own_target_first(storage: Storage) -> None:
    with pytest.raises(Killed), hooked(KillAt(2)):
        put_back(storage, FakeTarget())
    other = FakeTarget()
    other.name = "elsewhere"
    with pytest.raises(InputError, match="went elsewhere"):
        put_back(storage, other)
    assert other.got == []


def test_a_replayed_header_is_replaced_not_added() -> None:
    again = Letter(dead_letter_replay._letter({
        "stream": "s", "partition": 0, "offset": 9, "reason": "r", "raw": b"x", "key": None, "timestamp": None,
        "headers": [{"name": HEADER, "value": b"s/0/1"}, {"name": "a", "value": b"b"}],
    }).record, "r")
    assert again.headers == (("a", b"b"), (HEADER, b"s/0/9"))


def test_erased_letters_stay_away(storage: Storage) -> None:
    world = World(storage=empty_storage())
    fill(world.storage)
    Ledger(world.storage, world.store).forget(place=Place("notes", 0, 3))
    target = FakeTarget()
    put_back(world.storage, target)
    assert "notes/0/3" not in target.names
    assert len(target.names) == 4


def test_into_an_archive(storage: Storage, tmp_path: Path) -> None:
    out = str(tmp_path / "letters")
    assert put_back(storage, ArchiveTarget(out)).put == 5
    archive = Archive.open(out)
    archive.verify()
    assert archive.stream != "notes"
    got = list(archive.records(0, 0))
    assert [r.value for r in got] == [b"{\xff0", b"x" * 500_000, None, b"{\xff3", b"{\xff5"]
    assert [dict(r.headers)[HEADER] for r in got] == [name.encode() for name in EVERY]
    assert put_back(storage, ArchiveTarget(out)).put == 0


@pytest.mark.parametrize("n", [1, 2])
def test_killed_around_an_archive(storage: Storage, tmp_path: Path, n: int) -> None:
    out = str(tmp_path / "letters")
    with pytest.raises(Killed), hooked(_only("intended", "put", n)):
        put_back(storage, ArchiveTarget(out))
    put_back(storage, ArchiveTarget(out))
    assert len(list(Archive.open(out).records(0, 0))) == 5
    assert put_back(storage, ArchiveTarget(out)).put == 0


def _only(*steps: object) -> object:
    *names, n = steps
    kill = KillAt(int(n))  # type: ignore[call-overload]
    return lambda step: kill(step) if step in names else None


# -- a broker -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


def source(broker: EmbeddedBroker, topic: str) -> Source:
    broker.create_topic(topic, 2)
    return Source(bootstrap=broker.bootstrap, topic=topic)


def test_into_a_topic_and_found_there_again(storage: Storage, broker: EmbeddedBroker) -> None:
    made = source(broker, f"notes-{id(storage)}")
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    producer.send(made.topic, b"before", partition=0).get(10)
    producer.close()
    target = TopicTarget(made)
    ends = target.ends()
    with pytest.raises(Killed), hooked(_only("put", 1)):  # type: ignore[arg-type]
        put_back(storage, target)
    assert target.found(ends) == set(EVERY)
    done = put_back(storage, target)
    assert (done.put, done.before) == (0, 5)
    assert sum(target.ends().values()) == 6
    target.close()


def test_the_whole_command(broker: EmbeddedBroker, tmp_path: Path) -> None:
    made = source(broker, "whole")
    config = load_config(None, {
        "source.bootstrap": broker.bootstrap, "source.topic": made.topic, "tables.root": str(tmp_path / "tables"),
    }, {})
    fill(open_storage(config.tables.root))
    done = dead_letter_replay.replay(config, reason="broken_json")
    assert done.put == 3
    assert "whole" in done.target
    assert dead_letter_replay.replay(config).put == 2
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "manifest.json").write_text("{}")
    fill(open_storage(str(tmp_path / "more")))
    other = config.model_copy(update={"tables": config.tables.model_copy(update={"root": str(tmp_path / "more")})})
    with pytest.raises(InputError, match="archive already"):
        dead_letter_replay.replay(other, out=str(tmp_path / "a"))
