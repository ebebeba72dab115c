"""Topics that lose documents before they are read: compacted ones, and those that keep records too shortly.

`engram doctor` tells of them, `engram run` refuses them at its start, unless ``source.allow_unsafe_topic`` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from kie_ops.errors import ConfigError, ServiceError
from pipelines import kafka_feed, logs
from pipelines.config import Source
from pipelines.kafka_feed import KafkaFeed

HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS
ALLOW = "source.allow_unsafe_topic"
ALLOW_LINE = "allow_unsafe_topic: true"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as its broker describes it.  `settings` is empty where they may not be read."""

    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Danger:
    """Why documents may be lost, and the command that mends it."""

    what: str
    mend: str


def describe(source: Source, answer_ms: int | None = None) -> Topic | None:
    """The topic of `source`; None where there is none.

    answer_ms: how long a broker is waited for.  Raises ServiceError where none answers, ConfigError for credentials.
    """
    more = {} if answer_ms is None else {"bootstrap_timeout_ms": answer_ms}
    admin = kafka_feed.admin(source.model_copy(update={"options": {**source.options, **more}}))
    try:
        found = [t for t in admin.describe_topics([source.topic]) if t["error_code"] == 0]
        settings = {}
        with suppress(KafkaError):  # not every user may read settings
            answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, source.topic)],
                                            config_filter="all")
            settings = {key: str(entry["value"]) for key, entry in answer["topic"][source.topic].items()}
        return Topic(len(found[0]["partitions"]), settings) if found else None
    except KafkaError as e:
        raise ServiceError(f"Kafka does not answer: {e}", where=source.bootstrap,
                           next_step="check that the broker runs and source.bootstrap reaches it") from None
    finally:
        admin.close()


def dangers(source: Source, settings: Mapping[str, str]) -> Iterator[Danger]:
    """What of a topic's settings loses documents."""
    if "compact" in settings.get("cleanup.policy", "delete"):
        yield Danger("the topic is compacted: records vanish before they are read",
                     alter(source, "cleanup.policy=delete"))
        if "delete" not in settings["cleanup.policy"]:
            return                                                  # then retention does not apply
    kept_ms = int(settings.get("retention.ms", -1))
    if 0 <= kept_ms < source.min_retention_h * HOUR_MS:
        yield Danger(f"records are kept {kept_ms / HOUR_MS:.2g} h, less than source.min_retention_h = "
                     f"{source.min_retention_h:g}: a longer outage loses documents",
                     alter(source, f"retention.ms={max(WEEK_MS, int(source.min_retention_h * HOUR_MS))}"))


def alter(source: Source, setting: str) -> str:
    """The command that changes a setting of the topic."""
    return (f"kafka-configs --bootstrap-server {source.bootstrap} --alter --entity-type topics "
            f"--entity-name {source.topic} --add-config {setting}")


def refuse(source: Source, topic: Topic | None) -> None:
    """Raises ConfigError where `topic` loses documents and nobody allowed it; a warning where somebody did."""
    if topic is None:
        return                                                      # the feed says so
    if not topic.settings:
        logs.get().warning("the topic's settings may not be read: whether it keeps its records is unknown",
                           topic=source.topic)
    for danger in dangers(source, topic.settings):
        if not source.allow_unsafe_topic:
            raise ConfigError(
                danger.what, where=f"source.topic = {source.topic}",
                next_step=f"{danger.mend}; or, where losing documents is no harm, under `source:` the line "
                          f"`{ALLOW_LINE}` (--set {ALLOW}=true)",
            )
        logs.get().warning("the topic is unsafe, and allowed", topic=source.topic, danger=danger.what)


def open_feed(source: Source, shard: int = 0, shards: int = 1) -> KafkaFeed:
    """The feed of a topic that keeps its records.  Raises ConfigError for another, and what the feed raises."""
    kafka_feed.check_options(source)
    refuse(source, describe(source))
    return KafkaFeed(source, shard, shards)
