"""Domains: the shipped ones, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kie_ops.domain import TRIGGER, Domain, Part, shipped
from kie_ops.errors import ModelError
from tests.kie_ops import tiny

SMALL = {"name": "x", "schemes": {"s": {"labels": ["A"]}}}


def test_two_domains_are_shipped() -> None:
    assert shipped() == ("financial", "medical")


@pytest.mark.parametrize("name", ["medical", "financial"])
def test_shipped_domains_are_whole(name: str) -> None:
    domain = Domain.load(name)
    assert domain.name == name
    emitted = [label for labels in domain.output.entities.values() for label in labels.values()]
    assert emitted
    assert all(label == label.lower() for label in emitted)
    for scheme, event in domain.output.events.items():
        named = {*event.triggers, *event.roles, *event.attributes}
        assert named <= set(domain.schemes[scheme].labels)
        assert all(label.startswith(TRIGGER) for label in event.triggers)
    for relation in domain.relations.values():
        assert relation.level in ("sentence", "document")


def test_a_domain_is_the_same_after_saving(tmp_path: Path) -> None:
    for name in shipped():
        domain = Domain.load(name)
        assert Domain.load(domain.save(tmp_path / name).folder or "") == domain
        assert json.loads((tmp_path / name / "domain.json").read_text()) == json.loads(json.dumps(domain.dump()))


def test_fire_has_no_train_file_so_dev_is_cut() -> None:
    domain = Domain.load("financial")
    assert (domain.part("fire", "train"), domain.part("fire", "dev")) == (Part("dev", 0, 85), Part("dev", 85, 100))
    assert domain.part("fire", "test") == Part("test")
    assert domain.part("kpi-edgar", "train") == Part("train")


@pytest.mark.parametrize(("change", "says"), [
    ({"schemas": {}}, "schemas"),
    ({"schemes": {"s": {"labels": "A"}}}, "schemes.s.labels"),
    ({"schemes": {"s": {}}}, "schemes.s.labels"),
    ({"schemes": {"s": {"labels": ["A"], "max_words": "many"}}}, "schemes.s.max_words"),
    ({"relations": {"s": {"labels": ["r"], "level": "page"}}}, "relations.s.level"),
    ({"relations": {"s": {"labels": ["r"], "pairs": [["A", "B"]]}}}, "s has no label B"),
    ({"relations": {"t": {"labels": ["r"]}}}, "there is no scheme t"),
    ({"output": {"entities": {"s": {"B": "b"}}}}, "s has no label B"),
    ({"output": {"relations": {"s": {"r": "r"}}}}, "no label r"),
    ({"output": {"events": {"s": {"triggers": {"trigger:X": "x"}, "roles": {}}}}}, "no label trigger:X"),
    ({"name": 5}, "name"),
])
def test_what_is_wrong_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError) as caught:
        Domain.parse({**SMALL, **change})
    assert says in str(caught.value)


def test_labels_of_relations_and_directions() -> None:
    relation = tiny.domain(Path("e")).relations["drugs"]
    assert relation.allows("Drug", "Problem")
    assert not relation.allows("Problem", "Drug")


def test_no_such_domain(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such domain.*financial, medical"):
        Domain.load(tmp_path / "nothing")


def test_broken_domain_file(tmp_path: Path) -> None:
    (tmp_path / "domain.json").write_text("{")
    with pytest.raises(ModelError, match=r"cannot read the domain.*domain.json"):
        Domain.load(tmp_path)


def test_a_shipped_name_is_not_a_folder_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Domain.load("medical").save(tmp_path / "medical")
    monkeypatch.chdir(tmp_path)
    assert Domain.load("medical").folder != mine.folder
    assert Domain.load("./medical").folder == Path("medical")
