"""Facts in JSON: each value under its path, whether it stands on a line of its own or not."""

import re
from collections.abc import Iterator
from functools import partial

from longctx.quotes.exact.fact import Fact
from longctx.quotes.exact.settings import NAMING, unquoted, with_flags
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Quote, Span, line_around

MOST = 1 << 24  # bytes of a file that is taken apart
DEEPEST = 64
_TOKEN = re.compile(r"\"(?:[^\"\\]|\\.)*\"|[{}\[\]:,]|//[^\n]*|[^\s{}\[\]:,\"]+")


def json_facts(document: Document) -> Iterator[Fact]:
    """Yield each value that is no object; none of a file too large or nested too deep."""
    if document.end - document.start > MOST:
        return
    text = "".join(document.blocks())
    opened: list[tuple[str, str]] = []  # brackets, and the key that each stands under
    numbers: list[int] = []  # of the brackets that are open
    count = 0
    key = ""
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in "{[":
            opened.append((sign, key))
            count += 1
            numbers.append(count)
            key = ""
            if len(opened) > DEEPEST:
                return
        elif sign in "}]":
            if opened:
                opened.pop()
                numbers.pop()
            key = ""
        elif sign == ",":
            key = ""
        elif sign != ":" and not sign.startswith("//"):
            listed = bool(opened) and opened[-1][0] == "["
            if key or listed:
                path = tuple(name for name in (*(name for _, name in opened), key) if name)
                if key.lower() in NAMING and not listed and opened:
                    opened[-1] = (opened[-1][0], f"{opened[-1][1]} {unquoted(sign)}")
                if path:
                    where = partial(_quote, document, text, token.start(), token.end())
                    fact = Fact(path, unquoted(sign), where, group=tuple(numbers), listed=listed)
                    yield from with_flags(fact)
                key = ""
            else:
                key = unquoted(sign)


def _quote(document: Document, text: str, start: int, end: int) -> Quote:
    first = byte_after(document, document.start, text[:start])
    line = document.first_line + line_ends(text, start)
    return line_around(Span(document, first, byte_after(document, first, text[start:end]), line, line))
