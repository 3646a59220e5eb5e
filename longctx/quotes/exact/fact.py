"""A fact of a text: a value under a path of names; and how well it answers a question."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longctx.quotes.exact.asked import UNSAID, Asked
from longctx.quotes.exact.words import UNITS, cover, stem, stems
from longctx.quotes.prose import common_words
from longctx.text.span import Quote

VERSION = re.compile(r"[\^~<>=!v ]*\d+(?:\.[\dx*]+)*[\w.+-]*(?: ?(?:,|\|\|) ?[\^~<>=!v ]*\d[\w.*+-]*)*")
_UNSAID = UNSAID | frozenset(map(stem, UNITS | common_words()))
_EMPTY = frozenset(("value", "text", "default", "const", "enabled"))  # names that add nothing
_ORDERING = frozenset(("first", "last", "latest", "earliest"))
_PERSONAL = frozenset(map(stem, ("owner", "author", "maintainer", "contact", "user", "assignee", "reviewer")))
_WHO = re.compile(r"\b[A-Z][a-zà-ÿ]|[A-ZÀ-Þ][a-zà-ÿ]|@[\w-]+\.[a-z]|@[a-z]+$")
_NUMBER = re.compile(r"\d")
_STATE = re.compile(r"true|false|yes|no|on|off|enabled|disabled|y|n|always|never|none|null", re.IGNORECASE)
_TIME = re.compile(
    r"\d[-:/. ]+\d|\d(?:am|pm| ?o.clock)|\b\d{4}\b|\* \*|\d ?(?:days?|weeks?|months?|years?|hours?"
    r"|minutes?|[smhd]\b)"
    r"|(?:jan|feb|mar|apr|may|june?|july?|aug|sep|oct|nov|dec)[a-z]*\b|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day|\b(?:noon|midnight|daily|hourly|weekly|monthly|yearly)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Exact:
    """A value or a definition, and its line."""

    text: str
    source: Quote


@dataclass(frozen=True, slots=True)
class Fact:
    """A value and its names, from the outermost to its own.

    Attributes:
        strict: all words of its own name must be asked for, as in prose, where "Name: words" may be anything.
    """

    path: tuple[str, ...]
    value: str
    quote: Callable[[], Quote]
    strict: bool = False

    def exact(self) -> Exact:
        """Return it as an answer."""
        return Exact(self.value, self.quote())


def looks_right(asked: Asked, value: str) -> bool:
    """Tell whether a value may answer a question: "when" wants a time, "how many" a number."""
    if not value.strip():
        return False
    if asked.wanted == "state":
        return bool(_STATE.fullmatch(value))
    if asked.wanted == "version":
        return bool(_NUMBER.search(value))
    if asked.wanted == "number":
        return bool(_NUMBER.search(value)) or value.lower() in ("unlimited", "none", "no", "all")
    if asked.wanted == "time":
        return bool(_TIME.search(value))
    return asked.wanted not in ("name", "place") or bool(re.search(r"[^\W\d_]", value))


def fit(asked: Asked, path: Sequence[str], value: str, around: str = "") -> tuple[int, int] | None:
    """Return how many words of a fact's names a question leaves unsaid: of its own, and of outer ones used.

    None if it does not answer the question: some of the question's words stand nowhere in its names, or the
    last word of its own name is not asked for.

    Args:
        around: more names that hold for the whole text, such as that of its file.
    """
    if len(path) > 1 and path[-1].lower() in _EMPTY:
        path = path[:-1]
    own = stems(path[-1])
    covered, used = cover(asked.terms, own)
    if not own or not covered or not _of_kind(asked, path, own, value):
        return None
    if asked.dotted and not _ends_with(asked.dotted, path):
        return None
    rest, outer = asked.required - covered, 0
    for name in reversed(path[:-1]):
        there, held = cover(asked.terms, stems(name))
        if there & rest:
            rest -= there
            outer += len(set(stems(name)) - {stems(name)[i] for i in held})
    of_file = rest & cover(asked.terms, stems(around))[0]
    if rest - of_file or (of_file and _of_another(asked, path)):
        return None
    telling = [i for i, form in enumerate(own) if form not in _UNSAID]
    unsaid = [i for i in telling if i not in used]
    if telling and telling[-1] in unsaid:
        return None
    ordered = any(one.word in _ORDERING for i, one in enumerate(asked.terms) if i not in covered)
    if ordered or (unsaid and _too_little(asked, covered, len(unsaid))):
        return None
    return len(unsaid), outer


def _of_another(asked: Asked, path: Sequence[str]) -> bool:
    """Tell whether a value stands in one section of a file, and the question names the file alone."""
    return len(path) == 2 and not cover(asked.terms, stems(path[0]))[0]


def _too_little(asked: Asked, covered: set[int], unsaid: int) -> bool:
    """Tell whether a question says too little of a longer name, such as "port" of MAIL_PORT."""
    left = [one for i, one in enumerate(asked.terms) if one.light and i not in covered]
    few = len(covered & asked.required) <= unsaid
    return asked.wanted != "state" and (bool(asked.coded) or bool(left) or few)


def _of_kind(asked: Asked, path: Sequence[str], own: Sequence[str], value: str) -> bool:
    """Tell whether a value is of the kind that a question asks for: "who" wants a name, not "local"."""
    if asked.wanted == "name" and not _PERSONAL & set(own) and not _WHO.search(value):
        return False
    versioned = any(one.word == "version" for one in asked.terms) and "version" not in own
    return looks_right(asked, value) and (not versioned or _is_version(path, value))


def _is_version(path: Sequence[str], value: str) -> bool:
    """Tell whether a value is a version; a bare number may be anything, but for what is depended on."""
    depended = any("depend" in name.lower() or "require" in name.lower() for name in path[:-1])
    return bool(VERSION.fullmatch(value)) and (depended or not value.isdigit())


def _ends_with(dotted: Sequence[str], path: Sequence[str]) -> bool:
    names = [form for name in path for form in stems(name)]
    return names[-len(dotted) :] == list(map(stem, dotted))
