"""When something happened in a log: its first and last time, and the first and last of a level."""

import re
from collections.abc import Iterable, Iterator

from longctx.quotes.exact.asked import Asked, mentions
from longctx.quotes.exact.fact import Exact, Fact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.words import Term, cover, stem, stems
from longctx.structure.log_lines import TIME, entry
from longctx.text.source import Document

_ORDER = {"first": 0, "earliest": 0, "initially": 0, "last": -1, "latest": -1, "finally": -1, "recent": -1}
ORDER = re.compile(rf"\b(?:{'|'.join(_ORDER)})\b", re.IGNORECASE)
_LEVELS = {
    "error": ("ERROR",),
    "warn": ("WARN",),
    "warning": ("WARN",),
    "fatal": ("FATAL",),
    "critical": ("CRITICAL",),
    "panic": ("FATAL",),
}
# How a log says that something went wrong.
_WRONG = frozenset(map(stem, ("fail", "failure", "error", "refused", "exception", "crash")))
WRONG = ("fail", "err", "refus", "exception", "crash")
_WRONG_WORD = re.compile("|".join(WRONG))
_NONE_WRONG = re.compile(r"\b(?:0|no|zero|without) (?:\w+ )?(?:err|fail|crash|exception)")
# "Could not start" is how a log says that something went wrong; "did not start" that it did not start.
_NOT_SO = re.compile(r"\b(?:did|was|were|has|is) not\b")
_BEGAN = frozenset(
    ("start", "started", "begin", "began", "turn", "turned", "happen", "happened", "occur", "switched")
)
_OF_LINE = frozenset(
    ("line", "entry", "time", "date", "message", "event")
)  # any line of a log is, or has one
_WHAT_FAILED = re.compile(r"(?:what|which [\w-]+) (?:last |first )?(?:failed|crashed)\b", re.IGNORECASE)
_HOW_MANY = re.compile(
    r"(?:how many|(?:what is |what's )?(?:the )?number of) (?P<level>[a-z]+?)s?(?: lines| messages| entries)?"
    r"(?: are there| were there| were logged| happened| occurred)?(?: in the (?:log|file))?\W*$",
    re.IGNORECASE,
)
_SUMMED = re.compile(r"\b\d+ (?:error|warning)|\b(?:error|warning)s?[:=] ?\d")  # a log's own count may differ
_PAIR = re.compile(r"(?<![\w.])(?P<key>[A-Za-z][\w.-]*)=(?P<value>\"[^\"]*\"|[^\s,;]+)")
_REACH = 60  # characters of a line in which its time begins
_MOST_TIMES = 3  # that are shown where the question says neither first nor last


def asks_what_went_wrong(asked: Asked) -> bool:
    """Tell whether a question says that something failed, which a log may say in several words."""
    return any(one.forms & _WRONG for one in asked.terms)


def needs_all(question: str) -> bool:
    """Tell whether only the whole of a log can answer: with the first, the last, or how many."""
    return bool(ORDER.search(question) or _HOW_MANY.match(question.strip()))


def is_log(document: Document) -> bool:
    """Tell whether the first lines of a document begin with a time."""
    first = next(iter(document.blocks()), "").split("\n", 3)[:3]
    return any(TIME.search(line[:_REACH]) for line in first)


def pairs(lines: Iterable[Line]) -> Iterator[Fact]:
    """Yield the values that lines of a log give by their keys; the rest of the line is what they tell of."""
    for line in lines:
        for found in _PAIR.finditer(line.text):
            rest = f"{line.text[: found.start()]} {line.text[found.end() :]}"
            yield Fact((found["key"],), found["value"].strip('"'), line.quote, note=rest)


def times(asked: Asked, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield when what the question names happened, or what the first or last line of a level says."""
    order = next((at for word, at in _ORDER.items() if re.search(rf"\b{word}\b", asked.text, re.I)), None)
    terms = [one for one in asked.terms if one.word not in _ORDER]
    level = _levels(asked.text, terms) if order is not None else None
    when = bool(
        re.match(r"(?:since )?when (?:did|was|were|has|had)\b|(?:at )?what time did", asked.text, re.I)
    )
    if not when and level is None:
        return
    needed = {
        i
        for i, one in enumerate(terms)
        if not (one.carries or one.word in _OF_LINE) and (when or one.word not in _LEVELS)
    }
    if when and not needed:
        return
    began = {i for i in needed if terms[i].word in _BEGAN}
    # "When did the oven start preheating" may go without; "when did sshd start" would say too little.
    needed -= began if len(needed - began) > 1 else set()
    wrong = any(terms[i].forms & _WRONG for i in needed)
    found: list[tuple[str, str, Line]] = []
    most = 0  # of the question's words, in the lines that hold all that are needed
    for line in lines:
        lower = line.text.lower()
        if not mentions(asked, lower) or (wrong and not _WRONG_WORD.search(_NONE_WRONG.sub("", lower))):
            continue
        if not TIME.search(line.text[:_REACH]) or (when and _NOT_SO.search(lower)):
            continue
        there = _there(terms, TIME.sub(" ", line.text, count=1))
        if needed - there or len(there) < most:
            continue
        one = entry(line.text)
        if level and not when and one.level not in level:
            continue
        if len(there) > most:
            found, most = [], len(there)
        found = found[:1] if order == 0 else found[-_MOST_TIMES:]
        found.append((one.time, one.message, line))
        if order == 0 and most == len(terms):
            break  # no later line can be better
    if order is None and len(found) > _MOST_TIMES:
        return
    for time, message, line in found[:1] if order == 0 else found[-1:] if order == -1 else found:
        yield Exact(time if when else _without_level(message), line.quote())


def counted(asked: Asked, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield how many lines of a log have the level that is asked for, and the first of them."""
    found = _HOW_MANY.match(asked.text)
    levels = _LEVELS.get(found["level"].lower()) if found else None
    if not levels:
        return
    count, first = 0, None
    for line in lines:
        if _SUMMED.search(line.text.lower()):
            return
        if TIME.search(line.text[:_REACH]) and entry(line.text).level in levels:
            count, first = count + 1, first or line
    if first:
        yield Exact(str(count), first.quote())


def _levels(question: str, terms: Iterable[Term]) -> tuple[str, ...] | None:
    """Return the levels of which a line is asked for; none of "what failed", which any may tell."""
    named = next((_LEVELS[one.word] for one in terms if one.word in _LEVELS), None)
    return () if named is None and _WHAT_FAILED.match(question) else named


def _there(terms: list[Term], text: str) -> set[int]:
    """Return which words a line of a log holds; any word for a failure answers for another."""
    forms = stems(text)
    there, _ = cover(terms, forms)
    if _WRONG & set(forms):
        there |= {i for i, one in enumerate(terms) if one.forms & _WRONG}
    return there


def _without_level(message: str) -> str:
    return re.sub(r"^\W*(?:ERR(?:OR)?|WARN(?:ING)?|FATAL|CRIT(?:ICAL)?|PANIC)\W+", "", message)
