from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings

from kie_ops.errors import InputError
from kie_ops.memory import Contribution, Increment, total
from memory_store.dump import dump, dump_increments, lines, load, load_store
from memory_store.local import LocalStore
from memory_store.store import MemoryStore
from tests.memory_store.strategies import batches

INCREMENTS = [
    Increment("纽约", "self|s|entity|Place", 2), Increment("a/b", "self|s|none|", -1),
    Increment("A", "self|s|none|", 1),
    Increment("a/b", "training|s|prototype|X", 1, tuple(range(-32, 32))), Increment("zero", "self|s|none|", 0),
]


@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz", "m.jsonl.zst"])
def test_both_memories_give_the_same_file_and_it_loads_back(store: MemoryStore, tmp_path: Path, name: str) -> None:
    for n, i in enumerate(INCREMENTS):
        store.apply("s/0", n, n + 1, [i], erasures=0)
    assert dump(store, tmp_path / name) == 3
    local = LocalStore("other")
    local.apply("x/0", 0, 1, INCREMENTS[::-1], erasures=0)
    (tmp_path / "other").mkdir()
    dump(local, tmp_path / "other" / name)
    dump_increments(INCREMENTS, tmp_path / f"third.{name}")
    assert (tmp_path / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert (tmp_path / name).read_bytes() == (tmp_path / f"third.{name}").read_bytes()
    assert tuple(load(tmp_path / name)) == total([Contribution("", tuple(INCREMENTS))])
    assert b"".join(lines(load_store(tmp_path / name).cells())) == b"".join(lines(store.cells()))
    assert load_store(tmp_path / name).positions() == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "other", f"third.{name}"])


def test_the_lines_are_as_documented(tmp_path: Path) -> None:
    dump_increments(INCREMENTS[:3], tmp_path / "m")
    assert (tmp_path / "m").read_text(encoding="utf-8").splitlines() == [
        '{"engram_memory":1}',
        '{"key":"A","counts":{"self|s|none|":1}}',
        '{"key":"a/b","counts":{"self|s|none|":-1}}',
        '{"key":"纽约","counts":{"self|s|entity|Place":2}}',
        '{"cells":3}',
    ]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(increments=batches)
def test_equal_bytes_mean_equal_memories(increments: list[Increment]) -> None:
    store = LocalStore()
    store.apply("s/0", 0, 1, increments, erasures=0)
    again = LocalStore()
    again.apply("s/0", 0, 1, [i for cell in store.cells() for i in _loaded(b"".join(lines([cell])))], erasures=0)
    assert list(again.cells()) == list(store.cells())


def _loaded(content: bytes) -> list[Increment]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        path.write_bytes(content)
        return list(load(path))


@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz", "m.jsonl.zst"])
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    dump_increments([Increment(f"key {n * n}", "self|s|none|", n) for n in range(1, 500)], tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 14, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:size])
        if name == "m.jsonl" and size == len(whole) - 1:
            continue  # only the last newline is missing
        with pytest.raises(InputError, match=name):
            list(load(tmp_path / name))


@pytest.mark.parametrize(
    "bad",
    [
        b"[]\n", b"{}\n", b'{"engram_memory":2}\n', b'{"engram_memory":1}\n{"key":"a"}\n', b"\xff\xfe\n",
        b'{"engram_memory":1}\n{"key":"a","counts":{"f":1.5}}\n{"cells":1}\n',
        b'{"engram_memory":1}\n{"key":"a","counts":{"f":true}}\n{"cells":1}\n',
        b'{"engram_memory":1}\n{"key":"a","counts":{},"vectors":{"f":[1]}}\n{"cells":1}\n',
        b'{"engram_memory":1}\n{"key":"a","counts":{"f":1}}\n{"cells":2}\n',
        b'{"engram_memory":1}\n{"cells":0}\n{"key":"a","counts":{"f":1}}\n',
        b'{"engram_memory":1}\n[1]\n{"cells":1}\n', b'{"engram_memory":1}\n7\n',
    ],
)
def test_what_is_no_memory_is_refused_with_its_line(tmp_path: Path, bad: bytes) -> None:
    (tmp_path / "m").write_bytes(bad)
    with pytest.raises(InputError, match=r"m:\d"):
        list(load(tmp_path / "m"))


def test_a_missing_file_or_one_that_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        list(load(tmp_path / "m"))
    for name in ("m.gz", "m.zst"):
        (tmp_path / name).write_bytes(b'{"engram_memory":1}\n{"cells":0}\n')
        with pytest.raises(InputError):
            list(load(tmp_path / name))
    with pytest.raises(InputError):
        dump(LocalStore(), tmp_path / "no" / "folder")


def test_a_failed_dump_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gz"
    dump_increments(INCREMENTS, path)
    before = path.read_bytes()

    class Broken(LocalStore):
        def cells(self):  # type: ignore[no-untyped-def]
            yield from list(load_store(path).cells())[:1]
            raise OSError("gone")

    with pytest.raises(InputError, match="gone"):
        dump(Broken(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.gz"]
    assert gzip.decompress(before).startswith(b'{"engram_memory":1}')
