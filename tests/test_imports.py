"""Imports point one way, cost little at start-up, and only the command line prints."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastki

ROOT = Path(fastki.__file__).parent
ORDER = (
    "errors",
    "files",
    "config",
    "orphans",
    "data",
    "tokenizer",
    "sequence",
    "model",
    "training",
    "evaluation",
    "serving",
    "sim",
    "study",
    "export",
    "report",
    "cli",
)
BEFORE_MODEL = ORDER[: ORDER.index("model")]
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> list[tuple[int, str]]:
    """Every absolute module name that a file imports, at its top or inside functions, with the line."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            names += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return names


def upward(path: Path) -> list[str]:
    """Imports of a part of fastki that stands later on the way through than the file's own."""
    own = ORDER.index(part_of(path))
    parts = [(line, name.split(".")) for line, name in imported(path) if name.startswith("fastki.")]
    return [
        f"{path.relative_to(ROOT)}:{line} imports {'.'.join(words)}"
        for line, words in parts
        if words[1] in ORDER and ORDER.index(words[1]) > own
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_backwards_only(path):
    assert part_of(path) in ORDER, "a new part of fastki must take its place in ORDER"
    assert upward(path) == []


def test_the_check_sees_lazy_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    bad = tmp_path / "data" / "bad.py"
    bad.parent.mkdir()
    bad.write_text("def f():\n    from fastki.tokenizer import FastTokenizer\n")
    assert len(upward(bad)) == 1


@pytest.mark.parametrize("part", BEFORE_MODEL)
def test_nothing_before_the_model_imports_jax(part):
    files = [path for path in MODULES if part_of(path) == part]
    heavy = [name for path in files for _, name in imported(path) if name.split(".")[0] in ("jax", "flax")]
    assert heavy == []


def test_only_the_command_line_prints_or_knows_typer():
    for path in MODULES:
        if part_of(path) == "cli":
            continue
        assert not [name for _, name in imported(path) if name.split(".")[0] == "typer"], path
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not [node for node in calls if getattr(node.func, "id", "") == "print"], path


HEAVY = ("jax", "flax", "transformers", "matplotlib", "pandas", "numba", "scipy", "pyarrow", "tokenizers", "numpy")


@pytest.mark.parametrize("start", ["import fastki", "import fastki.cli.main"])
def test_starting_loads_no_heavy_library(start):
    code = f"{start}; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_every_public_name_loads():
    assert all(getattr(fastki, name) is not None for name in fastki.__all__)
    assert set(fastki.__all__) <= set(dir(fastki))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fastki.no_such_name
