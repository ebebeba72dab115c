"""Documents for benchmarks from JSON Lines files (plain, .gz, .xz, .zst): fields doc_id, text, lang, title."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec

KEPT = ("doc_id", "text", "lang", "title")


def records(files: Sequence[Path], limit: int | None = None) -> Iterator[tuple[bytes, str]]:
    """(value to send, text) of each document.  Annotations are left out: they must not reach the reader."""
    count = 0
    for path in files:
        with fsspec.open(str(path), "rt", encoding="utf-8", compression="infer", newline="\n") as lines:
            for line in lines:
                if limit is not None and count >= limit:
                    return
                data: dict[str, Any] = json.loads(line)
                kept = {name: data[name] for name in KEPT if data.get(name) is not None}
                yield json.dumps(kept, ensure_ascii=False).encode(), data["text"]
                count += 1
