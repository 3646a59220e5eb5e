"""Exact look-ups: where a name is defined, what a key is set to, what stands in a cell of a table.

They need no model, only a question whose every telling word the text answers with a name: of a key, a
section, a row, a column, an option, a package, a person. Each answer is read off one line, which is shown.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from longctx.quotes.exact.asked import Asked, mentions, parse
from longctx.quotes.exact.cells import cells
from longctx.quotes.exact.declared import base_asked, bases, declarations, of_kind
from longctx.quotes.exact.definitions import defined_name, definitions, mentioned
from longctx.quotes.exact.fact import Exact, Fact, fit
from longctx.quotes.exact.json_facts import json_facts
from longctx.quotes.exact.lines import Line, lines
from longctx.quotes.exact.logs import WRONG, asks_what_went_wrong, counted, is_log, pairs, times
from longctx.quotes.exact.mail import header, headers
from longctx.quotes.exact.named import named
from longctx.quotes.exact.options import options
from longctx.quotes.exact.prose import stated
from longctx.quotes.exact.releases import released
from longctx.quotes.exact.requirements import package, requirements, said
from longctx.quotes.exact.rows import REQUEST_WORDS, Row, is_request, records, rows
from longctx.quotes.exact.settings import SETTINGS, settings
from longctx.quotes.exact.spelling import respelt
from longctx.quotes.exact.words import cover, plain, stems, words
from longctx.text.source import Document

MOST = 10  # places; more of them say that the question names nothing in particular
MOST_LINES = 2000  # of a long document that hold all words of a question, and are looked at
WHOLE = 1 << 20  # bytes of a document whose every line is looked at, for what stands around it
_CODE = re.compile(
    r"\.(?:py|pyi|js|mjs|cjs|jsx|ts|tsx|go|rs|c|h|cc|cpp|hpp|java|kt|kts|swift|rb|php|cs|scala|sh"
    r"|bash|zsh|fish|lua|r"
    r"|sql|pl|pm|jl|ipynb)$",
    re.IGNORECASE,
)
_STRUCTURED = re.compile(r"\.(?:csv|tsv|jsonc?|jsonl|xml|webmanifest)$", re.IGNORECASE)
_LIST = re.compile(r"(?:requirements|constraints)[^/]*\.(?:txt|in)$", re.IGNORECASE)
_JSON = re.compile(r"\.(?:json|jsonc|webmanifest)$", re.IGNORECASE)
_DEFINED = re.compile(r"defined|declared|implemented|created|definition|defines", re.IGNORECASE)
# What asks for the name of a key or an option, not for what it is set to; or for that of the command line.
_OF_KEY = re.compile(
    r"^(?:which|what) (?:(?:environment|command.line|config(?:uration)?) )?"
    r"(?:option|flag|switch|argument|variable|setting|key|parameter)s? (?!is\b|are\b|was\b)"
    r"|\bdefaults?\b.*(?<!\S)--?[a-z]|(?<!\S)--?[a-z].*\bdefaults?\b",
    re.IGNORECASE,
)
_MAIL = re.compile(r"\b(?:e-?mail|mail|message)\b", re.IGNORECASE)
_TABLE = re.compile(r"\.(?:csv|tsv)$", re.IGNORECASE)
_SUFFIXES = {"settings": ".conf", "xml": ".xml", "json": ".json", "csv": ".csv", "tsv": ".tsv"}


def look_up(question: str, documents: Iterable[Document]) -> list[Exact]:
    """Return what the text says of the names in a question; nothing if it is of no such form."""
    documents = list(documents)
    if name := defined_name(question):
        found = _all(definitions(name, _lines(one, [name]), one.name) for one in documents)
        if found or _DEFINED.search(question):
            return found
    if (sought := mentioned(question)) and (asked := parse(sought)):
        return _all(_holding(asked, one) for one in documents)
    if (found := _named(question, documents)) or (header(question) and _MAIL.search(question)):
        return found  # who a mail is from stands in its head, or nowhere
    asked = parse(question)
    if not asked:
        return []
    short = [one for one in documents if one.end - one.start <= WHOLE]
    return (
        _all(released(asked, lines(one)) for one in short)
        or _answers(asked, documents)
        or _only(_answers(other, documents) for one in respelt(asked, documents) if (other := parse(one)))
    )


def _answers(asked: Asked, documents: Sequence[Document]) -> list[Exact]:
    """Return what the surest way finds that finds anything."""
    likely = [one for one in documents if _mentions(one, asked)]
    said = set(words(asked.text))
    for find in _ways(asked, likely):
        # What only repeats the question answers nothing.
        if found := [one for one in find() if not _repeats(one.text, said)]:
            return list(dict.fromkeys(found))
    return []


def _only(found: Iterable[list[Exact]]) -> list[Exact]:
    """Return the answers to the only one of several questions that has any."""
    answered = [one for one in found if one]
    return answered[0] if len({tuple(exact.text for exact in one) for one in answered}) == 1 else []


def _named(question: str, documents: Sequence[Document]) -> list[Exact]:
    """Return what a question asks for in set words: a header of a mail, the base of a class."""
    key, name = header(question), base_asked(question)
    found = _all(headers(key, lines(one)) for one in documents) if key else []
    return found or (_all(bases(name, _lines(one, [name])) for one in documents) if name else [])


def _holding(asked: Asked, document: Document) -> Iterator[Exact]:
    """Yield the lines that hold all that is asked for."""
    for line in lines(document):
        if mentions(asked, plain(line.text)) and not asked.required - cover(asked.terms, stems(line.text))[0]:
            yield Exact(line.text.strip(), line.quote())


def _repeats(text: str, said: set[str]) -> bool:
    own = words(text)
    return bool(own) and said.issuperset(own)


def _ways(asked: Asked, documents: list[Document]) -> Iterator[Callable[[], list[Exact]]]:
    """Yield the ways to find an answer, the surest first."""
    needles = [needle for term in asked.needles for needle in term]
    texts = [one for one in documents if not _CODE.search(one.name)]
    prosaic = [one for one in texts if not _STRUCTURED.search(_form(one)) and not SETTINGS.search(_form(one))]
    spoken = [one for one in prosaic if not _LIST.search(one.name)]
    name = package(asked)
    if name:
        yield lambda: _all(requirements(name, _lines(one, [name.rsplit("/", 1)[-1]])) for one in texts)
    if not _OF_KEY.search(asked.text):
        yield lambda: _best(asked, documents, needles)
    yield lambda: _all(of_kind(asked, _lines(one, needles)) for one in documents)
    yield lambda: cells(asked, chain.from_iterable(_rows(one, asked, needles) for one in texts))
    yield lambda: _all(options(asked, _lines(one, needles)) for one in prosaic)
    yield lambda: _all(times(asked, _logged(one, asked)) for one in prosaic)
    yield lambda: _all(counted(asked, _logged(one, asked)) for one in prosaic)
    if name:
        yield lambda: _all(said(asked, name, _lines(one, [name])) for one in prosaic)
    yield lambda: _all(stated(asked, _telling_lines(one, asked, needles)) for one in spoken)


def _best(asked: Asked, documents: Iterable[Document], needles: list[str]) -> list[Exact]:
    """Return the facts that leave the fewest words of their names unsaid."""
    best: list[Fact] = []
    least = (9, 9)
    for document in documents:
        around = _about(document)
        for fact in _facts(document, asked, needles):
            rank = fit(asked, fact, around)
            if rank is None or rank > least or (rank[0] and fact.strict):
                continue
            if rank < least:
                best, least = [], rank
            best.append(fact)
    sure = least[0] == 0 or (least[0] == 1 and len(best) == 1)
    return [fact.exact() for fact in best] if sure and len(best) <= MOST else []


def _facts(document: Document, asked: Asked, needles: list[str]) -> Iterator[Fact]:
    form = _form(document)
    if _JSON.search(form):
        return json_facts(document)
    if SETTINGS.search(form) or _CODE.search(form):
        facts = settings(_telling_lines(document, asked, needles), form, asked.coded)
        declares = _CODE.search(form) and document.end - document.start <= WHOLE
        return chain(facts, declarations(lines(document), document.name)) if declares else facts
    if _TABLE.search(form):
        return iter(())
    telling = _telling_lines(document, asked, needles)
    return pairs(telling) if is_log(document) else named(telling)


def _form(document: Document) -> str:
    """Return a name that tells what a document is: its own, or with a suffix for what stands in it."""
    name = document.name
    unnamed = "." not in name.rsplit("/", 1)[-1]
    if not unnamed and (document.kind != "settings" or _CODE.search(name) or SETTINGS.search(name)):
        return name
    return name + _SUFFIXES.get(document.kind, "")


def _rows(document: Document, asked: Asked, needles: list[str]) -> Iterator[Row]:
    """Return the rows of tables, and the records of files that hold such."""
    form = _form(document)
    if _JSON.search(form) or SETTINGS.search(form):
        return records(_facts(document, asked, needles), _about(document))
    if document.end - document.start > WHOLE and is_request(next(iter(document.blocks()), "")):
        groups = [group for group in asked.needles if not any(one in REQUEST_WORDS for one in group)]
        return rows(_few(document, groups) if groups else [], form)
    return rows(_lines(document, needles), form) if _has_table(document) else iter(())


def _all(readers: Iterable[Iterable[Exact]]) -> list[Exact]:
    found: list[Exact] = []
    for reader in readers:
        for one in reader:
            found.append(one)
            if len(found) > MOST:
                return []
    return found


def _about(document: Document) -> str:
    """Return what the name of a document says of all that it holds."""
    return (
        document.name.rsplit("/", 1)[-1]
        .lower()
        .replace("dockerfile", "dockerfile base image container entry point command port directory")
    )


def _has_table(document: Document) -> bool:
    """Tell whether a document may hold a table; of a long one its start has to show it."""
    if document.end - document.start <= WHOLE or _TABLE.search(_form(document)):
        return True
    first = next(iter(document.blocks()), "")
    return "\t" in first or "|" in first or '] "' in first


def _mentions(document: Document, asked: Asked) -> bool:
    about = _about(document) + document.name.lower()
    if is_request(next(iter(document.blocks()), "")):
        about += REQUEST_WORDS
    missing = [term for term in asked.needles if not any(one in about for one in term)]
    for block in document.blocks():
        if not missing:
            break
        lower = plain(block)
        missing = [term for term in missing if not any(one in lower for one in term)]
    return not missing


def _telling_lines(document: Document, asked: Asked, needles: list[str]) -> Iterator[Line]:
    """Return the lines of a document; of a long one only those that name all that is asked for."""
    if document.end - document.start <= WHOLE or not needles:
        yield from lines(document)
        return
    yield from _few(document, asked.needles + asked.implied)


def _few(document: Document, groups: Sequence[Sequence[str]]) -> list[Line]:
    """Return the lines that hold one needle of each group; none if they are so many that none is meant."""
    likely = lines(document, _rarest(document, groups))
    found = (line for line in likely if _holds(plain(line.text), groups))
    few = list(islice(found, MOST_LINES + 1))
    return few if len(few) <= MOST_LINES else []


def _holds(text: str, groups: Sequence[Sequence[str]]) -> bool:
    return all(any(one in text for one in group) for group in groups)


def _logged(document: Document, asked: Asked) -> Iterator[Line]:
    """Return the lines of a log that may tell of what is asked for."""
    groups = asked.needles + (WRONG,) * asks_what_went_wrong(asked)
    if document.end - document.start <= WHOLE or not groups:
        return lines(document)
    return lines(document, _rarest(document, groups))


def _rarest(document: Document, groups: Sequence[Sequence[str]]) -> re.Pattern[str]:
    """Return a pattern for the one of several groups of needles that the start of a document has least of."""
    first = next(iter(document.blocks()), "").lower()
    group = min(groups, key=lambda group: sum(map(first.count, group)))
    return _any_of(group)


def _any_of(needles: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(needle.lower()) for needle in needles))


def _lines(document: Document, needles: list[str]) -> Iterator[Line]:
    """Return the lines of a document; of a long one only those with one of the needles."""
    if not needles or document.end - document.start <= WHOLE:
        return lines(document)
    return lines(document, _any_of(needles))
