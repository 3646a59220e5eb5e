"""Text documents of word processors: DOCX and ODT. Headings name the places."""

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from longctx.formats import zips
from longctx.formats.draft import Draft
from longctx.formats.limits import Damaged
from longctx.formats.xml import Events, parse

DEEPEST_HEADING = 6
_ODT_LEFT_OUT = {
    **{"tracked-changes": "a list of changes", "annotation": "a comment"},
    **{"note-citation": "", "title": "", "desc": ""},
}


class _Paragraphs(Events):
    """Collects the words of paragraphs, with the level of headings and the cells of tables."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.words: list[str] = []
        self.level = 0
        self.item = False
        self.cell = self.cells = 0  # open cells, and cells of the row that are complete
        self.leaving = ""  # the element being left out

    def paragraph(self) -> None:
        """Write the paragraph that is complete; within a table, go on in its row."""
        text = "".join(self.words)
        if self.cell:
            if text and not text.endswith(("\t", " ")):
                self.words.append(" ")
            return
        self.words.clear()
        if self.level and text.strip():
            text = " ".join(text.split())
            self.draft.mark(text)
            text = "#" * min(self.level, DEEPEST_HEADING) + " " + text
        elif self.item and text.strip():
            text = "- " + text
        self.draft.paragraph(text.strip())
        self.level, self.item = 0, False

    def end_cell(self) -> None:
        """End a cell of a table."""
        self.cell = max(self.cell - 1, 0)
        if not self.cell:
            self.words = ["".join(self.words).rstrip(" "), "\t"]

    def end_row(self) -> None:
        """Write a row of a table."""
        if not self.cell:
            row = "".join(self.words).rstrip("\t ")
            self.words.clear()
            if row:
                self.draft.paragraph(row, close=self.cells > 0)
                self.cells += 1

    def end_table(self) -> None:
        """Let the next table stand apart, unless this one stands in a cell."""
        if not self.cell:
            self.cells = 0


class _Styles(Events):
    """The levels of heading styles, whose ids depend on the language of the program."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = {}
        self.style = ""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        value = attributes.get("val", "")
        if tag == "style":
            self.style = attributes.get("styleId", "")
        elif tag == "name" and self.style:
            if match := re.fullmatch(r"(?i)heading ([1-9])", value):
                self.levels[self.style] = int(match[1])
            elif value.lower() == "title":
                self.levels[self.style] = 1
        elif tag == "outlineLvl" and self.style and value.isdecimal() and int(value) < 9:
            self.levels.setdefault(self.style, int(value) + 1)


class _Comments(Events):
    """Counts the comments: some programs write an empty list of them into each document."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.draft.left_out["a comment"] += tag == "comment"


class _Docx(_Paragraphs):
    def __init__(self, draft: Draft, levels: Mapping[str, int]) -> None:
        super().__init__(draft)
        self.levels = levels
        self.in_text = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self.leaving:
            return
        if tag == "t":
            self.in_text = True
        elif tag == "pStyle":
            self.level = self.levels.get(attributes.get("val", ""), 0)
        elif tag == "numPr":
            self.item = True
        elif tag == "tab":
            self.words.append("\t")
        elif tag in ("br", "cr"):
            self.words.append("\n")
        elif tag == "noBreakHyphen":
            self.words.append("-")
        elif tag == "tc":
            self.cell += 1
        elif tag in ("pic", "imagedata"):
            self.draft.left_out["a picture"] += 1
        elif tag == "Fallback":  # what an older program would show, once more
            self.leaving = tag

    def end(self, tag: str) -> None:
        if self.leaving:
            self.leaving = "" if tag == self.leaving else self.leaving
        elif tag == "t":
            self.in_text = False
        elif tag == "p":
            self.paragraph()
        elif tag == "tc":
            self.end_cell()
        elif tag == "tr":
            self.end_row()
        elif tag == "tbl":
            self.end_table()

    def text(self, text: str) -> None:
        if self.in_text and not self.leaving:
            self.words.append(text)


class _Odt(_Paragraphs):
    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.depth = 0  # open paragraphs: a note stands within one

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self.leaving:
            return
        if tag in ("p", "h"):
            self.depth += 1
            if tag == "h":
                level = attributes.get("outline-level", "1")
                self.level = int(level) if level.isdecimal() and 0 < int(level) < 10 else 1
        elif tag == "tab":
            self.words.append("\t")
        elif tag == "line-break":
            self.words.append("\n")
        elif tag == "s":
            count = attributes.get("c", "1")
            self.words.append(" " * (min(int(count), 1000) if count.isdecimal() and len(count) < 9 else 1))
        elif tag == "list-item":
            self.item = True
        elif tag == "table-cell":
            self.cell += 1
        elif tag == "note-body":
            self.words.append(" [")
        elif tag == "image":
            self.draft.left_out["a picture"] += 1
        elif tag in _ODT_LEFT_OUT:
            self.leaving = tag
            if what := _ODT_LEFT_OUT[tag]:
                self.draft.left_out[what] += 1

    def end(self, tag: str) -> None:
        if self.leaving:
            self.leaving = "" if tag == self.leaving else self.leaving
        elif tag in ("p", "h"):
            self.depth -= 1
            if not self.depth:
                self.paragraph()
        elif tag == "note-body":
            self.words.append("]")
        elif tag == "table-cell":
            self.end_cell()
        elif tag == "table-row":
            self.end_row()
        elif tag == "table":
            self.end_table()

    def text(self, text: str) -> None:
        if self.depth and not self.leaving:
            self.words.append(re.sub(r"[ \t\r\n]+", " ", text))


def docx(path: Path, draft: Draft) -> None:
    """Write the text of a Word document: its body, then footnotes and endnotes."""
    with zips.opened(path) as archive:
        names = set(archive.namelist())
        styles = _Styles()
        if "word/styles.xml" in names:
            parse(_blocks(archive, "word/styles.xml", draft), styles)
        parse(_body(archive, "word/document.xml", draft), _Docx(draft, styles.levels))
        for name, label in (("word/footnotes.xml", "footnotes"), ("word/endnotes.xml", "endnotes")):
            if name in names:
                draft.mark(label)
                parse(_blocks(archive, name, draft), _Docx(draft, {}))
        edges = sum(bool(re.fullmatch(r"word/(?:header|footer)\d*\.xml", name)) for name in names)
        draft.left_out["a running head"] += edges
        if "word/comments.xml" in names:
            parse(_blocks(archive, "word/comments.xml", draft), _Comments(draft))


def odt(path: Path, draft: Draft) -> None:
    """Write the text of an OpenDocument text."""
    with zips.opened(path) as archive:
        parse(_body(archive, "content.xml", draft), _Odt(draft))


def _blocks(archive: zipfile.ZipFile, name: str, draft: Draft) -> Iterable[bytes]:
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise Damaged(f"damaged: it has no {name}") from None
    return draft.allowance.watch(zips.blocks(archive, member), member.compress_size)


def _body(archive: zipfile.ZipFile, name: str, draft: Draft) -> Iterator[bytes]:
    """Yield the blocks of the file that holds nearly all of a document, and tell how far it is read."""
    done = 0
    for block in _blocks(archive, name, draft):
        size = archive.getinfo(name).file_size
        draft.at(min(done, size), size, "bytes")
        yield block
        done += len(block)
