"""Vocabularies: each form of file, each package where it is installed, the guard, and what becomes of terms."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from kie_ops.errors import InputError
from kie_ops.evidence import facts
from kie_ops.memory import concept_key, field, total
from kie_ops.overlay import Overlay
from kie_ops.priming import cells_of
from kie_ops.vocabularies import company_names, countries, csv_file, guard, icd10cm, mrconso, obo, packages, skos
from kie_ops.vocabularies.accounting import spelt
from kie_ops.vocabularies.hierarchy import above, below, shared
from kie_ops.vocabularies.increments import keys_of, of_terms
from kie_ops.vocabularies.registry import VOCABULARIES, form_of
from kie_ops.vocabularies.term import Term
from tests.kie_ops.gate_fixtures import SCHEME, domain

OBO = """format-version: 1.2
data-version: zo/releases/2031-05-01
ontology: zo

[Term]
id: ZO:1
name: Glowing disorder

[Term]
id: ZO:2
name: Glowing of hand
synonym: "Shiny \\"palm\\"" EXACT []
synonym: "Hand trouble" BROAD []
synonym: "Old name" EXACT obsolete_synonym []
is_a: ZO:1 {source="x"} ! Glowing disorder

[Term]
id: ZO:3
name: Gone
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""
TURTLE = """@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
<http://example.org/zoo> a skos:ConceptScheme ; owl:versionInfo "2031" .
<http://example.org/zoo/c1> a skos:Concept ; skos:prefLabel "Glowing disorder"@en, "Leuchten"@de ;
    skos:narrower <http://example.org/zoo/c2> .
<http://example.org/zoo/c2> a skos:Concept ; skos:prefLabel "Glowing of hand"@en ; skos:altLabel "Shiny palm" ;
    skos:notation "2" .
"""
RDF_XML = """<?xml version="1.0"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:skos="http://www.w3.org/2004/02/skos/core#">
<skos:Concept rdf:about="http://example.org/zoo#c9"><skos:prefLabel xml:lang="en">Dim hand</skos:prefLabel>
<skos:broader rdf:resource="http://example.org/zoo#c1"/></skos:Concept></rdf:RDF>
"""


def installed(package: str) -> bool:
    try:
        return bool(distribution(package))
    except PackageNotFoundError:
        return False


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_obo(tmp_path: Path) -> None:
    first, second = obo.load(written(tmp_path, "zo.obo", OBO))
    assert first == Term("Glowing disorder", None, "ZO:1", (), (), "ZO", "2031-05-01")
    assert second == Term("Glowing of hand", None, "ZO:2", ('Shiny "palm"',), ("ZO:1",), "ZO", "2031-05-01")
    with pytest.raises(InputError, match="no OBO"):
        list(obo.load(written(tmp_path, "no.obo", "hello\n")))
    with pytest.raises(InputError, match="No such file"):
        list(obo.load(tmp_path / "absent.obo"))


def test_skos_in_turtle_and_rdf_xml(tmp_path: Path) -> None:
    pytest.importorskip("rdflib")
    first, second = sorted(skos.load(written(tmp_path, "zoo.ttl", TURTLE)), key=lambda t: t.name)
    assert first == Term("Glowing disorder", None, "zoo:c1", (), (), "zoo", "2031")
    assert second == Term("Glowing of hand", None, "zoo:2", ("Shiny palm",), ("zoo:c1",), "zoo", "2031")
    (third,) = skos.load(written(tmp_path, "zoo.rdf", RDF_XML), system="Z", version="9")
    assert third == Term("Dim hand", None, "Z:c9", (), ("Z:c1",), "Z", "9")
    with pytest.raises(InputError, match="no RDF"):
        list(skos.load(written(tmp_path, "bad.ttl", "<<< this is none")))


