"""Quotations in what a model wrote, looked up word for word in the documents. Knows no model.

White space and typographic quotation marks are folded, and what a sentence ends with may differ; all else
must stand there as it is quoted. An ellipsis in a quotation leaves out at most GAP characters.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from longctx.quotes.prose import words
from longctx.tasks.results import Quotation
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Quote, Span

FEWEST_WORDS = 4  # shorter ones are names, titles and words spoken of
GAP = 2000  # characters
LEAST_KEPT = 4096  # characters of a document that are kept from block to block

_FENCE = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1|\Z)", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"(?:^ {0,3}>.*(?:\n|\Z))+", re.MULTILINE)
_ATTRIBUTION = re.compile(r"\n\s*[—–-]{1,2} ?[^\n]*\Z")
_INSIDE = r"((?:(?!\n\s*\n).)+?)"  # of one paragraph
_MARKED = re.compile(
    rf"“{_INSIDE}”|„{_INSIDE}[“”]|«{_INSIDE}»|»{_INSIDE}«|「{_INSIDE}」|『{_INSIDE}』"
    rf'|(?<![\w"])"(?=\S){_INSIDE}(?<=\S)"(?!\w)|(?<!\w)‘{_INSIDE}’(?!\w)',
    re.DOTALL,
)
_LEFT_OUT = re.compile(r"\s*(?:\[(?:\.{3}|…)\]|\.{3}|…)\s*")
_MARGIN = " \t\r\n.,;:!?"
_SINGLE, _DOUBLE = "'‘’‚‛", '"“”„‟«»'
_FOLDED = {mark: f"[{marks}]" for marks in (_SINGLE, _DOUBLE) for mark in marks}


def check(answer: str, documents: Iterable[Document], question: str = "") -> list[Quotation]:
    """Return every quotation of an answer once, with its place where it first stands in a document.

    What only repeats the question's words is not a claim about the documents, and is passed over.
    """
    said = dict.fromkeys(quotations_of(answer))
    wanted = [text for text in said if not pattern(text).search(question)]
    places: dict[str, Quote] = {}
    for document in documents:
        if missing := [text for text in wanted if text not in places]:
            places |= _look_up(missing, document)
    return [Quotation(text, places.get(text)) for text in wanted]


def quotations_of(answer: str) -> Iterator[str]:
    """Yield what stands in quotation marks or in Markdown's block quotes, of FEWEST_WORDS or more."""
    rest = _FENCE.sub("\n\n", answer)
    blocks = []
    for found in _BLOCK.finditer(rest):
        lines = "\n".join(line.lstrip(" ").removeprefix(">") for line in found[0].strip("\n").split("\n"))
        text = _ATTRIBUTION.sub("", lines).strip()
        whole = _MARKED.fullmatch(text)
        blocks.append((found.start(), next(filter(None, whole.groups())) if whole else text))
    plain = _BLOCK.sub(lambda found: "\n" * len(found[0]), rest)
    marked = [(found.start(), next(filter(None, found.groups()))) for found in _MARKED.finditer(plain)]
    for _, text in sorted([*blocks, *marked]):
        if len(words(text)) >= FEWEST_WORDS:
            yield text.strip()


def pattern(text: str) -> re.Pattern[str]:
    """Return what finds a text word for word, however its spaces and quotation marks are typed."""
    parts = filter(None, (part.strip(_MARGIN) for part in _LEFT_OUT.split(text)))
    return re.compile(rf"(?:.{{0,{GAP}}}?)".join(map(_words, parts)), re.DOTALL)


def _words(part: str) -> str:
    """Return a pattern of words that begin and end where words do."""
    folded = ("".join(_FOLDED.get(c) or re.escape(c) for c in word) for word in part.split())
    before, after = (r"\b" if edge.isalnum() else "" for edge in (part[0], part[-1]))
    return before + r"\s+".join(folded) + after


def _look_up(wanted: list[str], document: Document) -> dict[str, Quote]:
    """Find quotations in a document, holding a block of it and what may be the beginning of a match."""
    patterns = {text: pattern(text) for text in wanted}
    kept = max(LEAST_KEPT, *(4 * len(text) + GAP * len(_LEFT_OUT.findall(text)) for text in wanted))
    places: dict[str, Quote] = {}
    text, at, byte, line = "", 0, document.start, document.first_line
    for block in chain(document.blocks(), [None]):
        text += block or ""
        for one in patterns.keys() - places.keys():
            found = patterns[one].search(text, at)
            if found and (found.end() < len(text) or block is None):
                start = byte_after(document, byte, text[: found.start()])
                end = byte_after(document, start, found[0])
                lines = (line + line_ends(text, place) for place in found.span())
                places[one] = Quote(Span(document, start, end, *lines), found[0])
        if (cut := len(text) - kept) > 0:
            byte, line = byte_after(document, byte, text[:cut]), line + line_ends(text, cut)
            text, at = text[cut:], 1  # what stands before the first character is not known any more
    return places
