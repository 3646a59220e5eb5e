"""The house before and after: what can be counted in two revisions, and what can be measured.

    python -m bench.house BASE HEAD

Each revision is checked out into a temporary folder; its own `longctx` is run there with the bundled model.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

PRODUCT = ("longctx/", "kernels/", "models/")
FOLDERS = (*PRODUCT, "tests/", "training/", "bench/")
LONGEST_FILE, LONGEST_FUNCTION = 400, 50
KIND = re.compile(r"(Layer|Mixer|State|Log|Memory)$")  # the names of classes whose kind nobody should ask
# A file of longctx/ knows the bundled model when its code names what only a model that copies has.
# The engine, which says what a model can do and where it looked, is not counted.
COPYING = re.compile(r"pointer_heads|copies_facts|look_up|retriever")
QUESTION = "What is the special magic number for the lighthouse?"
TEXT = "The wind fell at night.\nThe special magic number for the lighthouse is 4031775.\nNobody came.\n"
COMMANDS = (
    *(("ask", QUESTION, "text.txt"), ("summarize", "text.txt"), ("niah", "--length", "1k", "--depths", "1")),
    *(("plan", "--length", "1k"), ("doctor",)),
)
PROBED = "probed.json"


def counted(root: Path) -> dict[str, str]:
    """Return what can be counted in the tracked files of a checkout."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout
    paths = [
        path for path in listed.splitlines() if path.startswith(FOLDERS) and path.endswith((".py", ".toml"))
    ]
    texts = {path: (root / path).read_text(encoding="utf-8") for path in paths}
    sizes = {path: text.count("\n") for path, text in texts.items()}
    trees = {path: ast.parse(text) for path, text in texts.items() if path.endswith(".py")}
    nodes = [node for path in trees if path.startswith(PRODUCT) for node in ast.walk(trees[path])]
    ours = {path: tree for path, tree in trees.items() if path.startswith("longctx/")}

    def lines(*folders: str, suffix: str = ".py") -> str:
        return str(sum(n for path, n in sizes.items() if path.startswith(folders) and path.endswith(suffix)))

    return {
        **{f"lines of {folder}": lines(folder) for folder in FOLDERS},
        "lines of the product": lines(*PRODUCT),
        "lines of training/ and bench/, toml too": lines("training/", "bench/", suffix=""),
        f"files over {LONGEST_FILE} lines": listing(f"{p} {n}" for p, n in sizes.items() if n > LONGEST_FILE),
        f"functions over {LONGEST_FUNCTION} lines": listing(
            f"{path}:{name}" for path, tree in trees.items() for name in long_functions(tree)
        ),
        "`isinstance` on layers and states": str(sum(map(asks_for_a_class, nodes))),
        "files of longctx/ that know the bundled model": listing(
            p
            for p, tree in ours.items()
            if p != "longctx/engine.py" and any(map(COPYING.search, names(tree)))
        ),
    }


def long_functions(tree: ast.AST) -> Iterator[str]:
    """Yield name and lines of the functions that are too long."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                yield f"{node.name} {length}"


def asks_for_a_class(node: ast.AST) -> bool:
    """Tell whether a node is `isinstance` with a class of layers or states."""
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Name) and called.id == "isinstance" and any(map(KIND.search, names(node)))


def names(tree: ast.AST) -> Iterator[str]:
    """Yield the names in code: variables, attributes, functions, arguments, imports."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "module"):
            if isinstance(value := getattr(node, field, None), str):
                yield value


def listing(found: Iterable[str]) -> str:
    """Return how many, and which."""
    return f"{len(each := list(found))}: {', '.join(each)}".removesuffix(": ")


def measured(root: Path) -> dict[str, str]:
    """Return what is measured by running a checkout's commands."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "text.txt").write_text(TEXT, encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}

        def run(*command: str) -> float:
            began, command = perf_counter(), (sys.executable, *command)
            subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
            return perf_counter() - began

        def probed(kind: str, *command: str) -> Any:
            run("-P", __file__, kind, *command)
            return json.loads(Path(folder, PROBED).read_text(encoding="utf-8"))

        calls = probed("--calls", "ask", QUESTION, "text.txt")
        missing = probed("--modules", "ask", "where?", "missing.txt")
        seconds = min(run("-m", "longctx", "ask", "where?", "missing.txt") for _ in range(5))
        opened = [f"{command[0]} {probed('--opened', *command)}" for command in COMMANDS]
    torch = "with" if "torch" in missing else "without"
    return {
        "calls from `ask` to the deepest kernel, reading": listing(calls["reading"]),
        "calls from `ask` to the deepest kernel, writing": listing(calls["writing"]),
        "times config.json is opened": ", ".join(opened),
        "`ask` about a missing file": f"{len(missing)} modules, {torch} torch, {seconds:.2f} s",
    }


def probe(kind: str, command: list[str]) -> None:
    """Run a command in this process and leave what was seen of it in a file."""
    opened: Counter[str] = Counter()
    deepest: dict[str, list[str]] = {"reading": [], "writing": []}

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            opened[Path(arguments[0]).name] += 1

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and "/longctx/kernels/" in frame.f_code.co_filename:
            calls = calls_to(frame)
            now = "writing" if "generate" in calls else "reading"
            deepest[now] = max(deepest[now], calls, key=len)

    from longctx.cli import main

    sys.addaudithook(audit)
    sys.setprofile(profile if kind == "--calls" else None)
    with suppress(SystemExit):
        main(command)
    sys.setprofile(None)
    seen = {"--calls": deepest, "--modules": list(sys.modules), "--opened": opened["config.json"]}
    Path(PROBED).write_text(json.dumps(seen[kind]), encoding="utf-8")


def calls_to(frame: FrameType | None) -> list[str]:
    """Return the project's own functions from the command (without it) to the first of kernels/."""
    calls: list[str] = []
    while frame:
        path, name = frame.f_code.co_filename, frame.f_code.co_name
        if path.endswith("/longctx/cli.py") and name == "ask":
            return calls
        if "/longctx/kernels/" in path:
            calls = [name]
        elif "/longctx/" in path:
            calls.insert(0, name)
        frame = frame.f_back
    return []


def compare(revisions: list[str]) -> None:
    """Print the table."""
    tables = []
    for revision in revisions:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder).resolve() / "house"
            subprocess.run(["git", "worktree", "add", "--quiet", "--detach", root, revision], check=True)
            try:
                tables.append(counted(root) | measured(root))
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", root], check=True)
    print("| |", *(f"{revision} |" for revision in revisions))
    print("|---|" + "---|" * len(revisions))
    for name in tables[0]:
        print(f"| {name} |", *(f"{table[name]} |" for table in tables))


if __name__ == "__main__":
    if sys.argv[1].startswith("--"):
        probe(sys.argv[1], sys.argv[2:])
    else:
        compare(sys.argv[1:])