def test_mrconso_and_mrrel(tmp_path: Path) -> None:
    def row(cui: str, text: str, *, ts: str = "S", lang: str = "ENG", suppress: str = "N") -> str:
        return f"{cui}|{lang}|{ts}|L|PF|S|Y|A||||ZO|PT|1|{text}|0|{suppress}||\n"

    rows = (row("C1", "glow"), row("C1", "Glowing", ts="P"), row("C1", "Licht", lang="GER"),
            row("C1", "old", suppress="O"), row("C2", "Dim hand", ts="P"), row("C3", "x", lang="GER"))
    path = written(tmp_path, "MRCONSO.RRF", "".join(rows))
    written(tmp_path, "MRREL.RRF", "C2|A|AUI|PAR|C1|A|AUI||R||ZO|ZO||||\nC1|A|AUI|CHD|C4|A|AUI||R||ZO|ZO||||\n")
    first, second = mrconso.load(path, version="2031AA")
    assert first == Term("Glowing", None, "UMLS:C1", ("glow",), (), "UMLS", "2031AA")
    assert second.parents == ("UMLS:C1",)
    with pytest.raises(InputError, match="line 1"):
        list(mrconso.load(written(tmp_path, "MRCONSO2.RRF", "C1|ENG\n")))


def test_csv_with_synonyms_and_parents(tmp_path: Path) -> None:
    text = "Name,ID,label,synonyms,parents\nDim hand,7,Disease,dull hand; faint hand,1;2\n,,,,\n"
    (term,) = csv_file.load(written(tmp_path, "own.csv", text), system="OWN", version="3", separator=";")
    assert term == Term("Dim hand", "Disease", "OWN:7", ("dull hand", "faint hand"), ("OWN:1", "OWN:2"), "OWN", "3")
    (tabbed,) = csv_file.load(written(tmp_path, "own.tsv", "term\tid\nDim hand\tX:7\n"), label="Disease")
    assert (tabbed.concept, tabbed.system, tabbed.label) == ("X:7", "X", "Disease")
    with pytest.raises(InputError, match=r"line 2.*label"):
        list(csv_file.load(written(tmp_path, "none.csv", "term\nDim hand\n")))


def test_forms_are_known_by_suffix() -> None:
    names = ("a.csv", "a.TXT", "b.obo.gz", "c.ttl", "MRCONSO.RRF", "m.jsonl.zst")
    assert [form_of(n) for n in names] == ["csv", "csv", "obo", "skos", "mrconso", None]


@pytest.mark.parametrize(("name", "reason"), [
    ("All", "common word"), ("SAME", "common word"), ("Ab", "too short"), ("A.", "too short"), ("3-7", "no letter"),
    ("Zorvanex", None), ("all in all", None), ("gold", None), ("HIV", None),
])
def test_guard(name: str, reason: str | None) -> None:
    assert guard.objection(name) == reason


def test_acronyms_are_counted_as_they_are_written_alone() -> None:
    assert keys_of("ZQX") == ("ZQX",)
    assert keys_of("Glowing Hands") == ("glowing hands", "singular\x1fglowing hand")
    assert keys_of("the hand") == ()


def test_terms_become_names_concepts_and_shared_ancestors() -> None:
    system = {"system": "ZO", "version": "2031"}
    terms = [
        Term("Glowing disorder", None, "ZO:1", (), (), **system),
        Term("Glowing of hand", None, "ZO:2", ("Glow",), ("ZO:1",), **system),
        Term("Glowing of foot", None, "ZO:3", ("Glow", "same", "12"), ("ZO:1",), **system),
        Term("Unused", None, "ZO:4", (), (), **system, named=False),
    ]
    made = of_terms(terms, domain(), "zo", labels=("no such", "disease"))
    assert (made.terms, made.names, made.systems) == (3, 5, ("ZO 2031",))
    assert made.left_out == {"common word": 1, "no key": 1}
    cells = cells_of(made.contributions)
    assert "same" not in cells
    assert concept_key("ZO:4") not in cells
    assert cells[concept_key("ZO:2")].counts == {
        field("vocabulary", "", "name", "Glowing of hand"): 1, field("vocabulary", "", "parent", "ZO:1"): 1,
        field("vocabulary", "", "system", "ZO", "2031"): 1}
    known = facts(cells["glow"], SCHEME)
    assert known.concepts == {("Disease", "ZO:2"): {"vocabulary": 1}, ("Disease", "ZO:3"): {"vocabulary": 1}}
    assert known.broader == {("Disease", "ZO:2"): {"ZO:1": 1}, ("Disease", "ZO:3"): {"ZO:1": 1}}
    assert not facts(cells["glowing of hand"], SCHEME).broader
    assert "same" in cells_of(of_terms(terms, domain(), "zo", labels=["disease"], guarded=False).contributions)
    with pytest.raises(InputError, match=r"no label.*--label"):
        of_terms(terms, domain(), "zo", labels=["no such"])
    with pytest.raises(InputError, match="--label"):
        of_terms(terms, domain(), "zo")


