from pathlib import Path

import numpy as np
import pytest

from kie_ops.contributions import of_correction
from kie_ops.errors import InputError
from kie_ops.evaluation import readings
from kie_ops.evaluation.attacks import Attack
from kie_ops.evaluation.standing import DICTIONARY, OFF, ON
from kie_ops.evaluation.stream_scores import Cuts, count, spans, tuned
from kie_ops.evaluation.streams import (
    MEMORISED,
    NEW,
    SYNONYM,
    Plan,
    Seen,
    Stream,
    open_stream,
    order,
    run,
    with_common_words,
)
from kie_ops.memory import Cell, field
from kie_ops.text_reading import TRAITS, TextReading
from tests.kie_ops.evaluation.stream_fixtures import ODDS, examples, stream
from tests.kie_ops.gate_fixtures import SCHEME, cells, domain, extractor

CUTS = Cuts(0.5, {})


def found(some: Stream, seen: Seen) -> set[str]:
    text = some.reads[seen.number].example.document.text
    return {text[start:end] for start, end, _ in spans(some, seen, CUTS)[ON]}


def test_without_reviews_or_own_memory_on_is_memory_off() -> None:
    some = stream()
    for seen in run(some, {}, Plan(own=False), 0):
        by_mode = spans(some, seen, CUTS)
        assert by_mode[ON] == by_mode[OFF] == by_mode[DICTIONARY]


def test_a_review_comes_after_prediction_and_teaches_the_next_documents() -> None:
    some = stream(1)
    read = [found(some, seen) for seen in run(some, {}, Plan(reviewed=1.0, own=False), 0)]
    assert "Zorvanex" not in read[1]
    assert "zorvanex" in read[2]
    assert "ward" in read[0]
    assert "ward" not in read[3]


def test_a_delayed_review_is_in_force_later() -> None:
    some = stream(1)
    read = [found(some, seen) for seen in run(some, {}, Plan(reviewed=1.0, delay=1, own=False), 0)]
    assert "zorvanex" not in read[2]
    assert "zorvanex" in read[3]


def test_kinds_of_gold_mentions() -> None:
    some = stream(1)
    base = {"rash": Cell("rash", {field("training", SCHEME, "entity", "Disease"): 1}),
            "zorv": Cell("zorv", {field("vocabulary", SCHEME, "concept", "Drug", "C:zorvanex"): 1})}
    kinds = [seen.kinds for seen in run(some, base, Plan(own=True), 0)]
    assert kinds[0] == (NEW, MEMORISED)
    assert kinds[1] == (SYNONYM, MEMORISED)
    assert count(some, next(iter(run(some, base, Plan(), 0))), CUTS).gold.tolist() == [1, 0, 1]


def test_orders_are_of_their_seed_and_the_first_is_the_files() -> None:
    assert order(5, 0) == [0, 1, 2, 3, 4]
    assert order(50, 1) == order(50, 1) != order(50, 2)
    some = stream()
    assert [s.number for s in run(some, {}, Plan(), 3)] == order(12, 3)


def test_keys_that_cannot_be_there_change_nothing() -> None:
    some = stream(1)
    base = cells(of_correction(domain(), "c", "ward", reject=True))
    plan = Plan(reviewed=1.0)
    assert list(run(some.among([base]), base, plan, 1)) == list(run(some, base, plan, 1))
    assert sum(len(r.keys) for r in some.among([base]).reads) < sum(len(r.keys) for r in some.reads)


def test_a_label_never_trained_is_read_from_reviews_alone() -> None:
    some = stream(2, scheme="elsewhere")
    read = list(run(some, {}, Plan(reviewed=1.0), 0))
    assert found(some, read[0]) == set()
    assert "zinc" in found(some, read[6])
    assert all(spans(some, seen, CUTS)[OFF] == set() for seen in read)


def test_a_scheme_of_the_domain_needs_its_labels() -> None:
    with pytest.raises(InputError, match=r"no label Gene.*map it"):
        open_stream(extractor(ODDS), examples(), labels=["Gene"])


def test_labels_that_the_data_lack_are_not_judged() -> None:
    only = open_stream(extractor(ODDS), examples(), labels=["Drug"])
    for seen in run(only, {}, Plan(reviewed=1.0), 0):
        assert {y for mode in spans(only, seen, CUTS).values() for _, _, y in mode} <= {"Drug"}


def test_readings_on_disk_are_the_same(tmp_path: Path) -> None:
    first, again = stream(1, folder=tmp_path), stream(1, folder=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 4
    plan = Plan(reviewed=1.0)
    assert list(run(first, {}, plan, 0)) == list(run(again, {}, plan, 0)) == list(run(stream(1), {}, plan, 0))
    next(tmp_path.glob("*.npz")).write_bytes(b"broken")
    assert list(run(stream(1, folder=tmp_path), {}, plan, 0)) == list(run(first, {}, plan, 0))


def test_all_of_a_reading_is_kept_on_disk(tmp_path: Path) -> None:
    sketch = stream(1).reads[0].sketch
    traits = np.random.default_rng(1).integers(-128, 128, (len(sketch.words), TRAITS)).astype(np.int8)
    reading = TextReading(sketch.document, sketch.words, sketch.sentences, sketch.spans, sketch.states, 3, 17, traits)
    readings._save(tmp_path / "r.npz", reading)
    again = readings._load(tmp_path / "r.npz", sketch.document)
    assert again is not None
    for name in ("words", "sentences", "states", "traits", "windows", "characters_read"):
        assert np.array_equal(getattr(again, name), getattr(reading, name)), name
    assert all(np.array_equal(again.spans[s].logits, scores.logits) for s, scores in reading.spans.items())


def test_wrong_reviewers_do_harm_and_common_words_come_from_the_stream() -> None:
    some = stream()
    attack = with_common_words(Attack("common-words", 1.0), some)
    assert attack is not None
    assert {"caused", "patient"} <= attack.common
    plan = Plan(reviewed=1.0, attack=Attack("common-words", 1.0))
    assert any("patient" in found(some, seen) for seen in run(some, {}, plan, 0))


def test_settings_are_the_best_on_dev() -> None:
    some = stream()
    base = {"caused": Cell("caused", {field("training", SCHEME, "entity", "Drug"): 3,
                                      field("training", SCHEME, "none", ""): 7}),
            "zorvanex": Cell("zorvanex", {field("training", SCHEME, "entity", "Drug"): 9,
                                          field("training", SCHEME, "none", ""): 1})}
    cuts = tuned(some, [list(run(some, base, Plan(own=False), 0))], 0.9)
    assert cuts.dictionary == 0.9
    assert set(cuts.labels) == {"Drug", "Disease"}
    mine = {"caused": Cell("caused", {**base["caused"].counts, field("self", SCHEME, "entity", "Drug"): 99})}
    echo = list(run(some, mine, Plan(own=False), 0))
    assert echo[0].matches[0][3] > 0.9 > 0.4 > echo[0].others[0][3]
    assert not tuned(some, [echo]).own or tuned(some, [echo]).dictionary > 1
    nothing = {"caused": base["caused"]}
    assert tuned(some, [list(run(some, nothing, Plan(own=False), 0))]).dictionary > 0.3
