import pytest
from hypothesis import given, strategies as st

from kie_ops.candidates import Names
from tests.kie_ops.gate_fixtures import reading


def pairs(text: str) -> dict[str, str]:
    return Names(reading(text)).long_forms


@pytest.mark.parametrize(("text", "found"), [
    ("The Wiskott-Aldrich syndrome (WAS) is rare.", {"WAS": "wiskott aldrich syndrome"}),
    ("He had congestive heart failure (CHF).", {"CHF": "congestive heart failure"}),
    ("We gave acetylsalicylic acid (ASA, 100 mg).", {"ASA": "acetylsalicylic acid"}),
    ("Results (see Table 2) were good.", {}),
    ("Forty patients (CHF) were seen.", {}),
    ("It rose (Fig).", {}),
    ("Heart failure (HF) and hepatic fibrosis (HF) were seen.", {"HF": "heart failure"}),
])
def test_definitions(text: str, found: dict[str, str]) -> None:
    assert pairs(text) == found


def test_a_short_form_has_the_key_of_its_long_form() -> None:
    names = Names(reading("The Wiskott-Aldrich syndrome (WAS) is rare. WAS was found."))
    last = next(i for i, t in enumerate(names.surfaces.tokens) if t.text == "WAS" and i > 7)
    assert names.raw_key(last, last) == "WAS"
    assert names.key(last, last) == "wiskott aldrich syndrome"
    assert "WAS" in names.back_off(last, last)


@given(st.text(alphabet="aA bB(),.-C1", max_size=80))
def test_any_text(text: str) -> None:
    assert all(short != long for short, long in pairs(text).items())
