"""What an annotated document says of concepts in pairs: which were related, and which stood in it and were not.

It is kept in the cells of the ends' names (their bags of stems), so that it is recalled with the names, in the same
read: the ids that a text holds are not known before that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from kie_ops.dataset import Example
from kie_ops.memory import field
from kie_ops.stems import bag

Kind = tuple[str, str, str]
"""Head's label, tail's label, relation."""


def kinds(examples: Sequence[Example]) -> list[Kind]:
    """The kinds of relations between concepts that these documents hold."""
    found: set[Kind] = set()
    for example in examples:
        labels = {part: s.label for s in example.spans for part in (s.concept or "").split("|")}
        found.update((labels[r.head], labels[r.tail], r.label) for r in example.relations
                     if r.level == "concept" and r.head in labels and r.tail in labels)
    return sorted(found)


def fields(
    source: str, scheme: str, known: Collection[Kind], named: Sequence[tuple[str, str, str]],
    related: Collection[tuple[str, str, str]],
) -> Iterator[tuple[str, str]]:
    """(key, field) of one document: `named`: its mentions' (label, concepts, key); `related`: (head, tail, label)."""
    bags: dict[tuple[str, str], set[str]] = {}
    for label, joined, key in named:
        for concept in joined.split("|"):
            bags.setdefault((label, concept), set()).update({bag(key) or key})
    for head_label, tail_label, relation in known:
        heads = [(c, keys) for (label, c), keys in bags.items() if label == head_label]
        tails = [(c, keys) for (label, c), keys in bags.items() if label == tail_label]
        for head, head_keys in heads:
            for tail, tail_keys in tails:
                no = "" if (head, tail, relation) in related else "no "
                if head != tail:
                    yield from ((key, field(source, scheme, f"{no}head", relation, tail)) for key in head_keys)
                    yield from ((key, field(source, scheme, f"{no}tail", relation, head)) for key in tail_keys)
