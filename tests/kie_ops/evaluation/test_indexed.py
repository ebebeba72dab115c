from kie_ops.candidates import Names
from kie_ops.evaluation.indexed import IndexedSurfaces
from tests.kie_ops.gate_fixtures import reading


def test_an_index_finds_what_the_text_has_in_the_same_order() -> None:
    names = Names(reading("Renal failures (RF) and renal failure; RF came back. WAS was."))
    plain, fast = names.surfaces, IndexedSurfaces.of(names.surfaces)
    assert list(fast.occurrences()) == list(plain.occurrences())
    keys = sorted({key for key, _, _ in plain.occurrences()})
    for wanted in (set(keys), set(keys[::3]), {"nothing"}, set()):
        assert list(fast.occurrences(wanted)) == list(plain.occurrences(wanted))
