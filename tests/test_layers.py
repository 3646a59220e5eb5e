"""Imports go one way: cli and render -> tasks -> engine -> models -> kernels; leaves serve all."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEAVES = {"errors": 0, "machine": 0, "text": 0, "tokens": 0, "sampling": 0, "quotes": 0}
LEVELS = LEAVES | {
    "kernels": 1,
    "models": 2,
    "hub": 2,
    "engine": 3,
    "plan": 3,
    "tasks": 4,
    "render": 5,
    "options": 6,
    "doctor": 6,
    "cli": 7,
    "__main__": 8,
    "__init__": 0,
}
SOURCES = sorted(
    path
    for part in ("longctx", "kernels", "models")
    for path in (ROOT / part).rglob("*.py")
    if "/." not in str(path)
)


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    inside = relative.parts[1:] if relative.parts[0] == "longctx" else relative.parts
    return inside[0] if len(inside) > 1 else Path(inside[0]).stem


def imported(path: Path, top_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    """If this fails a kernel starts to know commands, and nothing can be changed alone any more."""
    own = LEVELS[part_of(path)]
    for name in imported(path):
        if name.startswith("longctx."):
            target = name.split(".")[1]
            assert LEVELS.get(target, 0) <= own, f"{path.name} imports {name}"
        if part_of(path) in ("models", "kernels"):
            assert name.split(".")[0] not in ("click", "rich")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_torch_is_not_imported_on_the_way_to_help(path: Path) -> None:
    """If this fails `longctx --help` takes seconds."""
    if part_of(path) not in ("models", "kernels"):
        assert not {n for n in imported(path, top_only=True) if n.split(".")[0] in ("torch", "transformers")}


def test_the_three_folders_are_namespace_packages() -> None:
    """If this fails `import transformers` breaks for anyone who works in this repository."""
    assert not [p for p in ("kernels", "models", "prompts") if (ROOT / p / "__init__.py").exists()]
