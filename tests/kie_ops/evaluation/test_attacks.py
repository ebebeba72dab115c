import pytest

from kie_ops.candidates import Names
from kie_ops.contributions import Marked
from kie_ops.errors import InputError
from kie_ops.evaluation.attacks import KINDS, Attack, common_words, wrong
from tests.kie_ops.gate_fixtures import LABELS, SCHEME, reading

TEXT = "The nurse gave zorvanex to the nurse. Renal failure came back and the doctor stopped zorvanex again."


def names(doc_id: str = "d1") -> Names:
    return Names(reading(TEXT, doc_id=doc_id))


def gold() -> list[Marked]:
    return [Marked(SCHEME, "Drug", 3, 3, "X:1"), Marked(SCHEME, "Disease", 8, 9), Marked(SCHEME, "Drug", 16, 16, "X:1")]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_function_of_seed_and_document(kind: str) -> None:
    attack = Attack(kind, 1.0)
    assert wrong(gold(), names(), attack, LABELS) == wrong(gold(), names(), attack, LABELS)
    said = {tuple(wrong(gold(), names(), Attack(kind, 1.0, seed), LABELS)) for seed in range(20)}
    assert len(said) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_share_the_reviewer_is_right(kind: str) -> None:
    assert wrong(gold(), names(), Attack(kind, 0.0), LABELS) == gold()


def test_random_is_another_label_or_words_that_are_no_mention() -> None:
    right = {(m.first, m.last, m.label) for m in gold()}
    words = {w for m in gold() for w in range(m.first, m.last + 1)}
    kinds = set()
    for seed in range(20):
        for m in wrong(gold(), names(), Attack("random", 1.0, seed), LABELS):
            assert (m.first, m.last, m.label) not in right
            assert m.concept is None
            kinds.add((m.first, m.last) in {(g.first, g.last) for g in gold()})
            if not kinds & {True}:
                assert words.isdisjoint(range(m.first, m.last + 1))
    assert kinds == {True, False}


def test_systematic_is_the_same_for_every_place_of_a_name_in_every_document() -> None:
    for seed in range(20):
        said = [wrong(gold(), names(doc_id), Attack("systematic", 0.5, seed), LABELS) for doc_id in ("a", "b")]
        assert said[0] == said[1]
        assert len({m.label for m in said[0] if m.first in (3, 16)}) <= 1
        assert len([m for m in said[0] if m.first in (3, 16)]) in (0, 2)


def test_boundary_is_one_word_more_or_less_and_keeps_the_label() -> None:
    for seed in range(20):
        said = wrong(gold(), names(), Attack("boundary", 1.0, seed), LABELS)
        assert [m.label for m in said] == [m.label for m in gold()]
        for m, g in zip(said, gold(), strict=True):
            assert abs(m.first - g.first) + abs(m.last - g.last) == 1


def test_common_words_come_on_top_of_the_right_marks() -> None:
    for seed in range(20):
        said = wrong(gold(), names(), Attack("common-words", 1.0, seed), LABELS)
        assert set(gold()) <= set(said)
        more = [m for m in said if m not in gold()]
        assert {TEXT.replace(".", " .").split()[m.first] for m in more} == {"nurse"}
    attack = Attack("common-words", 1.0, common=frozenset({"doctor"}))
    assert [m.first for m in wrong(gold(), names(), attack, LABELS) if m not in gold()] == [14]


def test_ordinary_words_are_frequent_and_never_marked() -> None:
    found = common_words([(names(), gold()), (names("d2"), [])])
    assert {"nurse", "doctor", "gave"} <= found
    assert not found & {"zorvanex", "failure", "renal", "the"}
    assert common_words([(names(), gold())], 1) == {"again"}


@pytest.mark.parametrize(("kind", "share"), [("clever", 0.1), ("random", 1.5)])
def test_what_is_no_attack_is_refused(kind: str, share: float) -> None:
    with pytest.raises(InputError, match="Next"):
        Attack(kind, share)
