"""Facts that prose states beside a name: "Rent: 900", "her number is 555-0100", "the API uses port 8085"."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from longctx.quotes.exact.asked import Asked, mentions
from longctx.quotes.exact.fact import Exact, Fact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.words import Term, cover, stem, stems

_NAMED = re.compile(
    r"(?P<indent>\s*)(?:[-*+] +)?(?P<key>[*_`]{0,2}[^\W_][^\W]*(?:[ /'’.-]+[\w'’()-]+){0,4}?[*_`]{0,2})"
    r"(?:(?P<colon>[ \t]*:[*_]{0,2}[ \t]+)|[ \t]*(?: {3,}|\t|\.{3,} ?| {2,}(?=\S)))(?P<value>\S.*?)\s*$"
)
_HEADER = re.compile(r"[A-Z][\w -]{1,30}: \S|[-*] ")
_SENTENCE_END = re.compile(r"[.!?]$")
_WHICH = re.compile(r"(?:(?:on|at|to|under) )?(?:which|what)\b|[\w -]+ of ", re.IGNORECASE)
_CLAUSE = re.compile(r"; |, (?:and|but|while|whereas) ")
_LONGEST = 12  # words of a value beside its name
_SPEAKER = 2  # times a name may stand before a colon, with different words; more often it is who speaks

_PHONE = (
    r"(?<![\w.,:-])(?!(?:19|20)\d\d[-./ ]\d\d\b)(?=(?:\D?\d){6})"  # no date, six digits or more
    r"(?:\+\d{1,3}[ ./-]?)?(?:\(0?\d{1,5}\)[ -]?)?\d(?:[ ./-]?\d){4,13}(?![\w,:]\w)"
)
_EMAIL = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
_URL = r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;]"
_MONEY = (
    r"(?:[$€£¥] ?\d[\d,.]*\d|[$€£¥] ?\d|\d[\d,. ]*(?<=\d) ?(?:[$€£¥]|(?:euros?|dollars?|pounds?"
    r"|kroner|[A-Z]{3})\b))"
)
_CONTACT = (
    (frozenset(map(stem, ("phone", "mobile"))), re.compile(_PHONE)),
    (frozenset({stem("email")}), re.compile(_EMAIL)),
    (frozenset(map(stem, ("website", "url", "homepage", "link"))), re.compile(_URL)),
)
_PATH = re.compile(r"(?<![\w/])[`\"']?(?P<path>(?:https?:/|~|\.{1,2}|[A-Z]:)?[/\\][\w.~/\\-]*\w/?)[`\"']?")
_CAPITAL = re.compile(r"(?<![.!?:] )\b[A-Z][\w'’.-]*(?: [A-Z][\w'’-]+)+")  # a name of two words or more
_CODE = r"[`\"]?(?P<value>(?=[\w./:+-]*\d)[\w+-][\w./:+-]*(?<=\w)(?: \d[\d.,]*(?<=\d))*)"


def named(lines: Iterable[Line]) -> Iterator[Fact]:
    """Yield what stands beside a name, under its heading and under the first line of its group of lines."""
    above: list[tuple[int, str]] = []
    record, heading = "", ""
    counts: Counter[str] = Counter()
    facts: list[tuple[str, Fact]] = []
    for line in lines:
        text = line.text
        if not text.strip():
            record = ""
            continue
        if text.startswith("#"):
            heading, above, record = text.strip("# "), [], ""
            continue
        indent = len(text) - len(text.lstrip())
        while above and above[-1][0] >= indent:
            above.pop()
        found = _NAMED.match(text) if ":" in text or "  " in text or "\t" in text or "..." in text else None
        if found and _is_value(found["value"], bool(found["colon"])):
            key = found["key"].strip("*_`")
            counts[key.lower()] += 1
            outer = (heading, *(name for _, name in above), record) if indent or record else (heading,)
            fact = Fact((*filter(None, outer), key), found["value"].strip("*`"), line.quote, strict=True)
            facts.append((key.lower(), fact))
            record = record or text.strip()
        elif len(text.split()) <= 6 and not _SENTENCE_END.search(text.strip()):
            above.append((indent, text.strip(" :")))
        elif not found:
            record = ""
    yield from (fact for key, fact in facts if counts[key] <= _SPEAKER)


def _is_value(value: str, colon: bool) -> bool:
    count = len(value.split())
    return count <= (_LONGEST if colon else 6) and not (count > 3 and _SENTENCE_END.search(value) and colon)


def sentences(lines: Iterable[Line]) -> Iterator[tuple[str, list[tuple[int, Line]]]]:
    """Yield paragraphs' sentences on one line each, with where each line of the text begins in them."""
    text = ""
    starts: list[tuple[int, Line]] = []
    for line in [*lines, None]:
        body = line.text.strip().replace("\xa0", " ") if line else ""
        if text and _HEADER.match(body):
            yield from _cut(text, starts)
            text, starts = "", []
        if line and body:
            starts.append((len(text), line))
            text += body + " "
            if len(text) < 2000:
                continue
        yield from _cut(text, starts)
        text, starts = "", []


