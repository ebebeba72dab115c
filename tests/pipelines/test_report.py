"""The report shows what was read, and no text in it can do anything but be read."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from kie_ops.errors import InputError
from kie_ops.records import Document
from pipelines import config, queries, report
from pipelines.queries import Tables
from tests.pipelines.written import commit, new, publish, reading

TEXT = "Lefamulin caused a mild rash."
SPANS = (("Lefamulin", "Chemical"), ("rash", "Disease"))
HOSTILE = "</script><script>alert(1)</script> \u202egnp \U0001f489 <img src=x onerror=alert(2)> \x00 rash {{ 7*7 }}"


class Page(HTMLParser):
    """What a browser would see: elements, attributes, and the text inside document texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.depth = 0
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if ("class", "text") in attrs:
            self.texts.append("")
            self.depth = 1
        elif self.depth:
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth = max(0, self.depth - 1)

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.texts[-1] += data


def rows(folder: Path, text: str = TEXT, spans: tuple[tuple[str, str], ...] = SPANS) -> list[queries.Row]:
    storage = new(folder)
    publish(storage, commit(storage, [reading(0, text, spans, title=text)]))
    return queries.document_rows(Tables(storage), 10)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_mentions_are_highlighted_where_they_stand(tmp_path: Path) -> None:
    found = rows(tmp_path)
    html = report.render(found, {digest(TEXT): TEXT}, title="t")
    assert Page(html).texts == [TEXT]
    for m in found[0]["mentions"]:
        assert f'data-m="{m["mention_id"]}' in html
    assert "self: <code" in html
    assert "0.75" in html


def test_without_its_text_a_document_shows_rows_only(tmp_path: Path) -> None:
    html = report.render(rows(tmp_path), {digest("another text"): "another text"}, title="t")
    assert Page(html).texts == []
    assert "Lefamulin" in html


def test_hostile_text_is_text(tmp_path: Path) -> None:
    found = rows(tmp_path, HOSTILE, (("rash", "<b onclick=x>"),))
    html = report.render(found, {digest(HOSTILE): HOSTILE}, title=HOSTILE)
    page = Page(html)
    assert page.texts == [HOSTILE.replace("\x00", "\u2400")]
    assert page.tags.count("script") == 1
    assert not {"img", "b", "link", "iframe"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("href", "src")]
    assert "49" not in page.texts[0]


def test_the_page_needs_no_network_and_pins_its_script(tmp_path: Path) -> None:
    html = report.render(rows(tmp_path), {}, title="t")
    assert "default-src 'none'" in html
    script = html.partition("<script>")[2].partition("</script>")[0]
    pinned = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert script.strip()
    assert f"script-src 'sha256-{pinned}'" in html
    assert "http:" not in html
    assert "https:" not in html


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60), st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60)), max_size=8))
def test_pieces_are_the_text_and_every_span_is_whole(text: str, ends: list[tuple[int, int]]) -> None:
    spans = [(a, min(b, len(text))) for a, b in ends if a < min(b, len(text))]
    row = {"mentions": [{"start": a, "end": b, "mention_id": f"m{i}", "label": "L"} for i, (a, b) in enumerate(spans)],
           "event_rows": []}
    pieces = report.pieces(text, row, {"L": 0})
    assert "".join(p.text for p in pieces) == text
    for i, (a, b) in enumerate(spans):
        assert "".join(p.text for p in pieces if f"m{i}" in p.ids) == text[a:b]


@given(st.text())
def test_visible_keeps_lengths_and_leaves_no_control_character(text: str) -> None:
    seen = report.visible(text)
    assert len(seen) == len(text)
    assert not any(c < " " and c not in "\n\t" for c in seen)


def test_texts_are_matched_by_hash_alone() -> None:
    documents = (Document(f"d{i}", t) for i, t in enumerate(["other", TEXT, "never read"]))
    assert report.match(documents, {digest(TEXT)}) == {digest(TEXT): TEXT}
    assert next(documents).text == "never read"


def test_write_takes_texts_from_archives(tmp_path: Path) -> None:
    rows(tmp_path / "tables")
    (tmp_path / "in.jsonl").write_text(json.dumps({"doc_id": "renamed", "text": TEXT}) + '\n{"broken\n')
    settings = config.load(None, {"tables.root": str(tmp_path / "tables")}, {})
    written = report.write(settings, tmp_path / "out.html", [str(tmp_path / "in.jsonl")])
    assert (written.documents, written.with_text) == (1, 1)
    assert Page((tmp_path / "out.html").read_text()).texts == [TEXT]


def test_write_says_where_it_cannot(tmp_path: Path) -> None:
    settings = config.load(None, {"tables.root": str(tmp_path / "tables")}, {})
    with pytest.raises(InputError, match=r"nowhere"):
        report.write(settings, tmp_path / "nowhere" / "out.html")
