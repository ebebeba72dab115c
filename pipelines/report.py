"""One self-contained HTML page of what was read: documents, mentions, relations, events, and the memory behind each.

Tables hold no document text.  It comes from archives or from the topic, and is taken for a row's document only where
its SHA-256 is the row's, so that every offset is right whatever the files are called now.

All text passes Jinja's escaping and stands in elements only, never in script; the page's own script is pinned by its
hash in a Content-Security-Policy that allows nothing else, no network included.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from kie_ops.errors import InputError
from kie_ops.records import Document, RawRecord
from pipelines import queries, session
from pipelines.config import Config
from pipelines.queries import Row, Tables, place_of

COLOURS = 12
SCRIPT = """
const of = (e, q) => e.closest('article').querySelectorAll(q);
function light(target) {
  document.querySelectorAll('.on').forEach(e => e.classList.remove('on'));
  const ids = target.dataset.m.split(' ');
  const both = [...of(target, '[data-m]')].filter(e => e.dataset.m.split(' ').some(i => ids.includes(i)));
  both.forEach(e => e.classList.add('on'));
  const other = both.find(e => e.tagName !== target.tagName && (e.tagName !== 'TR' || e.dataset.m === ids[0]));
  if (other) other.scrollIntoView({block: 'nearest', behavior: 'smooth'});
}
document.addEventListener('click', event => {
  const target = event.target.closest('[data-m]'), button = event.target.closest('button[data-label]');
  if (target) light(target);
  if (!button) return;
  const on = button.getAttribute('aria-pressed') !== 'true';
  button.setAttribute('aria-pressed', on);
  document.querySelectorAll('mark.c' + button.dataset.label).forEach(e => { e.style.background = on ? '' : 'none'; });
});
"""


@dataclass(frozen=True, slots=True)
class Written:
    path: str
    documents: int
    with_text: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text under the same spans: `ids` of mentions and events, the innermost mention's colour."""

    text: str
    ids: tuple[str, ...] = ()
    labels: str = ""
    colour: int | None = None
    trigger: bool = False


def write(
    config: Config, out: Path, inputs: Sequence[str] = (), *, documents: int = 50, topic: bool = False
) -> Written:
    """Writes the page for the first `documents` documents of the configuration's tables to `out`, atomically.

    inputs: archives with their texts; topic: take them from Kafka.  Raises InputError, ServiceError.
    """
    if inputs:
        from pipelines import archive_feed

        archive_feed.inputs(inputs)  # a wrong path is said also where the tables are empty
    rows = queries.document_rows(Tables(session.open_tables(config)), documents)
    wanted = {row["text_sha256"] for row in rows}
    texts: dict[str, str] = {}
    if inputs:
        texts |= match(archived(config, inputs), wanted)
    if topic and wanted - texts.keys():
        texts |= match(recorded(config, rows), wanted - texts.keys())
    page = render(rows, texts, title=f"{config.domain_name}: {config.tables.root}")
    temporary = out.with_name(out.name + ".tmp")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(out)
    except OSError as e:
        raise InputError(f"the report cannot be written: {e.strerror}", where=str(out),
                         next_step="give a file in a folder that is there") from None
    return Written(str(out), len(rows), sum(row["text_sha256"] in texts for row in rows))


def match(documents: Iterable[Document], wanted: Iterable[str]) -> dict[str, str]:
    """Texts by their SHA-256, of those in `wanted`; stops reading once all are found."""
    left, found = set(wanted), {}
    for document in documents if left else ():
        digest = hashlib.sha256(document.text.encode()).hexdigest()
        if digest in left:
            found[digest] = document.text
            left.remove(digest)
            if not left:
                break
    return found


def archived(config: Config, inputs: Sequence[str]) -> Iterator[Document]:
    """The documents of archives, file after file."""
    from pipelines import archive_feed

    for source in archive_feed.inputs(inputs):
        with closing(archive_feed.ArchiveFeed(source, config.source.format)) as feed:
            for partition in feed.partitions():
                feed.seek(partition, feed.begin(partition))
            while not feed.exhausted():
                yield from _parsed(config, feed.poll(1.0))


