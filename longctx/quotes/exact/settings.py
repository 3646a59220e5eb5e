"""Facts in files of settings and in programs: keys with values, in sections, by indentation, in lists."""

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from longctx.quotes.exact.fact import Fact
from longctx.quotes.exact.lines import Line

_LEAD = (
    r"(?P<lead>\s*(?:(?:- |\* |export |readonly |declare |local |set |const |let |var |static |final "
    r"|pub(?:\([\w ]+\))? "
    r"|val |public |private |readonly |protected |internal |override |unsigned |signed |int |long |short"
    r" |char "
    r"|double |float "
    r"|bool |string |String |boolean |size_t |u?int\d+(?:_t)? |ARG |ENV |LABEL |#\s*define |type )\s*)*)[*&]?"
)
_NAMED = r"(?P<quote>[\"'`]?)(?P<key>@?[^\W\d][\w./@-]*(?:\[\w*\])?(?: [\w.-]+){0,3})(?P=quote)"
_SETTING = re.compile(
    rf"{_LEAD}{_NAMED}(?:\s*:\s*[\w\[\]., |&<>:']+?(?==|:=))?"
    r"\s*(?:\?=|:=|\+=|=>|=(?!=)|:(?!:)(?=\s|[^\s/:]))\s*(?P<value>\S.*?)\s*[,;]?\s*$"
)
_DEFINE = re.compile(r"\s*#\s*define\s+(?P<key>\w+)\s+(?P<value>\S.*?)\s*$")
_OPENING = re.compile(rf"{_LEAD}{_NAMED}(?:\s*:\s*[\w\[\], .]+(?==))?\s*[:=]?>?\s*[\w:.]*[\[({{]*[|>]?-?\s*$")
_SECTION = re.compile(r"\s*\[+(?P<key>[^\[\]]+)\]+\s*$")
_BLOCK = re.compile(r"\s*(?P<key>(?:[\w.\"-]+ ){0,2}[\w./\"-]+)\s*\{\s*$")  # server {, resource "a" "b" {
_ITEM = re.compile(r"\s*(?:- +)?(?P<quote>[\"']?)(?P<value>[^\s\"'\[\]{}<].*?)(?P=quote)\s*,?(?:\s+#.*)?\s*$")
_LITERAL_ITEM = re.compile(r"\s*(?P<value>\"[^\"]*\"|'[^']*'|[-+]?\d[\d_.]*)\s*,?\s*$")
_TOGETHER = re.compile(r"\s*(?P<names>\w+(?:, \w+)+) = (?P<values>[^(,]+(?:, [^(,]+)+?)\s*$")  # A, B = 1, 2
_PAIR = re.compile(
    r"[\"']?(?P<key>[\w.-]+)[\"']?\s*[=:]\s*(?P<value>\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^\s,{}]+)"
)
_ELEMENT = re.compile(r"\s*<(?P<key>[\w.:-]+)(?:\s[^<>]*)?>(?P<value>[^<>]+)</(?P=key)>\s*$")
_TAG = re.compile(r"\s*<(?P<key>[\w.:-]+)(?P<rest>\s[^<>]*=[^<>]*)/?>")
_CLASS = re.compile(
    r".*?\b(?:class|struct|enum|interface|trait|impl|object|namespace|module)\s+(?P<key>\w+)[^;=]*[{:]\s*$"
)
_OPEN_TAG = re.compile(r"\s*<(?P<key>[\w.:-]+)(?:\s[^<>]*)?(?<!/)>\s*$")
_BARE = re.compile(r"\s*(?P<key>[a-z_]\w+)\s+(?P<value>[^={\s][^={]*?);\s*$")  # nginx
_INSTRUCTION = re.compile(r"(?P<key>[A-Z]{3,})\s+(?P<value>\S.*?)\s*$")  # Dockerfile
_MEANT = {
    "FROM": "base image",
    "EXPOSE": "port",
    "CMD": "command",
    "WORKDIR": "working directory",
    "ENTRYPOINT": "entry point",
}
_FLAG = re.compile(r"(?<!\S)--(?P<key>[A-Za-z][\w-]+)[ =](?P<value>[^\s\"'-][^\s\"']*)")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_WITHIN = re.compile(
    r"(?<![^\s,;])(?P<key>[a-z][\w-]*)=(?P<value>[^\s,;\"']+)"
)  # of a value that lists several
_FUNCTION = re.compile(r".*?\b(?:def|function|fn|fun|func|constructor)\b\s*(?P<name>\w*)\s*\(")
_ARGUMENT = re.compile(
    r"(?P<key>\w+)\s*(?::[^,=()]+)?=\s*(?P<value>\"[^\"]*\"|'[^']*'|[-+]?[\w.]+|\[\]|\{\})(?=\s*[,)}])"
)
_COMMENT = re.compile(r"\s+(?:#|//|--(?= )|;(?= )).*$")
_LITERAL = re.compile(
    r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`|[-+]?\d[\w.%]*|[\[({].*[\])}]|true|false|null|None|True|False|nil"
)
_CONSTANT = re.compile(r"_?[A-Z][A-Z\d_]*$")
NAMING = frozenset(("name", "id", "title", "artifactid", "include"))
_ITEM_STEP = 0.5  # columns that an item of a list is further in than its dash
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_SIGNS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
SETTINGS = re.compile(
    r"\.(?:ya?ml|toml|ini|cfg|cnf|conf|config|env|properties|tf|hcl|editorconfig|lock|service|xml|csproj"
    r"|plist)$|(?:^|/)\.?env(?:\.\w+)?$"
    r"|(?:^|/)(?:Dockerfile|Containerfile)[\w.-]*$|(?:^|/)(?:GNU)?[Mm]akefile$|\.mk$|\.dockerfile$",
    re.IGNORECASE,
)
_DOCKER = re.compile(r"(?:dockerfile|containerfile)[^/]*$", re.IGNORECASE)


def settings(lines: Iterable[Line], name: str, coded: Iterable[str] = ()) -> Iterator[Fact]:
    """Yield the settings of a file; of a program, its constants, defaults, and the entries of its tables.

    Args:
        coded: names that count wherever they are set, such as in the middle of a line.
    """
    anywhere = _anywhere(coded)
    own = bool(SETTINGS.search(name))
    set_on = _in_image if _DOCKER.search(name) else _in_settings if own else _in_program
    section: tuple[str, ...] = ()
    within: list[tuple[float, str]] = []  # how far names are indented, and the names
    constants: dict[str, Fact] = {}
    blocks = Blocks()
    above = ""  # the comment above a line of a program; in settings it may be a setting that is switched off
    for line in lines:
        text = line.text
        if not text.strip() or (text.lstrip().startswith(("#", ";", "//")) and not _DEFINE.match(text)):
            above = f"{above} {text}" if text.strip() and not own else ""
            continue
        note, above = above + _said_beside(text), ""
        if own and (found := _SECTION.match(text)):
            section, within = (found["key"].strip("\"' "),), []
            blocks.section()
            continue
        indent = _indent(text)
        while within and within[-1][0] >= indent - (_ITEM_STEP if text.lstrip().startswith("- ") else 0):
            within.pop()
        path = (*section, *(name for _, name in within))
        group = blocks.at(text)
        facts = list(set_on(line, path))
        if not own:
            facts = facts or list(_by_constant(line, path, constants))
            constants |= {fact.path[-1]: fact for fact in facts if _CONSTANT.match(fact.path[-1])}
        if anywhere and not facts:
            facts = [Fact((*path, one["key"]), one["value"], line.quote) for one in anywhere.finditer(text)]
        yield from (replace(fact, note=fact.note or note, group=group) for fact in facts)
        if named := next((one.value for one in facts if one.path[-1].lower() in NAMING), ""):
            within.append((indent - _ITEM_STEP / 2, named))  # it is the name of what stands beside it
        if opened := _opened(text):
            within.append((indent, opened))


class Blocks:
    """The blocks that a line stands in, told by sections, indentation, and the dashes of items."""

    def __init__(self) -> None:
        self._open: list[tuple[int, int]] = []  # how far a block is indented, and its number
        self._count = 0

    def section(self) -> None:
        """Begin a section, which ends all blocks."""
        self._open = []
        self._push(-1)

    def at(self, text: str) -> tuple[int, ...]:
        """Return the numbers of the blocks that hold a line, the outermost first."""
        body = text.lstrip(" \t-")
        indent, item = len(text) - len(body), text.lstrip().startswith("- ")
        while self._open and (self._open[-1][0] > indent or (item and self._open[-1][0] == indent)):
            self._open.pop()
        if not self._open or self._open[-1][0] < indent:
            self._push(indent)
        return tuple(number for _, number in self._open)

    def _push(self, indent: int) -> None:
        self._count += 1
        self._open.append((indent, self._count))


def _said_beside(text: str) -> str:
    found = _COMMENT.search(text)
    return found[0] if found else ""


def _in_image(line: Line, path: tuple[str, ...]) -> Iterator[Fact]:
    found = _INSTRUCTION.match(line.text)
    if found and found["key"] not in ("ARG", "ENV", "LABEL"):
        for key in filter(None, (found["key"], _MEANT.get(found["key"]))):
            yield from with_flags(Fact((*path, key), unquoted(found["value"]), line.quote))
    else:
        yield from _in_settings(line, path)


def _in_settings(line: Line, path: tuple[str, ...]) -> Iterator[Fact]:
    if found := _SETTING.match(line.text) or _BARE.match(line.text):
        yield from _value(line, path, found["key"], found["value"])
    elif found := _ELEMENT.match(line.text):
        yield Fact((*path, found["key"]), html.unescape(found["value"]), line.quote)
    elif found := _TAG.match(line.text):
        yield from _attributes(line, (*path, found["key"]), found["rest"])
    elif path and line.text.rstrip()[-1] not in "{:" and (found := _ITEM.match(line.text)):
        yield from with_flags(Fact(path, unquoted(_COMMENT.sub("", found["value"])), line.quote, listed=True))


def _attributes(line: Line, path: tuple[str, ...], rest: str) -> Iterator[Fact]:
    """Yield the attributes of a tag, under the one that names it: <package id="x" version="1"/>."""
    pairs = list(_PAIR.finditer(rest))
    named = tuple(unquoted(pair["value"]) for pair in pairs if pair["key"].lower() in NAMING)
    for pair in pairs:
        yield Fact((*path, *named, pair["key"]), html.unescape(unquoted(pair["value"])), line.quote)


def _in_program(line: Line, path: tuple[str, ...]) -> Iterator[Fact]:
    if function := _FUNCTION.match(line.text):
        for one in _ARGUMENT.finditer(line.text, function.end()):
            yield Fact((function["name"], f"default {one['key']}"), unquoted(one["value"]), line.quote)
    elif found := _TOGETHER.match(line.text):
        values = found["values"].split(", ")
        for name, value in zip(found["names"].split(", "), values, strict=False):
            if _LITERAL.fullmatch(value):
                yield Fact((*path, name), unquoted(value), line.quote)
    elif found := _DEFINE.match(line.text):
        yield Fact((*path, found["key"]), unquoted(_COMMENT.sub("", found["value"])), line.quote)
    elif found := _SETTING.match(line.text):
        if _constant(found["key"], found["value"], line.text):
            yield from _value(line, path, found["key"], found["value"])
    elif path and (found := _LITERAL_ITEM.match(line.text)):
        yield Fact(path, unquoted(found["value"]), line.quote)


def _by_constant(line: Line, path: tuple[str, ...], constants: Mapping[str, Fact]) -> Iterator[Fact]:
    """Yield what a field is set to by the name of a constant: the constant's value, and its line."""
    if (found := _SETTING.match(line.text)) and (constant := constants.get(_COMMENT.sub("", found["value"]))):
        yield Fact((*path, found["key"]), constant.value, constant.quote)


def _opened(text: str) -> str:
    """Return the name of what a line opens; empty if it opens nothing."""
    if found := _OPEN_TAG.match(text) or _CLASS.match(text):
        return str(found["key"])
    if not _is_value(text) and (found := _OPENING.match(text) or _BLOCK.match(text)):
        return str(found["key"])
    found = _SETTING.match(text)
    return str(found["key"]) if found and found["value"][-1:] in "[{(" else ""


def _is_value(text: str) -> bool:
    """Tell a value from what opens a block, where both end alike."""
    return text.rstrip()[-1:] not in "[{(:=|>-" and not re.search(r"[:=]\s*$|[|>]-$", text)


def _indent(text: str) -> float:
    """Return how far a line is indented; an item of a list is a little further in than its dash."""
    body = text.lstrip()
    return len(text) - len(body) + (_ITEM_STEP if body.startswith("- ") else 0)


def _constant(key: str, value: str, line: str) -> bool:
    """Tell whether a line of a program sets something once: a constant, or a literal value."""
    plain = _COMMENT.sub("", value)
    if _CONSTANT.match(key) or re.match(r"\s*(?:export |pub(?:\([\w ]+\))? |static |final )*const ", line):
        return True
    return bool(_LITERAL.fullmatch(plain)) or bool(
        re.fullmatch(r"[\w.]+\((?:\"[\w./ -]+\"|'[\w./ -]+'|[\d_.]+)\)|[\d_]+ \* [\w.]+", plain)
    )


def _value(line: Line, path: tuple[str, ...], key: str, value: str) -> Iterator[Fact]:
    value = value if value[0] in "\"'`" and value[-1] == value[0] else _COMMENT.sub("", value)
    if value in ("{", "[", "(", "|", ">", "|-", ">-", "\\"):
        return
    if value.startswith("{") and value.endswith("}"):
        for pair in _PAIR.finditer(value):
            names = (*path, key) if pair["key"] == "version" else (*path, key, pair["key"])
            yield Fact(names, unquoted(pair["value"]), line.quote)
        return
    yield from with_flags(Fact((*path, key), unquoted(value.removesuffix(" \\")), line.quote))


def _anywhere(coded: Iterable[str]) -> re.Pattern[str] | None:
    names = "|".join(re.escape(name) for name in coded if re.fullmatch(r"\w+", name))
    value = r"(?P<value>\"[^\"]*\"|'[^']*'|[^\s,;(){}=]+)"
    return re.compile(rf"(?<![\w.$])(?P<key>{names})\s*=(?!=)\s*{value}") if names else None


def with_flags(fact: Fact) -> Iterator[Fact]:
    """Yield a fact, and what its value holds: an address, addr=10.0.0.1, of a command --port 80."""
    yield fact
    for part in _EMAIL.finditer(fact.value):
        if part[0] != fact.value:
            yield Fact((*fact.path, "email"), part[0], fact.quote, note=fact.value)
    for part in _WITHIN.finditer(fact.value):
        yield Fact((*fact.path, part["key"]), part["value"], fact.quote, note=fact.value)
    for flag in _FLAG.finditer(fact.value):
        program = fact.value.split()[0].removeprefix("--")
        yield Fact((*fact.path, program, flag["key"]), flag["value"], fact.quote, note=fact.value)


def unquoted(value: str) -> str:
    r"""Return a value without the quotation marks around it and the backslashes in it."""
    quote = value[:1]
    if (
        len(value) < 2
        or quote not in "\"'`"
        or value[-1] != quote
        or quote in re.sub(r"\\.", "", value[1:-1]).replace("''", "")
    ):
        return value
    if quote == "'":
        return value[1:-1].replace("''", "'")
    return _ESCAPE.sub(lambda found: _sign(found[1]), value[1:-1])


def _sign(code: str) -> str:
    return chr(int(code[1:], 16)) if len(code) == 5 else _SIGNS.get(code, code)
