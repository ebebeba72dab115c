"""Tables with known rows, written by the real log and the real segments, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kie_ops.memory import Contribution, Increment, field
from kie_ops.records import Argument, Document, Event, Evidence, Mention, Place, Reading, Relation, span_id
from pipelines import rows, segments
from pipelines.commit_log import Log, settle_segment_size
from pipelines.storage_local import LocalStorage
from pipelines.transaction import Transaction

STREAM = "notes"
SEGMENT = 10
KEY = "lefamulin"
SELF = field("self", "bc5cdr", "entity", "Chemical")
EVIDENCE = (Evidence(KEY, "self", "entity", "Chemical", 2),)


def reading(offset: int, text: str, spans: Sequence[tuple[str, str]], *, domain: str = "medical", title: str = "",
            evidence: tuple[Evidence, ...] = EVIDENCE) -> Reading:
    """A document in which each surface of `spans` is a mention of its label; the first two are related."""
    place = Place(STREAM, 0, offset)
    document = Document(f"doc-{offset}", text, domain, title=title or None, timestamp=1_700_000_000_000, place=place)
    mentions = []
    for surface, label in spans:
        start = text.index(surface)
        name = span_id(place, document.doc_id, "entity", start, start + len(surface), label)
        mentions.append(Mention(name, start, start + len(surface), surface, label, 0.9, 0.4, 0.75, "MESH:C1", evidence))
    relations, events = [], []
    if len(mentions) > 1:
        relations.append(Relation(f"r{offset}", mentions[0].mention_id, mentions[1].mention_id, "CID", 0.8, evidence))
        last = mentions[1]
        events.append(Event(f"e{offset}", "AdverseEvent", last.start, last.end, last.text, 0.7, (
            Argument("Drug", mentions[0].start, mentions[0].end, mentions[0].text, 0.6, mentions[0].mention_id),
        ), {"severity": "mild"}))
    return Reading(document, tuple(mentions), tuple(relations), tuple(events), len(text), 1)


def commit(
    storage: LocalStorage, readings: Sequence[Reading], *, end: int | None = None, view: Mapping[str, int] | None = None
) -> Log:
    """One transaction with `readings`, each of which counted KEY once as a chemical."""
    log = Log(storage, STREAM, 0)
    with suppress(FileNotFoundError):
        log.end()
    places = [r.document.place for r in readings if r.document.place is not None]
    contributions = [Contribution(str(place), (Increment(KEY, SELF, 1),)) for place in places]
    tables = rows.to_tables(readings, [], contributions, "medical", "v1")
    start, after = places[0].offset, places[-1].offset + 1 if end is None else end
    assert log.commit(Transaction(STREAM, 0, start, after, view or {}, "test", tables))
    return log


def publish(storage: LocalStorage, log: Log) -> None:
    """Writes the segments of all that is in the log."""
    for number in sorted({start // SEGMENT for start in log.starts()}):
        segment = segments.Segment(STREAM, 0, number, SEGMENT)
        first = min(start for start in log.starts() if start // SEGMENT == number)
        assert segments.publish(storage, log, segment, first, lambda transactions: transactions)


def new(folder: Path) -> LocalStorage:
    storage = LocalStorage(folder)
    settle_segment_size(storage, SEGMENT)
    return storage
