"""Runs one `engram` command and measures it from outside: time, start-up, peak resident memory of its processes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ENGRAM = (sys.executable, "-c", "from pipelines.commands.main import main; main()")
EVERY_S = 0.25


@dataclass(frozen=True)
class Measured:
    """`seconds`: start of the command to the last published row; `start_up`: until reading began, part of it.

    `peak_mb`: highest sum of the resident sizes of its processes, in 10^6 bytes (shared pages count for each).
    """

    seconds: float
    start_up: float
    peak_mb: float

    @property
    def reading(self) -> float:
        return max(self.seconds - self.start_up, 1e-9)


def run(arguments: Sequence[str], tables: Path) -> Measured:
    """Runs ``engram ARGUMENTS``, which writes to `tables`.  Raises SystemExit with its output where it fails."""
    output = tables.parent / f"{arguments[0]}.log"
    output.parent.mkdir(parents=True, exist_ok=True)
    began, wall, reading, peak = time.monotonic(), time.time(), None, 0
    with output.open("wb") as out:
        process = psutil.Popen([*ENGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        while process.poll() is None:
            peak = max(peak, _resident(process))
            if reading is None and next(tables.glob("_log/*/*/*"), None) is not None:
                reading = time.monotonic() - began
            time.sleep(EVERY_S)
    if process.returncode:
        raise SystemExit(f"engram {' '.join(arguments)} ended with {process.returncode}:\n{tail(output)}")
    last = max((path.stat().st_mtime for path in tables.glob("documents/**/*.parquet")), default=wall)
    return Measured(last - wall, reading or 0.0, peak / 1e6)


def command(*arguments: str) -> str:
    """Standard output of ``engram ARGUMENTS``.  Raises SystemExit with its output where it fails."""
    done = subprocess.run([*ENGRAM, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(f"engram {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def tail(path: Path, characters: int = 4_000) -> str:
    return path.read_text(errors="replace")[-characters:]


def _resident(process: psutil.Process) -> int:
    total = 0
    for each in [process, *_children(process)]:
        try:
            total += each.memory_info().rss
        except psutil.Error:
            continue
    return total


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(), "cores": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "apache-beam", "pyarrow")},
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def say(title: str, measured: Measured | None, more: dict[str, Any]) -> None:
    """One JSON line: title, what was measured, and more."""
    said: dict[str, Any] = {"what": title}
    if measured is not None:
        said |= {name: round(value, 2) for name, value in asdict(measured).items()}
    print(json.dumps(said | more, ensure_ascii=False), flush=True)


def rates(measured: Measured, documents: int, characters: int) -> dict[str, float]:
    return {
        "documents_per_s": round(documents / measured.reading, 2),
        "characters_per_s": round(characters / measured.reading),
    }
