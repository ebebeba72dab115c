"""A real broker's topics: the unsafe are refused at start, and read where that is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.harness import engram, settings
from tests.integration.services import Kafka, Redis

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("name", "configs", "says"), [
    ("compacted", {"cleanup.policy": "compact"}, "cleanup.policy=delete"),
    ("short", {"retention.ms": "60000"}, "retention.ms=604800000"),
])
def test_unsafe_topics_are_refused_and_can_be_allowed(
    name: str, configs: dict[str, str], says: str, kafka: Kafka, redis_server: Redis, small_domain: str, tmp_path: Path
) -> None:
    topic = f"{name}-{tmp_path.name}"
    kafka.create_topic(topic, 1, **configs)
    config = settings(tmp_path / name, kafka.bootstrap, topic, redis_server.url, small_domain)
    refused = engram("run", config, expect=2)
    assert says in refused.stderr
    assert "allow_unsafe_topic: true" in refused.stderr
    assert says in engram("doctor", config, expect=1).stdout
    engram("run", config, "--set", "source.allow_unsafe_topic=true", "--until-idle", "1")
