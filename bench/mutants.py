"""A mutation score: small faults put into functions one by one, and whether the tests notice.

    python -m bench.mutants --each 4 --seed 27 --minutes 8

A sample, not a census: `--each` faults are drawn from each module of TESTS, in rounds over the modules, so
that a run that stops early has sampled all alike. A module is judged by the few cheap test files that TESTS
names for it; what only another file would notice counts as a survivor. No file changes: tests are imported
once, and each trial is a fork in which one function gets other code. So faults outside of functions are not
tried, and tests that start the command as a process of its own do not see them.
"""

import argparse
import ast
import contextlib
import gc
import importlib
import math
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import NamedTuple

import pytest

TESTS = {
    "longctx/tasks/lookup": ["questions", "prompt"],
    "longctx/tasks/verifier": ["verifier"],
    "longctx/tasks/quoted": ["quoted"],
    "longctx/tasks/many": ["questions", "asking"],
    "longctx/tasks/conversation": ["conversation"],
    "longctx/quotes/closest": ["exact", "closest"],
    "longctx/sampling": ["sampling"],
    "longctx/writing": ["questions", "together", "conversation"],
    "longctx/together": ["together"],
    "longctx/text/offsets": ["stream", "span"],
    "longctx/text/span": ["span", "stream"],
    "longctx/text/until": ["until"],
    "longctx/tokens/stream": ["stream"],
    "longctx/store/match": ["store"],
    "longctx/store/files": ["store"],
    "longctx/store/manifest": ["store"],
    "models/kv_log": ["kv_room", "engine", "model"],
    "models/state": ["model", "engine"],
    "kernels/attention": ["attention"],
}
PAIRS = [(ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)]
SWAPPED: dict[type, type] = dict([*PAIRS, *((b, a) for a, b in PAIRS), (ast.And, ast.Or), (ast.Or, ast.And)])
NOT_BEHAVIOUR = {"annotation", "returns", "decorator_list", "type_params"}


class Site(NamedTuple):
    """A place for a fault: the nodes before it, what kind it is, and what puts it there."""

    node: ast.AST
    kind: str
    apply: Callable[[], None]


def behaviour(node: ast.AST) -> Iterator[ast.AST]:
    """Walk through what runs: no annotations, no decorators, nothing that only type checkers read."""
    yield node
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    for name, value in ast.iter_fields(node):
        if name not in NOT_BEHAVIOUR:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from behaviour(child)


def put(node: ast.AST, field: str, value: object) -> Callable[[], None]:
    """Return what changes a field of a node."""
    return lambda: setattr(node, field, value)


def sites(tree: ast.AST) -> list[Site]:
    """List every place in a module where a fault can be put, in the order of the walk."""
    found: list[Site] = []
    functions = [x for x in behaviour(tree) if isinstance(x, ast.FunctionDef)]
    inside = [x for function in functions for part in function.body for x in behaviour(part)]
    for node in dict.fromkeys([*functions, *inside]):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
            found.append(
                Site(node, "comparison", put(node, "ops", [SWAPPED[type(node.ops[0])](), *node.ops[1:]]))
            )
        elif isinstance(node, ast.BoolOp):
            found.append(Site(node, "and, or", put(node, "op", SWAPPED[type(node.op)]())))
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            found += [Site(node, "boundary", put(node, "value", node.value + by)) for by in (-1, 1)]
        elif isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "None":
            found.append(Site(node, "return", put(node, "value", ast.Constant(None))))
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            found.append(Site(node.test, "not", put(node, "test", ast.UnaryOp(ast.Not(), node.test))))
        if isinstance(node, (ast.FunctionDef, ast.If, ast.For, ast.While, ast.With, ast.Try)):
            found += removals(node.body)
    return found


def removals(body: list[ast.stmt]) -> list[Site]:
    """List the statements of a block that can be left out: calls, raises, jumps and changes of a value."""
    found = []
    for at, line in enumerate(body):
        call = isinstance(line, ast.Expr) and not isinstance(line.value, ast.Constant)
        if call or isinstance(line, (ast.Raise, ast.Continue, ast.Break, ast.AugAssign)):
            found.append(Site(line, "removed", partial(body.__setitem__, at, ast.Pass())))
    return found


def tests(*arguments: str) -> int:
    """Run pytest in this process, as quietly as can be."""
    quick = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"]
    return int(pytest.main([*quick, *arguments]))


