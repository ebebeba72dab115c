"""The named steps of the commit protocol, where tests stop a worker.

`at(step)` costs one comparison unless ENGRAM_FAULT=step[:n] is set: then this process is killed (SIGKILL) when it
passes the step for the n-th time.  Steps in order: owned, gathered, read, committed, applied, temp-written, published,
kept, floor-moved, trimmed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

STEPS = (
    "owned", "gathered", "read", "committed", "applied", "temp-written", "published", "kept", "floor-moved", "trimmed",
)
_step, _, _nth = os.environ.get("ENGRAM_FAULT", "").partition(":")
_left = int(_nth or 1)
hook: Callable[[str], None] | None = None
"""Set by in-process tests: called with each step passed; may raise."""


def at(step: str) -> None:
    global _left
    if step == _step:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    if hook is not None:
        hook(step)
