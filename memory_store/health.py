"""What a Redis must be set to so that a memory is safe in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import redis

from kie_ops.errors import ConfigError

OLDEST = (6, 2)


@dataclass(frozen=True, slots=True)
class Finding:
    """`level` error: engram does not start; warning: it works, with the loss that `what` names."""

    level: Literal["error", "warning"]
    what: str
    next_step: str


def findings(client: redis.Redis) -> list[Finding]:
    """Reads INFO, and CONFIG where the server allows it (managed ones often do not)."""
    info: dict[str, Any] = client.info()  # type: ignore[assignment]
    return [*_version(info), *_eviction(info), *_role(info), *_persistence(info, _config(client))]


def raise_errors(found: list[Finding], where: str) -> None:
    for finding in found:
        if finding.level == "error":
            raise ConfigError(finding.what, where=where, next_step=finding.next_step)


def _config(client: redis.Redis) -> dict[str, str]:
    try:
        answer: dict[Any, Any] = client.config_get("*")  # type: ignore[assignment]
    except redis.exceptions.ResponseError:
        return {}
    return {_text(k): _text(v) for k, v in answer.items()}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _version(info: dict[str, Any]) -> list[Finding]:
    text = str(info.get("redis_version", "0"))
    parts = [int(p) if p.isdigit() else 0 for p in text.split(".")[:2]]
    if tuple(parts) >= OLDEST:
        return []
    need = ".".join(map(str, OLDEST))
    return [Finding("error", f"the server is Redis {text}", f"install Redis {need} or later, or Valkey")]


def _eviction(info: dict[str, Any]) -> list[Finding]:
    policy, limit = str(info.get("maxmemory_policy", "noeviction")), int(info.get("maxmemory", 0))
    if policy == "noeviction":
        return []
    line = 'set "maxmemory-policy noeviction" in redis.conf (now: CONFIG SET maxmemory-policy noeviction)'
    if limit > 0:
        return [Finding("error", f"Redis may throw memories away: maxmemory-policy is {policy}", line)]
    return [Finding("warning", f"Redis would throw memories away once maxmemory is set: its policy is {policy}", line)]


def _role(info: dict[str, Any]) -> list[Finding]:
    if info.get("role", "master") == "master":
        return []
    return [Finding("error", "this server is a replica and takes no writes", "set memory.url to its primary")]


def _persistence(info: dict[str, Any], config: dict[str, str]) -> list[Finding]:
    found = []
    if int(info.get("aof_enabled", 0)) == 0:
        if config.get("save") == "":
            found.append(Finding(
                "warning", "Redis keeps nothing: after a restart the memory is rebuilt from the log",
                'set "appendonly yes" and "appendfsync everysec" in redis.conf'))
        else:
            found.append(Finding(
                "warning", "Redis keeps snapshots only: after a crash what came since is applied again from the log",
                'set "appendonly yes" and "appendfsync everysec" in redis.conf'))
    elif config.get("appendfsync") == "no":
        found.append(Finding("warning", "Redis leaves writing to the system (appendfsync no)",
                             'set "appendfsync everysec" in redis.conf'))
    return found
