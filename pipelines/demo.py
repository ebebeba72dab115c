"""The demo: documents through an embedded broker, the graph, an embedded memory and Parquet; then a correction.

Everything runs as in production but for the services, which come from wheels: the same graph, log, tables and memory.
What it makes stays in ./engram-demo to be looked at, and is made anew by the next demo.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from kafka import KafkaProducer
from rich.console import Console

from kie_ops.domain import Domain
from kie_ops.errors import InputError, ServiceError
from pipelines import config as configuration, corrections, queries, session
from pipelines.broker import EmbeddedBroker
from pipelines.commands.memory import readable
from pipelines.commands.options import emit, table
from pipelines.config import Config
from pipelines.ledger import Ledger

FOLDER, TOPIC = Path("engram-demo"), "notes"
MARK = "# Written by engram demo, which deletes this folder when it runs again.\n"
NAME, LABEL, CORRECTION = "Sunday Best", "Chemical", "demo-1"
WAIT_S = 180.0

FOUND = """
    select label, lower(text) as name, count(*) as mentions, round(avg(score), 2) as score,
           round(avg(soft_weight), 2) as memory
    from entities group by label, lower(text)
    qualify row_number() over (partition by label order by mentions desc, name) <= 5
    order by label, mentions desc, name
"""
RELATIONS = """
    select r.label, h.text as head, t.text as tail, round(r.score, 2) as score
    from relations r join entities h on r.head = h.mention_id join entities t on r.tail = t.mention_id
    order by r.score desc, head, tail limit 5
"""
EVENTS = """
    select label, trigger, list_transform(arguments, lambda a: a.role || ': ' || a.text) as arguments,
           round(score, 2) as score
    from events where len(arguments) > 1 order by events.score desc, trigger limit 5
"""
MENTIONS = """
    select doc_id, label, text, round(score, 2) as score, round(text_score, 2) as by_text,
           round(soft_weight, 2) as memory, mention_id
    from entities where text = ? order by doc_id, start
"""


@dataclass
class Demo:
    """One run.  `told` collects what --json prints."""

    settings: Config
    folder: Path
    broker: EmbeddedBroker
    console: Console
    told: dict[str, Any] = field(default_factory=dict)
    sent: int = 0

    def send(self, documents: Sequence[dict[str, Any]]) -> None:
        producer = KafkaProducer(bootstrap_servers=self.broker.bootstrap, acks="all")
        try:
            for document in documents:
                producer.send(TOPIC, json.dumps(document).encode(), key=document["doc_id"].encode())
            producer.flush(30)
        finally:
            producer.close()
        self.sent += len(documents)

    def tables(self) -> queries.Tables:
        return queries.Tables(session.open_tables(self.settings))

    def show(self, name: str, title: str, query: str, *parameters: str) -> list[dict[str, Any]]:
        """Prints a query's result, and returns it."""
        rows = self.tables().rows(query, parameters)
        self.told[name] = rows
        if rows:
            self.console.print(table(title, list(rows[0]), (_flat(row) for row in rows)))
        else:
            self.console.print(f"{title}: none\n")
        return rows


def run(console: Console, as_json: bool = False, *, folder: Path = FOLDER, domain: str = "medical") -> int:
    """Runs the demo in `folder`; 0 where everything came out as it says.

    Raises ConfigError where the wheels of broker and memory are not installed, ServiceError where the job stands still.
    """
    began = time.monotonic()
    _clear(folder)
    with EmbeddedBroker() as broker:
        broker.create_topic(TOPIC)
        demo = Demo(_settings(folder, domain, broker.bootstrap), folder, broker, console)
        documents = samples("medical")
        later = samples("medical-later")
        demo.send([*documents, later[0]])
        console.print(f"[bold]1.[/] {demo.sent} documents sent to topic {TOPIC}; a worker starts to read them")
        with _job(demo.settings) as job:
            job.read(demo.sent)
            right = _first_query(demo, time.monotonic() - began)
            right &= _teach(demo, job, later)
    demo.told |= {"seconds": round(time.monotonic() - began, 1), "as_expected": right}
    if as_json:
        emit(demo.told)
    _more(demo)
    return 0 if right else 1


def _first_query(demo: Demo, seconds: float) -> bool:
    demo.told["first_query_seconds"] = round(seconds, 1)
    demo.console.print(f"[bold]2.[/] first query after {seconds:.1f} s, with DuckDB over the Parquet tables\n")
    found = demo.show("entities", "entities", FOUND)
    demo.show("relations", "relations", RELATIONS)
    demo.show("events", "events", EVENTS)
    return bool(found)


