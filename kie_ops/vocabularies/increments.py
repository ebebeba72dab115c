"""Terms as contributions to memory (source vocabulary): counts of names, and cells of concepts.

A name's cell says which label and which concept it stands for, with the release that says so.  A concept's cell, under
a key of its own (:func:`kie_ops.memory.concept_key`), holds preferred name, parents and code system.  All are counts of
one, so any import can be taken out again.  Where one vocabulary gives a name several concepts, the name's cell also
holds the ancestors that they share (outcome broader), so that reading needs no second look into memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field as dataclass_field

from kie_ops.contributions import MAX_INCREMENTS, resolve
from kie_ops.domain import Domain
from kie_ops.errors import InputError
from kie_ops.memory import Contribution, Increment, concept_key, field
from kie_ops.stems import concept_keys
from kie_ops.surface import FOLDED, SEPARATOR, edge_word, is_acronym, key_of_text, written
from kie_ops.vocabularies.guard import NO_KEY, objection
from kie_ops.vocabularies.hierarchy import above, parents_of
from kie_ops.vocabularies.term import Term

SOURCE = "vocabulary"
DEPTH = 3
"""Steps up to which shared ancestors are kept: what lies farther says little of a name."""
STEP = 5_000
"""Terms between two calls of progress."""

Fields = dict[tuple[str, str], None]


@dataclass(frozen=True)
class Imported:
    """`contributions` of at most about MAX_INCREMENTS each; how many `terms`, `names` and `keys` are in them.

    `left_out`: names by reason (kie_ops.vocabularies.guard).  `systems`: ``SYSTEM VERSION`` of the concepts.
    """

    contributions: tuple[Contribution, ...]
    terms: int
    names: int
    keys: int
    left_out: Mapping[str, int] = dataclass_field(default_factory=dict)
    systems: tuple[str, ...] = ()


def of_terms(
    terms: Iterable[Term], domain: Domain, origin: str, *, labels: Iterable[str] = (), guarded: bool = True,
    progress: Callable[[int], None] = lambda terms: None,
) -> Imported:
    """What `terms` add to a memory of `domain`; the same terms give the same contributions.

    `labels`: the first that `domain` knows is given to terms without one of their own.  `guarded` False keeps names
    that the guard would leave out.  progress: called with the terms read.  Raises InputError where a label is unknown.
    """
    places = _Places(domain, tuple(labels))
    known: list[Term] = []
    holders: dict[tuple[str, str, str], dict[str, None]] = {}
    fields: Fields = {}
    left_out: Counter[str] = Counter()
    names = 0
    for number, term in enumerate(terms, 1):
        if number % STEP == 0:
            progress(number)
        if term.concept:
            known.append(term)
        if not term.named:
            continue
        scheme, label = places.of(term.label)
        for name in dict.fromkeys((term.name, *term.synonyms)):
            keys = keys_of(name)
            reason = (NO_KEY if not keys else None) or (objection(name) if guarded else None)
            if reason is not None:
                left_out[reason] += 1
                continue
            names += 1
            for key in keys if not guarded else _harmless(keys):
                fields[key, field(SOURCE, scheme, "entity", label)] = None
            if term.concept:
                about = (label, term.concept, *([term.version] if term.version else []))
                for key in concept_keys(keys):
                    holders.setdefault((key, scheme, label), {})[term.concept] = None
                    fields[key, field(SOURCE, scheme, "concept", *about)] = None
    looked_for = len({key for key, _ in fields})
    parents = parents_of(known)
    _broader(fields, holders, parents)
    systems = _concepts(fields, known, holders, parents)
    return Imported(_cut(fields, origin), places.terms, names, looked_for, dict(sorted(left_out.items())), systems)


def keys_of(name: str) -> tuple[str, ...]:
    """The keys under which a vocabulary's name is counted; an acronym's only as it is written.

    A reviewer or a text that shows an acronym is evidence of its other spellings too; a list of tickers is not.
    """
    key = key_of_text(name)
    if key is None or edge_word(name) is not None:
        return ()
    return tuple(k for k in written(key) if not (is_acronym(key) and k.startswith(FOLDED)))


def _harmless(keys: tuple[str, ...]) -> Iterator[str]:
    """Without back-off keys that the guard objects to: the singular of *falls* would be found in every *fall*."""
    for key in keys:
        if SEPARATOR not in key or objection(key.rpartition(SEPARATOR)[2]) is None:
            yield key


class _Places:
    """(scheme, its label) of terms' labels, each resolved once."""

    def __init__(self, domain: Domain, labels: tuple[str, ...]) -> None:
        self.domain, self.labels, self.terms = domain, labels, 0
        self._known: dict[str | None, tuple[str, str]] = {}

    def of(self, label: str | None) -> tuple[str, str]:
        self.terms += 1
        if label not in self._known:
            self._known[label] = resolve(self.domain, label)[0] if label is not None else self._default()
        return self._known[label]

    def _default(self) -> tuple[str, str]:
        if not self.labels:
            raise InputError("the terms have no label", next_step="give one: --label LABEL")
        for number, label in enumerate(self.labels, 1):
            try:
                return resolve(self.domain, label)[0]
            except InputError as e:
                if number == len(self.labels):
                    raise InputError(e.what, next_step=f"say --label; {e.next_step}") from None
        raise AssertionError("unreachable")


def _broader(
    fields: Fields, holders: Mapping[tuple[str, str, str], Mapping[str, None]], parents: Mapping[str, tuple[str, ...]]
) -> None:
    """Of names with several concepts: the ancestors, at most DEPTH steps away, that two of them have in common."""
    for (key, scheme, label), concepts in holders.items():
        if len(concepts) < 2:
            continue
        steps = {which: {which: 0, **above(parents, which, DEPTH)} for which in concepts}
        often = Counter(a for found in steps.values() for a in found)
        for which, found in steps.items():
            for ancestor, distance in found.items():
                if distance and often[ancestor] > 1:
                    fields[key, field(SOURCE, scheme, "broader", label, which, ancestor, str(distance))] = None


def _concepts(
    fields: Fields, known: Iterable[Term], holders: Mapping[tuple[str, str, str], Mapping[str, None]],
    parents: Mapping[str, tuple[str, ...]],
) -> tuple[str, ...]:
    """Cells of the concepts that any name stands for, and of all above them; their code systems."""
    wanted = {which for concepts in holders.values() for which in concepts}
    left = list(wanted)
    while left:
        fresh = [p for p in parents.get(left.pop(), ()) if p not in wanted]
        wanted.update(fresh)
        left += fresh
    systems = set()
    for term in known:
        if term.concept not in wanted or term.concept is None:
            continue
        key = concept_key(term.concept)
        if term.name:
            fields[key, field(SOURCE, "", "name", term.name)] = None
        fields.update({(key, field(SOURCE, "", "parent", parent)): None for parent in term.parents})
        if term.system:
            fields[key, field(SOURCE, "", "system", term.system, term.version)] = None
            systems.add(f"{term.system} {term.version}".strip())
    return tuple(sorted(systems))


def _cut(fields: Fields, origin: str) -> tuple[Contribution, ...]:
    made = [Increment(key, name, 1) for key, name in sorted(fields)]
    starts = range(0, len(made), MAX_INCREMENTS)
    return tuple(
        Contribution(f"{SOURCE}:{origin}:{n}", tuple(made[at : at + MAX_INCREMENTS])) for n, at in enumerate(starts)
    )
