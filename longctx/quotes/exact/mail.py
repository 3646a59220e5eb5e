"""Who wrote a mail, to whom, and when: its headers, asked in a person's words."""

import re
from collections.abc import Iterable, Iterator

from longctx.quotes.exact.fact import Exact
from longctx.quotes.exact.lines import Line

_IT = r"(?: (?:it|this|the|that|an?))?(?: (?:e-?mail|mail|message|letter))?"
_ASKED = {
    "From": rf"who (?:is|was){_IT} from|who (?:wrote|sent){_IT}|from whom (?:is|was){_IT}|who (?:is|was)"
    " the (?:sender|author)",
    "To": rf"who (?:is|was){_IT} (?:sent |addressed |written )?to|to whom (?:is|was){_IT}(?: sent"
    "| addressed)?|who (?:is|was) the recipient",
    "Date": rf"when (?:is|was|did){_IT}(?: get)? (?:sent|written|from|dated|arrive)|what is the date{_IT}",
    "Cc": r"who (?:is|was) (?:in|on) (?:the )?(?:cc|copy)|who (?:got|gets) a copy",
}
_HEADER = re.compile(r"(?P<key>[A-Z][\w-]*): (?P<value>\S.*)$")
MOST = 40  # lines of headers


def header(question: str) -> str:
    """Return the header that a question asks for; empty if none."""
    question = " ".join(question.split())
    return next(
        (key for key, form in _ASKED.items() if re.match(rf"(?:{form})\W*$", question, re.IGNORECASE)), ""
    )


def headers(key: str, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield that header of a mail; nothing for a text that does not begin with headers."""
    found: dict[str, Exact] = {}
    for line, _ in zip(lines, range(MOST), strict=False):
        if not line.text.strip():
            break
        if not (one := _HEADER.match(line.text)):
            if not line.text[0].isspace():
                return
            continue
        found[one["key"]] = Exact(one["value"].strip(), line.quote())
    if {"From", "Subject"} <= found.keys() and key in found:
        yield found[key]