def recorded(config: Config, rows: Sequence[Row]) -> Iterator[Document]:
    """The documents of the topic that `rows` are of, from the first to the last of them in each partition."""
    from pipelines.kafka_feed import KafkaFeed

    spans: dict[int, list[int]] = {}
    for row in rows:
        spans.setdefault(row["partition"], []).append(row["offset"])
    with closing(KafkaFeed(config.source)) as feed:
        left = {}
        for partition in feed.partitions():
            if partition in spans:
                feed.seek(partition, max(feed.begin(partition), min(spans[partition])))
                left[partition] = max(spans[partition])
        while left:
            records = feed.poll(5.0)
            if not records:
                return
            for record in records:
                if left.get(record.place.partition, -1) <= record.place.offset:
                    left.pop(record.place.partition, None)
            yield from _parsed(config, records)


def _parsed(config: Config, records: Iterable[RawRecord]) -> Iterator[Document]:
    from pipelines.parse import parse

    for record in records:
        document = parse(record, config.source.format, config.domain_name)
        if isinstance(document, Document):
            yield document


def render(rows: Sequence[Row], texts: Mapping[str, str], *, title: str) -> str:
    """The page.  `rows` as of `queries.document_rows`; `texts` by SHA-256."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    counts = Counter(m["label"] for row in rows for m in row["mentions"])
    labels = {label: i % COLOURS for i, label in enumerate(sorted(counts))}
    documents = []
    for row in rows:
        text = texts.get(row["text_sha256"])
        documents.append({
            "row": row, "place": str(place_of(row)), "pieces": None if text is None else pieces(text, row, labels),
            "surfaces": {m["mention_id"]: m["text"] for m in row["mentions"]},
        })
    environment = Environment(
        loader=PackageLoader("pipelines"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["visible"] = visible
    return environment.get_template("report.html.j2").render(
        title=title, documents=documents, labels=labels, label_counts=counts, colours=COLOURS, script=SCRIPT,
        script_sha256=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
        with_text=sum(d["pieces"] is not None for d in documents), mentions=counts.total(),
        relations=sum(len(row["relation_rows"]) for row in rows), events=sum(len(row["event_rows"]) for row in rows),
    )


def visible(text: Any) -> str:
    """Control characters as their pictures (U+2400...), as HTML has no place for them; lengths stay."""
    return "".join(
        chr(0x2400 + ord(c)) if c < " " and c not in "\n\t" else "\ufffd" if "\x7f" <= c <= "\x9f" else c
        for c in str(text)
    )


def pieces(text: str, row: Row, labels: Mapping[str, int]) -> list[Piece]:
    """`text` cut wherever a mention or a trigger begins or ends, so that spans may nest and cross."""
    spans: list[tuple[int, int, str, str, int | None]] = [
        *((m["start"], m["end"], m["mention_id"], m["label"], labels[m["label"]]) for m in row["mentions"]),
        *((e["start"], e["end"], e["event_id"], e["label"], None) for e in row["event_rows"]),
    ]
    by_start: dict[int, list[tuple[int, int, str, str, int | None]]] = {}
    for span in spans:
        by_start.setdefault(span[0], []).append(span)
    cuts = sorted({0, len(text), *(s[0] for s in spans), *(s[1] for s in spans)})
    out = []
    over: list[tuple[int, int, str, str, int | None]] = []
    for start, end in pairwise(cuts):
        over = [s for s in over if s[1] > start] + by_start.get(start, [])
        over.sort(key=lambda s: s[1] - s[0])  # the innermost first
        out.append(Piece(
            text[start:end], tuple(s[2] for s in over), ", ".join(s[3] for s in over),
            next((s[4] for s in over if s[4] is not None), None), any(s[4] is None for s in over),
        ))
    return out
