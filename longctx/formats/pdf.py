"""PDF: the text of its pages, by pypdfium2 (the extra `pdf`). Places are pages by number: `p. 7`."""

from pathlib import Path
from typing import Any, BinaryIO

from longctx.formats.draft import PAGE, Draft
from longctx.formats.limits import Damaged, Unreadable
from longctx.regular import open_regular

MOST_PAGES = 100_000
HYPHEN = "\ufffe"  # where pdfium joins a word that is broken at the end of a line


def convert(path: Path, draft: Draft) -> None:
    """Write the pages, each after the other."""
    with open_regular(path) as file:  # a nameless one has no path that the library could open
        _convert(file, draft)


def _convert(file: BinaryIO, draft: Draft) -> None:
    try:
        import pypdfium2
    except ImportError:
        raise Unreadable("a PDF", "pip install 'longctx-lightning[pdf]'") from None
    try:
        document = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        if "assword" in str(error):
            raise Unreadable("an encrypted PDF", "save a copy without its password") from error
        raise Damaged("a damaged PDF") from error
    empty = damaged = 0
    with document:
        pages = len(document)
        for number in range(min(pages, MOST_PAGES)):
            draft.at(number, pages, "pages")
            try:
                text = _page(document, number)
            except pypdfium2.PdfiumError:
                damaged += 1
                continue
            empty += not text.strip()
            draft.fresh_line()
            draft.number(number + 1, PAGE)
            draft.write(text)
    if not draft.size or not pages - empty - damaged:
        raise Unreadable("a PDF of pictures only", "recognise its words first: ocrmypdf FILE FILE")
    draft.left_out["an empty page"] += empty
    draft.left_out["a damaged page"] += damaged
    draft.left_out[f"pages after {MOST_PAGES:,}"] += max(pages - MOST_PAGES, 0)


def _page(document: Any, number: int) -> str:
    page = document[number]
    try:
        words = page.get_textpage()
        try:
            text = str(words.get_text_bounded())
        finally:
            words.close()
    finally:
        page.close()
    lines = text.replace("\r\n", "\n").replace(f"{HYPHEN}\n", "").replace(HYPHEN, "")
    return lines.rstrip() + "\n" * bool(lines.strip())
