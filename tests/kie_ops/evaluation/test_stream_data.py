import dataclasses
import json
from pathlib import Path

import pytest

from kie_ops import frozen_memory
from kie_ops.dataset import Example
from kie_ops.errors import InputError
from kie_ops.evaluation.stream_data import memory, source, with_vocabulary
from kie_ops.memory import Cell, field
from tests.kie_ops.evaluation.stream_fixtures import ODDS, examples
from tests.kie_ops.gate_fixtures import SCHEME, domain, extractor


def write(path: Path, some: list[Example]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({
        "doc_id": e.document.doc_id, "text": e.document.text,
        "entities": [{k: v for k, v in dataclasses.asdict(s).items() if k != "span_id"} for s in e.spans],
    }) + "\n" for e in some), encoding="utf-8")
    return path


def test_settings_come_from_the_dev_part_or_from_a_part_that_is_not_scored(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", examples(10))
    write(tmp_path / "dev.jsonl", examples(2, prefix="v"))
    found = source(SCHEME, tmp_path, domain())
    assert (len(found.stream), len(found.dev)) == (40, 8)
    alone = source("elsewhere", tmp_path / "test.jsonl", domain())
    assert len(alone.stream) + len(alone.dev) == 40
    assert 2 <= len(alone.dev) <= 16
    assert not {e.document.doc_id for e in alone.stream} & {e.document.doc_id for e in alone.dev}
    given = source("elsewhere", tmp_path / "test.jsonl", domain(), dev=tmp_path / "dev.jsonl", limit=5)
    assert (len(given.stream), len(given.dev)) == (5, 5)


def test_labels_are_mapped_and_others_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", examples(10))
    found = source(SCHEME, path, domain(), mapping={"Drug": "Disease"})
    assert {s.label for e in (*found.stream, *found.dev) for s in e.spans} == {"Disease"}
    with pytest.raises(InputError, match="no labels"):
        source(SCHEME, path, domain(), mapping={"Gene": "Drug"})


def test_memories_are_summed(tmp_path: Path) -> None:
    one = {"rash": Cell("rash", {field("training", SCHEME, "entity", "Disease"): 2})}
    frozen_memory.write(one.values(), tmp_path / "m.zst")
    reader = extractor(ODDS, one)
    assert memory(reader, ["none"]) == {}
    assert memory(reader, ["training"]) == one
    both = memory(reader, ["training", str(tmp_path / "m.zst")])
    assert both["rash"].counts == {field("training", SCHEME, "entity", "Disease"): 4}
    with pytest.raises(InputError, match="no memory"):
        memory(reader, ["elsewhere.zst"])


def test_vocabularies_come_on_top(tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("zorvanex\nrash\n")
    base = {"rash": Cell("rash", {"f": 1})}
    found = with_vocabulary(base, domain(), [f"{tmp_path / 'terms.txt'}:Drug"])
    name = field("vocabulary", SCHEME, "entity", "Drug")
    assert found["zorvanex"].counts == {name: 1}
    assert found["rash"].counts == {"f": 1, name: 1}
    assert base["rash"].counts == {"f": 1}
    with pytest.raises(InputError, match=r"no (file and no )?vocabulary no-such"):
        with_vocabulary(base, domain(), ["no-such"])
