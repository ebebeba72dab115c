"""Structured logs on standard error: JSON lines for machines, columns for people.  Never document text.

A log line names a place; the text stands in the source.  What enters a line is therefore held to a short list of
plain types: records become their place, bytes and fields that carry text are withheld (their name and length stay).
Tracebacks are written without local variables for the same reason.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

WITHHELD = frozenset({"text", "raw", "value", "title", "surface", "trigger", "document", "record", "key", "keys"})
"""Names of fields whose values may be document text.  Their values never reach a log."""

SILENT = ("kafka",)
"""Says every attempt of every connection.  What fails for good is an error of ours; --debug shows the rest."""

MISSING_EXTRAS = "apache_beam/io/gcp/"
"""Warns through the root logger, at import, that cloud packages nobody asked for are not installed."""

QUIET = ("apache_beam", "urllib3", "botocore", "asyncio", "filelock", "transformers", "matplotlib")
"""Libraries held at WARNING even when debugging: some log the records that they move."""


def configure(*, json: bool | None = None, debug: bool = False, stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard library's logging alike.

    json: JSON lines; None: JSON unless `stream` is a terminal.  stream: standard error by default.
    """
    out = stream or sys.stderr
    as_json = not out.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        withhold,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(sort_keys=True, ensure_ascii=False) if as_json
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    last = [structlog.processors.format_exc_info, renderer] if as_json else [renderer]
    level = logging.DEBUG if debug else logging.INFO
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    ))
    handler.addFilter(lambda record: debug or MISSING_EXTRAS not in record.pathname)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in (*QUIET, *SILENT):
        logging.getLogger(name).setLevel(logging.WARNING if debug or name in QUIET else logging.CRITICAL)


def get(name: str = "engram") -> Any:
    """A structlog logger: ``get().info("batch committed", chain="s/0", start=0, end=64)``."""
    return structlog.stdlib.get_logger(name)


def withhold(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: replaces whatever could be document text by its length or its place."""
    for name in list(event):
        if name in ("event", "exc_info") or name.startswith("_"):
            continue
        event[name] = _safe(name, event[name])
    if not isinstance(event.get("event"), str):
        event["event"] = type(event.get("event")).__name__
    return event


def _safe(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    place = getattr(value, "place", None) or getattr(getattr(value, "document", None), "place", None)
    if place is not None:
        return str(place)
    if name in WITHHELD or isinstance(value, bytes | bytearray | memoryview):
        length = f", {len(value)} long" if hasattr(value, "__len__") else ""
        return f"<withheld {type(value).__name__}{length}>"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(k): _safe(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(name, v) for v in value]
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    return f"<{type(value).__name__}>"
