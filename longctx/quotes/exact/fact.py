"""A fact of a text: a value under a path of names; and how well it answers a question."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longctx.quotes.exact.asked import UNSAID, Asked
from longctx.quotes.exact.values import NUMBER_WORD
from longctx.quotes.exact.words import UNITS, cover, stem, stems, words
from longctx.quotes.prose import common_words
from longctx.text.span import Quote

VERSION = re.compile(r"[\^~<>=!v ]*\d+(?:\.[\dx*]+)*[\w.+-]*(?: ?(?:,|\|\|) ?[\^~<>=!v ]*\d[\w.*+-]*)*")
_UNSAID = UNSAID | frozenset(map(stem, UNITS | common_words()))
_COUNTED = re.compile(r"how many\b", re.IGNORECASE)
_BYTES = frozenset(
    map(stem, ("bytes", "seconds", "secs", "ms", "minutes", "hours", "days", "kb", "mb", "gb"))
)
_BOUNDS = frozenset(("maximum", "minimum"))
_BOUNDED = re.compile(
    r"how\b|\b(?:may|can|allow\w*|limit\w*|most|least|max\w*|min\w*|up to)\b", re.IGNORECASE
)
_PAST = re.compile(r"\b(?:were|was|did|had)\b", re.IGNORECASE)
_PLACES = frozenset(map(stem, ("path", "directory", "location", "home", "root", "file", "bin")))
_OF_FIELD = frozenset(map(stem, ("type", "length", "default")))
_EMPTY = frozenset(("value", "text", "default", "const", "enabled"))  # names that add nothing
_ORDERING = frozenset(("first", "last", "latest", "earliest"))
_PERSONAL = frozenset(map(stem, ("owner", "author", "maintainer", "contact", "user", "assignee", "reviewer")))
_WHO = re.compile(r"\b[A-Z][a-zà-ÿ]|[A-ZÀ-Þ][a-zà-ÿ]|@[\w-]+\.[a-z]|@[a-z]+$")
_MEASURES = frozenset(("size", "length", "count"))  # what any number may be of what its key names
_PORT = re.compile(r"(?<![\d.])\d{2,5}(?![\d.])")
_LEAST = frozenset(("minimum", "min", "minimal", "oldest"))  # what ">=3.11" says
_NUMBER = re.compile(r"\d")
_NUMERIC = re.compile(
    r"\W*(?:[\w.-]+ )?\W*\d"
)  # how a longer value begins that is a number: "about 30 days ..."
_MOST_AROUND = 4  # words beside a number in a value that may be one for its digits alone; an address has more
_NUMBERLESS = ("unlimited", "none", "no", "all")
_NO_COUNT = re.compile(r"\d\D*[^\W\d]|[^\W\d]\D*\d|%|\* ")  # a number with a unit, or a schedule
_STATE = re.compile(r"true|false|yes|no|on|off|enabled|disabled|y|n|always|never|none|null", re.IGNORECASE)
_TIME = re.compile(
    r"\d[-:/. ]+\d|\d(?:am|pm| ?o.clock)|\b\d{4}\b|\* \*|\d ?(?:days?|weeks?|months?|years?|hours?"
    r"|minutes?|[smhd]\b)"
    r"|(?:jan|feb|mar|apr|may|june?|july?|aug|sep|oct|nov|dec)[a-z]*\b|\b(?:mon|tues|wednes|thurs"
    r"|fri|satur|sun)day|\b(?:noon|midnight|daily|hourly|weekly|monthly|yearly)\b",
    re.IGNORECASE,
)
_SORTS = {
    "address": re.compile(r"[\d@/.:]"),
    "date": _TIME,
    "level": re.compile(r"^[\w-]+$"),
    **dict.fromkeys(("number", "rate", "amount", "sum"), _NUMBER),
}  # how what a word names must look, if a key leaves the word out

TIME_FORM = re.compile(
    r"(?:\d{4}-\d\d(?:-\d\d)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d{1,2}:\d\d|\d{1,2}/[A-Z][a-z]{2}/\d{4}"
    r"|\d{1,2}\.? (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)|(?:Mon|Tues|Wednes|Thurs|Fri"
    r"|Satur|Sun)day)"
)  # how a cell begins that holds a time


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
        note: the comment beside it. listed: it is an item of a list.
        group: numbers of the blocks or objects that it stands in, the outermost first.
    """

    path: tuple[str, ...]
    value: str
    quote: Callable[[], Quote]
    strict: bool = False
    note: str = ""
    group: tuple[int, ...] = ()
    listed: bool = False

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
        loose = value.count(" ") < _MOST_AROUND and not _COUNTED.match(asked.text)
        numeric = _NUMBER.search(value) if loose else _NUMERIC.match(value)
        return bool(numeric or NUMBER_WORD.match(value)) or value.lower() in _NUMBERLESS
    timed = asked.wanted == "time" or (asked.kind is not None and asked.kind.name == "time")
    if timed and not _TIME.search(value):
        return asked.wanted != "time" and bool(_NUMBER.search(value))
    return asked.wanted not in ("name", "place") or bool(re.search(r"[^\W\d_]", value))


