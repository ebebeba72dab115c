"""One frozen configuration: arguments > environment (ENGRAM_SOURCE__TOPIC=...) > YAML.

Unknown keys are refused with the nearest valid name; unsafe settings by `engram doctor` and at start.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kie_ops.errors import ConfigError

PREFIX = "ENGRAM_"
NOT_SETTINGS = frozenset({"ENGRAM_FAULT", "ENGRAM_TEST_REDIS", "ENGRAM_REQUIRE_SERVICES"})
"""Of the tests alone."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldPaths(_Section):
    """Where the parts of a document stand in a JSON value: dotted paths."""

    text: str = "text"
    doc_id: str = "doc_id"
    domain: str | None = "domain"
    lang: str | None = "lang"
    title: str | None = "title"
    timestamp: str | None = "timestamp"
    meta: str | None = "meta"


class Format(_Section):
    """How a record's value becomes a document."""

    kind: Literal["json", "text"] = "json"
    fields: FieldPaths = FieldPaths()
    max_bytes: int = Field(20_000_000, gt=0, description="larger values become dead letters")
    max_characters: int = Field(5_000_000, gt=0, description="longer texts become dead letters")
    max_depth: int = Field(64, gt=0, description="deeper nested JSON becomes a dead letter")


class Source(_Section):
    """Where documents come from: a Kafka topic.  `start` counts only where the log is still empty."""

    bootstrap: str = "localhost:9092"
    topic: str = "documents"
    start: Literal["earliest", "latest"] | int = "earliest"
    shards: int = Field(1, gt=0, description="K: shard k owns the partitions p with p mod K = k")
    group: str = Field("engram", description="group whose committed offsets report lag; never a position")
    discover_every_s: float = Field(30.0, gt=0, description="how often new partitions are looked for")
    min_retention_h: float = Field(24.0, ge=0, description="a topic that keeps its records for less is refused")
    allow_unsafe_topic: bool = Field(False, description="reads a topic although it may lose documents")
    options: dict[str, Any] = Field(default_factory=dict, description="further kafka-python consumer settings")
    format: Format = Format()


class Batch(_Section):
    documents: int = Field(64, gt=0)
    characters: int = Field(500_000, gt=0)
    gather_s: float = Field(1.0, gt=0)
    increments: int = Field(6_000, gt=0, description="a batch is cut at this many memory increments")


class Tables(_Section):
    """`root` is a local folder or an object-store URL (s3://bucket/prefix); the commit log lies in `root`/_log."""

    root: str = "tables"
    segment: int = Field(1_000, gt=0, description="offsets a Parquet file; fixed for the life of the tables")
    publish_every_s: float = Field(2.0, gt=0, description="latency to a readable row, at most")
    trim: bool = Field(True, description="delete log files of closed, published segments")
    options: dict[str, Any] = Field(default_factory=dict, description="object-store settings for obstore")


class MemorySettings(_Section):
    """`url`: redis://host:port/db, unix:///path, `embedded` (a server of our own in `data`), `local` (in process)."""

    url: str = "embedded"
    namespace: str | None = Field(None, description="default: the domain")
    data: str = Field("memory", description="folder of the embedded server, relative to tables.root's parent")
    max_cells: int = Field(1_000_000, gt=0)
    prime: bool = Field(True, description="import the domain's shipped memory into a new log")
    corrections_topic: str | None = Field(None, description="Kafka topic with corrections as JSON")


class Engine(_Section):
    threads: int | None = Field(None, description="torch threads; default: the cores, divided among shards")
    token_budget: int = Field(4_096, gt=0, description="tokens a forward pass, padding included")


