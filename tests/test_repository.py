"""The repository keeps its promises: set-up commands, pins, version, sizes, no machine's paths."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import thresher

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = sorted(
    path
    for folder in ("src", "tests", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
SET_UP = "python3 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt -e "


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in found}


def required(requirements: list[str], extras: frozenset[str] = frozenset()) -> list[Requirement]:
    """The requirements that hold on this machine with `extras`."""
    parsed = [Requirement(text) for text in requirements]
    return [
        each
        for each in parsed
        if each.marker is None
        or any(each.marker.evaluate({"extra": extra}) for extra in extras | {""})
    ]


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("run-command", '".[bench]" && thresher compare'),
        ("test-command", '".[bench,dev]" && pytest'),
    ],
)
def test_readme_command_is_one_line_installed_from_the_constraints(name: str, ending: str) -> None:
    script = ROOT / "scripts" / "readme-command"
    command = subprocess.run([script, name], capture_output=True, text=True, check=True).stdout
    assert command == f"{SET_UP}{ending}\n"


@pytest.mark.parametrize("name", ["readme-excerpt", "scale-tables"])
def test_tables_in_a_readme_are_made_from_committed_results(name: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / name, "--check"], check=False)
    assert done.returncode == 0, f"run scripts/{name}"


def test_constraints_pin_everything_that_the_commands_install() -> None:
    extras = PROJECT["optional-dependencies"]
    waiting = required(PROJECT["dependencies"] + extras["bench"] + extras["dev"])
    pinned, seen = pins(), set[tuple[str, frozenset[str]]]()
    while waiting:
        requirement = waiting.pop()
        name, wanted = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        if str(requirement.specifier).startswith("==") and name not in pinned:
            continue  # pinned by who asks for it, as torch does with its accelerator's libraries
        assert name in pinned, f"{name} is not in constraints.txt: run scripts/constraints"
        assert pinned[name] in requirement.specifier, (
            f"{name}=={pinned[name]} against {requirement}"
        )
        waiting += required(metadata.requires(requirement.name) or [], wanted)
    assert pinned["torch"] == "2.13.0"
    assert "torchvision" not in pinned


def test_the_version_has_one_source() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert metadata.version("thresher") == thresher.__version__
    assert f"\nversion: {thresher.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    is_method = path.parent == ROOT / "src/thresher/methods" and path.name != "__init__.py"
    limit = 120 if is_method else 300
    assert text.count("\n") <= limit, f"over {limit} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert length <= 50, f"{node.name} has {length} lines"


def test_nothing_names_a_path_of_one_machine() -> None:
    private = re.compile(r"(?<![\w.])/(work|root|home|opt)/\w")
    kinds = {".py", ".md", ".toml", ".txt", ".cff", ".jsonl", ".json", ".yaml", ""}
    folders = ["src", "tests", "scripts", ".ci", "docs", "examples", "benchmarks"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [path for path in ROOT.glob("*.*") if path.name != ".git"]  # a worktree's is a file
    for path in files:
        if path.is_file() and path.suffix in kinds and "__pycache__" not in path.parts:
            found = private.search(path.read_text())
            assert found is None, f"{path.relative_to(ROOT)}: {found}"
