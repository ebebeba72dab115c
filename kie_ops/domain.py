"""A domain: an encoder, schemes (whose annotation rules), relations, events, and what is emitted under which name.

A domain is a folder: domain.json, adapter.safetensors.zst (weights), gate.json, memory.jsonl.zst, CARD.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from kie_ops.encoder import DEFAULT
from kie_ops.errors import ModelError

DOMAINS = Path(__file__).parent / "domains"
STRICT = ConfigDict(extra="forbid")
TRIGGER = "trigger:"
"""Prefix of a span label that is an event's trigger; the rest is the event's label."""


@dataclass(frozen=True, config=STRICT)
class Scheme:
    """Labels that one span head scores.  `max_words`: longest span; `nested`: whether spans may lie in each other.

    `merge`: labels of the data that are read as one of `labels`.
    """

    labels: tuple[str, ...]
    max_words: int = 16
    nested: bool = False
    merge: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class RelationScheme:
    """Relations between spans of the scheme of the same name.

    `level` sentence: between mentions at most `max_sentences` sentences apart; document: between concepts.
    `pairs`: allowed (head label, tail label); empty: any.  `symmetric`: labels without a direction.
    """

    labels: tuple[str, ...]
    level: Literal["sentence", "document"] = "sentence"
    pairs: tuple[tuple[str, str], ...] = ()
    max_sentences: int = 1
    symmetric: tuple[str, ...] = ()

    def allows(self, head: str, tail: str) -> bool:
        return not self.pairs or (head, tail) in self.pairs


@dataclass(frozen=True, config=STRICT)
class EventScheme:
    """How spans of a scheme form events: span label -> emitted name, for triggers, arguments and attributes (cues)."""

    triggers: Mapping[str, str]
    roles: Mapping[str, str]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Output:
    """What is emitted: scheme -> label -> emitted label.  What is not named is not emitted."""

    entities: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    relations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    events: Mapping[str, EventScheme] = field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class Part:
    """Where a split's documents are: a file of the set (without .jsonl) and, of it, hash percents low..high."""

    file: str
    low: int = 0
    high: int = 100


@dataclass(frozen=True, config=STRICT)
class Domain:
    """`prefixes`: trained keys and values that each layer attends to besides the text's (see kie_ops.prefixes)."""

    name: str
    schemes: Mapping[str, Scheme]
    relations: Mapping[str, RelationScheme] = field(default_factory=dict)
    output: Output = field(default_factory=Output)
    parts: Mapping[str, Mapping[str, Part]] = field(default_factory=dict)
    encoder: str = DEFAULT
    prefixes: int = 0
    lang: str | None = None
    about: str = ""
    trained: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def load(cls, domain: str | Path) -> Domain:
        """A shipped domain by name, or the folder of a trained one; a name that is shipped is never a folder.

        Raises ModelError where there is none or domain.json is not one (naming the field).
        """
        folder = DOMAINS / domain if domain in shipped() else Path(domain)  # "./medical" is a folder of one's own
        if not (folder / "domain.json").is_file():
            raise ModelError(f"no such domain: {domain}", next_step=f"choose one of {', '.join(shipped())}, or give a"
                             " folder that holds a domain.json (as engram train writes)")
        path = folder / "domain.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as e:
            raise ModelError(f"cannot read the domain: {e}", where=str(path), next_step="mend or restore it") from None
        return cls.parse(data, folder)

    @classmethod
    def parse(cls, data: Any, folder: Path | None = None) -> Domain:
        """Of domain.json's content.  Raises ModelError naming the field that is wrong."""
        where = str(folder / "domain.json") if folder else "domain.json"
        try:
            domain = TypeAdapter(cls).validate_python(data)
        except ValidationError as e:
            first = e.errors()[0]
            raise ModelError(f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}", where=where) from None
        domain._check(where)
        return dataclasses.replace(domain, folder=folder)

    def dump(self) -> dict[str, Any]:
        """The content of domain.json."""
        data = dataclasses.asdict(dataclasses.replace(self, folder=None))
        del data["folder"]
        return data

    def save(self, folder: Path) -> Domain:
        """Writes domain.json into `folder`, atomically, and returns the domain as it lies there."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / "domain.json.tmp"
        temporary.write_text(json.dumps(self.dump(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(folder / "domain.json")
        return dataclasses.replace(self, folder=folder)

    def with_scheme(self, name: str, labels: Iterable[str], *, emit: bool = True) -> Domain:
        """The domain with `labels` in a scheme that may have no head: they are learnt from memory and reviews alone.

        Labels of a scheme that is there are kept, trained ones first.  With `emit` the new ones are emitted as they are
        named.
        """
        old = self.schemes.get(name, Scheme(labels=()))
        own = tuple(dict.fromkeys((*old.labels, *labels)))
        entities = {**self.output.entities.get(name, {}), **{y: y for y in own if emit and y not in old.labels}}
        output = dataclasses.replace(self.output, entities={**self.output.entities, name: entities})
        scheme = dataclasses.replace(old, labels=own)
        return dataclasses.replace(self, schemes={**self.schemes, name: scheme}, output=output)

    def part(self, scheme: str, split: str) -> Part:
        """Where the documents of `split` (train, dev, test) of `scheme` are."""
        return self.parts.get(scheme, {}).get(split, Part(split))

    def _check(self, where: str) -> None:
        spans = {name: s.labels for name, s in self.schemes.items()}
        relations = {name: r.labels for name, r in self.relations.items()}

        def known(scheme: str, labels: Iterable[str], have: Mapping[str, tuple[str, ...]], at: str) -> None:
            unknown = sorted(set(labels) - set(have.get(scheme, ())))
            if unknown or scheme not in have:
                what = f"{scheme} has no label {unknown[0]}" if unknown else f"there is no scheme {scheme}"
                raise ModelError(f"{at}: {what}", where=where,
                                 next_step=f"known: {', '.join(have.get(scheme, tuple(have)))}")

        for name, scheme in self.schemes.items():
            known(name, scheme.merge.values(), spans, f"schemes.{name}.merge")
        for name, relation in self.relations.items():
            known(name, {label for pair in relation.pairs for label in pair}, spans, f"relations.{name}.pairs")
            known(name, relation.symmetric, relations, f"relations.{name}.symmetric")
        for name, labels in self.output.entities.items():
            known(name, labels, spans, "output.entities")
        for name, labels in self.output.relations.items():
            known(name, labels, relations, "output.relations")
        for name, event in self.output.events.items():
            known(name, {*event.triggers, *event.roles, *event.attributes}, spans, "output.events")


def shipped() -> tuple[str, ...]:
    """Names of the domains that come with the package."""
    return tuple(sorted(p.parent.name for p in DOMAINS.glob("*/domain.json")))
