"""Where a stream's documents come from, what its labels are called here, and what memory it starts with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kie_ops import dataset, frozen_memory, priming
from kie_ops.dataset import Example
from kie_ops.domain import Domain
from kie_ops.errors import InputError
from kie_ops.extractor import Extractor
from kie_ops.frozen_memory import FrozenMemory
from kie_ops.memory import Cell, Contribution
from kie_ops.overlay import Overlay

DEV_PERCENT = 20
"""Of a stream without a dev part: documents, by hash of their ids, that settings are found on and that are not scored.
"""
TRAINING, NONE = "training", "none"


@dataclass(frozen=True, slots=True)
class Source:
    """The documents to stream, and those to find settings on, all of one scheme."""

    scheme: str
    stream: tuple[Example, ...]
    dev: tuple[Example, ...]


def source(
    scheme: str, path: Path, domain: Domain, *, split: str = "test", dev: Path | None = None,
    mapping: Mapping[str, str] | None = None, limit: int | None = None,
) -> Source:
    """`path`: a folder of `split`.jsonl and dev.jsonl, or one file.  `scheme`: the domain's, or any other name.

    Settings are found on `dev`, else on the folder's dev part, else (also where the dev part itself is streamed) on
    DEV_PERCENT of the documents, which are then left out of the stream.  `mapping`: label of the data -> label of the
    scheme; with it, other labels are left out.  `limit`: documents at most, of either.
    Raises InputError where a part is missing or empty.
    """
    whole = [_mapped(e, mapping) for e in _part(scheme, path, domain, split)]
    if dev is not None:
        other = dataset.load(dev, scheme)
    elif path.is_dir() and split != "dev" and (path / "dev.jsonl").is_file():
        other = _part(scheme, path, domain, "dev")
    else:
        other = []
    held = [_mapped(dataset.merged(e, domain), mapping) for e in other]
    if not held:
        held = [e for e in whole if dataset.percent(e.document.doc_id) < DEV_PERCENT]
        whole = [e for e in whole if dataset.percent(e.document.doc_id) >= DEV_PERCENT]
    whole, held = whole[:limit], held[:limit]
    if not whole or not held or not any(e.spans for e in whole):
        raise InputError(f"{len(whole)} documents to stream and {len(held)} to find settings on, or no labels",
                         where=str(path), next_step="give more documents, a dev file, or another mapping of labels")
    return Source(scheme, tuple(whole), tuple(held))


def _part(scheme: str, path: Path, domain: Domain, name: str) -> list[Example]:
    if path.is_file():
        return [dataset.merged(e, domain) for e in dataset.load(path, scheme)]
    if scheme in domain.schemes and path.name == scheme:
        return dataset.split(path.parent, domain, scheme, name)
    return [dataset.merged(e, domain) for e in dataset.load(path / f"{name}.jsonl", scheme)]


def _mapped(example: Example, mapping: Mapping[str, str] | None) -> Example:
    """With the labels of `mapping` alone, under their names here; relations and events are not streamed."""
    spans = example.spans if mapping is None else tuple(
        dataclasses.replace(s, label=mapping[s.label]) for s in example.spans if s.label in mapping)
    return dataclasses.replace(example, spans=spans, relations=(), events=())


def memory(extractor: Extractor, names: Sequence[str]) -> dict[str, Cell]:
    """The sum of the memories named: `training` (what the domain ships), `none`, or files of ``engram memory export``.

    Raises InputError where a file is none.
    """
    some = [name for name in names if name != NONE]
    if len(some) == 1:
        return {cell.key: cell for cell in _cells(extractor, some[0])}
    out = Overlay({})
    for name in some:
        for cell in _cells(extractor, name):
            out.add(Contribution(name, tuple(frozen_memory.increments([cell]))))
    return dict(out.items())


def _cells(extractor: Extractor, name: str) -> Iterator[Cell]:
    if name == TRAINING:
        if not isinstance(extractor.memory, FrozenMemory):
            raise InputError("the extractor's memory is not the domain's own", next_step="export it to a file first")
        return iter(extractor.memory.cells.values())
    if not Path(name).is_file():
        raise InputError(f"there is no memory {name}", next_step=f"give {TRAINING}, {NONE} or an exported file")
    return iter(FrozenMemory.load(Path(name)).cells.values())


def with_vocabulary(base: Mapping[str, Cell], domain: Domain, files: Sequence[str]) -> dict[str, Cell]:
    """`base` and the terms of vocabularies: NAME of an installed one, or FILE, each also with :LABEL.

    `domain`: the stream's (see streams.Stream), so that labels are looked for in its scheme.
    """
    out = Overlay(base)
    for item in files:
        path, _, label = (item, "", "") if Path(item).is_file() else item.rpartition(":")
        for contribution in _vocabulary(path or item, domain, label or None if path else None):
            out.add(contribution)
    return dict(out.items())


def _vocabulary(given: str, domain: Domain, label: str | None) -> Iterable[Contribution]:
    if Path(given).is_file():
        return priming.vocabulary(given, domain, label=label)
    try:
        from kie_ops.vocabularies.increments import of_terms
        from kie_ops.vocabularies.registry import VOCABULARIES
    except ImportError:
        raise InputError(f"there is no vocabulary {given}", next_step="give a CSV file of terms") from None
    if given not in VOCABULARIES:
        raise InputError(f"there is no file and no vocabulary {given}",
                         next_step=f"a file of terms, or one of {', '.join(VOCABULARIES)}")
    known = VOCABULARIES[given]
    made: Iterable[Contribution] = of_terms(
        known.load(), domain, given, labels=(label,) if label else known.labels).contributions
    return made
