"""The one error tree.  Every error says whether trying again can help (`retriable`) and what to do next.

A message names what went wrong, where (topic/partition/offset/document, file, setting) and the next step.
"""

from __future__ import annotations


class EngramError(Exception):
    """Root of every error engram raises on purpose.

    `retriable` is a property of the class: True where the same call may succeed later without anybody changing
    anything (a service that is down), False where somebody has to act first.
    """

    retriable: bool = False
    exit_code: int = 1

    def __init__(self, what: str, *, where: str | None = None, next_step: str | None = None) -> None:
        self.what, self.where, self.next_step = what, where, next_step
        text = what if where is None else f"{what} (at {where})"
        super().__init__(text if next_step is None else f"{text}. Next: {next_step}")


class ConfigError(EngramError):
    """A setting is missing, unknown or unsafe.  The message names the line to change."""

    exit_code = 2


class InputError(EngramError):
    """A file or argument that a person gave cannot be used."""

    exit_code = 2


class DocumentError(EngramError):
    """One document cannot be read.  Never ends a stream: it becomes a dead letter.

    `reason` is a stable machine-readable word, for instance ``broken_json`` or ``too_large``.
    """

    def __init__(self, reason: str, what: str, *, where: str | None = None, next_step: str | None = None) -> None:
        self.reason = reason
        super().__init__(what, where=where, next_step=next_step)


class ServiceError(EngramError):
    """Kafka, Redis or a store did not answer.  Retried with back-off."""

    retriable = True
    exit_code = 3


class LogError(EngramError):
    """The commit log is not what the protocol allows: a torn file, a gap, a store without exclusive creation."""

    exit_code = 4


class PositionError(EngramError):
    """The source cannot supply the position where the log ends (retention has passed it, a topic made anew)."""

    exit_code = 5


class ModelError(EngramError):
    """A model folder cannot be used: missing, of another version, or with another fingerprint."""

    exit_code = 6
