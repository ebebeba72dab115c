"""Parents of concepts: what lies above and below, and the nearest that several have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kie_ops.vocabularies.term import Term

Parents = Mapping[str, Collection[str]]


def parents_of(terms: Iterable[Term]) -> dict[str, tuple[str, ...]]:
    """Parents by concept, of terms that have any."""
    return {t.concept: t.parents for t in terms if t.concept and t.parents}


def above(parents: Parents, concept: str, depth: int | None = None) -> dict[str, int]:
    """Ancestors with the least number of steps to each, nearest first; at most `depth` steps.  Loops do no harm."""
    found: dict[str, int] = {}
    level = [concept]
    while level and (depth is None or not found or max(found.values()) < depth):
        steps = max(found.values(), default=0) + 1
        level = sorted({p for c in level for p in parents.get(c, ())} - found.keys() - {concept})
        found.update(dict.fromkeys(level, steps))
    return found


def below(terms: Iterable[Term], root: str) -> frozenset[str]:
    """`root` and all concepts that have it as an ancestor."""
    children: dict[str, list[str]] = {}
    for child, parents in parents_of(terms).items():
        for parent in parents:
            children.setdefault(parent, []).append(child)
    found, left = {root}, [root]
    while left:
        fresh = [c for c in children.get(left.pop(), ()) if c not in found]
        found.update(fresh)
        left += fresh
    return frozenset(found)


def shared(ancestors: Mapping[str, Mapping[str, int]], tied: Collection[str]) -> str | None:
    """The nearest ancestor that all of `tied` have (a concept is 0 steps from itself); None where they have none.

    `ancestors`: steps by ancestor, by concept.  Nearest: fewest steps from the farthest of them, then in all; ties go
    to the id that comes first in the alphabet.
    """
    if len(tied) < 2:
        return None
    steps = [{which: 0, **ancestors.get(which, {})} for which in tied]
    common = set.intersection(*(set(s) for s in steps))
    return min(common, key=lambda a: (max(s[a] for s in steps), sum(s[a] for s in steps), a), default=None)
