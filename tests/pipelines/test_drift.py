"""Drift: still where nothing changes, told where a stream does, the same over restarts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from kie_ops.records import DeadLetter, Document, Mention, Place, Reading
from pipelines import drift as drifting, logs
from pipelines.drift import MAX_DOMAINS, OTHERS, Drift, drift, entropy, keep, open_drift
from pipelines.metrics import Metrics
from tests.pipelines.ledger_world import empty_storage

LETTER = DeadLetter(Place("s", 0, 0), "broken_json", "DocumentError", "not JSON", False, b"{")


def reading(*mentions: tuple[str, float, float], domain: str = "notes") -> Reading:
    """Mentions as (label, text_score, soft_weight)."""
    found = tuple(Mention(f"m{i}", 0, 1, "x", label, 0.9, text, weight)
                  for i, (label, text, weight) in enumerate(mentions))
    return Reading(Document("d", "x", domain), found)


SURE = reading(("drug", 0.97, 0.5), ("problem", 0.9, 0.4))
NEW = reading(("drug", 0.55, 0.0), ("problem", 0.9, 0.4))


def watched(readings: Sequence[Reading], *, size: int = 60) -> Drift:
    out = Drift("notes", size=size)
    for one in readings:
        out.read([one], [])
    return out


def crossed(found: Sequence[drifting.Drifted]) -> set[tuple[str, str]]:
    return {(f.signal, f.label) for f in found}


def test_a_stream_like_its_past_does_not_drift() -> None:
    out = watched([SURE, SURE, NEW] * 60)
    assert out.tell(Metrics()) == []
    assert all(f.drift < 0.5 for f in out.levels())


def test_new_names_are_told_once_by_signal_and_label() -> None:
    out = watched([SURE] * 60 + [NEW] * 60)
    metrics = Metrics()
    assert crossed(out.tell(metrics)) == {(s, label) for s in ("novelty", "text_entropy") for label in ("", "drug")}
    assert out.tell(metrics) == []
    assert metrics.registry.get_sample_value(
        "engram_drift", {"signal": "novelty", "domain": "notes", "label": "drug"}) > 1  # type: ignore[operator]
    assert metrics.registry.get_sample_value(
        "engram_window", {"signal": "novelty", "domain": "notes", "label": ""}) == pytest.approx(0.5)


def test_it_is_over_when_the_stream_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(json=True)
    out = watched([SURE] * 60 + [NEW] * 60)
    out.tell(Metrics())
    for _ in range(60):
        out.read([SURE], [])
    out.tell(Metrics())
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    drug = [(line["event"], line["level"]) for line in said if (line["signal"], line["label"]) == ("novelty", "drug")]
    assert drug == [("drift: this stream is not what it was", "warning"), ("drift is over", "info")]
    assert said[0].keys() >= {"domain", "now", "reference", "drift", "threshold"}


def test_memory_against_the_text_is_disagreement() -> None:
    against = reading(("drug", 0.2, 0.8), ("problem", 0.9, 0.4))
    out = watched([SURE] * 60 + [against] * 60)
    assert ("disagreement", "drug") in crossed(out.tell(Metrics()))
    assert ("disagreement", "problem") not in crossed([f for f in out.levels() if f.drift >= 1])


def test_dead_letters_and_corrections_count_by_record() -> None:
    out = watched([SURE] * 60)
    out.corrected(7)                                     # of the past
    for n in range(60):
        out.corrected(7 + n // 2)
        out.read([SURE] if n % 3 else [], [] if n % 3 else [LETTER])
    levels = {f.signal: f for f in out.levels() if not f.label}
    assert levels["dead_letters"].now == pytest.approx(1 / 3)
    assert levels["corrections"].now == pytest.approx(29 / 60)
    assert {"dead_letters", "corrections"} <= {f.signal for f in out.tell(Metrics())}


def test_too_few_records_tell_nothing() -> None:
    assert list(watched([SURE] * 60 + [NEW] * 29).levels()) == []
    rare = [SURE] * 60 + [NEW] * 40 + [reading(("rare", 0.1, 0.9))] * 20
    assert not [f for f in watched(rare).levels() if f.label == "rare"]


def test_the_reference_outlives_the_process() -> None:
    storage, first = empty_storage(), watched([SURE] * 60 + [NEW] * 60)
    keep(storage, "shard-0-of-1", watched([SURE] * 59))
    assert not open_drift(storage, "notes", "shard-0-of-1", size=60, threshold=1).reference.full
    keep(storage, "shard-0-of-1", first)
    again = open_drift(storage, "notes", "shard-0-of-1", size=60, threshold=1)
    for _ in range(60):
        again.read([NEW], [])
    assert list(again.levels()) == list(first.levels())
    assert again.dump() == first.dump()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"size": 60, "totals": [["a", "b", "c", 1]]}',
                                  b'{"size": 3, "totals": []}'])
def test_a_reference_of_another_size_or_none_is_taken_anew(data: bytes) -> None:
    storage = empty_storage()
    storage.replace("_drift/s.json", data)
    assert open_drift(storage, "notes", "s", size=60, threshold=1).reference.totals == {}


def test_many_domains_are_counted_as_one() -> None:
    out = watched([reading(("drug", 0.9, 0.1), domain=f"d{n}") for n in range(60)])
    domains = {domain for _, domain, _ in out.reference.totals}
    assert OTHERS in domains
    assert len(domains) <= MAX_DOMAINS + 1


@pytest.mark.parametrize(("now", "then", "least", "most"), [
    ([0, 500, 500], [0, 500, 500], 0.0, 0.0),
    ([55_000, 500, 500], [50_000, 500, 500], 0.0, 0.2),              # 11 % against 10 %
    ([100_000, 500, 500], [50_000, 500, 500], 0.5, 1.0),             # 20 % against 10 %: not yet beyond doubt
    ([250_000, 500, 500], [50_000, 500, 500], 1.0, 4.0),
    ([2_000_000, 500, 500], [0, 500, 500], 5.0, 1e9),                # a rate above 1
])
def test_the_scale(now: list[int], then: list[int], least: float, most: float) -> None:
    assert least <= drift(now, then) <= most


def test_entropy() -> None:
    assert [entropy(p) for p in (0.0, 0.5, 1.0)] == [0.0, 1.0, 0.0]


def test_a_worker_watches_what_it_commits() -> None:
    from tests.pipelines.test_worker import Site, finish

    site = Site()
    worker: Any = site.worker()
    worker.drift = Drift("small", size=10)
    finish(worker)
    worker._housekeeping_due = 0.0
    worker.publish()
    assert worker.drift.reference.full
    assert worker.drift.window.totals["novelty", "small", ""][2] > 0
    assert site.storage.names("_drift") == ["shard-0-of-1.json"]