def test_an_import_can_be_taken_out_of_another() -> None:
    one = of_terms([Term("Glow", "Disease", "ZO:2", (), ("ZO:1",), "ZO", "1")], domain(), "one").contributions
    two = of_terms([Term("Glow", "Disease", "ZO:2", ("Shine",), ("ZO:1",), "ZO", "2")], domain(), "two").contributions
    both = facts(cells_of([*one, *two])["glow"], SCHEME)
    assert both.concepts == {("Disease", "ZO:2"): {"vocabulary": 2}}, "releases add up"
    assert total([*one, *two, *(c.negated() for c in one)]) == total(two)
    overlay = Overlay(cells_of([*one, *two]))
    for contribution in (*one, *two):
        overlay.add(contribution.negated())
    assert len(overlay) == 0


def test_a_plural_does_not_bring_in_a_common_word() -> None:
    given = [Term("Dids", "Drug"), Term("Zorvanexes", "Drug")]
    guarded = cells_of(of_terms(given, domain(), "x").contributions)
    assert set(guarded) == {"dids", "zorvanexes", "singular\x1fzorvanex"}
    assert "singular\x1fdid" in cells_of(of_terms(given, domain(), "x", guarded=False).contributions)


def test_hierarchy() -> None:
    parents = {"c": ("b",), "d": ("b", "x"), "b": ("a",), "a": ("c",)}
    assert above(parents, "c") == {"b": 1, "a": 2}
    assert above(parents, "d", 1) == {"b": 1, "x": 1}
    assert below([Term("", concept=c, parents=p) for c, p in parents.items()], "x") == {"x", "d"}
    steps = {c: above(parents, c) for c in parents}
    assert shared(steps, ["c", "d"]) == "b"
    assert shared(steps, ["d", "b"]) == "b", "one may be the other's ancestor"
    assert shared({}, ["c", "d"]) is None
    assert shared(steps, ["c"]) is None


def test_names_as_texts_write_them() -> None:
    assert company_names.written("EXAMPLE WIDGETS CORP /DE/") == ("Example Widgets Corp", "Example Widgets")
    assert company_names.written("Zed Holdings, Inc.") == ("Zed Holdings, Inc.", "Zed Holdings")
    assert company_names.written("ZQX LTD") == ("ZQX LTD", "ZQX")
    assert countries.turned("Ruritania, Kingdom of") == ["Kingdom of Ruritania", "Ruritania"]
    assert spelt("DeferredIncomeTaxesAndOtherUSDNet") == "deferred income taxes and other USD net"
    assert icd10cm.names_of("Glowing (bright) hand, unspecified") == [
        "Glowing (bright) hand, unspecified", "Glowing hand"]
    assert icd10cm.names_of("Other glowing") == []


def test_a_package_that_is_not_installed_is_named_with_the_command() -> None:
    with pytest.raises(InputError, match=r"no-such-words.*not installed.*pip install"):
        packages.data_file("no-such-words", "x/y.obo")


@pytest.mark.parametrize(("name", "least", "known"), [
    ("hpo", 15_000, "seizure"), ("icd10cm", 20_000, "cholera"), ("drugs", 15_000, "naproxen"),
    ("companies", 1_000, "caterpillar"), ("filers", 5_000, "caterpillar"),
    ("accounting", 1_000, "accounts receivable net current"), ("countries", 200, "germany"),
])
def test_packages(name: str, least: int, known: str) -> None:
    vocabulary = VOCABULARIES[name]
    if not installed(vocabulary.package):
        pytest.skip(f"{vocabulary.package} is not installed")
    terms = list(vocabulary.load())
    assert len(terms) > least
    names = {n.casefold(): t for t in terms for n in (t.name, *t.synonyms) if t.named}
    assert known in names
    assert all(t.version for t in terms)
    if vocabulary.system:
        assert (names[known].concept or "").startswith(f"{vocabulary.system}:")
    else:
        assert all(t.concept is None for t in terms)
