"""One connection to Redis: bounded retries with back-off, and its errors as ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import redis
import tenacity
from redis import exceptions as errors
from redis.backoff import NoBackoff
from redis.retry import Retry

from kie_ops.errors import ConfigError, EngramError, InputError, LogError, ServiceError
from memory_store import scripts

T = TypeVar("T")

_LATER = (
    errors.ConnectionError, errors.TimeoutError, errors.ReadOnlyError, errors.TryAgainError, errors.ClusterDownError,
    errors.MasterDownError,
)
"""What passes by itself: a server that restarts, loads its data or fails over."""
_LATER_WORDS = ("BUSY", "MISCONF", "NOREPLICAS", "LOADING", "UNBLOCKED")


class Connection:
    """`patience_s`: how long a call is tried again, in seconds, before it is a ServiceError."""

    def __init__(self, url: str, *, patience_s: float = 15.0, timeout_s: float = 30.0) -> None:
        self.where = _without_password(url)
        tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
        try:
            self.client = redis.Redis.from_url(
                url, socket_timeout=timeout_s, socket_connect_timeout=min(5.0, timeout_s), protocol=2,
                retry=Retry(NoBackoff(), 0), **tcp,  # retries are ours, so that they are bounded once
            )
        except (ValueError, TypeError) as e:
            raise ConfigError(f"memory.url is not a Redis address: {e}", where=self.where,
                              next_step="write redis://host:6379/0 or unix:///path/to/socket") from None
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(patience_s),
            wait=tenacity.wait_exponential_jitter(multiplier=0.05, max=2.0, jitter=0.1),
            retry=tenacity.retry_if_exception(passes),
            reraise=True,
        )

    def call(self, command: Callable[[], T]) -> T:
        """Runs `command`, which must be safe to repeat: an answer may be lost after it took effect."""
        try:
            return self._retrying(command)
        except errors.RedisError as e:
            raise self.translated(e) from e

    def translated(self, e: errors.RedisError) -> EngramError:
        text = str(e)
        if passes(e):
            return ServiceError(f"the memory does not answer: {text or type(e).__name__}", where=self.where,
                                next_step="start Redis or check memory.url; nothing is lost, the log has it")
        if isinstance(e, errors.AuthenticationError | errors.NoPermissionError | errors.AuthorizationError):
            return ConfigError(f"Redis refuses this user: {text}", where=self.where,
                               next_step="check user and password in memory.url, and the user's ACL")
        if isinstance(e, errors.OutOfMemoryError):
            return ServiceError(f"Redis is full: {text}", where=self.where,
                                next_step="raise maxmemory in redis.conf, or lower memory.max_cells")
        if isinstance(e, errors.MovedError | errors.AskError):
            return ConfigError("this is a node of a Redis Cluster that holds other slots", where=self.where,
                               next_step="set memory.url to the primary of the namespace's slot, or to a single server")
        if text.startswith(scripts.RANGE):
            return InputError(text, where=self.where, next_step="mend what made these increments")
        return LogError(f"the memory holds what engram did not write: {text}", where=self.where,
                        next_step="engram memory rebuild makes it anew from the log")


def passes(e: BaseException) -> bool:
    """Whether the same call may succeed a little later."""
    if isinstance(e, errors.AuthenticationError | errors.AuthorizationError | errors.MaxConnectionsError):
        return False
    return isinstance(e, _LATER) or (isinstance(e, errors.ResponseError) and str(e).startswith(_LATER_WORDS))


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
    except ValueError:
        return "memory.url"
