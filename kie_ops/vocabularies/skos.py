"""SKOS vocabularies in RDF: Turtle, RDF/XML and what else `rdflib` reads.

Source of the form: https://www.w3.org/TR/skos-reference/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kie_ops.errors import InputError
from kie_ops.vocabularies.packages import missing
from kie_ops.vocabularies.term import Term, coded

_LAST = re.compile(r"[^/#]+$")


def load(path: str | Path, *, system: str = "", version: str = "", lang: str = "en") -> Iterator[Term]:
    """Each skos:Concept with its labels in `lang` or in none, and what is broader.

    A concept's id is its skos:notation, else the end of its address; `system` defaults to the end of its scheme's
    address, `version` to the scheme's owl:versionInfo.  Raises InputError where the file cannot be read.
    """
    graph = _graph(path)
    from rdflib import URIRef
    from rdflib.namespace import OWL, RDF, SKOS

    schemes = sorted(graph.subjects(RDF.type, SKOS.ConceptScheme), key=str)
    system = system or (_end(str(schemes[0])) if schemes else Path(path).name.partition(".")[0])
    stated = (str(v) for scheme in schemes for v in sorted(graph.objects(scheme, OWL.versionInfo), key=str))
    version = version or next(stated, "")

    def code(node: Any) -> str:
        notation = min((str(n) for n in graph.objects(node, SKOS.notation)), default="")
        return coded(system, notation or _end(str(node)))

    def named(node: Any, *kinds: URIRef) -> list[str]:
        found = [o for kind in kinds for o in sorted(graph.objects(node, kind), key=str)]
        languages = ((str(o), (getattr(o, "language", None) or lang).partition("-")[0]) for o in found)
        return [text for text, language in languages if language == lang]

    for node in sorted(set(graph.subjects(RDF.type, SKOS.Concept)), key=str):
        names = named(node, SKOS.prefLabel, SKOS.altLabel, SKOS.hiddenLabel)
        wider = {code(o) for kind in (SKOS.broader, SKOS.broadMatch) for o in graph.objects(node, kind)}
        wider |= {code(s) for s in graph.subjects(SKOS.narrower, node)}
        if names:
            yield Term(names[0], None, code(node), tuple(names[1:]), tuple(sorted(wider)), system, version)


def _graph(path: str | Path) -> Any:
    try:
        from rdflib import Graph
        from rdflib.util import guess_format
    except ImportError:
        raise missing("rdflib") from None
    if not Path(path).is_file():
        raise InputError("cannot read: no such file", where=str(path), next_step="check the path")
    try:
        return Graph().parse(str(path), format=guess_format(str(path)) or "turtle")
    except Exception as e:  # rdflib's parsers each raise their own kinds
        raise InputError(f"no RDF: {str(e).splitlines()[0] if str(e) else type(e).__name__}", where=str(path),
                         next_step="name Turtle .ttl and RDF/XML .rdf") from None


def _end(address: str) -> str:
    match = _LAST.search(address)
    return match[0] if match else address
