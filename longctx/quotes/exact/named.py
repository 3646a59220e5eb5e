"""What stands beside a name in a text: "Rent: 900", "Weight    6 kg", under the heading above it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from longctx.quotes.exact.fact import Fact
from longctx.quotes.exact.lines import Line

_NAMED = re.compile(
    r"(?P<indent>\s*)(?:[-*+] +)?(?P<key>[*_`]{0,2}[^\W_][^\W]*(?:[ /'’.-]+[\w'’()-]+){0,4}?[*_`]{0,2})"
    r"(?:(?P<colon>[ \t]*:[*_]{0,2}[ \t]+)|[ \t]*(?: {3,}|\t|\.{3,} ?| {2,}(?=\S)))(?P<value>\S.*?)\s*$"
)
_SENTENCE_END = re.compile(r"[.!?]$")
_GAPS = re.compile(r"\S {2,}\S.* {2,}\S|\S {4,}\S|\S\t+\S")
_LONGEST = 12  # words of a value beside its name
_SPEAKER = 2  # times a name may stand before a colon, with different words; more often it is who speaks


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
    if _GAPS.search(value):
        return False  # the rest of a row
    count = len(value.split())
    return count <= (_LONGEST if colon else 6) and not (count > 3 and _SENTENCE_END.search(value) and colon)
