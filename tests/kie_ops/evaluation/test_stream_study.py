import json
from pathlib import Path

import numpy as np
import pytest

from kie_ops.evaluation import plots, study_tables
from kie_ops.evaluation.attacks import Attack
from kie_ops.evaluation.standing import DICTIONARY, OFF, ON
from kie_ops.evaluation.stream_scores import CUT
from kie_ops.evaluation.stream_study import Arm, Study, study
from kie_ops.evaluation.streams import Plan
from kie_ops.evaluation.study_tables import HEADER, SECOND, WHOLE, against, as_json, believed, cells, kept, rows
from tests.kie_ops.evaluation.stream_fixtures import stream


@pytest.fixture(scope="module")
def made() -> Study:
    whole = stream(6)
    plan = Plan(reviewed=1.0)
    arms = [Arm("none", {}, Plan()), Arm("reviewed", {}, plan),
            Arm("wrong", {}, Plan(1.0, attack=Attack("random", 1.0)))]
    return study(whole.part(range(12, 24)), whole.part(range(12)), arms, orders=3, precision=0.9)


def test_every_control_is_there_each_time(made: Study) -> None:
    said = rows(made, samples=100)
    assert {(r.arm, r.mode, r.part) for r in said} == {
        (a, m, p) for a in ("none", "reviewed", "wrong") for m in (OFF, DICTIONARY, ON, CUT) for p in (WHOLE, SECOND)}
    by = {(r.arm, r.mode, r.part): r for r in said}
    off, on = by["reviewed", OFF, WHOLE], by["reviewed", ON, WHOLE]
    assert off.spread == pytest.approx(0)
    assert off.over_off is None
    assert on.over_off is not None
    assert on.over_dictionary is not None
    assert on.over_off.f1 == pytest.approx(on.f1 - off.f1)
    assert on.over_off.low <= on.over_off.f1 <= on.over_off.high
    assert on.over_dictionary.f1 == pytest.approx(on.f1 - by["reviewed", DICTIONARY, WHOLE].f1)
    assert on.f1 > off.f1
    assert sum(on.gold_by_kind.values()) == 21
    assert all(len(cells(r)) == len(HEADER) for r in said)


def test_the_second_half_is_that_of_each_order(made: Study) -> None:
    assert made.later().sum(axis=1).tolist() == [6, 6, 6]
    assert made.later()[0].tolist() == [False] * 6 + [True] * 6


def test_arms_against_each_other_and_what_wrong_reviews_leave(made: Study) -> None:
    gain = against(made, "reviewed", "none", samples=100)
    assert gain.low <= gain.f1 <= gain.high
    assert gain.f1 > 0
    left = kept(made, "reviewed", "wrong")
    assert left["kept"] is not None
    assert left["kept"] < 1
    assert left["worst_order_over_off"] <= left["over_off"]  # type: ignore[operator]
    assert kept(made, "reviewed", "reviewed", part=SECOND)["kept"] == 1


def test_as_json(made: Study) -> None:
    data = json.loads(json.dumps(as_json(made, rows(made, samples=50))))
    assert data["documents"] == data["dev_documents"] == 12
    assert set(data["arms"]["reviewed"]) == {"dictionary_threshold", "dictionary_own", "cuts", "cells", "plan"}
    assert data["arms"]["wrong"]["plan"]["attack"]["kind"] == "random"
    assert {"error", "floor", "bins"} == set(data["calibration"]["none"])


def test_the_curve_follows_the_order(made: Study) -> None:
    curve = plots.curve(made, made.trials[1], ON, 4)
    assert curve.shape == (3, 9)
    assert curve[0, -1] > curve[0, 0]
    assert np.allclose(plots.curve(made, made.trials[1], OFF, 12)[:, 0], rows(made, samples=10)[0].f1)


def test_plots_are_written(made: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    written = plots.write(made, believed(made), tmp_path / "plots")
    assert [p.name for p in written] == ["learning-none.png", "learning-reviewed.png", "learning-wrong.png",
                                         "reliability.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in written)
    assert study_tables.rounded({"a": [1 / 3]}) == {"a": [0.3333]}
