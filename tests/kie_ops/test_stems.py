import pytest

from kie_ops.stems import BAG, bag, concept_keys, stem
from kie_ops.surface import FOLDED


@pytest.mark.parametrize(("one", "other"), [
    ("liver toxicity", "toxicity of the liver"),
    ("hypertension", "hypertensive"),
    ("ischemia", "ischaemic"),
    ("brain tumor", "tumours of the brain"),
    ("induced seizure", "seizures"),
    ("psychotic", "psychosis"),
])
def test_forms_and_orders_of_a_name_share_a_bag(one: str, other: str) -> None:
    assert bag(one) == bag(other)


@pytest.mark.parametrize(("one", "other"), [("liver", "lung"), ("ALS", "als"), ("renal failure", "heart failure")])
def test_other_names_do_not(one: str, other: str) -> None:
    assert bag(one) != bag(other)


def test_a_stem_is_never_empty_and_stop_words_alone_stay() -> None:
    assert [stem(w) for w in ("is", "gas", "ions", "y")] == ["is", "gas", "ion", "y"]
    assert bag("the disease") is not None
    assert bag("(") is None


def test_a_concept_is_counted_under_the_bag_too() -> None:
    assert concept_keys(("Liver toxicities", FOLDED + "liver toxicities"))[2] == bag("liver toxicity")
    assert str(bag("zinc")).startswith(BAG)
    assert concept_keys(()) == ()
