import numpy as np
import pytest

from kie_ops.candidates import Names
from kie_ops.contributions import of_correction
from kie_ops.decisions import decide
from kie_ops.errors import InputError
from kie_ops.indexed import IndexedSurfaces
from kie_ops.unseen import admitted, scored
from tests.kie_ops.gate_fixtures import SCHEME, cells, extractor, reading


def test_a_trained_scheme_stays_as_it_is() -> None:
    one = extractor({})
    domain, gate = admitted(one, SCHEME, ["Drug"])
    assert domain.schemes == one.definition.schemes
    assert gate == one.gate
    with pytest.raises(InputError, match="no label Gene"):
        admitted(one, SCHEME, ["Gene"])


def test_of_an_untrained_scheme_memory_alone_decides() -> None:
    domain, gate = admitted(extractor({}), "genes", ["Gene"])
    plain = reading("Here brca9 was found.")
    plain.spans["genes"] = scored(plain, "genes", ["Gene"])  # type: ignore[index]
    names = Names(plain)
    assert decide(names, domain, gate, "genes").chosen == ()
    taught = cells(of_correction(domain, "c", "brca9", label="Gene"))
    (found,) = decide(names, domain, gate, "genes", taught).chosen
    assert (found.label, found.first, found.soft_weight) == ("Gene", 1, 1.0)
    assert np.isneginf(plain.spans["genes"].logits).all()
    assert scored(plain, SCHEME, ["Drug"]) is plain.spans[SCHEME]


def test_an_index_finds_what_the_text_has_in_the_same_order() -> None:
    names = Names(reading("Renal failures (RF) and renal failure; RF came back. WAS was."))
    plain, fast = names.surfaces, IndexedSurfaces.of(names.surfaces)
    assert list(fast.occurrences()) == list(plain.occurrences())
    keys = sorted({key for key, _, _ in plain.occurrences()})
    for wanted in (set(keys), set(keys[::3]), {"nothing"}, set()):
        assert list(fast.occurrences(wanted)) == list(plain.occurrences(wanted))
