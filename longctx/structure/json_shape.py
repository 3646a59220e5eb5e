"""JSON and JSON lines: which keys there are, of what type, how often, with examples."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from longctx.structure.facts import Fact, Group, NoStructure, Structure, amount, place, plural, shortened
from longctx.structure.lines import LONGEST, numbered
from longctx.text.document import Document

LARGEST = 64 << 20  # bytes of a document that is one value
MOST_KEYS = 300
EXAMPLES = 3
WRONG = object()  # stands for a line that is no JSON
MAP = 30  # keys of an object of like values from which they are names
_TYPES: dict[type, str] = {
    **{dict: "object", list: "list", str: "text", bool: "true or false", int: "whole number"},
    **{float: "number", type(None): "null"},
}


class _Key:
    """What is known of one key, wherever its path occurs."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.types: Counter[str] = Counter()
        self.examples: list[str] = []
        self.least: float | None = None
        self.largest: float | None = None
        self.items = 0

    def add(self, value: Any) -> None:
        self.types[_TYPES[type(value)]] += 1
        if isinstance(value, (dict, list)):
            self.items += len(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            self.least = value if self.least is None else min(self.least, value)
            self.largest = value if self.largest is None else max(self.largest, value)
        elif isinstance(value, str) and len(self.examples) < EXAMPLES:
            example = shortened(value[:200])
            if example and example not in self.examples:
                self.examples.append(example)


class Shape:
    """The keys of many values, by their paths: `users[].name`."""

    def __init__(self) -> None:
        self.keys: dict[str, _Key] = {}
        self.left_out = 0

    def add(self, value: Any, line: int) -> None:
        """Count the keys of a value and of all values in it."""
        waiting: list[tuple[str, Any]] = [("", value)]
        while waiting:
            path, value = waiting.pop()
            if path not in self.keys:
                if len(self.keys) >= MOST_KEYS:
                    self.left_out += 1
                    continue
                self.keys[path] = _Key(line)
            self.keys[path].add(value)
            if isinstance(value, list):
                waiting += [(f"{path}[]", item) for item in reversed(value)]
            elif isinstance(value, dict):
                wide = len(value) > MAP and len(set(map(type, value.values()))) == 1
                names = (("*" if wide else key, one) for key, one in value.items())
                inner = [(f"{path}.{name}".lstrip("."), one) for name, one in names]
                waiting += reversed(inner)


def summarise_json(document: Document) -> Structure:
    """Tell the shape of a document that is one value."""
    if document.end - document.start > LARGEST:
        raise NoStructure(
            f"{document.name}: one JSON value of over {LARGEST >> 20} MiB; write its items on"
            " lines of their own (jq -c '.[]') and summarise those"
        )
    try:
        value = json.loads("".join(document.blocks()))
    except (ValueError, RecursionError) as error:
        raise NoStructure(f"{document.name}: no JSON after all ({shortened(str(error))})") from error
    shape = Shape()
    shape.add(value, 0)
    what = f"a list of {plural(len(value), 'item')}" if isinstance(value, list) else "one object"
    if isinstance(value, dict):
        what += f" with {plural(len(value), 'key')}"
    return _structure("JSON", document, shape, what)


def summarise_json_lines(document: Document) -> Structure:
    """Tell the shape of a document with a value on each line, in memory that does not grow with it."""
    shape, count, wrong, first_wrong = Shape(), 0, 0, 0
    for number, value in _values(document):
        if value is WRONG:
            wrong, first_wrong = wrong + 1, first_wrong or number
            continue
        shape.add(value, number)
        count += 1
    structure = _structure("JSON lines", document, shape, f"{plural(count, 'value')}, one a line")
    if wrong:
        note = Fact(f"{plural(wrong, 'line')} without JSON", place(document, first_wrong))
        structure.groups.insert(0, Group("To look at", [note]))
    return structure


def _values(document: Document) -> Iterator[tuple[int, Any]]:
    """Yield the value on each line, or WRONG."""
    for number, line in numbered(document):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                if len(line) < LONGEST:  # a longer one was cut, and is none of the writer's faults
                    yield number, WRONG


def _structure(kind: str, document: Document, shape: Shape, what: str) -> Structure:
    told = [(path, key) for path, key in shape.keys.items() if path]
    facts = [
        Fact(f"{path}: {_told(key)}", place(document, key.line) if key.line else "") for path, key in told
    ]
    values = {
        "keys": [
            {"path": path, "types": dict(key.types), "minimum": key.least, "maximum": key.largest}
            | {"examples": key.examples}
            for path, key in told
        ]
    }
    group = Group("Keys", facts, shape.left_out)
    return Structure(kind, document.name, f"{document.name}: {kind}, {what}", [group], values)


def _told(key: _Key) -> str:
    count = key.types.total()
    kinds = ", ".join(
        kind if times == count else f"{kind} ({times:,})" for kind, times in key.types.most_common()
    )
    parts = [kinds, f"{count:,} x" if count > 1 else ""]
    if key.items:
        parts.append(f"{key.items / count:,.3g} inside on average" if count > 1 else f"{key.items:,} inside")
    if key.least is not None and key.largest is not None:
        several = f" to {amount(key.largest)}" if key.largest > key.least else ""
        parts.append(amount(key.least) + several)
    if key.examples:
        parts.append("such as " + ", ".join(json.dumps(one, ensure_ascii=False) for one in key.examples))
    return "; ".join(part for part in parts if part)
