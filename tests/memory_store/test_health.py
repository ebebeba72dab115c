from __future__ import annotations

import pytest
import redis

from kie_ops.errors import ConfigError
from memory_store.health import findings
from memory_store.redis_store import RedisStore
from memory_store.server import EmbeddedServer


def levels(client: redis.Redis) -> list[str]:
    return [f"{f.level}: {f.what}" for f in findings(client)]


def test_a_server_that_evicts_is_refused_with_the_line_to_change(own_server: EmbeddedServer) -> None:
    client = redis.Redis.from_url(own_server.url)
    client.config_set("maxmemory-policy", "allkeys-lru")
    store = RedisStore(own_server.url, "test")  # no limit yet: only warned of
    assert [f.level for f in store.check()] == ["warning"]
    client.config_set("maxmemory", "100mb")
    with pytest.raises(ConfigError, match="maxmemory-policy noeviction"):
        RedisStore(own_server.url, "test")
    unchecked = RedisStore(own_server.url, "test", verify=False)
    assert [f.level for f in unchecked.check()] == ["error"]
    client.config_set("maxmemory-policy", "noeviction")
    RedisStore(own_server.url, "test").close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"appendonly": "no"}, "keeps nothing"),
        ({"appendonly": "no", "save": "60 1"}, "snapshots only"),
        ({"appendfsync": "no"}, "appendfsync no"),
    ],
)
def test_what_costs_time_or_memory_is_a_warning(
    own_server: EmbeddedServer, settings: dict[str, str], words: str
) -> None:
    client = redis.Redis.from_url(own_server.url)
    for name, value in settings.items():
        client.config_set(name, value)
    found = findings(client)
    assert [f.level for f in found] == ["warning"]
    assert words in found[0].what
    assert found[0].next_step
    RedisStore(own_server.url, "test").close()


def test_a_replica_is_refused(own_server: EmbeddedServer) -> None:
    redis.Redis.from_url(own_server.url).replicaof("127.0.0.1", 1)
    with pytest.raises(ConfigError, match="replica"):
        RedisStore(own_server.url, "test")


def test_a_server_without_config_is_judged_by_info(own_server: EmbeddedServer) -> None:
    client = redis.Redis.from_url(own_server.url)
    client.acl_setuser("app", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"])
    url = own_server.url.replace("unix://", "unix://app:any@")
    assert RedisStore(url, "test").check() == []
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "volatile-ttl")
    with pytest.raises(ConfigError, match="noeviction"):
        RedisStore(url, "test")


def test_a_wrong_password_is_a_setting_not_an_outage(own_server: EmbeddedServer) -> None:
    redis.Redis.from_url(own_server.url).config_set("requirepass", "right")
    with pytest.raises(ConfigError, match="password") as caught:
        RedisStore(own_server.url.replace("unix://", "unix://:wrong@"), "test", patience_s=5)
    assert "wrong@" not in str(caught.value)


def test_an_old_server_is_refused() -> None:
    class Old(redis.Redis):
        def info(self, *args: object, **named: object) -> dict[str, str]:  # type: ignore[override]
            return {"redis_version": "5.0.14", "role": "master"}

        def config_get(self, *args: object, **named: object) -> dict[str, str]:  # type: ignore[override]
            return {}

    assert any(f.level == "error" and "5.0.14" in f.what for f in findings(Old()))
