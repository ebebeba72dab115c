import numpy as np
import pytest

from kie_ops.dataset import Example, Gold, GoldRelation
from kie_ops.domain import RelationScheme
from kie_ops.gate import PAIR_BOUND, Calibration, sigmoid, type_name
from kie_ops.pair_evidence import FEATURES, LOGIT
from kie_ops.records import Document
from kie_ops.training import pair_fit
from kie_ops.training.pair_fit import Rated, fit, type_prior
from tests.kie_ops.gate_fixtures import SCHEME


def rated(rng: np.random.Generator, n: int = 30, *, known: float = 0.0, unnamed: bool = False) -> Rated:
    """Pairs that are right by logit, and by what memory knows as far as `known` says."""
    x = np.zeros((n, len(FEATURES)))
    x[:, 0] = rng.normal(0, 2, n) / LOGIT
    x[:, FEATURES.index("known")] = rng.integers(0, 2, n)
    right = rng.random(n) < sigmoid(x[:, 0] * LOGIT - 1 + known * (2 * x[:, FEATURES.index("known")] - 1))
    none = np.full(n, unnamed)
    return Rated(x, np.zeros(n), right & ~none, none, np.arange(n), 0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_fit, "SHRINKAGES", (4.0,))
    monkeypatch.setattr(pair_fit, "FOLDS", 2)


def test_what_helps_is_taken_and_what_does_not_is_left() -> None:
    rng = np.random.default_rng(1)
    helped = fit([rated(rng, known=3.0) for _ in range(20)])
    assert helped.model == "memory"
    assert helped.calibration.weights["known"] > 0.5
    assert max(helped.f1.values()) == helped.f1[helped.model, helped.shrinkage]
    plain = fit([rated(rng) for _ in range(20)])
    assert plain.f1[plain.model, plain.shrinkage] - plain.f1["logit", 4.0] < 0.02
    assert plain.calibration.scale == pytest.approx(1.0, abs=0.3)


def test_pairs_without_concepts_are_withheld_where_they_are_never_right() -> None:
    rng = np.random.default_rng(2)
    found = fit([rated(rng) for _ in range(8)] + [rated(rng, unnamed=True) for _ in range(8)])
    assert found.calibration.unnamed == 1.0
    assert 0.02 <= found.calibration.threshold <= 0.95
    assert fit([rated(rng, unnamed=True)]).calibration == Calibration()
    assert fit([]).calibration == Calibration()


def test_memory_alone_is_bounded() -> None:
    cut = Calibration(1.0, 0.0, 0.5, weights={"known": 100.0})
    x = np.zeros((1, 1, len(FEATURES)))
    x[..., FEATURES.index("known")] = 5.0
    assert cut.odds_of(x, np.zeros((1, 1)))[0, 0] == pytest.approx(PAIR_BOUND)


def test_priors_of_types() -> None:
    text = "Zinc, lead and rash."
    spans = (Gold(0, 4, "Drug", None, "a"), Gold(6, 10, "Drug", None, "b"), Gold(15, 19, "Disease", None, "c"))
    example = Example(SCHEME, Document("d", text), spans, (GoldRelation("a", "c", "causes", "mention"),))
    rules = RelationScheme(("causes",), pairs=(("Drug", "Disease"),))
    assert type_prior([example], rules) == {type_name("Drug", "Disease", "causes"): 0.0}
