"""A replay reads every transaction with the view it recorded: the tables are the same, byte for byte."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence

import pytest

from kie_ops.errors import LogError, PositionError
from kie_ops.records import DeadLetter, Document, RawRecord
from memory_store.local import LocalStore
from pipelines import replay
from pipelines.commit_log import Log, settle_segment_size
from pipelines.config import Config, load as load_config
from pipelines.ledger import Ledger
from pipelines.parse import parse
from pipelines.parsed import Parsed
from pipelines.publisher import Publisher
from pipelines.shard import Batch, Shard
from pipelines.storage import Storage
from pipelines.worker import Worker
from tests.pipelines.ledger_world import content, empty_storage, restore, snapshot, sum_of, taught
from tests.pipelines.worker_fakes import PARTITIONS, SEGMENT, STREAM, WORDS, FakeExtractor, ListFeed, records


class Run:
    """A live run over several partitions, with corrections, erasures and losses of memory in between."""

    def __init__(self, seed: int, *, trim: bool, eventful: bool = True, forgets: int = 0) -> None:
        self.rng, self.records = random.Random(seed), records(seed)
        self.config: Config = load_config(None, {"tables.segment": SEGMENT, "tables.trim": trim}, {})
        self.storage = empty_storage()
        settle_segment_size(self.storage, SEGMENT)
        self.store = LocalStore("live")
        self.publisher = Publisher(self.storage, SEGMENT, trim)
        self.ledger = Ledger(self.storage, self.store)
        shard = Shard(ListFeed(self.records), lambda s, p: Log(self.storage, s, p), self.config)
        self.worker = Worker(self.config, shard, FakeExtractor(), self.storage, self.store, self.publisher,  # type: ignore[arg-type]
                             self.ledger, "fake engine")
        self.worker.own()
        self._go(eventful)
        for _ in range(forgets):
            done = [r.place for rs in self.records.values() for r in rs if b"broken" not in (r.value or b"")]
            self.ledger.forget(place=self.rng.choice(done))
        self.worker.publish()

    def _go(self, eventful: bool) -> None:
        left = {p: list(r) for p, r in self.records.items()}
        saved, n = [snapshot(self.store)], 0
        while any(left.values()):
            partition = self.rng.choice([p for p, r in left.items() if r])
            self._batch(partition, left[partition])
            n += 1
            if not eventful:
                continue
            what = self.rng.random()
            if what < 0.1:
                self.ledger.correct(f"c{n}", taught(f"c{n}", self.rng.choice(WORDS)))
            elif what < 0.15 and (ids := list(self.ledger.corrections.active())):
                self.ledger.undo(self.rng.choice(ids))
            elif what < 0.2:
                saved.append(snapshot(self.store))
            elif what < 0.25:                           # memory fails over to an older copy, unnoticed
                restore(self.store, self.rng.choice(saved))
                self.worker.seen.clear()
            elif what < 0.4:
                self.worker.publish()

    def _batch(self, partition: int, left: list[RawRecord]) -> None:
        log = self.worker.shard.logs[partition]
        start = log.end()
        boundary = (start // SEGMENT + 1) * SEGMENT
        taken = [r for r in left[: self.rng.randrange(1, 5)] if r.place.offset < boundary]
        crossing = len(taken) < len(left) and left[len(taken)].place.offset >= boundary
        end = boundary if crossing else taken[-1].place.offset + 1
        parsed = [parse(r, self.config.source.format, self.config.domain_name) for r in taken]
        batch = Batch(0, STREAM, partition, start, end, tuple(taken))
        self.worker.process(Parsed(batch, tuple(d for d in parsed if isinstance(d, Document)),
                                   tuple(d for d in parsed if isinstance(d, DeadLetter))))
        assert log.end() == end
        del left[: len(taken)]

    def replayed(self, given: Mapping[int, Sequence[RawRecord]] | None = None) -> tuple[replay.Replayed, Storage]:
        out = empty_storage()
        feeds = self.records if given is None else given
        result = replay.replay_recorded(
            self.config, FakeExtractor(), self.storage, lambda k, n: ListFeed(feeds, k, n), out)  # type: ignore[arg-type]
        return result, out


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_bytes_whatever_happened(seed: int, trim: bool) -> None:
    run = Run(seed, trim=trim)
    views = [dict(r.view) for r in replay.visiting_order(replay.transactions(run.storage))]
    assert len({tuple(sorted(v.items())) for v in views}) > 20
    result, out = run.replayed()
    assert result.different == ()
    assert result.inexact == ()
    assert set(replay.files(out)) >= {p for p in replay.files(run.storage) if p.startswith(("documents", "entities"))}
    assert result.documents + result.dead_letters == sum(map(len, run.records.values()))
    assert result.transactions == len(views)


def test_memory_did_matter() -> None:
    """The check can fail: with every document read by an empty memory the tables are others."""
    run = Run(1, trim=False)

    class Forgetful(replay.Timeline):
        def at(self, view: Mapping[str, int]) -> LocalStore:
            return LocalStore("empty")

    original = replay.Timeline
    replay.Timeline = Forgetful  # type: ignore[misc]
    try:
        result, _ = run.replayed()
    finally:
        replay.Timeline = original  # type: ignore[misc]
    assert any(path.startswith("entities") for path in result.different)
    assert not any(path.startswith(("documents", "dead_letters", "memory_log")) for path in result.different)


def test_another_text_is_noticed() -> None:
    run = Run(2, trim=True)
    changed = {p: [*rs] for p, rs in run.records.items()}
    value = json.dumps({"doc_id": "0-0", "text": "tampered"}).encode()
    changed[0][0] = RawRecord(changed[0][0].place, changed[0][0].before, value)
    result, _ = run.replayed(changed)
    assert any(path.startswith("documents") for path in result.different)


@pytest.mark.parametrize("trim", [False, True])
def test_erased_documents_stay_away_and_what_saw_them_is_named(trim: bool) -> None:
    run = Run(4, trim=trim, forgets=2)
    result, out = run.replayed()
    assert result.inexact
    erased = {(t.place.partition, t.place.offset) for t in replay.Tombstones.load(out)}
    assert len(erased) == 2
    for storage in (run.storage, out):
        for table in replay.whole_table(storage, "documents"):
            rows = set(zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True))
            assert not rows & erased
    untouched = {r.split(" ")[0] for r in result.inexact}
    assert untouched
    assert not [p for p in result.different if p.startswith(("documents", "dead_letters", "memory_log"))]


def test_the_timeline_goes_back_exactly() -> None:
    run = Run(5, trim=True)
    chain = {p: f"{STREAM}/{p}" for p in range(PARTITIONS)}
    ends = {p: run.worker.shard.logs[p].end() for p in range(PARTITIONS)}
    line = replay.Timeline(run.storage)
    rng = random.Random(0)
    for _ in range(12):
        view = {chain[p]: rng.randrange(0, end + 1) for p, end in ends.items()}
        view["corrections/0"] = rng.randrange(0, Log(run.storage, "corrections", 0).end() + 1)
        got = content(line.at(view))
        assert got == content(replay.Timeline(run.storage).at(view))
    assert content(line.at({})) == sum_of([])


def test_a_source_that_is_not_this_stream() -> None:
    run = Run(6, trim=False, eventful=False)

    class Other(ListFeed):
        def partitions(self) -> dict[int, str]:
            return dict.fromkeys(self.records, "another")

    with pytest.raises(PositionError, match="another"):
        replay.replay_recorded(run.config, FakeExtractor(), run.storage,  # type: ignore[arg-type]
                               lambda k, n: Other(run.records, k, n), empty_storage())


def test_a_source_that_ends_too_early_gives_a_difference() -> None:
    run = Run(6, trim=False, eventful=False)
    result, _ = run.replayed({p: rs[:-3] for p, rs in run.records.items()})
    assert any(path.startswith("documents") for path in result.different)


def test_only_into_empty_tables() -> None:
    run = Run(6, trim=False, eventful=False)
    with pytest.raises(LogError, match="empty"):
        replay.replay_recorded(run.config, FakeExtractor(), run.storage,  # type: ignore[arg-type]
                               lambda k, n: ListFeed(run.records, k, n), run.storage)


def test_a_view_of_a_chain_that_is_gone() -> None:
    with pytest.raises(LogError, match="not in the log"):
        replay.Timeline(empty_storage()).at({"gone/0": 3})
