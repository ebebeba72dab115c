from pathlib import Path

import pytest

from kie_ops import frozen_memory, priming
from kie_ops.dataset import Example, Gold, GoldRelation
from kie_ops.errors import InputError, ModelError
from kie_ops.frozen_memory import FrozenMemory
from kie_ops.memory import concept_key, field, pair_key, total
from kie_ops.records import Document
from kie_ops.stems import bag
from tests.kie_ops.gate_fixtures import SCHEME, domain


def example(
    doc_id: str, text: str, *spans: tuple[str, str, str | None], relations: tuple[GoldRelation, ...] = ()
) -> Example:
    gold = tuple(
        Gold(text.index(s), text.index(s) + len(s), label, concept, f"T{n}")
        for n, (s, label, concept) in enumerate(spans, 1)
    )
    return Example(SCHEME, Document(doc_id, text), gold, relations)


EXAMPLES = (
    example("d1", "Naproxen caused renal failure.", ("Naproxen", "Drug", "D009288"),
            ("renal failure", "Disease", None), relations=(GoldRelation("T1", "T2", "causes", "mention"),)),
    example("d2", "Naproxen again; failure to thrive, acute renal failure.", ("acute renal failure", "Disease", None)),
)


def test_training_documents_are_exhaustive() -> None:
    cells = priming.cells_of(priming.training(EXAMPLES))
    assert cells["naproxen"].counts == {
        field("training", SCHEME, "entity", "Drug"): 1,
        field("training", SCHEME, "concept", "Drug", "MESH:D009288"): 1,
        field("training", SCHEME, "example", "d1"): 1,
        field("training", SCHEME, "none"): 1,
    }
    assert cells["renal failure"].counts[field("training", SCHEME, "part", "Disease")] == 1
    assert cells["renal failure"].counts[field("training", SCHEME, "entity", "Disease")] == 1
    assert cells[pair_key("naproxen", "renal failure")].counts == {field("training", SCHEME, "related", "causes"): 1}
    assert "thrive" not in cells, "what is a mention nowhere is not counted"


def test_the_memory_is_the_sum_of_its_documents() -> None:
    made = list(priming.training(EXAMPLES))
    assert [c.origin for c in made] == [f"training:{SCHEME}:d1", f"training:{SCHEME}:d2"]
    assert total([*made, *(c.negated() for c in made)]) == ()


def test_vocabulary_with_and_without_columns(tmp_path: Path) -> None:
    table = tmp_path / "drugs.csv"
    table.write_text('term,id,label\n"Zorvanex, oral",X:1,drug\nNaproxen,,Drug\n2019,,drug\n', encoding="utf-8")
    plain = tmp_path / "plain.txt"
    plain.write_text("Lupus\n\nrenal failure\n", encoding="utf-8")
    cells = priming.cells_of(priming.vocabulary(table, domain()))
    assert set(cells) == {"zorvanex , oral", "naproxen", bag("zorvanex , oral"), concept_key("X:1")}
    assert cells["zorvanex , oral"].counts == {
        field("vocabulary", SCHEME, "entity", "Drug"): 1, field("vocabulary", SCHEME, "concept", "Drug", "X:1"): 1}
    listed = priming.cells_of(priming.vocabulary(plain, domain(), label="disease"))
    assert listed["lupus"].counts == {field("vocabulary", SCHEME, "entity", "Disease"): 1}
    with pytest.raises(InputError, match=r"line 1.*label"):
        list(priming.vocabulary(plain, domain()))
    with pytest.raises(InputError, match="no label gene"):
        list(priming.vocabulary(plain, domain(), label="gene"))
    with pytest.raises(InputError, match="No such file"):
        list(priming.vocabulary(tmp_path / "absent", domain(), label="drug"))
    plain.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        list(priming.vocabulary(plain, domain(), label="drug"))


def test_large_vocabularies_come_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    path.write_text("".join(f"name{n}x\n" for n in range(12_000)), encoding="utf-8")
    made = list(priming.vocabulary(path, domain(), label="drug"))
    assert len(made) == 3
    assert all(len(c.increments) < 6_000 for c in made)
    assert len(priming.cells_of(made)) == 12_000


def test_shipped_memory_is_written_and_read(tmp_path: Path) -> None:
    cells = priming.cells_of(priming.training(EXAMPLES))
    path = tmp_path / "memory.jsonl.zst"
    assert frozen_memory.write(cells.values(), path) == len(cells)
    again = FrozenMemory.load(path)
    assert again.recall(list(cells)).cells == cells
    assert again.recall(["naproxen", "absent"]).cells == {"naproxen": cells["naproxen"]}
    assert tuple(frozen_memory.increments(cells.values())) == total(priming.training(EXAMPLES))
    first = path.read_bytes()
    frozen_memory.write(reversed(list(cells.values())), path)
    assert path.read_bytes() == first, "canonical"
    assert len(FrozenMemory.load(tmp_path / "absent")) == 0


def test_a_broken_shipped_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl.zst"
    frozen_memory.write(priming.cells_of(priming.training(EXAMPLES)).values(), path)
    whole = path.read_bytes()
    for spoilt in (b"", b"no zstd", whole[: len(whole) // 2]):
        path.write_bytes(spoilt)
        with pytest.raises(ModelError, match="restore"):
            FrozenMemory.load(path)


def test_the_commands_can_import_it(tmp_path: Path) -> None:
    from memory_store import dump

    path = tmp_path / "memory.jsonl.zst"
    cells = priming.cells_of(priming.training(EXAMPLES))
    frozen_memory.write(cells.values(), path)
    assert total([dump.contribution(path, "x")]) == tuple(frozen_memory.increments(cells.values()))


def test_ordinary_words_are_counted_as_nothing_from_two_documents_on() -> None:
    some = (
        example("d1", "Patients took naproxen.", ("naproxen", "Drug", None)),
        example("d2", "Patients with pain improved.", ("pain", "Disease", None)),
    )
    cells = priming.cells_of(priming.training(some))
    assert cells["patients"].counts == {field("training", SCHEME, "none"): 2}
    assert not {"took", "improved", "with"} & set(cells)
