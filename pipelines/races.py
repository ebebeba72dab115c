"""Trying again where others were first, for some time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from tenacity import RetryError, Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from kie_ops.errors import ServiceError

ATTEMPTS = 60
T = TypeVar("T")


def win(attempt: Callable[[], T | None], where: str) -> T:
    """What `attempt` returns, once that is not None (the race was lost).  Raises ServiceError after 60 lost ones."""
    retrying = Retrying(
        retry=retry_if_result(lambda got: got is None), stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.01, max=1.0),
    )
    try:
        return cast(T, retrying(attempt))
    except RetryError:
        raise ServiceError("others are first all the time", where=where, next_step="try again in a moment") from None