def fit(asked: Asked, fact: Fact, around: str = "") -> tuple[int, int] | None:
    """Return how many words of a fact's names a question leaves unsaid: of its own, and of outer ones used.

    None if it does not answer the question: some of the question's words stand nowhere in its names, its note
    or its value, or the last word of its own name is not asked for.

    Args:
        around: more names that hold for the whole text, such as that of its file.
    """
    path = fact.path[:-1] if len(fact.path) > 1 and fact.path[-1].lower() in _EMPTY else fact.path
    own = stems(path[-1])
    covered, used = cover(asked.terms, own)
    noted = cover(asked.terms, stems(fact.note))[0] if fact.note else set()
    by_note = not covered and asked.required <= noted
    if not _may_answer(asked, fact, path, covered, by_note=by_note):
        return None
    sized = len(used) == len(own) or bool(UNITS.intersection(words(path[-1])))
    told = _told(asked, fact, path, covered, noted, around, sized=sized)
    if told is None or by_note:
        return (1, len(path) + 1) if told and by_note else None
    free = _UNSAID | _PLACES if asked.wanted == "place" else _UNSAID
    if not _BOUNDED.search(asked.text) or _PAST.search(asked.text):
        free = free - _BOUNDS  # "how many were loaded" asks for no limit
    telling = [i for i, form in enumerate(own) if form not in free]
    unsaid = [i for i in telling if i not in used]
    said = covered | cover(asked.terms, stems(" ".join(path[:-1])))[0]
    ordered = any(one.word in _ORDERING for i, one in enumerate(asked.terms) if i not in covered)
    if ordered or (unsaid and (unsaid[-1] == telling[-1] or _too_little(asked, said, len(unsaid)))):
        return None
    return max(len(unsaid), told[0]), told[1]


def _may_answer(asked: Asked, fact: Fact, path: Sequence[str], covered: set[int], *, by_note: bool) -> bool:
    """Tell whether a fact is named, of the kind that is asked for, and where a dotted name says.

    Args:
        covered: the words of the question that its own name holds. by_note: its note holds them all.
    """
    own = stems(path[-1])
    if not own or not (covered or by_note) or not _of_kind(asked, path, own, fact.value):
        return False
    between = 0 < len(fact.group) < len(path)  # names of items, which nobody writes into a path
    ends = not asked.dotted or _ends_with(asked.dotted, path, between=between)
    if not ends and not any(one in fact.note for one in asked.coded):
        return False
    if fact.strict and not covered & asked.required and not by_note:
        return False  # "Hirer" for "how many puppets are hired"
    if _COUNTED.match(asked.text) and len(own) > 1 and _BYTES & set(own) - _said(asked):
        return False  # CHUNK_BYTES for "how many chunks"
    terms = enumerate(asked.terms)
    loose = [one.word for i, one in terms if one.light and not one.carries and i not in covered]
    named = any(asked.terms[i].forms - _BOUNDS for i in asked.required)  # not "longest line"
    return _suits(loose, fact.value) and (named or not loose)


