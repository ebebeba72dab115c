"""Metrics count what they say, and the endpoint serves them."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from kie_ops.errors import ConfigError
from pipelines import metrics
from pipelines.metrics import Metrics
from tests.pipelines.written import reading


def test_snapshot_sums_over_labels() -> None:
    m = Metrics()
    m.documents.inc(3)
    m.characters.inc(70)
    m.dead_letters.labels("broken_json").inc()
    m.dead_letters.labels("too_large").inc(2)
    m.lag.labels("s/0").set(5)
    m.lag.labels("s/1").set(7)
    m.memory_cells.set(11)
    now = m.snapshot()
    assert (now.documents, now.dead_letters, now.characters, now.lag, now.memory_cells) == (3, 3, 70, 12, 11)
    assert now.resident_bytes > 10 * 2**20


def test_readings_are_counted_by_label_with_their_soft_weights() -> None:
    m = Metrics()
    m.read([reading(0, "Lefamulin caused a rash.", (("Lefamulin", "Chemical"), ("rash", "Disease")))] * 2)
    value = m.registry.get_sample_value
    assert value("engram_entities_total", {"label": "Chemical"}) == 2
    assert value("engram_relations_total") == 2
    assert value("engram_events_total") == 2
    assert value("engram_soft_weight_sum") == pytest.approx(4 * 0.75)
    assert value("engram_soft_weight_count") == 4


def test_stages_are_timed() -> None:
    m = Metrics()
    with m.stage_seconds.labels("read").time():
        pass
    assert m.registry.get_sample_value("engram_stage_seconds_count", {"stage": "read"}) == 1


def test_endpoint_serves_and_a_taken_port_is_a_clear_error() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert metrics.serve(port - 1, shard=1) == port
    body = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    assert "engram_documents_total" in body
    with pytest.raises(ConfigError, match=r"run\.metrics_port"):
        metrics.serve(port)
