"""Small faults that can be put into the functions of a module, and functions given other code."""

import ast
import gc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import NamedTuple

PAIRS = [(ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)]
SWAPPED: dict[type, type] = dict([*PAIRS, *((b, a) for a, b in PAIRS), (ast.And, ast.Or), (ast.Or, ast.And)])
NOT_BEHAVIOUR = {"annotation", "returns", "decorator_list", "type_params"}


class Site(NamedTuple):
    """A place for a fault.

    Attributes:
        node: what is written there. kind: what kind of fault.
        function: the qualified name of the function around it.
        apply: puts the fault into the tree.
    """

    node: ast.AST
    kind: str
    function: str
    apply: Callable[[], None]


def behaviour(node: ast.AST) -> Iterator[ast.AST]:
    """Walk through what runs, but not into other functions: no annotations, no decorators."""
    yield node
    for name, value in ast.iter_fields(node):
        if name not in NOT_BEHAVIOUR:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                    yield from behaviour(child)


def functions(node: ast.AST, scope: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield each function in a tree with its qualified name, as code objects have it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield scope + child.name, child
            yield from functions(child, f"{scope}{child.name}.<locals>.")
        elif isinstance(child, ast.ClassDef):
            yield from functions(child, f"{scope}{child.name}.")
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from functions(child, scope)


def put(node: ast.AST, field: str, value: object) -> Callable[[], None]:
    """Return what changes a field of a node."""
    return lambda: setattr(node, field, value)


def sites(tree: ast.AST) -> list[Site]:
    """List every place in a module where a fault can be put, in the order of the walk."""
    found: list[Site] = []
    for name, function in functions(tree):
        places = [*_removals(function.body)]
        for part in function.body:
            if not isinstance(part, (ast.FunctionDef, ast.ClassDef)):
                places += [place for node in behaviour(part) for place in _at(node)]
        found += [Site(node, kind, name, apply) for node, kind, apply in places]
    return found


def _at(node: ast.AST) -> Iterator[tuple[ast.AST, str, Callable[[], None]]]:
    """Yield the faults of one node: the node before, the kind of fault, and what applies it."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield node, "comparison", put(node, "ops", [SWAPPED[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.BoolOp):
        yield node, "and, or", put(node, "op", SWAPPED[type(node.op)]())
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        for by in (-1, 1):
            yield node, "boundary", put(node, "value", node.value + by)
    elif isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "None":
        yield node, "return", put(node, "value", ast.Constant(None))
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield node.test, "not", put(node, "test", ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, (ast.If, ast.For, ast.While, ast.With, ast.Try)):
        yield from _removals(node.body)


def _removals(body: list[ast.stmt]) -> Iterator[tuple[ast.AST, str, Callable[[], None]]]:
    """Yield the statements of a block that can be left out: calls, raises, jumps and changes of a value."""
    for at, line in enumerate(body):
        call = isinstance(line, ast.Expr) and not isinstance(line.value, ast.Constant)
        if call or isinstance(line, (ast.Raise, ast.Continue, ast.Break, ast.AugAssign)):
            yield line, "removed", partial(body.__setitem__, at, ast.Pass())


def implant(path: Path, code: CodeType) -> None:
    """Give the functions of a module, already imported, the code that they have in another version of it."""
    fresh = {}
    waiting = [code]
    while waiting:
        inner = [x for x in waiting.pop().co_consts if isinstance(x, CodeType)]
        waiting += inner
        fresh.update({(x.co_qualname, x.co_firstlineno): x for x in inner})
    for thing in gc.get_objects():
        old = thing.__code__ if type(thing) is FunctionType else None
        if old and old.co_filename.endswith(path.name) and Path(old.co_filename).resolve() == path:
            thing.__code__ = fresh.get((old.co_qualname, old.co_firstlineno), old)