def _told(
    asked: Asked,
    fact: Fact,
    path: Sequence[str],
    covered: set[int],
    noted: set[int],
    around: str,
    *,
    sized: bool,
) -> tuple[int, int] | None:
    """Find the words that are left in the outer names, the note, the file's name and the value of a fact.

    Return whether the note or the value told any, and how many words of outer names nobody asked for; None if
    some word stands nowhere.

    Args:
        sized: its own name says that a bare number may be a size, such as a time or a length.
    """
    rest, outer = asked.required - covered, 0
    size = asked.kind is not None and asked.kind.name == "size"
    if _NUMBER.search(fact.value) and (not size or sized or _NO_COUNT.search(fact.value)):
        rest -= asked.implied_by_looks
    rest -= _told_by_looks(asked, fact.value)
    for name in reversed(path[:-1]):
        there, held = cover(asked.terms, stems(name))
        if there & rest:
            rest -= there
            outer += len(set(stems(name)) - {stems(name)[i] for i in held})
    borrowed = rest & noted
    rest -= noted
    of_file = rest & cover(asked.terms, stems(around))[0]
    if of_file and _of_another(asked, path):
        return None
    rest -= of_file
    if rest and covered & asked.required and asked.wanted != "state":
        borrowed |= rest & cover(asked.terms, stems(fact.value))[0]
        rest -= borrowed
    return None if rest else (int(bool(borrowed)), outer)


def _told_by_looks(asked: Asked, value: str) -> set[int]:
    """Return the words that a bare number or a bound tells: the size of a pool that is 18."""
    known = _MEASURES if value.isdigit() else _LEAST if value.startswith(">=") else ()
    return {i for i, one in enumerate(asked.terms) if one.word in known}


def _of_another(asked: Asked, path: Sequence[str]) -> bool:
    """Tell whether a value stands in one section of a file, and the question names the file alone."""
    return len(path) == 2 and not cover(asked.terms, stems(path[0]))[0]


def _said(asked: Asked) -> frozenset[str]:
    return frozenset(stems(asked.text))


def _suits(loose: Sequence[str], value: str) -> bool:
    """Tell whether a value may be what a word says that its key does not: an address, a rate, a level."""
    return all(_SORTS[word].search(value) for word in loose if word in _SORTS)


def _too_little(asked: Asked, covered: set[int], unsaid: int) -> bool:
    """Tell whether a question says too little of a longer name, such as "port" of MAIL_PORT."""
    left = [one for i, one in enumerate(asked.terms) if one.light and not one.carries and i not in covered]
    few = sum(not asked.terms[i].carries for i in covered) <= unsaid
    return asked.wanted != "state" and (bool(asked.coded) or bool(left) or few)


def _of_kind(asked: Asked, path: Sequence[str], own: Sequence[str], value: str) -> bool:
    """Tell whether a value is of the kind that a question asks for: "who" wants a name, not "local"."""
    sized = asked.kind is not None and asked.kind.name == "size" and asked.wanted != "place"
    if sized and not (_NUMBER.search(value) or NUMBER_WORD.match(value)):
        return asked.wanted == "number" and value.lower() in _NUMBERLESS
    if asked.wanted == "name" and not _PERSONAL & set(own) and not _WHO.search(value):
        return False
    if any(one.word == "port" for one in asked.terms) and "port" not in own and not _PORT.search(value):
        return False  # "listen" may be followed by an address alone
    versioned = any(one.word == "version" for one in asked.terms) and "version" not in own
    return looks_right(asked, value) and (not versioned or _is_version(path, value))


def _is_version(path: Sequence[str], value: str) -> bool:
    """Tell whether a value is a version; a bare number may be anything, but for what is depended on."""
    depended = any("depend" in name.lower() or "require" in name.lower() for name in path[:-1])
    return bool(VERSION.fullmatch(value)) and (depended or not re.fullmatch(r"\d+[a-z]*", value))


def _ends_with(dotted: Sequence[str], path: Sequence[str], *, between: bool) -> bool:
    """Tell whether names end with a dotted one.

    Args:
        between: there may be other names between its parts.
    """
    forms = [form for name in path for form in stems(name)]
    while forms[-1:] and forms[-1] in _OF_FIELD and stem(dotted[-1]) not in _OF_FIELD:
        forms.pop()
    asked = list(map(stem, dotted))
    rest = iter(forms)
    return forms[-len(asked) :] == asked or (
        between and forms[-1:] == asked[-1:] and all(form in rest for form in asked)
    )