def files(module: str) -> list[str]:
    """Name the test files that judge a module."""
    return [f"tests/test_{name}.py" for name in TESTS[module]]


def implant(path: Path, code: CodeType) -> None:
    """Give the functions of a module, already imported, the code that they have in another version of it."""
    fresh = {}
    waiting = [code]
    while waiting:
        inner = [x for x in waiting.pop().co_consts if isinstance(x, CodeType)]
        waiting += inner
        fresh.update({(x.co_qualname, x.co_firstlineno): x for x in inner})
    for thing in gc.get_objects():
        old = thing.__code__ if isinstance(thing, FunctionType) else None
        if old and old.co_filename.endswith(path.name) and Path(old.co_filename).resolve() == path:
            thing.__code__ = fresh.get((old.co_qualname, old.co_firstlineno), old)


def judge(module: str, code: CodeType | None, seconds: float) -> str:
    """Run the tests of a module in a fork: "survived", "noticed", "hung" (20 s of CPU), or "out of time"."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        with contextlib.suppress(BaseException), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
            if code:
                implant(Path(f"{module}.py").resolve(), code)
            os._exit(tests(*files(module)))
        os._exit(1)
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "hung" if os.WIFSIGNALED(status) else "noticed" if status else "survived"
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "out of time"
        time.sleep(0.02)


def trial(module: str, chosen: random.Random, seconds: float) -> tuple[str, str]:
    """Draw a fault and judge it: the outcome, and a line about the fault."""
    source = Path(f"{module}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    site = chosen.choice(sites(tree))
    before, line = " ".join(ast.unparse(site.node).split()), site.node.lineno  # type: ignore[attr-defined]
    text = source.splitlines()[line - 1].strip()
    site.apply()
    after = "" if site.kind in ("removed", "return", "not") else f" -> `{ast.unparse(site.node)}`"
    code = compile(ast.fix_missing_locations(tree), str(Path(f"{module}.py").resolve()), "exec")
    return judge(module, code, seconds), f"{module}.py:{line} {site.kind}: `{before[:90]}`{after} in `{text}`"


def interval(noticed: int, total: int) -> tuple[float, float]:
    """Wilson's interval of 95% for a share."""
    z, share = 1.96, noticed / total
    middle = share + z * z / (2 * total)
    reach = z * math.sqrt(share * (1 - share) / total + (z / total / 2) ** 2)
    return (middle - reach) / (1 + z * z / total), (middle + reach) / (1 + z * z / total)


def main() -> None:
    """Sample faults, judge each, and print what survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--each", type=int, default=4, help="faults for each module")
    parser.add_argument("--seed", type=int, default=27)
    parser.add_argument("--minutes", type=float, default=8, help="start no trial after so long")
    parser.add_argument("--limit", type=float, default=60, help="seconds for one trial")
    parser.add_argument("modules", nargs="*", default=list(TESTS), metavar="MODULE", help="of TESTS")
    options = parser.parse_args()
    end = time.monotonic() + options.minutes * 60
    tests("--collect-only", "-qq", *sorted({name for module in options.modules for name in files(module)}))
    for module in options.modules:
        importlib.import_module("longctx." + module.removeprefix("longctx/").replace("/", "."))
    drawn = {module: random.Random(f"{options.seed} {module}") for module in options.modules}
    judged: dict[str, tuple[str, str]] = {}  # by fault: one that is drawn twice counts once
    for module, chosen in list(drawn.items()) * options.each:
        if time.monotonic() < end:
            outcome, fault = trial(module, chosen, options.limit)
            judged[fault] = outcome, module
            print(f"{outcome}: {fault}", flush=True)
    # Where a fault survived, the tests pass without it. Elsewhere that is still to be seen.
    results = list(judged.values())
    whole = {module for how, module in results if how == "survived"}
    for module in sorted({module for _, module in results} - whole):
        if judge(module, None, 4 * options.limit) != "survived":
            print(f"# not judged: the tests of {module} fail or take too long as they are", flush=True)
            results = [(how, name) for how, name in results if name != module]
    outcomes = [how for how, _ in results if how != "out of time"]
    noticed = len(outcomes) - outcomes.count("survived")
    low, high = interval(noticed, len(outcomes))
    print(f"# {noticed} of {len(outcomes)} noticed, {outcomes.count('hung')} hung; seed {options.seed}")
    print(f"# score {noticed / len(outcomes):.0%}, 95% interval {low:.0%} to {high:.0%}")


if __name__ == "__main__":
    main()
