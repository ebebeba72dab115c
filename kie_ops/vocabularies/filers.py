"""Companies that file with the United States' SEC, with their tickers, from a data file of `edgartools` (MIT)."""

from __future__ import annotations

from collections.abc import Iterator

from kie_ops.vocabularies.company_names import written
from kie_ops.vocabularies.packages import data_file, version
from kie_ops.vocabularies.term import Term, coded

PACKAGE, SYSTEM = "edgartools", "CIK"
FILE = "edgar/reference/data/company_tickers.parquet"


def load() -> Iterator[Term]:
    """One term a filer: its name, shorter forms of it and its tickers; the concept is its central index key.

    The package itself is not imported.  Raises InputError where it is not installed.
    """
    import pyarrow.parquet as pq

    found: dict[str, tuple[str, list[str]]] = {}
    for row in pq.read_table(data_file(PACKAGE, FILE), columns=["cik", "ticker", "name"]).to_pylist():
        found.setdefault(row["cik"], (row["name"], []))[1].append(row["ticker"] or "")
    release = version(PACKAGE)
    for cik, (name, tickers) in found.items():
        first, *shorter = written(name)
        synonyms = (*shorter, *(t for t in tickers if t.isalpha()))
        yield Term(first, None, coded(SYSTEM, cik), synonyms, (), SYSTEM, release)
