"""The page about the tables says what their schemas say."""

from __future__ import annotations

from pathlib import Path

from kie_ops.schemas import TABLES
from pipelines.table_docs import ROWS, render

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"


def test_the_page_is_in_step() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m pipelines.table_docs > docs/tables.md"


def test_every_table_and_column_is_explained() -> None:
    page = render()
    assert ROWS.keys() == TABLES.keys()
    for schema in TABLES.values():
        for field in schema:
            assert f"| `{field.name}` |" in page
            assert field.metadata[b"doc"]
