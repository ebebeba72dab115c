"""The progress line of long work: documents/s, lag, dead letters, memory cells, resident memory.

On a terminal one line that is redrawn; elsewhere a log line every ten seconds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipelines import logs
from pipelines.metrics import METRICS, Snapshot

REDRAW_S = 0.5
LOG_EVERY_S = 10.0
RATE_OVER_S = 10.0


class Progress:
    """Context manager that shows `read()` until it is left, and once more then.  Never raises into the work.

    console: where to draw; log lines instead where it is None or no terminal.  read: the numbers, METRICS by default.
    """

    def __init__(
        self, console: Console | None, *, what: str = "engram", read: Callable[[], Snapshot] = METRICS.snapshot,
        clock: Callable[[], float] = time.monotonic, log_every_s: float = LOG_EVERY_S,
    ) -> None:
        self._console, self._what, self._read, self._clock = console, what, read, clock
        self._log_every_s = log_every_s
        self._seen: deque[tuple[float, int]] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        self._began = self._clock()
        self._first = self._read().documents
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _show(self) -> None:
        if self._console is not None and self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=1 / REDRAW_S, transient=False) as live:
                while not self._stop.wait(REDRAW_S):
                    live.update(Text(self.line(), no_wrap=True, overflow="ellipsis"))
                live.update(Text(self.line(), no_wrap=True, overflow="ellipsis"))
            return
        while not self._stop.wait(self._log_every_s):
            self._log()
        self._log()

    def _log(self) -> None:
        now, rate = self._sample()
        logs.get().info(
            "progress", what=self._what, documents=now.documents, documents_per_s=round(rate, 1), lag=now.lag,
            dead_letters=now.dead_letters, memory_cells=now.memory_cells, resident_mb=now.resident_bytes // 2**20,
        )

    def line(self) -> str:
        now, rate = self._sample()
        return (
            f"{self._what}: {now.documents:,} documents · {rate:,.1f}/s · lag {now.lag:,} · "
            f"{now.dead_letters:,} dead letters · {now.memory_cells:,} cells · {now.resident_bytes / 2**20:,.0f} MB"
        )

    def _sample(self) -> tuple[Snapshot, float]:
        """The numbers now, and documents/s over the last RATE_OVER_S seconds."""
        now, t = self._read(), self._clock()
        if not self._seen:
            self._seen.append((self._began, self._first))
        self._seen.append((t, now.documents))
        while len(self._seen) > 2 and t - self._seen[0][0] > max(RATE_OVER_S, self._log_every_s):
            self._seen.popleft()
        t0, documents = self._seen[0]
        return now, (now.documents - documents) / (t - t0) if t > t0 else 0.0
