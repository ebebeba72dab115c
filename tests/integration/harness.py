"""Runs `engram` as a user does, in processes of its own, and sends records to a topic."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kafka import KafkaProducer

from tests.integration.checks import Sent
from tests.integration.services import MAX_MESSAGE, ROOT, Kafka

ENGRAM = (
    sys.executable, "-c",
    # ENGRAM_FAULT is no setting: it is taken out of the environment once the module it is meant for has read it.
    "import os, pipelines.faults; os.environ.pop('ENGRAM_FAULT', None);"
    "from pipelines.commands.main import main; main()",
)
WAIT_S = 600.0
"""A bound for what hangs, not for what is slow."""


def environment(**more: str) -> dict[str, str]:
    """The tester's environment without settings of engram, with what makes runs repeat."""
    out = {name: value for name, value in os.environ.items() if not name.startswith("ENGRAM_")}
    return {**out, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **more}


def engram(*arguments: str | Path, expect: int | None = 0, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs one command to its end.  Raises AssertionError with its output where the exit code is not `expect`."""
    done = subprocess.run(
        [*ENGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=WAIT_S, check=False,
        stdin=subprocess.DEVNULL, env=environment(**environ),
    )
    said = f"engram {' '.join(map(str, arguments))} -> {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
    assert expect is None or done.returncode == expect, said
    return done


class Running:
    """A command that runs beside the test; killed with everything it started when the test is done with it."""

    def __init__(self, *arguments: str | Path, output: Path, **environ: str) -> None:
        self.output = output
        with output.open("ab") as out:
            self.process = subprocess.Popen(
                [*ENGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, env=environment(**environ),
            )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL for the command and all of its children (they share a session)."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self, expect: int = 0) -> None:
        code = self.process.wait(WAIT_S)
        assert code == expect, f"ended with {code}:\n{self.output.read_text(errors='replace')[-6000:]}"

    def until(self, condition: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
        """Waits for `condition`; fails at once where the command ends before it holds."""
        end = time.monotonic() + wait_s
        while not condition():
            said = self.output.read_text(errors="replace")[-6000:]
            assert self.process.poll() is None, f"ended before {what}:\n{said}"
            assert time.monotonic() < end, f"no {what} within {wait_s} s:\n{said}"
            time.sleep(0.05)


def settings(folder: Path, kafka: str, topic: str, memory: str, domain: str, **sections: Mapping[str, Any]) -> Path:
    """Writes folder/config.yaml; `sections` are merged over settings that suit small tests.  Returns its path."""
    data: dict[str, Any] = {
        "domain": domain,
        "source": {"bootstrap": kafka, "topic": topic},
        "batch": {"documents": 16, "gather_s": 0.2},
        "tables": {"root": str(folder / "tables"), "segment": 50, "publish_every_s": 0.5},
        "memory": {"url": memory, "namespace": f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"},
        "run": {"until_idle_s": 3.0},
    }
    for name, section in sections.items():
        data[name] = {**data[name], **section}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def send(
    kafka: Kafka, topic: str, records: Iterable[tuple[bytes | None, str | None]], partitions: int = 4, first: int = 0
) -> list[Sent]:
    """Sends (value, text or None for a dead letter) in turn to the partitions; returns where each one stands."""
    producer = KafkaProducer(
        bootstrap_servers=kafka.bootstrap, acks="all", max_request_size=MAX_MESSAGE, enable_idempotence=True,
        linger_ms=20, request_timeout_ms=60_000,
    )
    try:
        futures = [
            (value, text, producer.send(topic, value=value, key=b"key", partition=(first + i) % partitions))
            for i, (value, text) in enumerate(records)
        ]
        producer.flush(60)
        made = [(value, text, future.get(60)) for value, text, future in futures]
    finally:
        producer.close()
    return [Sent(meta.partition, meta.offset, value, text) for value, text, meta in made]


def as_records(documents: Sequence[Any]) -> list[tuple[bytes | None, str | None]]:
    return [(document.value(), document.text) for document in documents]