def _cut(text: str, starts: list[tuple[int, Line]]) -> Iterator[tuple[str, list[tuple[int, Line]]]]:
    at = 0
    for end in [
        *(
            m.end()
            for m in re.finditer(r"(?<!\b[A-Z])(?<!\bDr)(?<!\btel)(?<!\bno)[.!?][\"')]* (?=[A-Z\"(])", text)
        ),
        len(text),
    ]:
        if text[at:end].strip():
            yield text[at:end], [(start - at, line) for start, line in starts]
        at = end


def stated(asked: Asked, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield the phone number, address, price or number that a sentence gives for what is asked."""
    kind = next((form for words, form in _CONTACT if any(one.forms & words for one in asked.terms)), None)
    words = next((words for words, form in _CONTACT if form is kind), frozenset())
    for text, starts in sentences(lines):
        if not mentions(asked, text.lower()):
            continue
        if kind and asked.wanted != "name":
            found = _contact(asked, text, kind, words)
            if found:
                yield Exact(found[0], _line(found[1], starts).quote())
            continue
        for at, clause in _clauses(text):
            if found := _numbered(asked, clause) or _priced(asked, clause) or _placed(asked, clause):
                yield Exact(found[0], _line(at + found[1], starts).quote())


def _line(at: int, starts: list[tuple[int, Line]]) -> Line:
    return [line for start, line in starts if start <= at][-1]


def _clauses(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for end in _CLAUSE.finditer(text):
        yield at, text[at : end.start()]
        at = end.end()
    yield at, text[at:]


def _placed(asked: Asked, text: str) -> tuple[str, int] | None:
    """Return the path that a clause names, the only one, where the question begins with "where"."""
    if asked.wanted != "place" or asked.required - cover(asked.terms, stems(text))[0]:
        return None
    found = list(_PATH.finditer(text))
    return (found[0]["path"], found[0].start("path")) if len(found) == 1 else None


def _contact(asked: Asked, text: str, kind: re.Pattern[str], words: frozenset[str]) -> tuple[str, int] | None:
    """Return the first such value after the name that is asked for, if no other name stands between."""
    names = [one for one in asked.terms if not one.light and not one.forms & words]
    values = list(kind.finditer(text))
    if not names or not values:
        return None
    for value in values:
        inside, _ = cover(names, stems(value[0]))
        if kind.pattern == _EMAIL and len(inside) == len(names):
            return value[0], value.start()
    end = _end_of_words(names, text)
    after = [value for value in values if value.start() >= end >= 0]
    if not after or after[0].start() - end > 120 or _CAPITAL.search(text[end : after[0].start()]):
        return None
    return after[0][0], after[0].start()


def _end_of_words(names: list[Term], text: str) -> int:
    """Return where the last of the words ends that stand in a row in a text; -1 if they do not."""
    tokens = [(found.end(), stem(found[0].lower())) for found in re.finditer(r"[^\W_]+", text)]
    size = len(names)
    for at in range(len(tokens) - size + 1):
        if all(tokens[at + i][1] in one.forms for i, one in enumerate(names)):
            return tokens[at + size - 1][0]
    return -1


def _numbered(asked: Asked, text: str) -> tuple[str, int] | None:
    """Return the number or code right after the noun that is asked for: "port 8085", "order number KS-20"."""
    if (
        not _WHICH.match(asked.text)
        or asked.wanted == "time"
        or asked.required - cover(asked.terms, stems(text))[0]
    ):
        return None
    noun = re.match(
        r"(?:(?:\w+ )?(?:which|what)(?:'s| is| are)?(?: the| our| my)? )?(?P<noun>[\w -]+)",
        asked.text,
        re.IGNORECASE,
    )
    for size in (3, 2, 1):
        said = noun["noun"].split()[:size] if noun else []
        if len(said) < size:
            continue
        joined = r"[ -]".join(map(re.escape, said))
        rest = r"(?: of (?:the |an? )?(?:[\w'-]+ ){0,4}?)?"
        form = rf"(?<!\w){joined}s?{rest}(?: ?(?:is|are|was|no\.|number|:|=))?:? ?{_CODE}(?![\w%])"
        found = re.search(form, text, re.IGNORECASE)
        if found and said[-1].lower() not in ("is", "the", "of"):
            return found["value"], found.start("value")
    return None


def _priced(asked: Asked, text: str) -> tuple[str, int] | None:
    """Return the price that stands right after "X costs", where it is the only one."""
    cost = stem("cost"), stem("price"), stem("fee"), stem("charge")
    if not any(one.forms & set(cost) for one in asked.terms):
        return None
    names = [one for one in asked.terms if not one.light and not one.forms & set(cost)]
    end = _end_of_words(names, text) if names else -1
    found = (
        re.match(
            rf"(?: \w+){{0,2}} (?:costs?|is priced at|is charged at) (?:\w+ ){{0,2}}?(?P<value>{_MONEY})",
            text[end:],
        )
        if end >= 0
        else None
    )
    return (found["value"], end + found.start("value")) if found else None