def _teach(demo: Demo, job: Job, later: Sequence[dict[str, Any]]) -> bool:
    """Teaches a name, shows the next documents with their evidence, takes it back, and shows the one after."""
    before = demo.show("before", f"mentions of {NAME}, the street name of a drug", MENTIONS, NAME)
    ledger = Ledger(*session.open_both(demo.settings))
    correction = corrections.validate({"id": CORRECTION, "text": NAME, "label": LABEL, "reviewer": "you"})
    ledger.teach(Domain.load(demo.settings.domain), correction)
    demo.console.print(f"[bold]3.[/] taught: {NAME} is a {LABEL}; two more documents name it\n")
    demo.send(later[1:3])
    job.read(demo.sent)
    after = [row for row in demo.show("after", f"mentions of {NAME} now", MENTIONS, NAME) if row not in before]
    for row in after[:1]:
        why = queries.why(demo.tables(), row["mention_id"])
        demo.told["evidence"] = why.mention["evidence"]
        demo.console.print(table(
            f"why {row['mention_id']}: text weighs {why.hard_weight:.2f}, memory {row['memory']:.2f}",
            ["key", "source", "says", "label", "count", "written by"],
            ([readable(e["key"]), e["source"], e["outcome"], e["label"], e["count"],
              ", ".join(o.origin for o in why.origins if o.key == e["key"] and o.source == e["source"])]
             for e in why.mention["evidence"]),
        ))
    ledger.undo(CORRECTION)
    demo.console.print(f"[bold]4.[/] taken back; one more document names {NAME}\n")
    demo.send(later[3:])
    job.read(demo.sent)
    undone = demo.tables().rows("select * from entities where text = ? and doc_id = ?", [NAME, later[3]["doc_id"]])
    demo.console.print(f"{NAME} in {later[3]['doc_id']}: {len(undone)} mentions, as if it had never been taught\n")
    demo.told["after_undo"] = len(undone)
    return not before and bool(after) and not undone


def _more(demo: Demo) -> None:
    where = f"--config {demo.folder / 'config.yaml'}"
    demo.console.print(
        "[bold]Go on[/] with what is left there:\n"
        f"  engram memory show lithium {where}\n"
        f"  engram report report.html {where}\n"
        f"  duckdb -c \"from read_parquet('{demo.settings.tables.root}/entities/**/*.parquet')\"",
    )


@dataclass
class Job:
    """A worker in a thread of this process."""

    settings: Config
    stop: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def serve(self) -> None:
        from pipelines import local_runner

        try:
            local_runner.run(self.settings, None, self.stop)
        except BaseException as e:
            self.error = e

    def read(self, documents: int) -> None:
        """Waits until so many documents are in the tables.  Raises the job's error, or ServiceError."""
        until = time.monotonic() + WAIT_S
        while True:
            rows = queries.Tables(session.open_tables(self.settings)).rows("select count(*) as n from documents")
            if rows[0]["n"] >= documents:
                return
            if self.error is not None:
                raise self.error
            if time.monotonic() > until:
                raise ServiceError(f"only {rows[0]['n']} of {documents} documents were read in {WAIT_S:.0f} s",
                                   where=self.settings.tables.root, next_step="run engram --debug demo")
            time.sleep(0.2)


@contextmanager
def _job(settings: Config) -> Iterator[Job]:
    job = Job(settings)
    thread = threading.Thread(target=job.serve, name="worker")
    thread.start()
    try:
        yield job
    finally:
        job.stop.set()
        thread.join()


def samples(name: str) -> list[dict[str, Any]]:
    """Sample documents that come with the package: medical, medical-later, financial."""
    text = files("pipelines").joinpath("samples", f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _clear(folder: Path) -> None:
    """Removes what an earlier demo left.  Raises InputError for a folder that is not a demo's."""
    if not folder.exists():
        return
    written = folder / "config.yaml"
    if not (written.is_file() and written.read_text(encoding="utf-8").startswith(MARK)):
        raise InputError("this is no demo's folder, so the demo does not delete it", where=str(folder),
                         next_step="move it away, or run the demo elsewhere")
    shutil.rmtree(folder)


def _settings(folder: Path, domain: str, bootstrap: str) -> Config:
    folder.mkdir(parents=True)
    path = folder / "config.yaml"
    path.write_text(MARK + yaml.safe_dump({
        "domain": domain,
        "source": {"bootstrap": bootstrap, "topic": TOPIC},
        "batch": {"documents": 16, "gather_s": 0.2},
        "tables": {"root": str(folder / "tables"), "publish_every_s": 0.5},
        "memory": {"url": "embedded"},
    }, sort_keys=False), encoding="utf-8")
    return configuration.load(path, environ={})


def _flat(row: Mapping[str, Any]) -> list[Any]:
    return ["; ".join(map(str, value)) if isinstance(value, list) else value for value in row.values()]
