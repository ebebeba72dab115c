import numpy as np
from hypothesis import given, settings, strategies as st

from kie_ops.candidates import BOUND, FEATURES, LOW, Names, candidates
from tests.kie_ops.gate_fixtures import LABELS, SCHEME, reading

OWN, RIVAL, OVERLAP, BEST, MEAN, SIBLINGS, WIDTH = range(len(FEATURES))


def rows(text: str, odds: dict[tuple[str, str], float], known: dict[str, set[str]] | None = None) -> dict:
    names = Names(reading(text, odds))
    found = candidates(names, SCHEME, known)
    spans = [names.reading.span(f, e) for f, e in zip(found.first, found.last, strict=True)]
    return {
        (text[a:b], a, found.labels[y]): (found.features[i], bool(found.remembered[i]))
        for i, ((a, b), y) in enumerate(zip(spans, found.label, strict=True))
    }


def test_likely_spans_and_repeats_of_sure_ones() -> None:
    text = "Naproxen helped. Later naproxen did not."
    found = rows(text, {("Naproxen", "Drug"): 3.0, ("helped", "Disease"): LOW + 0.1, ("did", "Disease"): LOW - 0.1})
    assert set(found) == {("Naproxen", 0, "Drug"), ("helped", 9, "Disease"), ("naproxen", 23, "Drug")}
    repeat = found["naproxen", 23, "Drug"][0]
    assert repeat[OWN] == -8.0
    assert repeat[BEST] == repeat[MEAN] == 3.0
    assert repeat[SIBLINGS] == np.log1p(1)


def test_abbreviations_share_what_is_sure() -> None:
    text = "Congestive heart failure (CHF) was seen. CHF grew."
    found = rows(text, {("Congestive heart failure", "Disease"): 3.0})
    assert {start for _, start, _ in found} == {0, text.index("CHF"), text.index("CHF grew")}


def test_memory_adds_candidates_nested_ones_too_and_changes_no_features() -> None:
    text = "Chronic heart failure was seen."
    odds = {("Chronic heart failure", "Disease"): 1.0}
    alone = rows(text, odds)
    found = rows(text, odds, {"heart failure": {"Disease"}, "chronic": {"Drug"}, "absent": {"Drug"}})
    assert set(found) - set(alone) == {("heart failure", 8, "Disease"), ("Chronic", 0, "Drug")}
    for at, (features, remembered) in alone.items():
        assert np.array_equal(features, found[at][0])
        assert remembered == found[at][1] is False
    assert found["heart failure", 8, "Disease"][1]
    assert found["heart failure", 8, "Disease"][0][OVERLAP] == 1.0


def test_rivals_and_overlaps() -> None:
    found = rows("acute renal failure", {
        ("acute renal failure", "Disease"): 2.0, ("renal failure", "Disease"): 1.0, ("renal failure", "Drug"): -1.0,
    })
    whole, part = (found[at][0] for at in (("acute renal failure", 0, "Disease"), ("renal failure", 6, "Disease")))
    assert whole[OVERLAP] == 1.0
    assert whole[RIVAL] == -BOUND
    assert part[OVERLAP] == 2.0
    assert part[RIVAL] == -1.0


def test_nothing_in_nothing() -> None:
    for text in ("", " ", "\n\n", "word"):
        found = candidates(Names(reading(text)), SCHEME)
        assert len(found) == 0
        assert found.features.shape == (0, len(FEATURES))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "bee", "Cee", "DEE", "the", "."]), min_size=1, max_size=14), st.integers(0, 99))
def test_features_are_what_a_plain_search_finds(words: list[str], seed: int) -> None:
    made = reading(" ".join(words))
    rng = np.random.default_rng(seed)
    logits = made.spans[SCHEME].logits
    real = np.isfinite(logits)
    logits[real] = rng.choice([-8.0, -3.0, -1.0, 0.5, 2.0], size=int(real.sum()), p=[0.6, 0.1, 0.1, 0.1, 0.1])
    names = Names(made)
    found = candidates(names, SCHEME)
    spans = list(zip(found.first.tolist(), found.last.tolist(), found.label.tolist(), strict=True))
    for i, (f, e, y) in enumerate(spans):
        own = found.features[i, OWN]
        assert own == logits[f, e - f, y]
        others = [j for j, s in enumerate(spans) if s[:2] != (f, e) and s[0] <= e and f <= s[1]]
        assert found.features[i, OVERLAP] == max((found.features[j, OWN] for j in others), default=-BOUND)
        rivals = [j for j, s in enumerate(spans) if s[:2] == (f, e) and s[2] != y]
        assert found.features[i, RIVAL] == max((found.features[j, OWN] for j in rivals), default=-BOUND)
        key = names.key(f, e)
        same = [j for j, s in enumerate(spans) if j != i and s[2] == y and key and names.key(*s[:2]) == key]
        assert found.features[i, BEST] == max((found.features[j, OWN] for j in same), default=own)
    assert set(found.labels) == set(LABELS)
