"""Divide a text into sections for a summary, by headings, files or slices; never more than asked for.

Reads the documents once, paragraph by paragraph, and keeps only where sections begin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longctx.quotes.passages import paragraphs
from longctx.quotes.prose import heading_level, is_code
from longctx.text.source import Document
from longctx.text.span import Span

FILE, SLICE = 0, 9  # levels wider and deeper than those of headings
SMALLEST = 80  # bytes below a heading; less is a title page or a table of contents
PER_SECTION = 3  # sentences a section should have room for
MOST_PER_SECTION = 50
MOST_JOINED = 12
MOST_IN_ONE = 0.6  # of the text
SLICED = 1 << 14  # bytes of a text without headings whose parts are numbered; a letter has none
SLICES = 4  # slices per sentence asked for, to be joined into equal sections
HEAD = 1 << 14  # bytes that tell code from prose
PROSE_SUFFIXES = frozenset(
    ["", ".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex", ".htm", ".html"]
)


@dataclass(frozen=True, slots=True)
class Section:
    """Consecutive spans under one title."""

    title: str
    level: int
    spans: tuple[Span, ...]

    @property
    def size(self) -> int:
        """The size of the section in bytes."""
        return sum(span.byte_end - span.byte_start for span in self.spans)


def outline(documents: Sequence[Document], count: int) -> list[Section]:
    """Divide the documents into at most `count` sections that cover the whole text in order.

    Uses the deepest level of headings that gives at most `count`. If that gives too few, neighbours of
    the next level are joined instead. A text without headings is cut into equal slices.
    """
    step = max(1, sum(document.end - document.start for document in documents) // (SLICES * count))
    marks = [
        section
        for document in documents
        if document.start < document.end
        for section in _marked(document, step)
    ]
    wanted = max(1, min(MOST_JOINED, count // PER_SECTION), count // MOST_PER_SECTION)
    sections: list[Section] = []
    for level in sorted({section.level for section in marks}):
        deeper = _without_small(_down_to(level, marks))
        if level == SLICE or len(deeper) > count:
            return sections if _useful(sections, wanted) else _joined(deeper, wanted)
        sections = deeper
    return sections


def _useful(sections: list[Section], wanted: int) -> bool:
    """Tell whether sections are enough and, unless they are files, none is most of the text."""
    if 2 * len(sections) < wanted or wanted == 1:
        return bool(sections) and wanted == 1
    files = all(section.level == FILE for section in sections) and len(sections) > 1
    sizes = [section.size for section in sections]
    return files or max(sizes) <= MOST_IN_ONE * sum(sizes)


def is_program(document: Document) -> bool:
    """Recognise program text by its suffix or, if that is unknown, by its look."""
    return Path(document.name).suffix.lower() not in PROSE_SUFFIXES and is_code(
        next(document.blocks(HEAD), "")
    )


def _marked(document: Document, step: int) -> list[Section]:
    """Begin a section at the start of the document, at headings and after `step` bytes without one."""
    starts = [(FILE, document.name, document.start, document.first_line)]
    ends: list[tuple[int, int]] = []
    last_line = document.first_line
    program = is_program(document)
    for paragraph in paragraphs(document):
        start, line = paragraph.span.byte_start, paragraph.span.first_line
        level = None if program else heading_level(paragraph.text)
        if level is not None or start >= starts[-1][2] + step:
            title = " ".join(paragraph.text.strip("#=-").split()) if level is not None else ""
            starts.append((SLICE if level is None else level, title, start, line))
            ends.append((start, last_line))
        last_line = paragraph.span.last_line
    ends.append((document.end, last_line))
    return [
        Section(title, level, (Span(document, start, end, first_line, last_line),))
        for (level, title, start, first_line), (end, last_line) in zip(starts, ends, strict=True)
    ]


def _down_to(level: int, marks: list[Section]) -> list[Section]:
    """Merge sections deeper than `level` into the section they belong to."""
    groups: list[list[Section]] = []
    for mark in marks:
        if mark.level <= level or not groups:
            groups.append([mark])
        else:
            groups[-1].append(mark)
    return [_join(group, group[0].title) for group in groups]


def _without_small(sections: list[Section]) -> list[Section]:
    """Merge a mere heading into the next section of its document, the last one into the section before."""
    several = sections[0].spans[0].document is not sections[-1].spans[0].document
    kept: list[Section] = []
    waiting: list[Section] = []
    for section, following in zip(sections, [*sections[1:], None], strict=True):
        document = section.spans[0].document
        if (
            following
            and following.spans[0].document is document
            and section.size < SMALLEST + len(section.title)
        ):
            waiting.append(section)
        elif kept and kept[-1].spans[0].document is document and not waiting and section.size < SMALLEST:
            kept[-1] = _join([kept[-1], section], kept[-1].title)
        else:
            # A book's and its first chapter's headings both go into the title; a table of contents does not.
            wider = waiting[-1:] if waiting and waiting[-1].level < section.level else []
            titles = [
                p.title for p in (*wider, section) if p.title and (p.level != FILE or several or not wider)
            ]
            kept.append(_join([*waiting, section], ", ".join(titles)))
            waiting = []
    return kept


def _joined(sections: list[Section], count: int) -> list[Section]:
    """Join neighbours to at most `count` sections of about the same size."""
    share = sum(section.size for section in sections) / count
    several = sum(section.level == FILE for section in sections) > 1
    groups: dict[int, list[Section]] = {}
    before = 0
    for section in sections:
        groups.setdefault(int((before + section.size / 2) / share) if share else 0, []).append(section)
        before += section.size
    joined, sliced = [], sum(section.size for section in sections) >= SLICED
    for number, group in enumerate(groups.values(), start=1):
        titles = [section.title for section in group if section.title and (several or section.level != FILE)]
        title = f"Part {number} of {len(groups)}" if sliced else ""
        if titles and titles[0] == group[0].title:
            title = titles[0] if len(titles) == 1 else f"{titles[0]} - {titles[-1]}"
        joined.append(_join(group, title))
    return joined


def _join(sections: Sequence[Section], title: str) -> Section:
    spans: list[Span] = []
    for span in (span for section in sections for span in section.spans):
        if spans and spans[-1].document is span.document:
            spans[-1] = replace(spans[-1], byte_end=span.byte_end, last_line=span.last_line)
        else:
            spans.append(span)
    return Section(title, sections[0].level, tuple(spans))
