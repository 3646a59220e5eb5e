"""What a program says of itself at its top: its docstring, or the first line of its comment."""

import re
from collections.abc import Iterable, Iterator

from longctx.quotes.passages import placed
from longctx.quotes.prose import COMMENT, END_OF_SENTENCE
from longctx.quotes.sentences import split_sentences
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Quote

HEAD = 1 << 14  # bytes
MOST = 3  # sentences

_LICENCE = re.compile(r"copyright|licen[cs]e|SPDX|-\*-", re.IGNORECASE)
_COMMENT_LINE = re.compile(r"^[ \t]*(?:[#;*]+|//+|--+)?[ \t]*(?P<text>\w[^\r\n]*)", re.MULTILINE)


def about(document: Document) -> list[Quote]:
    """Return the first sentences of a program's docstring, or the first line of its comment.

    Licences and lines for editors are passed over.
    """
    beginning = next(document.blocks(HEAD), "")
    comments = (comment for comment in COMMENT.finditer(beginning) if not _LICENCE.search(comment[0]))
    if (found := next(comments, None)) is None:
        return []
    group = found.lastgroup or 0

    def at(start: int, texts: Iterable[str]) -> Iterator[Quote]:
        byte = byte_after(document, document.start, beginning[:start])
        return placed(texts, document, byte, document.first_line + line_ends(beginning, start))

    said: list[Quote] = []
    if group in ("double", "single"):
        sentences = at(found.start(group), split_sentences(found[group]))
        said = [s for s in sentences if END_OF_SENTENCE.search(s.text) and "\n\n" not in s.text]
    if not said and (line := _COMMENT_LINE.search(found[group])):
        said = list(at(found.start(group) + line.start("text"), [line["text"]]))
    return said[:MOST]
