import json
from pathlib import Path

import numpy as np
import pytest

from kie_ops.evidence import KINDS, OUTCOMES
from kie_ops.extractor import Extractor
from kie_ops.gate import Gate, sigmoid
from kie_ops.memory import SOURCES, Contribution, Increment, field
from kie_ops.model import TextModel
from kie_ops.training import gate as gate_training
from kie_ops.training.gate_fit import Evidenced, fit_memory
from kie_ops.training.gate_simulation import Plan, base
from kie_ops.trust import CONTEXT, NEUTRAL, TRUST
from tests.kie_ops import tiny

MEMORY = "memory.jsonl.zst"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny domain with random weights: what is fitted on it is of no use, but whole."""
    root = tmp_path_factory.mktemp("domain")
    definition = tiny.domain(tiny.encoder_folder(root / "encoder")).save(root / "small")
    TextModel.new(definition).save_adapter(root / "small" / "adapter.safetensors.zst")
    return root / "small"


def test_one_command_fits_the_gate_and_ships_the_memory(folder: Path, tmp_path: Path) -> None:
    data = tiny.write_data(tmp_path / "data")
    assert gate_training.main([str(folder), "--data", str(data)]) == 0
    first = {name: (folder / name).read_bytes() for name in ("gate.json", MEMORY)}
    gate = Gate.load(folder / "gate.json")
    assert set(gate.text) == set(gate.memory) == set(gate.thresholds) == {"drugs", "events"}
    assert set(gate.relations) == {"drugs"}
    found = Extractor.load(folder).extract("The aspirin caused severe nausea in patient 3.")
    assert all(found.document.text[m.start : m.end] == m.text for m in found.mentions)
    assert gate_training.main([str(folder), "--data", str(data)]) == 0
    assert {name: (folder / name).read_bytes() for name in first} == first, "the same data give the same bytes"


def test_what_is_missing_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate_training.main([str(folder), "--data", str(tmp_path / "absent")]) == 2
    assert "Next" in capsys.readouterr().err
    assert gate_training.main(["nowhere", "--data", str(tmp_path)]) == 6


def test_the_weights_keep_their_signs_and_follow_the_data() -> None:
    rng = np.random.default_rng(3)
    n = 3_000
    counts = np.zeros((n, len(KINDS), len(SOURCES), len(OUTCOMES)))
    counts[:, 0, 0, 0] = rng.integers(0, 20, n)
    counts[:, 0, 0, 4] = rng.integers(0, 20, n)
    odds = 2 * np.log1p(counts[:, 0, 0, 0]) - 2 * np.log1p(counts[:, 0, 0, 4])
    right = (rng.random(n) < sigmoid(odds)).astype(float)
    label = np.zeros(n, dtype=np.int64)
    trust = np.zeros((n, len(TRUST)))
    trust[:, [TRUST.index(name) for name in CONTEXT]] = NEUTRAL
    gate = fit_memory(Evidenced(rng.normal(size=n), np.log1p(counts), trust, label, right, np.ones(n)), ("Drug",))
    assert (gate.weights >= 0).all()
    assert gate.weights[0, 0, 0] == pytest.approx(2, abs=0.4)
    assert gate.weights[0, 0, 4] == pytest.approx(2, abs=0.4)
    assert gate.weights[0, 1] == pytest.approx(np.ones(len(OUTCOMES)), abs=1e-3), "nothing said: plain log odds"


def test_simulated_memories_are_what_the_plan_says() -> None:
    made = [Contribution("", (Increment(f"k{n}", field("training", "s", "entity", "Drug"), 1),)) for n in range(400)]
    rng = np.random.default_rng(1)
    assert base(made, Plan(0.0), rng) == {}
    assert len(base(made, Plan(1.0), rng)) == 400
    assert 80 < len(base(made, Plan(0.3), rng)) < 160
    words = base(made, Plan(0.0, vocabulary=0.5), rng)
    assert {name for c in words.values() for name in c.counts} == {field("vocabulary", "s", "entity", "Drug")}
    wrong = base(made, Plan(1.0, wrong=0.1), rng)
    assert 5 < sum(field("training", "s", "none") in c.counts for c in wrong.values()) < 60
    assert json.dumps(sorted(wrong)) == json.dumps(sorted(c.increments[0].key for c in made))
