"""The order of the house: a folder imports only those above it, and what needs no torch runs without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import nucleus

PACKAGE = Path(__file__).parents[1] / "nucleus"

# From the top of the house to the bottom; see the table of folders in CONTRIBUTING.md.
ORDER = (
    "install_detectron2",
    "errors",
    "processes",
    "masks",
    "formats",
    "visualization",
    "evaluation",
    "data",
    "config",
    "modeling",
    "zoo",
    "inference",
    "engine",
    "app",
    "cli",
    "__main__",
)
# What may import torch or Detectron2 at any line. The doors (`app`, `cli`) may, but inside functions only.
WITH_TORCH = (
    "evaluation.evaluator",
    "data.catalog",
    "data.label_masks",
    "data.mapper",
    "data.loader",
    "config",
    "modeling",
    "zoo",
    "inference",
    "engine",
)
DOORS = ("app", "cli")
TORCH = ("torch", "torchvision", "detectron2", "timm", "fvcore")

Import = tuple[str, int]  # full name of what is imported, line


def within(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a module (without the leading "nucleus.") is one of the parts, or inside one."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def modules() -> dict[str, ast.Module]:
    """Dotted name without the leading "nucleus." -> syntax tree, of every module of the package."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return trees


MODULES = modules()


def imports(name: str) -> Iterator[Import]:
    """Everything that a module imports, at its top or inside a function."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"nucleus.{name}:{node.lineno}: write imports in full, from nucleus."
            source = node.module or ""
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                is_module = inner.removeprefix("nucleus.") in MODULES and source.split(".")[0] == "nucleus"
                yield (inner if is_module else source), node.lineno


def own_imports(name: str) -> Iterator[Import]:
    """The modules of this package that a module imports, without the leading "nucleus."."""
    for imported, line in imports(name):
        if imported.startswith("nucleus."):
            yield imported.removeprefix("nucleus."), line


def test_the_package_itself_imports_nothing() -> None:
    """But for the standard library, and what is asked for by name, later."""
    assert {imported.split(".")[0] for imported, _ in imports("")} <= {"typing", "importlib"}
    code = "import nucleus, sys; dir(nucleus); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True
    ).stdout.split()
    assert "nucleus" in loaded
    assert not {name for name in loaded if name.startswith("nucleus.") or name.split(".")[0] in (*TORCH, "numpy")}


def test_what_the_package_gives_later_is_there() -> None:
    code = "import nucleus; assert 'load_model' in dir(nucleus); print(nucleus.load_model.__module__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.stdout.strip() == "nucleus.inference.predictor", result.stderr
    with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
        _ = nucleus.no_such_thing


def test_every_folder_has_its_place() -> None:
    unknown = {name.split(".")[0] for name in MODULES if name} - set(ORDER)
    assert not unknown, f"add to ORDER, at the place that CONTRIBUTING.md gives it: {sorted(unknown)}"


def test_folders_import_only_what_stands_above_them() -> None:
    wrong = [
        f"nucleus.{name}:{line} imports nucleus.{imported}"
        for name in MODULES
        if name
        for imported, line in own_imports(name)
        if ORDER.index(imported.split(".")[0]) > ORDER.index(name.split(".")[0])
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_goes_in_a_circle() -> None:
    try:
        TopologicalSorter({name: {imported for imported, _ in own_imports(name)} for name in MODULES}).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(f"nucleus.{name}" for name in error.args[1])) from None


def test_only_the_marked_modules_name_torch() -> None:
    wrong = [
        f"nucleus.{name}:{line} imports {imported}"
        for name in MODULES
        if not within(name, WITH_TORCH + DOORS)
        for imported, line in imports(name)
        if imported.split(".")[0] in TORCH
    ]
    assert not wrong, "\n".join(wrong)


BLOCKED = f"""
import importlib, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {TORCH!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
failed = False
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed = True
        print(f"{{name}}: {{type(error).__name__}}: {{error}}")
sys.exit(failed)
"""


def test_the_rest_imports_without_torch() -> None:
    names = [f"nucleus.{name}" for name in MODULES if name and not within(name, WITH_TORCH)]
    assert "nucleus.cli.doctor" in names
    result = subprocess.run([sys.executable, "-c", BLOCKED, *names], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_block_holds() -> None:
    """That the test above can fail: a module that needs torch does not import there."""
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED, "nucleus.config"], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert result.returncode == 1
    assert "is blocked" in result.stdout
