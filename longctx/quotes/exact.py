"""Exact look-ups: where a name is defined, what a key is set to, what stands in a cell of a table.

They need no model, only a question that says plainly which name it means. Each answer is a line of the text,
matched whole. Documents are streamed; at most one block and one line are held.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from longctx.quotes.prose import common_words
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Quote, Span

MOST = 10  # places; more of them say that the question names nothing in particular
LONGEST = 1000  # characters of a line that is looked at
KEPT = 1 << 20  # characters that are kept while no line ends

_NAME = r"[`\"']?(?P<name>[A-Za-z_$][\w$.:-]*\w|\w)[`\"']?"
_KINDS = r"(?:(?:the )?(?:class|function|method|constant|variable|type|struct|macro|enum|interface) )?"
_WHERE = re.compile(
    rf"where (?:is|are) {_KINDS}{_NAME}(?:\(\))? (?:defined|declared|implemented)\W*$", re.IGNORECASE
)
_KEY = r"[`\"']?(?P<key>[\w.-]+(?: [\w.-]+){0,3}?)[`\"']?"
_VALUES = [
    re.compile(rf"what(?:'s| is| are| was) {form}\W*$", re.IGNORECASE)
    for form in (
        rf"(?:the )?(?:value|setting)s? (?:of|for) (?:the )?{_KEY}",
        rf"(?:the )?{_KEY} set to",
        rf"the (?:value of )?{_KEY}",
    )
]
# A name alone, or one that only a program could have: "region?", "What is MAIL_PORT?", "database.timeout".
_ALONE = re.compile(r"(?:what(?:'s| is) )?(?P<key>\S+|[\w-]+ [\w-]+)\W*$", re.IGNORECASE)
_CODED = re.compile(r"\w[._]\w|[a-z][A-Z]|^[A-Z][A-Z\d]{2,}$")
_VERSION = re.compile(
    r"(?:which|what(?:'s| is) the) version of (?:the )?(?P<key>@?[\w./-]+)(?: is used)?\W*$", re.IGNORECASE
)
_CELL = re.compile(
    r"what(?:'s| is) the (?P<column>[\w -]+?) (?:of|for) (?:(?:the|an?) )?(?P<row>.+?)[?.! ]*$", re.IGNORECASE
)
_SETTING = re.compile(
    r"\s*(?:[-*] |export |set |const |let |var |static |final |#define |pub |val )*"
    r"(?P<quote>[\"'`]?)(?P<key>[A-Za-z_][\w.-]*(?: [\w.-]+){0,3})(?P=quote)"
    r"(?:\s*:\s*[\w\[\]., |]+(?==))?(?:\s*(?::=|=>|=|:)\s*|(?<=[A-Z_]) +(?=\S))(?P<value>\S.*?)\s*[,;]?\s*$"
)
# As in a table of facts without lines: two spaces or more, or a tab, between a name and its value.
_COLUMNS = re.compile(
    r"\s*(?P<key>[A-Za-z][\w-]*(?: [\w-]+){0,3})(?: {2,}|\t)\s*(?P<value>\S+(?: \S+){0,5})\s*$"
)
_SECTION = re.compile(r"\s*\[+(?P<key>[^\[\]]+)\]+\s*$")
_OPENING = re.compile(r"(?P<indent>\s*)(?:- )?[\"']?(?P<key>[\w.@/ -]+?)[\"']?\s*[:=]\s*[{\[]?\s*$")
_COMMENT = re.compile(r"\s+(?:#|//).*$")
_TELLING = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s\"']+")  # one value, no sentence
_SETTINGS_FILE = re.compile(r"\.(?:ya?ml|toml|ini|cfg|conf|env|properties|json)$|(?:^|/)\.env", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
_SIGNS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Exact:
    """A value or a definition, and its line."""

    text: str
    source: Quote


def look_up(question: str, documents: Iterable[Document]) -> list[Exact]:
    """Return what the text says of the name in a question; nothing if the question is of no such form."""
    question = " ".join(question.split())
    found: list[Exact] = []
    for document in documents:
        for one in _in(question, document):
            found.append(one)
            if len(found) > MOST:
                return []
    return found


def _in(question: str, document: Document) -> Iterator[Exact]:
    if where := _WHERE.match(question):
        name = re.split(r"\.|::", where["name"])[-1]
        yield from _definitions(name, document)
        return
    if version := _VERSION.match(question):
        found = _settings(_parts(version["key"]), document, plain=False)
        yield from (one for one in found if re.search(r"\d", one.text))
        return
    alone = _ALONE.match(question)
    # "What is X?" asks for a value only where X cannot be a word of prose.
    if alone and (_CODED.search(alone["key"]) or not question.lower().startswith("what")):
        if key := _parts(alone["key"]):
            yield from _settings(key, document, plain=not _CODED.search(alone["key"]))
        return
    for number, form in enumerate(_VALUES):
        if (asked := form.match(question)) and (key := _parts(asked["key"])):
            yield from _settings(key, document, plain=number == 2)
            break
    if cell := _CELL.match(question):
        column, row = _parts(cell["column"]), _parts(cell["row"])
        yield from _cells(column, row, document)
        if column and row and _SETTINGS_FILE.search(document.name):
            yield from _settings((*row, *column), document, plain=True)


def _definitions(name: str, document: Document) -> Iterator[Exact]:
    word = re.escape(name)
    before = (
        r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async"
        r"|pub(?:\([\w ]+\))?|unsafe|inline|virtual|override|sealed|data|extern|const) +)*"
    )
    kinds = (
        r"(?:def|class|func|fun|fn|function\*?|const|let|var|val|static|struct|enum|union|trait|interface|type"
        r"|module|namespace|object|record|protocol|macro_rules!|typedef(?: [\w *]+)?|sub|proc|defn?)"
    )
    pattern = re.compile(
        rf"\s*(?:{before}{kinds} +(?:\([^)]*\) *)?(?:[\w.]+[.:]+)?{word}(?![\w$-])"
        rf"|\s*{word} *\(\) *\{{"
        rf"|\s*#\s*define +{word}(?!\w)"
        rf"|(?:export +)?{word}\s*(?::\s*[\w\[\]., |]+)?(?::=|=(?!=))"
        rf"|{before}[A-Za-z_][\w:<>,*&\[\] ]*[ *&]+(?:\w+::)?{word} *\([^;]*$)"
    )
    statement = re.compile(
        r"\s*(?:return|throw|new|else|await|yield|raise|case|delete|in|not|and|or"
        r"|with|if|elif|for|while|assert|print|del|using|defer|go)\b"
    )
    for line, source in _lines(document, [name]):
        if pattern.match(line) and not statement.match(line):
            yield Exact(line.strip(), source())


def _settings(key: tuple[str, ...], document: Document, *, plain: bool) -> Iterator[Exact]:
    """Yield the values of a key; `plain` words pin it in files of settings, or where one value stands."""
    file = bool(_SETTINGS_FILE.search(document.name))
    within: list[tuple[int, tuple[str, ...]]] = []  # indents and names of what a line of settings stands in
    for line, source in _lines(document, [""] if file else [key[-1]]):
        found = _SETTING.match(line) or (None if file else _COLUMNS.match(line))
        inside: tuple[str, ...] = ()
        if file:
            inside = _entered(line, within)
        own = _parts(found["key"]) if found else ()
        # "database timeout" is also the timeout in the section called database.
        if not found or key[-len(own) :] != own or (*inside, *own)[-len(key) :] != key or not own:
            continue
        value = found["value"]
        value = value if value[0] in "\"'`" else _COMMENT.sub("", value)
        telling = file or not plain or found.re is _COLUMNS or _TELLING.fullmatch(value)
        if value not in "{[(|>" and telling:
            yield Exact(unquoted(value), source())


def _entered(line: str, within: list[tuple[int, tuple[str, ...]]]) -> tuple[str, ...]:
    """Return the names of the sections that a line of settings stands in, and keep them up to date."""
    if section := _SECTION.match(line):
        within[:] = [(-1, _words(section["key"]))]
        return ()
    indent = len(line) - len(line.lstrip())
    while line.strip() and within and within[-1][0] >= indent:
        within.pop()
    inside = tuple(word for _, words in within for word in words)
    if opening := _OPENING.match(line):
        within.append((indent, _words(opening["key"])))
    return inside


def _cells(column: tuple[str, ...], row: tuple[str, ...], document: Document) -> Iterator[Exact]:
    """Yield the cells of a named column in rows that begin with a name; of Markdown, CSV and TSV."""
    if not column or not row:
        return
    place: int | None = None
    separator = "\t" if document.name.lower().endswith(".tsv") else ","
    separated = document.name.lower().endswith((".csv", ".tsv"))
    for line, source in _lines(document, [column[-1], row[-1]]):
        if line.lstrip().startswith("|"):
            cells = line.strip().strip("|").split("|")
        elif separated:
            cells = next(csv.reader([line], delimiter=separator), [])
        else:
            place = None
            continue
        names = [_parts(cell) for cell in cells]
        if column in names:
            place = names.index(column)
        elif row in names and place is not None and place < len(cells) and names[place] != row:
            yield Exact(cells[place].strip(), source())


def unquoted(value: str) -> str:
    r"""Return a value without the quotation marks around it and the backslashes in it."""
    quote = value[0]
    if len(value) < 2 or quote not in "\"'`" or value[-1] != quote:
        return value
    if quote == "'":
        return value[1:-1].replace("''", "'")
    return _ESCAPE.sub(lambda found: _sign(found[1]), value[1:-1])


def _sign(code: str) -> str:
    return chr(int(code[1:], 16)) if len(code) == 5 else _SIGNS.get(code, code)


def _parts(name: str) -> tuple[str, ...]:
    """Return the words of a name, however they are joined: max_retries, maxRetries, "max retries"."""
    parts = _words(name)
    return () if all(part in common_words() for part in parts) else parts


def _words(name: str) -> tuple[str, ...]:
    return tuple(part.lower() for part in _WORD.findall(name))


def _lines(document: Document, needles: list[str]) -> "Iterator[tuple[str, Line]]":
    """Yield the lines of those blocks that hold one of the words."""
    wanted = [needle.lower() for needle in needles]
    byte, number, rest = document.start, 1, ""
    for block in _with_end(document.blocks()):
        text = rest + (block or "")
        cut = len(text) if block is None or len(text) > KEPT else text.rfind("\n") + 1
        whole, rest = text[:cut], text[cut:]
        if any(needle in whole.lower() for needle in wanted):
            at = 0
            for line in whole.splitlines(keepends=True) if "\r" in whole else whole.split("\n"):
                body = line.rstrip("\r\n")
                if len(body) <= LONGEST and any(needle in body.lower() for needle in wanted):
                    start = byte_after(document, byte, whole[:at])
                    yield body, Line(document, start, body, number + line_ends(whole, at))
                at += len(line) + ("\r" not in whole)
        byte = byte_after(document, byte, whole)
        number += line_ends(whole)


def _with_end(blocks: Iterator[str]) -> Iterator[str | None]:
    yield from blocks
    yield None


@dataclass(frozen=True, slots=True)
class Line:
    """A line, located when it is asked for."""

    document: Document
    byte: int
    text: str
    number: int

    def __call__(self) -> Quote:
        """Return the line without white space around it, and its place."""
        body = self.text.strip()
        lead = self.text[: len(self.text) - len(self.text.lstrip())]
        start = byte_after(self.document, self.byte, lead)
        end = byte_after(self.document, start, body)
        return Quote(Span(self.document, start, end, self.number, self.number), body)
