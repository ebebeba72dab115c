"""The tables' Arrow schemas, declared once.  `docs/tables.md` is generated from here.

No table has a wall-clock column: the same documents give the same bytes whenever they are read.
"""

from __future__ import annotations

import pyarrow as pa

VERSION = 1


def _field(name: str, kind: pa.DataType, doc: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


EVIDENCE = pa.list_(
    pa.struct([
        ("key", pa.string()), ("source", pa.string()), ("outcome", pa.string()), ("label", pa.string()),
        ("count", pa.int64()), ("example_doc", pa.string()),
    ])
)
STRINGS = pa.map_(pa.string(), pa.string())
HEADERS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))

PLACE = [
    _field("stream", pa.string(), "stream identity: the topic's UUID, or the archive's", False),
    _field("partition", pa.int32(), "partition, or number of the file in its archive", False),
    _field("offset", pa.int64(), "offset, or row in its file", False),
]
DOC = [*PLACE, _field("doc_id", pa.string(), "the document's own id", False)]
DOMAIN = _field("domain", pa.string(), "hive partition: the document's domain, else the pipeline's", False)
SCORE = _field("score", pa.float32(), "calibrated probability", False)

DOCUMENTS = pa.schema([
    *DOC, DOMAIN,
    _field("lang", pa.string(), "language, where the source states it"),
    _field("title", pa.string(), "title, where the source states it"),
    _field("timestamp", pa.timestamp("ms", tz="UTC"), "time the source gives the record"),
    _field("meta", STRINGS, "further fields of the source, as text"),
    _field("characters", pa.int64(), "characters received", False),
    _field("characters_read", pa.int64(), "characters that lay in at least one window", False),
    _field("windows", pa.int32(), "windows the text was read in", False),
    _field("entities", pa.int32(), "rows in entities", False),
    _field("relations", pa.int32(), "rows in relations", False),
    _field("events", pa.int32(), "rows in events", False),
    _field("text_sha256", pa.string(), "SHA-256 of the text in UTF-8", False),
    _field("model_version", pa.string(), "fingerprint of model, heads and gate", False),
])
ENTITIES = pa.schema([
    *DOC, DOMAIN,
    _field("mention_id", pa.string(), "pure function of place, span and label", False),
    _field("start", pa.int64(), "first character", False),
    _field("end", pa.int64(), "character after the last", False),
    _field("text", pa.string(), "surface: text[start:end]", False),
    _field("label", pa.string(), "entity type", False),
    _field("concept", pa.string(), "concept id from memory, SYSTEM:ID"),
    SCORE,
    _field("text_score", pa.float32(), "the same with memory off", False),
    _field("soft_weight", pa.float32(), "w_s: trust in memory; w_h = 1 - w_s", False),
    _field("evidence", EVIDENCE, "memories that took part", False),
])
RELATIONS = pa.schema([
    *DOC, DOMAIN,
    _field("relation_id", pa.string(), "pure function of place, spans and label", False),
    _field("head", pa.string(), "mention_id of the head", False),
    _field("tail", pa.string(), "mention_id of the tail", False),
    _field("label", pa.string(), "relation type", False),
    SCORE,
    _field("evidence", EVIDENCE, "memories of the pair", False),
])
EVENTS = pa.schema([
    *DOC, DOMAIN,
    _field("event_id", pa.string(), "pure function of place, trigger and label", False),
    _field("label", pa.string(), "event type", False),
    _field("start", pa.int64(), "trigger: first character", False),
    _field("end", pa.int64(), "trigger: character after the last", False),
    _field("trigger", pa.string(), "trigger: text[start:end]", False),
    SCORE,
    _field("arguments", pa.list_(pa.struct([
        ("role", pa.string()), ("mention_id", pa.string()), ("start", pa.int64()), ("end", pa.int64()),
        ("text", pa.string()), ("score", pa.float32()),
    ])), "arguments in order of role and span", False),
    _field("attributes", STRINGS, "negated, speculated, severity, where stated"),
])
DEAD_LETTERS = pa.schema([
    *PLACE, DOMAIN,
    _field("reason", pa.string(), "stable word: broken_json, not_utf8, missing_text, ...", False),
    _field("error_class", pa.string(), "class of the error", False),
    _field("message", pa.string(), "what, where, next step; holds no document text", False),
    _field("retriable", pa.bool_(), "whether reading it again unchanged may succeed", False),
    _field("characters", pa.int64(), "characters of its text, where it could be decoded"),
    _field("raw", pa.binary(), "the record's value as received", False),
    _field("key", pa.binary(), "the record's key"),
    _field("headers", HEADERS, "the record's headers"),
    _field("timestamp", pa.timestamp("ms", tz="UTC"), "time the source gives the record"),
])
MEMORY_LOG = pa.schema([
    *PLACE,
    _field("origin", pa.string(), "place, or id of the correction or import", False),
    _field("key", pa.string(), "normalised surface form, or a pair of them", False),
    _field("source", pa.string(), "training, vocabulary, reviewer, correction or self", False),
    _field("scheme", pa.string(), "whose annotation rules", False),
    _field("field", pa.string(), "the cell's field, see kie_ops.memory", False),
    _field("count", pa.int64(), "integer increment", False),
    _field("prototype", pa.binary(), "packed little-endian int32 increments of a vector field"),
])
TRANSACTIONS = pa.schema([
    *PLACE[:2],
    _field("from", pa.int64(), "first position of the batch", False),
    _field("to", pa.int64(), "position after its last", False),
    _field("view", pa.map_(pa.string(), pa.int64()), "applied positions it was read with", False),
    _field("engine", pa.string(), "engine and versions", False),
])

TABLES: dict[str, pa.Schema] = {
    "documents": DOCUMENTS,
    "entities": ENTITIES,
    "relations": RELATIONS,
    "events": EVENTS,
    "dead_letters": DEAD_LETTERS,
    "memory_log": MEMORY_LOG,
    "transactions": TRANSACTIONS,
}
