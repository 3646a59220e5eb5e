"""The parts of a text that a summary goes through: headings, files or slices, never more than asked for.

Reads the documents once, paragraph by paragraph, and keeps only where parts begin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from longctx.quotes.passages import paragraphs
from longctx.quotes.prose import heading_level, is_code
from longctx.text.source import Document

FILE, SLICE = 0, 9  # levels wider and deeper than those of headings
SMALLEST = 80  # bytes below the heading; less is a title page or a line of a table of contents
PER_PART = 3  # sentences that a part should have room for
MOST_PER_PART = 50
MOST_JOINED = 12
MOST_IN_ONE = 0.6  # of the text
SLICES = 4  # marks set for each sentence asked for, so that neighbours can be joined to equal parts
HEAD = 1 << 14  # bytes that tell code from prose
PROSE_SUFFIXES = frozenset(
    ["", ".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex", ".htm", ".html"]
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one document; `line` is where it begins."""

    document: Document
    byte_start: int
    byte_end: int
    line: int


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive pieces under one title."""

    title: str
    level: int
    pieces: tuple[Piece, ...]

    @property
    def size(self) -> int:
        """How many bytes the part holds."""
        return sum(piece.byte_end - piece.byte_start for piece in self.pieces)


def outline(documents: Sequence[Document], count: int) -> list[Part]:
    """Divide the documents into at most `count` parts, which together are all of the text, in order.

    Taken are the deepest headings that are not too many. Where these leave too few parts, neighbours of the
    next level are joined instead; a text without headings comes in equal slices.
    """
    step = max(1, sum(document.end - document.start for document in documents) // (SLICES * count))
    marks = [
        part for document in documents if document.start < document.end for part in _marked(document, step)
    ]
    wanted = max(1, min(MOST_JOINED, count // PER_PART), count // MOST_PER_PART)
    parts: list[Part] = []
    for level in sorted({part.level for part in marks}):
        deeper = _without_small(_down_to(level, marks))
        if level == SLICE or len(deeper) > count:
            return parts if _useful(parts, wanted) else _joined(deeper, wanted)
        parts = deeper
    return parts


def _useful(parts: list[Part], wanted: int) -> bool:
    """Tell whether parts are enough and, unless they are files, none is most of the text."""
    if 2 * len(parts) < wanted or wanted == 1:
        return bool(parts) and wanted == 1
    files = all(part.level == FILE for part in parts) and len(parts) > 1
    sizes = [part.size for part in parts]
    return files or max(sizes) <= MOST_IN_ONE * sum(sizes)


def is_program(document: Document) -> bool:
    """Tell program text by the suffix of its name and, where that is not known, by its look."""
    return Path(document.name).suffix.lower() not in PROSE_SUFFIXES and is_code(
        next(document.blocks(HEAD), "")
    )


def _marked(document: Document, step: int) -> list[Part]:
    """Begin a part at the start of the document, at each heading and after each `step` bytes without one."""
    starts = [(document.start, 1, FILE, document.name)]
    code = is_program(document)
    for paragraph in paragraphs(document):
        level = None if code else heading_level(paragraph.text)
        if level is not None:
            title = " ".join(paragraph.text.strip("#=-").split())
            starts.append((paragraph.byte_start, paragraph.first_line, level, title))
        elif paragraph.byte_start >= starts[-1][0] + step:
            starts.append((paragraph.byte_start, paragraph.first_line, SLICE, ""))
    ends = [start for start, *_ in starts[1:]] + [document.end]
    return [
        Part(title, level, (Piece(document, start, end, line),))
        for (start, line, level, title), end in zip(starts, ends, strict=True)
    ]


def _down_to(level: int, marks: list[Part]) -> list[Part]:
    """Add parts deeper than `level` to the part that they belong to."""
    groups: list[list[Part]] = []
    for mark in marks:
        if mark.level <= level or not groups:
            groups.append([mark])
        else:
            groups[-1].append(mark)
    return [_join(group, group[0].title) for group in groups]


def _without_small(parts: list[Part]) -> list[Part]:
    """Add parts that are only a heading to the next one of the document, or the last to the one before."""
    several = parts[0].pieces[0].document is not parts[-1].pieces[0].document
    kept: list[Part] = []
    waiting: list[Part] = []
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        document = part.pieces[0].document
        if following and following.pieces[0].document is document and part.size < SMALLEST + len(part.title):
            waiting.append(part)
        elif kept and kept[-1].pieces[0].document is document and not waiting and part.size < SMALLEST:
            kept[-1] = _join([kept[-1], part], kept[-1].title)
        else:
            # Of a book's and its first chapter's heading both are the title, of a table of contents none.
            wider = waiting[-1:] if waiting and waiting[-1].level < part.level else []
            titles = [
                p.title for p in (*wider, part) if p.title and (p.level != FILE or several or not wider)
            ]
            kept.append(_join([*waiting, part], ", ".join(titles)))
            waiting = []
    return kept


def _joined(parts: list[Part], count: int) -> list[Part]:
    """Join neighbours to at most `count` parts of about the same size."""
    share = sum(part.size for part in parts) / count
    several = sum(part.level == FILE for part in parts) > 1
    groups: dict[int, list[Part]] = {}
    before = 0
    for part in parts:
        groups.setdefault(int((before + part.size / 2) / share) if share else 0, []).append(part)
        before += part.size
    joined = []
    for number, group in enumerate(groups.values(), start=1):
        titles = [part.title for part in group if part.title and (several or part.level != FILE)]
        title = f"Part {number} of {len(groups)}"
        if titles and titles[0] == group[0].title:
            title = titles[0] if len(titles) == 1 else f"{titles[0]} - {titles[-1]}"
        joined.append(_join(group, title))
    return joined


def _join(parts: Sequence[Part], title: str) -> Part:
    pieces: list[Piece] = []
    for piece in (piece for part in parts for piece in part.pieces):
        if pieces and pieces[-1].document is piece.document:
            pieces[-1] = replace(pieces[-1], byte_end=piece.byte_end)
        else:
            pieces.append(piece)
    return Part(title, parts[0].level, tuple(pieces))
