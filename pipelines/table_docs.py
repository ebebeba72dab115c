"""docs/tables.md from the tables' schemas: ``python -m pipelines.table_docs > docs/tables.md``."""

from __future__ import annotations

import pyarrow as pa

from kie_ops.schemas import TABLES, VERSION
from pipelines.segments import UNPARTITIONED

ROWS = {
    "documents": "a document that was read",
    "entities": "a mention: a span that names something",
    "relations": "a relation between two mentions of a document",
    "events": "an event: its trigger and its arguments",
    "dead_letters": "a record that could not be read as a document, whole",
    "memory_log": "one increment that a document, correction or import added to memory (once its segment is closed)",
    "transactions": "a committed batch; joins the others by stream, partition and range of offsets",
}
HEAD = f"""# Tables

Generated from `kie_ops/schemas.py` by `python -m pipelines.table_docs`; do not edit. Schema version {VERSION}.

One folder a table below `tables.root`, Parquet with zstd, one file for each segment (a fixed number of offsets of one
partition) and domain: `entities/domain=medical/<stream>-<partition>-<segment>.parquet`. The column `domain` stands in
the path alone; it is percent-encoded there, and readers decode it. A domain longer than 120 bytes gets a hash instead
of its end. Rows stand in order of offset and span. The same documents give the same bytes in every table but
`transactions`, however they were batched. Nothing is appended to a file: an open segment is written anew as it fills.

```sql
-- DuckDB
SELECT label, text, count(*) FROM 'tables/entities/**/*.parquet' GROUP BY ALL ORDER BY 3 DESC;
-- domains that look like numbers or dates stay text with:
SELECT * FROM read_parquet('tables/entities/**/*.parquet', hive_partitioning = true, hive_types_autocast = false);
```

```python
pandas.read_parquet("tables/entities")
spark.read.parquet("tables/entities")
```

Folders and files whose names start with `_` are the commit log and temporary files, not tables.

Identities that hold: `text[start:end]` of the document's text is `text` of the row, in Python character offsets;
documents in = rows of `documents` + rows of `dead_letters` + erased; `characters_read` + characters of dead letters =
characters received.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_section(name, schema) for name, schema in TABLES.items())])


def _section(name: str, schema: pa.Schema) -> str:
    lines = [f"## {name}", "", f"A row is {ROWS[name]}." + (" Not partitioned." if name in UNPARTITIONED else ""), "",
             "| column | type | may be null | |", "|---|---|---|---|"]
    for field in schema:
        doc = (field.metadata or {}).get(b"doc", b"").decode()
        lines.append(f"| `{field.name}` | {_type(field.type)} | {'yes' if field.nullable else ''} | {doc} |")
    return "\n".join([*lines, ""])


def _type(kind: pa.DataType) -> str:
    """A type as SQL people write it."""
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "struct(" + ", ".join(f"{kind.field(i).name} {_type(kind.field(i).type)}"
                                     for i in range(kind.num_fields)) + ")"
    if pa.types.is_map(kind):
        return f"map({_type(kind.key_type)}, {_type(kind.item_type)})"
    return str(kind)


if __name__ == "__main__":
    print(render(), end="")
