"""Companies of stock indices with their tickers, from the package `pytickersymbols` (MIT)."""

from __future__ import annotations

from collections.abc import Iterator

from kie_ops.vocabularies.company_names import written
from kie_ops.vocabularies.packages import missing, version
from kie_ops.vocabularies.term import Term, coded

PACKAGE, SYSTEM = "pytickersymbols", "ISIN"


def load() -> Iterator[Term]:
    """One term a company: its name, shorter forms of it and its ticker; the concept is its first ISIN.

    Raises InputError where the package is missing.
    """
    try:
        from pytickersymbols import PyTickerSymbols
    except ImportError:
        raise missing(PACKAGE) from None
    release = version(PACKAGE)
    for stock in PyTickerSymbols().get_all_stocks():
        isins = sorted(stock.get("isins") or ())
        ticker = (stock.get("symbol") or "").partition(".")[0]
        names = (*written(stock["name"])[1:], *([ticker] if ticker.isalpha() else []))
        concept = coded(SYSTEM, isins[0]) if isins else None
        yield Term(written(stock["name"])[0], None, concept, names, (), SYSTEM, release)
