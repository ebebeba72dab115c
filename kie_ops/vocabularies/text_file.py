"""Lines of a text file in UTF-8, plain or .gz, with errors a person can act on."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from kie_ops.errors import InputError


def lines(path: str | Path) -> Iterator[str]:
    """Each line with its end.  Raises InputError where the file cannot be read or is not UTF-8."""
    try:
        if str(path).endswith(".gz"):
            with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as packed:
                yield from packed
        else:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                yield from file
    except UnicodeDecodeError as e:
        raise InputError(f"not UTF-8: {e.reason}", where=str(path), next_step="save the file as UTF-8") from None
    except (OSError, EOFError) as e:
        what = getattr(e, "strerror", None) or e
        raise InputError(f"cannot read: {what}", where=str(path), next_step="check the path") from None
