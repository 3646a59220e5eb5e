r"""The lines of a document, one after the other, in bounded memory; numbered as citations number them."""

from collections.abc import Iterator
from itertools import islice

from longctx.text.document import Document

LONGEST = 1 << 14  # characters of a line that are looked at


def lines(document: Document) -> Iterator[str]:
    r"""Yield the lines without their ends; \n, \r\n and \r each end one. Very long ones are cut."""
    rest = ""
    for block in document.blocks():
        text = rest + block
        half = "\r" * text.endswith("\r")  # perhaps of \r\n
        text = text.removesuffix("\r")
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        whole = text.split("\n")
        rest = whole.pop()[:LONGEST] + half
        for line in whole:
            yield line if len(line) <= LONGEST else line[:LONGEST]
    if rest:
        yield rest.removesuffix("\r")


def numbered(document: Document) -> Iterator[tuple[int, str]]:
    """Yield each line with its number."""
    return enumerate(lines(document), document.first_line)


def head(document: Document, count: int) -> list[str]:
    """Return the first lines that are not blank."""
    return list(islice((line for line in lines(document) if line.strip()), count))
