"""Annotated documents: what is read, cut, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kie_ops import dataset, words
from kie_ops.domain import Domain, RelationScheme
from kie_ops.errors import InputError, ModelError
from tests.kie_ops import tiny

TEXT = "Zinc harmed him. Zinc and lead harm."


def write(path: Path, *records: Any) -> Path:
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def entity(start: int, end: int, label: str = "Drug", **more: Any) -> dict[str, Any]:
    return {"id": f"T{start}", "start": start, "end": end, "text": TEXT[start:end], "label": label, **more}


def record(**fields: Any) -> dict[str, Any]:
    return {"doc_id": "d1", "text": TEXT, **fields}


def test_spans_relations_and_events_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", record(
        entities=[entity(0, 4, concept="C1"), entity(26, 30)],
        relations=[{"head": "T0", "tail": "T26", "label": "with", "level": "mention"}],
        events=[{"label": "Harm", "triggers": [{"start": 5, "end": 11}],
                 "arguments": [{"role": "Cause", "start": 0, "end": 4}, {"role": "Cause", "start": 0, "end": 4}]}],
        meta={"year": 2020},
    ))
    example, = dataset.load(path, "s")
    assert [(s.start, s.end, s.label) for s in example.spans] == [
        (0, 4, "Drug"), (26, 30, "Drug"), (5, 11, "trigger:Harm"), (0, 4, "Cause"),
    ]
    assert example.spans[0].concept == "C1"
    assert example.relations[0].label == "with"
    assert example.document.meta["year"] == "2020"
    found = dataset.word_spans(example, words.split(TEXT))
    assert found[:3] == [(0, 0, "Drug"), (6, 6, "Drug"), (1, 1, "trigger:Harm")]


def test_repeats_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", record(meta={"repeat_of": "train"}), record(doc_id="d2"))
    assert [e.document.doc_id for e in dataset.load(path, "s")] == ["d2"]


@pytest.mark.parametrize(("line", "says"), [
    ("{not json", "not JSON"),
    ("[1]", "needs a `text`"),
    ({"doc_id": "a"}, "needs a `text`"),
    ({"text": "  "}, "empty"),
    (record(entities=[{"start": 0, "end": 99, "label": "X"}]), "outside the text"),
    (record(entities=[{"start": 3, "end": 3, "label": "X"}]), "outside the text"),
    (record(entities=[{"start": True, "end": 3, "label": "X"}]), "outside the text"),
    (record(entities=[{"start": 0, "end": 4, "label": "X", "text": "zinc"}]), "the text has 'Zinc'"),
    (record(entities=[{"start": 0, "end": 4}]), "`label` is missing"),
    (record(entities={"start": 0}), "not a list of objects"),
    (record(relations=[{"head": "T1", "tail": "T2", "label": "r"}]), "names T1"),
    (record(events=[{"triggers": []}]), "`label` is missing"),
])
def test_what_is_broken_is_named_with_its_line(tmp_path: Path, line: Any, says: str) -> None:
    path = write(tmp_path / "a.jsonl", record(), line)
    with pytest.raises(InputError) as caught:
        dataset.load(path, "s")
    assert says in str(caught.value)
    assert "a.jsonl, line 2" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        dataset.load(tmp_path / "none.jsonl", "s")
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "caf\xe9"}\n')
    with pytest.raises(InputError, match="not UTF-8"):
        dataset.load(tmp_path / "latin.jsonl", "s")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no document"):
        dataset.load(tmp_path / "empty.jsonl", "s")


def test_a_set_without_dev_is_cut_by_hash_and_test_is_never_touched(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", *(record(doc_id=f"d{n}", entities=[entity(0, 4)]) for n in range(200)))
    domain = dataset.derive("mine", dataset.load(tmp_path / "train.jsonl", "mine"))
    train, dev = (dataset.split(tmp_path, domain, "mine", name) for name in ("train", "dev"))
    ids = [{e.document.doc_id for e in part} for part in (train, dev)]
    assert ids[0].isdisjoint(ids[1])
    assert len(ids[0]) + len(ids[1]) == 200
    assert 5 <= len(ids[1]) <= 40
    with pytest.raises(InputError, match="no test part"):
        dataset.split(tmp_path, domain, "mine", "test")


def test_one_file_serves_as_train_and_dev(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", *(record(doc_id=f"d{n}", entities=[entity(0, 4)]) for n in range(50)))
    domain = dataset.derive("mine", dataset.load(path, "mine"))
    parts = [dataset.split(path, domain, "mine", name) for name in ("train", "dev")]
    assert sum(map(len, parts)) == 50


def test_documents_of_another_sets_test_are_dropped_from_train(tmp_path: Path) -> None:
    data = tiny.write_data(tmp_path / "data")
    domain = tiny.domain(tmp_path)
    assert len(dataset.split(data, domain, "drugs", "train")) == 12
    table = {"drugs∩events": [
        {"pmid": "train-d3", "drugs": "train", "events": "test"},
        {"pmid": "train-d4", "drugs": "train", "events": "train"},
    ]}
    (data / dataset.OVERLAPS).write_text(json.dumps(table), encoding="utf-8")
    left = {e.document.doc_id for e in dataset.split(data, domain, "drugs", "train")}
    assert "train-d3" not in left
    assert "train-d4" in left
    assert len(dataset.split(data, domain, "drugs", "dev")) == 12


def test_documents_of_another_sets_test_are_dropped_from_dev(tmp_path: Path) -> None:
    data = tiny.write_data(tmp_path / "data")
    domain = tiny.domain(tmp_path)
    table = {"drugs∩events": [
        {"pmid": "dev-d3", "drugs": "dev", "events": "test"}, {"pmid": "dev-d4", "drugs": "dev", "events": "train"},
    ]}
    (data / dataset.OVERLAPS).write_text(json.dumps(table), encoding="utf-8")
    left = {e.document.doc_id for e in dataset.split(data, domain, "drugs", "dev")}
    assert "dev-d3" not in left
    assert "dev-d4" in left


def test_labels_that_a_scheme_merges_are_read_as_one(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", record(entities=[entity(0, 4), entity(5, 11, "Problem")]))
    domain = Domain.parse({"name": "one", "schemes": {"one": {
        "labels": ["Thing"], "merge": {"Drug": "Thing", "Problem": "Thing"},
    }}})
    (example,) = (e for n in ("train", "dev") for e in dataset.split(tmp_path, domain, "one", n))
    assert {s.label for s in example.spans} == {"Thing"}
    with pytest.raises(ModelError, match="no label Other"):
        Domain.parse({"name": "one", "schemes": {"one": {"labels": ["Thing"], "merge": {"Drug": "Other"}}}})


def test_sentence_pairs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", record(
        entities=[entity(0, 4), entity(5, 11, "Problem"), entity(26, 30)],
        relations=[{"head": "T0", "tail": "T5", "label": "r", "level": "mention"}],
    ))
    example, = dataset.load(path, "s")
    split = words.split(TEXT)
    near = RelationScheme(("q", "r"), max_sentences=0)
    heads, tails, holds = dataset.candidate_pairs(example, split, near)
    assert [(h.spans, t.spans) for h, t in zip(heads, tails, strict=True)] == [
        (((0, 0),), ((1, 1),)), (((1, 1),), ((0, 0),)),
    ]
    assert holds.tolist() == [[0, 1], [0, 0]]
    both_ways = RelationScheme(("q", "r"), max_sentences=0, symmetric=("r",))
    assert dataset.candidate_pairs(example, split, both_ways)[2].tolist() == [[0, 1], [0, 1]]
    assert len(dataset.candidate_pairs(example, split, RelationScheme(("r",), max_sentences=1))[0]) == 6
    only = RelationScheme(("r",), pairs=(("Drug", "Problem"),))
    assert len(dataset.candidate_pairs(example, split, only)[0]) == 2


def test_document_pairs_are_between_concepts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", record(
        entities=[entity(0, 4, concept="C1"), entity(17, 21, concept="C1|C2"), entity(31, 35, "Problem", concept="P")],
        relations=[{"head": "C1", "tail": "P", "label": "r", "level": "concept"}],
    ))
    example, = dataset.load(path, "s")
    scheme = RelationScheme(("r",), level="document", pairs=(("Drug", "Problem"),))
    heads, _, holds = dataset.candidate_pairs(example, words.split(TEXT), scheme)
    assert [(h.spans, hold) for h, hold in zip(heads, holds.tolist(), strict=True)] == [
        (((0, 0), (4, 4)), [1.0]), (((4, 4),), [0.0]),
    ]


def test_a_users_data_becomes_a_domain_of_its_own(tmp_path: Path) -> None:
    data = tiny.write_data(tmp_path)
    drugs = dataset.derive("drugs", dataset.load(data / "drugs" / "train.jsonl", "drugs"), encoder="some/encoder")
    assert drugs.schemes["drugs"].labels == ("Drug", "Problem")
    assert not drugs.schemes["drugs"].nested
    assert drugs.encoder == "some/encoder"
    assert drugs.relations["drugs"].pairs == (("Drug", "Problem"),)
    assert drugs.output.entities["drugs"] == {"Drug": "Drug", "Problem": "Problem"}
    events = dataset.derive("events", dataset.load(data / "events" / "train.jsonl", "events"))
    assert events.schemes["events"].nested
    assert events.output.events["events"].triggers == {"trigger:Harm": "Harm"}
    assert set(events.output.events["events"].roles) == {"Effect", "Effect.Part"}
    assert Domain.parse(events.dump()) == events


def test_nothing_annotated_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", record())
    with pytest.raises(InputError, match="nothing to learn"):
        dataset.derive("mine", dataset.load(path, "mine"))
