from kie_ops.decisions import Decision
from kie_ops.domain import EventScheme
from kie_ops.events import events
from kie_ops.records import Mention
from tests.kie_ops.gate_fixtures import reading

RULES = EventScheme({"trigger:Harm": "harm"}, {"Effect": "effect", "Drug": "drug"}, {"Negated": "negated"})
TEXT = "Zinc never caused a mild rash. Lead caused pain, then zinc caused fever."


def decision(surface: str, label: str, nth: int = 0, score: float = 0.9) -> Decision:
    made = reading(TEXT)
    start = -1
    for _ in range(nth + 1):
        start = TEXT.index(surface, start + 1)
    inside = [i for i, (a, b) in enumerate(made.words.tolist()) if a >= start and b <= start + len(surface)]
    return Decision("s", label, inside[0], inside[-1], score, score, 0.0)


def mention(surface: str) -> Mention:
    start = TEXT.index(surface)
    return Mention(f"id-{surface}", start, start + len(surface), surface, "x", 0.9, 0.9, 0.0)


def test_arguments_go_to_the_nearest_trigger_of_their_sentence() -> None:
    decisions = [
        *(decision("caused", "trigger:Harm", n) for n in range(3)),
        decision("never", "Negated"), decision("a mild rash", "Effect"), decision("Zinc", "Drug"),
        decision("pain", "Effect"), decision("fever", "Effect"), decision("zinc", "Drug"),
    ]
    found = events(reading(TEXT), decisions, RULES, [mention("mild rash"), mention("rash"), mention("Zinc")])
    assert [(e.label, e.trigger, e.start) for e in found] == [
        ("harm", "caused", TEXT.index("caused")), ("harm", "caused", TEXT.index("caused pain")),
        ("harm", "caused", TEXT.index("caused fever"))]
    first = found[0]
    assert [(a.role, a.text, a.mention_id) for a in first.arguments] == [
        ("drug", "Zinc", "id-Zinc"), ("effect", "a mild rash", "id-mild rash")]
    assert first.attributes == {"negated": "never"}
    assert [a.text for a in found[1].arguments] == ["pain"]
    assert [a.text for a in found[2].arguments] == ["zinc", "fever"]
    assert found[2].attributes == {}
    assert all(TEXT[a.start : a.end] == a.text for e in found for a in e.arguments)


def test_arguments_without_a_trigger_are_no_event() -> None:
    assert events(reading(TEXT), [decision("pain", "Effect")], RULES, []) == []
    assert events(reading(TEXT), [], RULES, []) == []
