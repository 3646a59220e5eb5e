"""Web pages: their main text; menus, scripts and the like are left out and counted.

Also reads the chapters of EPUB books and the bodies of mails, which are pages too.
"""

import codecs
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

from longctx.formats.draft import Draft
from longctx.formats.limits import Damaged, Plain, Unreadable
from longctx.regular import open_regular
from longctx.text.encoding import Binary, inspect

LARGEST = 64 << 20  # bytes of a page
STEP = 1 << 20  # characters fed at once
LONGEST_TAG = 16 << 20  # pages saved as one file have pictures inside their tags
LEAST_TEXT = 200  # a page with less is made by its scripts: its source says more

_CHARSET = re.compile(
    rb"""(?i)<meta[^>]{0,200}?charset\s*=\s*["']?([\w.:-]{1,40})|encoding=["']([\w.-]{1,40})["']"""
)
_NUMBER = re.compile(r"[+−-]?\d+")
LEFT_OUT = {
    **dict.fromkeys(("script", "noscript", "template"), "a script"),
    **{"nav": "a menu", "footer": "a footer", "style": "a style sheet", "svg": "a picture"},
    **dict.fromkeys(("select", "button", "textarea", "iframe", "object", "canvas"), "a control"),
}
BLOCKS = re.compile(
    "address|article|aside|blockquote|body|caption|center|dd|details|dialog|div|dl|dt|fieldset|figcaption|figure"
    "|form|header|hr|html|legend|li|main|ol|p|pre|section|summary|table|tbody|tfoot|thead|title|tr|ul"
)
PARAGRAPHS = ("p", "div")
HEADINGS = {f"h{level}": level for level in range(1, 7)}
DEFINES = ": "  # between a term and its definition, which stand on one line
RESUME = ("main", "article", "body")  # they end what was left out, in case its end is missing


def convert(path: Path, draft: Draft) -> None:
    """Write the main text of a page; its places are the lines of the source."""
    found = inspect(path)
    if isinstance(found, Binary):
        raise Unreadable(found.kind, found.advice)
    size = path.stat().st_size
    if size > LARGEST:
        raise Plain
    encoding = found.encoding
    extractor = Extractor(draft, numbered=True)
    with open_regular(path) as raw:
        if found.note and (declared := declared_encoding(raw.read(2048))):
            encoding = declared
        raw.seek(found.start)
        file = io.TextIOWrapper(raw, encoding, "replace", None)

        def block() -> str:
            draft.at(min(raw.tell(), size), size, "bytes")
            return file.read(STEP)

        extract(iter(block, ""), extractor)
    if draft.size < LEAST_TEXT < size // 8:
        raise Plain


def declared_encoding(head: bytes) -> str:
    """Return the codec that a page says it is in, or ""."""
    if match := _CHARSET.search(head):
        try:
            return codecs.lookup((match[1] or match[2]).decode()).name
        except (LookupError, UnicodeError):
            return ""
    return ""


def extract(blocks: Iterable[str], extractor: "Extractor") -> None:
    """Feed a page to the extractor, in time that grows with its length whatever the page holds."""
    for block in blocks:
        extractor.feed(block)
        if len(extractor.rawdata) > LONGEST_TAG:
            break
    if len(extractor.rawdata) > STEP:
        extractor.flush()
        raise Damaged("a tag or comment without an end")
    extractor.close()
    extractor.flush()


