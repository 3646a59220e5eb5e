"""Options and terms with their descriptions, as in manual pages and the output of --help."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.fact import Exact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.sentences import denies
from longctx.quotes.exact.words import cover, stems
from longctx.quotes.prose import common_words

_METAVAR = r"(?:\[?[ =]\[?[\w<>|./-]+\]?(?: [A-Z]{2,})*)?"
_TERM = re.compile(
    rf"(?P<indent>\s*)(?P<term>(?:-{{1,2}}[A-Za-z\d][\w-]*{_METAVAR}(?:, ?| ?\| ?|/)?)+"
    r"|[A-Z][A-Z\d_]{2,}|\d{1,3})"
    r"(?:(?: {2,}|\t)\s*(?P<text>\S.*))?\s*$"
)
_OPTION = re.compile(r"--?[A-Za-z\d][\w-]*")
_DEFAULT = re.compile(
    r"(?:\bdefaults? (?:is|value is|to|of)|\bdefault[:=]|\bby default,?|\(default:?|\[default:)\s*"
    r"[\"'`]?(?P<value>[\w/~.$+-][^\s\"'`\])]*(?<![.,;]))|(?P<before>[\w/.-]*[\w/-]) by default",
    re.IGNORECASE,
)
_SWITCHED = frozenset(("on", "off", "yes", "no", "all", "none", "never", "always", "any"))
MOST = 12  # lines of a description


@dataclass
class Entry:
    """A term and the lines that describe it."""

    term: str
    indent: int
    lines: list[tuple[str, Line]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The whole description on one line."""
        return " ".join(text for text, _ in self.lines)


def entries(lines: Iterable[Line]) -> Iterator[Entry]:
    """Yield the options and terms of a text, each with what is indented below it or stands beside it."""
    open_: Entry | None = None
    for line in lines:
        text = line.text
        indent = len(text) - len(text.lstrip())
        found = _TERM.match(text)
        if found and (open_ is None or indent <= open_.indent or found["term"].startswith("-")):
            if open_ and open_.lines:
                yield open_
            open_ = Entry(found["term"], indent, [(found["text"].strip(), line)] if found["text"] else [])
        elif open_ and text.strip() and indent > open_.indent and len(open_.lines) < MOST:
            open_.lines.append((text.strip(), line))
        elif open_ and (text.strip() or open_.lines):
            if open_.lines:
                yield open_
            open_ = None
    if open_ and open_.lines:
        yield open_


def options(asked: Asked, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield what an option does, its default, or which option does something."""
    names = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", asked.text))
    coded = set(asked.coded) | names
    status = re.search(r"\b(?:exit|return|status|code)\b.*\b(?P<code>\d{1,3})\b", asked.text)
    default = bool(re.search(r"\bdefaults?\b", asked.text, re.IGNORECASE))
    which = bool(re.match(r"(?:which|what) (?:option|flag|switch|argument)\b", asked.text, re.IGNORECASE))
    if not (coded or status or default or which):
        return
    for entry in entries(lines):
        own = set(_OPTION.findall(entry.term)) or {entry.term}
        if which:
            if (
                entry.term.startswith("-")
                and not _rest(asked, "option flag switch argument")
                - cover(asked.terms, stems(entry.text + " " + entry.term))[0]
            ):
                yield Exact(", ".join(sorted(own, key=len)), entry.lines[0][1].quote())
        elif default and (
            own & coded or (not names and entry.term.startswith("-") and _named(asked, entry.term))
        ):
            yield from _default(entry)
        elif not default and (own & coded or (status and entry.term == status["code"])):
            yield Exact(_first_sentence(entry.text), entry.lines[0][1].quote())


def _rest(asked: Asked, known: str) -> set[int]:
    return {i for i in asked.required if asked.terms[i].word not in known.split()}


def _named(asked: Asked, term: str) -> bool:
    return any(
        len(stems(name)) - 1 in used and not asked.required - covered
        for name in _OPTION.findall(term)
        if len(name) > 2
        for covered, used in [cover(asked.terms, stems(name))]
    )


def _default(entry: Entry) -> Iterator[Exact]:
    for text, line in entry.lines:
        if value := _default_in(text):
            yield Exact(value, line.quote())
            return
    if value := _default_in(entry.text):
        yield Exact(value, entry.lines[0][1].quote())


def _default_in(text: str) -> str:
    """Return the default that a description gives; empty for "no limit by default"."""
    for found in _DEFAULT.finditer(text):
        value = str(found["value"] or found["before"])
        sentence = re.split(r"[.;] ", text[: found.end()])[-1]
        if not denies(sentence.removesuffix(value)) and (
            value.lower() not in common_words() or value.lower() in _SWITCHED
        ):
            return value
    return ""


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.;]) (?=[A-Z(])", text, maxsplit=1)[0].rstrip(".")