class Run(_Section):
    runner: Literal["local", "flink"] = "local"
    round_s: float = Field(300.0, gt=0, description="a local run is a succession of bounded rounds")
    until_idle_s: float | None = Field(None, description="end when nothing arrived for so long (demo, tests)")
    metrics_port: int | None = Field(None, description="Prometheus endpoint")
    drift_window: int = Field(500, gt=0, description="records of the sliding window, and of the reference")
    drift_threshold: float = Field(1.0, gt=0, description="engram_drift from which a log line warns")
    options: dict[str, Any] = Field(default_factory=dict, description="further Beam pipeline options")


class Config(_Section):
    domain: str = Field("medical", description="shipped domain, or the folder of a trained one")
    source: Source = Source()
    batch: Batch = Batch()
    tables: Tables = Tables()
    memory: MemorySettings = MemorySettings()
    engine: Engine = Engine()
    run: Run = Run()

    @property
    def domain_name(self) -> str:
        """The shipped domain's name, or the name of the folder."""
        return Path(self.domain).name

    @property
    def namespace(self) -> str:
        return self.memory.namespace or self.domain_name


def load(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Config:
    """Reads YAML at `path` (optional), then environment, then `overrides` (dotted names -> values).

    Raises ConfigError naming the setting, and for an unknown one the nearest valid name.
    """
    data = {} if path is None else _read(Path(path))
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX) and name not in NOT_SETTINGS:
            _put(data, name[len(PREFIX):].lower().split("__"), yaml.safe_load(value))
    for name, value in (overrides or {}).items():
        if value is not None:
            _put(data, name.split("."), value)
    try:
        return Config.model_validate(data)
    except ValidationError as e:
        first = e.errors()[0]
        at = [str(part) for part in first["loc"]]
        unknown = first["type"] == "extra_forbidden"
        name = ".".join(at)
        what = f"unknown setting {name}" if unknown else f"{name}{_shown(first['input'])}: {_plainly(first)}"
        raise ConfigError(
            what, where=None if path is None else str(path),
            next_step=_nearest(at) if unknown else f"mend {name} there, in {_variable(at)}, or in --set {name}=...; "
            "docs/operations.md lists the settings",
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(
            "no such configuration file", where=str(path), next_step="check the path; README has a sample"
        ) from None
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        where = str(path) if mark is None else f"{path}, line {mark.line + 1}"
        raise ConfigError(f"the configuration is not YAML: {getattr(e, 'problem', None) or 'it cannot be read'}",
                          where=where, next_step="mend that line; README has a sample") from None
    except UnicodeDecodeError as e:
        raise ConfigError(f"the configuration is not UTF-8: {e.reason} at byte {e.start}", where=str(path),
                          next_step="save the file as UTF-8") from None
    except OSError as e:
        raise ConfigError(f"cannot read the configuration: {e.strerror}", where=str(path),
                          next_step="give a YAML file; README has a sample") from None
    if not isinstance(data, dict):
        raise ConfigError("the configuration is not a mapping of settings", where=str(path),
                          next_step="write sections like `source:` with settings below; README has a sample")
    return data


def _plainly(error: Mapping[str, Any]) -> str:
    """What is wrong with a value, in the words of YAML."""
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "this is a section: it has settings of its own below it"
    return str(error["msg"])


def _shown(value: object) -> str:
    """`` = 3`` for a value short enough to be told from others."""
    return f" = {value!r}" if isinstance(value, int | float | str) and len(str(value)) <= 40 else ""


def _variable(at: list[str]) -> str:
    """The environment variable of a setting."""
    return PREFIX + "__".join(at).upper()


def _put(data: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        below = data.get(key)
        if not isinstance(below, dict):
            below = data[key] = {}
        data = below
    data[keys[-1]] = value


def _nearest(at: list[str]) -> str:
    model: Any = Config
    for part in at[:-1]:
        kind = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return "see docs/operations.md for the settings"
        model = kind
    names = list(model.model_fields)
    near = difflib.get_close_matches(at[-1], names, n=1, cutoff=0.4)
    where = ".".join(at[:-1]) or "the top level"
    return f"did you mean {near[0]}?" if near else f"{where} knows: {', '.join(names)}"