def decoded(blocks: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Decode blocks one after the other."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for block in blocks:
        yield decoder.decode(block)
    yield decoder.decode(b"", True)


class Extractor(HTMLParser):
    """Writes paragraphs of a page into a draft; `anchors` names the parts that begin at an id."""

    def __init__(
        self, draft: Draft, *, numbered: bool = False, anchors: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(convert_charrefs=True)
        self.draft, self.numbered, self.anchors = draft, numbered, anchors or {}
        self.words: list[str] = []
        self.source_line = 0
        self.prefix = ""
        self.leaving: list[str] = []  # open elements that are left out
        self.pre = 0
        self.cells = 0  # of the row that is open
        self.cell_start, self.cell_done = 0, False  # where in `words`, and whether its paragraph has ended
        self.raised: int | None = None  # where in `words` a superscript begins
        self.link_start, self.in_link = -1, False
        self.in_term = False  # of a list of definitions
        self.was_close = False  # items and rows stand close together

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block, or leave one out."""
        if self.leaving and tag not in RESUME:
            self.leaving += [tag] * (tag in self.leaving)
            return
        self.leaving.clear()
        attributes = dict(attrs)
        if label := self.anchors.get(attributes.get("id") or attributes.get("name") or ""):
            self.flush()
            self.draft.mark(label)
        if tag == "title" and not self.numbered:
            self.leaving.append(tag)  # that of a chapter is the name of its file, often enough
        elif tag in LEFT_OUT:
            self.flush()
            self.draft.left_out[LEFT_OUT[tag]] += 1
            self.leaving.append(tag)
        elif BLOCKS.fullmatch(tag) or tag in HEADINGS:
            self._begin(tag)
        elif tag == "br":
            self.words.append("\n")
        elif tag in ("td", "th"):
            self.words += ["\t"] * bool(self.cells)
            self.cells += 1
            self.cell_start, self.cell_done = len(self.words), False
        elif tag == "sup":
            self.raised = len(self.words)
        elif tag == "a":
            self.link_start, self.in_link = len(self.words), True
            if "noteref" in f"{attributes.get('epub:type')} {attributes.get('role')}":
                self.raised = self.link_start
        elif tag in ("img", "image"):
            self.draft.left_out["a picture"] += 1
            if alt := (attributes.get("alt") or "").strip():
                self.handle_data(f"[picture: {alt}]")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See an element that ends at once, as XHTML writes it."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """End a block."""
        if self.leaving:
            if tag == self.leaving[-1]:
                self.leaving.pop()
            return
        if tag == "sup" and self.raised is not None:
            self._lower(self.raised)
        elif tag == "a":
            if self.raised == self.link_start:
                self._lower(self.link_start)
            self.in_link = False
        elif tag in PARAGRAPHS and self.cells:
            self.cell_done = True
        elif tag != "dt" and (BLOCKS.fullmatch(tag) or tag in HEADINGS):
            self.flush()
            self.pre = max(self.pre - (tag == "pre"), 0)
            self.cells = 0

    def handle_data(self, data: str) -> None:
        """Keep text for the paragraph."""
        if self.leaving:
            return
        if self.cell_done and data.strip():  # a cell of several paragraphs is no row of a table
            self.flush()
            self.cells = 0
        if not self.source_line and data.strip():
            self.source_line = self.getpos()[0] + data[: len(data) - len(data.lstrip())].count("\n")
        self.words.append(data if self.pre else re.sub(r"[ \t\r\n\f]+", " ", data))

    def _lower(self, start: int) -> None:
        """Write a superscript so that it is no part of the number or word before it."""
        text = "".join(self.words[start:]).strip()
        if (self.in_link or self.link_start >= start) and not text.startswith("["):
            self.words[start:] = [f"[{text}]"]  # the mark of a note
        elif _NUMBER.fullmatch(text):
            self.words[start:] = [f"^{text}"]
        self.raised = None

    def _begin(self, tag: str) -> None:
        if tag in PARAGRAPHS and self.cells and not "".join(self.words[self.cell_start :]).strip():
            return  # the first paragraph of a cell is what stands in it
        if tag == "dd" and self.in_term and "".join(self.words).strip(" :"):
            self.words = ["".join(self.words).rstrip(" :"), DEFINES]
        elif self.words[-1:] != [DEFINES]:
            self.flush()
        self.in_term = tag == "dt"
        self.pre += tag == "pre"
        self.cells = 0
        if tag in HEADINGS:
            self.prefix = "#" * HEADINGS[tag] + " "
        elif tag == "li":
            self.prefix = "- "

    def flush(self) -> None:
        """Write the paragraph that is complete."""
        text = "".join(self.words)
        if not self.pre:
            text = re.sub(r" *(\t|\n) *", r"\1", text).strip(" \n")
            text = re.sub(" {2,}", " ", text)
        self.words.clear()
        self.cell_start, self.cell_done, self.raised, self.link_start = 0, False, None, -1
        if text.strip():
            if self.prefix.startswith("#"):
                text = " ".join(text.split())
            start = self.source_line if self.numbered else None
            close = self.prefix == "- " or self.cells > 1
            self.draft.paragraph(self.prefix + text, start, close=close and self.was_close)
            self.was_close = close
            self.prefix = ""
        self.source_line = 0
