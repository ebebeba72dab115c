"""Puts dead letters back once their cause is mended: to their topic, or into an archive to be backfilled.

    1 intend   an entry in the chain ``replays/0`` names the letters and where the target ends now
    2 put      each as it was received, with a header that names its place
    3 note     an entry for each: it is not put back again

Nothing is deleted: the letter stays in its table, the record put back has a place of its own.  After a crash between 2
and 3 the target is searched, from where it ended, for letters with that header, so none is put back twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kie_ops.errors import InputError, ServiceError
from kie_ops.records import Place, RawRecord
from pipelines.config import Config
from pipelines.faults import at
from pipelines.ledger import REPLAYS, STREAMS
from pipelines.operations import Op, Operation, Operations
from pipelines.session import open_tables
from pipelines.storage import Storage
from pipelines.tombstones import Tombstones
from pipelines.whole_tables import whole_table

HEADER = "engram-replayed-from"
LOCK = "_log/_REPLAYS.lock"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as a record to be put back; `record.place` is where it failed."""

    record: RawRecord
    reason: str

    @property
    def name(self) -> str:
        return str(self.record.place)

    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]:
        """Its own, with its place; that of an earlier replay is replaced."""
        own = tuple(header for header in self.record.headers if header[0] != HEADER)
        return (*own, (HEADER, self.name.encode()))


@dataclass(frozen=True, slots=True)
class PutBack:
    """`put` now, `before` earlier ones among those asked for; `reasons`: how many of each were put now."""

    put: int
    before: int
    target: str
    reasons: Mapping[str, int]


class Target(Protocol):
    """Where letters are put."""

    name: str
    at_once: int

    def ends(self) -> dict[int, int]:
        """Position after the last record by partition."""
        ...

    def found(self, since: Mapping[int, int]) -> set[str]:
        """Places named in the header of records at or after these positions."""
        ...

    def put(self, letters: Sequence[Letter]) -> None:
        """Returns once all are safely there."""
        ...

    def close(self) -> None: ...


def replay(
    config: Config, *, reason: str | None = None, places: Collection[Place] | None = None, out: str | None = None,
    progress: Callable[[int], None] = lambda letters: None,
) -> PutBack:
    """Puts back the dead letters of `config`'s tables: to source.topic, or into a new archive at `out`.

    reason, places: only those.  Raises InputError where a place holds no dead letter, ServiceError where the broker
    does not answer (run it again: it goes on).
    """
    from pipelines.replay_targets import ArchiveTarget, TopicTarget

    storage = open_tables(config)
    target: Target = TopicTarget(config.source) if out is None else ArchiveTarget(out)
    try:
        return put_back(storage, target, reason=reason, places=places, progress=progress)
    finally:
        target.close()


def put_back(
    storage: Storage, target: Target, *, reason: str | None = None, places: Collection[Place] | None = None,
    progress: Callable[[int], None] = lambda letters: None,
) -> PutBack:
    """As `replay`, with storage and target at hand."""
    with storage.lock(LOCK):
        chain = Operations(storage, REPLAYS)
        asked = [each for each in letters(storage) if reason in (None, each.reason)]
        if places is not None:
            missing = set(places) - {each.record.place for each in asked}
            if missing:
                raise InputError("no such dead letter", where=", ".join(map(str, sorted(missing))),
                                 next_step="places stand in the table dead_letters: STREAM/PARTITION/OFFSET")
            asked = [each for each in asked if each.record.place in places]
        _end_interrupted(chain, target)
        done = chain.active()
        todo = [each for each in asked if each.name not in done]
        for first in range(0, len(todo), target.at_once):
            some = todo[first : first + target.at_once]
            _put(chain, target, some)
            progress(first + len(some))
    reasons: dict[str, int] = {}
    for each in todo:
        reasons[each.reason] = reasons.get(each.reason, 0) + 1
    return PutBack(len(todo), len(asked) - len(todo), target.name, reasons)


def letters(storage: Storage) -> list[Letter]:
    """Every dead letter of documents, in order of place, without erased ones."""
    tombstones = Tombstones.load(storage)
    found: dict[Place, Letter] = {}
    for table in whole_table(storage, "dead_letters"):
        for row in tombstones.scrub(table).to_pylist():
            letter = _letter(row)
            if letter.record.place.stream not in STREAMS:
                found[letter.record.place] = letter
    return [found[place] for place in sorted(found)]


def _letter(row: Mapping[str, Any]) -> Letter:
    place = Place(row["stream"], row["partition"], row["offset"])
    value = None if row["reason"] == "null_value" else row["raw"]
    timestamp = None if row["timestamp"] is None else round(row["timestamp"].timestamp() * 1000)
    headers = tuple((header["name"], header["value"]) for header in row["headers"] or ())
    return Letter(RawRecord(place, place.offset, value, row["key"], headers, timestamp), row["reason"])


def _put(chain: Operations, target: Target, some: Sequence[Letter]) -> None:
    names = [each.name for each in some]
    meta = {"target": target.name, "places": names, "ends": {str(p): end for p, end in target.ends().items()}}
    (intent,) = chain.append([Operation(Op.NOTE, f"intent-{len(chain.entries())}", (), meta)])
    if intent.position is None:
        raise ServiceError("somebody else puts dead letters back", where=chain.log.chain, next_step="try again later")
    at("intended")
    target.put(some)
    at("put")
    _note(chain, names, intent.id)


def _note(chain: Operations, names: Collection[str], intent: str) -> None:
    done = [Operation(Op.ADD, name, (), {"intent": intent}) for name in sorted(names)]
    chain.append([*done, Operation(Op.NOTE, f"{intent} ended")])


def _end_interrupted(chain: Operations, target: Target) -> None:
    """What an earlier run put and could not note any more."""
    entries = chain.entries()
    ended = {entry.id for entry in entries if entry.op is Op.NOTE}
    for entry in entries:
        if entry.op is not Op.NOTE or "places" not in entry.meta or f"{entry.id} ended" in ended:
            continue
        if entry.meta["target"] != target.name:
            raise InputError("an interrupted replay went elsewhere", where=entry.meta["target"],
                             next_step="end it first, by running it again with the same target")
        since = {int(partition): end for partition, end in entry.meta["ends"].items()}
        _note(chain, target.found(since) & set(entry.meta["places"]), entry.id)
