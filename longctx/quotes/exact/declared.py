"""What a program or a schema declares: types and defaults of columns, bases of classes, indexes."""

import re
from collections.abc import Iterable, Iterator

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.fact import Exact, Fact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.settings import unquoted
from longctx.quotes.exact.words import cover, stems

_TABLE = re.compile(
    r"\s*create\s+(?:\w+\s+)*?table\s+(?:if not exists\s+)?(?:\w+\.)?[\"`\[]?(?P<name>\w+)", re.IGNORECASE
)
_COLUMN = re.compile(
    r"\s+[\"`\[]?(?P<name>[a-z_]\w*)[\"`\]]?\s+(?P<type>[A-Za-z]\w*(?: varying| precision)?(?:\([^)]*\))?)"
)
_NO_COLUMN = frozenset(
    ("primary", "foreign", "constraint", "unique", "check", "key", "references", "select", "from")
)
_DEFAULT = re.compile(r"\bdefault\s+(?P<value>'[^']*'|[\w.+-]+(?:\(\))?)", re.IGNORECASE)
_LENGTH = re.compile(r"\((?P<size>\d+)\)|length\(\w+\)\s*<=?\s*(?P<most>\d+)")
_FIELD = (
    # id: u32, name?: string; rate: float = 1
    re.compile(
        r"\s+(?:(?:pub|public|private|protected|readonly|val|var|static|final)"
        r" )*(?P<name>\w+)\??\s*:\s*(?P<type>[\w<>\[\], |.&'?]+?)\s*(?:=.*)?[,;]?$"),
    # Addr string `json:"addr"`
    re.compile(r"\t(?P<name>[A-Za-z]\w*)\s+(?P<type>[\w.*\[\]]+)(?:\s+`[^`]*`)?\s*(?://.*)?$"),
    # private final int size = 4;
    re.compile(
        r"\s+(?:(?:public|private|protected|static|final|const|unsigned)"
        r" )*(?P<type>[\w<>\[\], *]+?)[ *]+(?P<name>\w+)\s*(?:=.*)?;\s*(?://.*)?$"),
)  # fmt: skip
_NO_TYPE = frozenset(("return", "import", "package", "using", "throw", "new", "else", "goto", "delete"))
_CLASS = re.compile(r".*?\b(?:class|struct|interface|trait|type)\s+(?P<name>\w+)")
_BASE_ASKED = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        r"(?:which|what)(?: (?:class|type|interface|exception))? (?:does|is) (?P<name>\w+)"
        r" (?:inherit|extend|derive|subclass|implement"
        r"|a subclass|derived|based)",
        r"(?:what is |which is )?(?:the )?(?:base|parent|super) ?class (?:of|for) (?P<name>\w+)",
        r"what (?:does|is) (?P<name>\w+) (?:inherit|extend|derive)",
    )
)
_KIND_ASKED = re.compile(
    r"(?:which|what) (?P<kind>index|view|trigger|table|constraint|sequence|target|policy)\b", re.IGNORECASE
)


def declarations(lines: Iterable[Line], name: str) -> Iterator[Fact]:
    """Yield types, lengths and defaults of the columns of tables, and types of fields."""
    table = holder = ""
    for line in lines:
        text = line.text
        if found := _TABLE.match(text):
            table = found["name"]
        elif table:
            yield from _of_column(table, line)
            table = "" if re.match(r"\s*\)", text) else table
        elif found := _CLASS.match(text):
            holder = found["name"]
        elif holder and (field := next((one for form in _FIELD if (one := form.match(text))), None)):
            if field["type"].split()[0] not in _NO_TYPE:
                yield Fact((holder, f"{field['name']} type"), field["type"].strip(), line.quote)
        elif text[:1] in "})":
            holder = ""


def _of_column(table: str, line: Line) -> Iterator[Fact]:
    found = _COLUMN.match(line.text)
    if not found or found["name"].lower() in _NO_COLUMN:
        return
    name = found["name"]
    yield Fact((table, f"{name} type"), found["type"], line.quote)
    if default := _DEFAULT.search(line.text):
        yield Fact((table, name, "default"), unquoted(default["value"]), line.quote)
    if size := _LENGTH.search(line.text):
        yield Fact((table, f"{name} length"), size["size"] or size["most"], line.quote)


def base_asked(question: str) -> str:
    """Return the class whose base is asked for; empty if none is."""
    return next((found["name"] for form in _BASE_ASKED if (found := form.match(question))), "")


def bases(name: str, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield what a class is derived from."""
    form = re.compile(
        rf"\s*(?:[\w(]+\)? +)*?(?:class|interface|struct|trait)\s+{re.escape(name)}\b(?:<[^>]*>"
        rf"|\[[^\]]*\])?\s*"
        r"(?:\((?P<in_brackets>[^)]+)\)|(?:extends|implements"
        r"|<)\s+(?P<after_word>[\w.:<>, ]+?)\s*(?:\{|$)|:\s*(?P<after_colon>[^{]+?)\s*(?:\{|$))"
    )
    for line in lines:
        if found := form.match(line.text):
            yield Exact(next(filter(None, found.groups())), line.quote())


def of_kind(asked: Asked, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield the names of things of a kind that are defined with all that is asked for: an index, a view."""
    kind = _KIND_ASKED.match(asked.text)
    if not kind:
        return
    form = re.compile(
        rf"\s*(?:create\b.*\b)?{kind['kind']}\s+(?:if not exists\s+)?[\"`]?(?P<name>[\w.]+)", re.IGNORECASE
    )
    for line in lines:
        rest = asked.required - cover(asked.terms, stems(f"{kind['kind']} column table {line.text}"))[0]
        if (found := form.match(line.text)) and not rest:
            yield Exact(found["name"], line.quote())
