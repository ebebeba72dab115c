"""What may import what, and how long a file or a function may be: read from the sources themselves."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("kie_ops", "memory_store", "pipelines")
FILE_LINES, TEST_FILE_LINES = 400, 500
FUNCTION_LINES = 50
ONLY_IN = {"apache_beam": "pipelines", "kafka": "pipelines", "redis": "memory_store"}
PLAIN_RECORDS = {"kie_ops", "kie_ops.records", "kie_ops.memory", "kie_ops.errors"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, full name of the module) of every import, also those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "relative." + (node.module or "")
            elif node.module in PACKAGES:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and _is_import_call(node) and isinstance(node.args[0], ast.Constant):
            yield node.lineno, str(node.args[0].value)


def _is_import_call(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in ("import_module", "__import__") and bool(node.args)


def allowed(package: str, module: str) -> bool:
    """Whether `package` may import `module`."""
    top = module.split(".")[0]
    if top == "relative":
        return False
    if top in ONLY_IN:
        return package == ONLY_IN[top]
    if top not in PACKAGES or top == package or package == "pipelines":
        return True
    return package == "memory_store" and module in PLAIN_RECORDS


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows(package: str) -> None:
    wrong = []
    for path in sources(package):
        for line, module in imports(ast.parse(path.read_text())):
            if not allowed(package, module):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_memory_store_knows_nothing_of_torch() -> None:
    heavy = {"torch", "transformers", "safetensors", "tokenizers"}
    wrong = [
        f"{path.name}:{line}" for path in sources("memory_store")
        for line, module in imports(ast.parse(path.read_text())) if module.split(".")[0] in heavy
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("kie_ops", "import redis"), ("kie_ops", "from memory_store.store import MemoryStore"),
        ("kie_ops", "def f():\n    from pipelines import config"), ("kie_ops", "import apache_beam as beam"),
        ("memory_store", "from kie_ops.extractor import Extractor"), ("memory_store", "import kafka.errors"),
        ("memory_store", "from kie_ops import surface"), ("pipelines", "import redis.asyncio"),
        ("pipelines", "from . import config"), ("kie_ops", "importlib.import_module('kafka')"),
    ],
)
def test_a_wrong_arrow_is_seen(package: str, line: str) -> None:
    assert not all(allowed(package, module) for _, module in imports(ast.parse(line)))


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for most, folders in ((FILE_LINES, (*PACKAGES, "benchmarks", "deploy")), (TEST_FILE_LINES, ("tests",)))
        for path in sources(*folders) if (lines := len(path.read_text().splitlines())) > most
    }
    assert not long


def test_functions_are_short() -> None:
    long = []
    for path in sources(*PACKAGES):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines")
    assert not long, "\n".join(long)


def test_sources_parse_as_the_oldest_supported_python() -> None:
    for path in sources(*PACKAGES):
        ast.parse(path.read_text(), feature_version=(3, 10))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:  # an unpacked archive
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_no_machine_paths_in_tracked_files() -> None:
    """Nobody's folders, and nothing that only one machine has."""
    marks = [f"/{name}/".encode() for name in ("root", "work/main", "work/shared", "home/[a-z]+")]
    wrong = []
    for path in tracked():
        if path.suffix in {".zst", ".safetensors", ".png"} or not path.is_file():
            continue
        data = path.read_bytes()
        wrong += [f"{path.relative_to(ROOT)}: {mark.decode()}" for mark in marks if mark in data]
    assert not wrong, "\n".join(wrong)
