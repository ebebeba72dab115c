"""Drug names, from the dictionary of the package `drug-named-entity-recognition` (MIT).

Names only: the dictionary's MeSH ids belong to other drugs nine times in ten.
"""

from __future__ import annotations

import bz2
import pickle
import re
from collections.abc import Iterator

from kie_ops.vocabularies.packages import data_file, version
from kie_ops.vocabularies.term import Term

PACKAGE = "drug-named-entity-recognition"
_NO_DRUG = re.compile(
    r"\b(receptor|channel|transporter|antibod(y|ie)|mrna|protein|agent|drug|inhibitor|blocker|(ant)?agonist)s?$",
    re.IGNORECASE,
)
FILE = "drug_named_entity_recognition/drug_ner_dictionary.pkl.bz2"


def load() -> Iterator[Term]:
    """One term a drug: its name, and its variants (brands, salts, codes) as synonyms.

    Names of what drugs act on, and of kinds of drugs, are left out.  Raises InputError.
    """
    with bz2.open(data_file(PACKAGE, FILE)) as file:
        data = pickle.load(file)  # the package's own file, which it loads in the same way when it is imported
    variants: dict[str, list[str]] = {}
    for variant, drugs in data["drug_variant_to_canonical"].items():
        for drug in drugs:
            variants.setdefault(drug, []).append(variant)
    release = version(PACKAGE)
    for drug, names in variants.items():
        kept = [n for n in dict.fromkeys((drug, *names)) if not _NO_DRUG.search(n)]
        if kept:
            yield Term(kept[0], synonyms=tuple(kept[1:]), version=release)
