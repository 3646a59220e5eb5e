"""Find the files packed into one text (repomix, files-to-prompt, gitingest, git diff).

Works on bytes of an encoding that extends ASCII, line by line in bounded memory; knows no documents.
Nothing is lost: what belongs to no packed file comes back as a member without a path, or as a delimiter.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from longctx.regular import open_regular

HEAD = 1 << 16
LONGEST_MARK = 4096
LONGEST_FILLER = 512
MARK_LINES = 3  # lines that the longest mark spans


@dataclass(frozen=True)
class Format:
    """How a tool marks files. Patterns see MARK_LINES lines joined by newlines, without carriage returns."""

    name: str
    evidence: re.Pattern[
        bytes
    ]  # must be found near the beginning: a text that only quotes marks is left alone
    starts: tuple[bytes, ...]  # how the first line of any mark begins
    opening: re.Pattern[bytes]
    closing: re.Pattern[bytes] | None = None  # counts only before another opening, an ending or the end
    ending: re.Pattern[bytes] | None = None  # what follows the last file
    filler: re.Pattern[bytes] = re.compile(b"")  # wrapping outside files, without content
    is_diff: bool = False  # the opening is part of the file's text, and its path needs decoding
    must_close: bool = False


@dataclass(frozen=True)
class Member:
    """One packed file: its path as written, and its bytes. `path` is None for text around the files."""

    path: bytes | None
    start: int
    end: int


@dataclass
class Split:
    """All bytes of a packed text: members and delimiters, both in order."""

    format: str
    members: list[Member] = field(default_factory=list)
    delimiters: list[tuple[int, int]] = field(default_factory=list)


def _lines(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"(?:" + pattern + rb")(?=\n|\Z)")


_SECTION = rb"(?:Git Diffs|Git Logs|Instruction|End of Codebase)"
_PATH_LIKE = rb"(?=[^\n]*[/.])[^\s<>|\"*?#-][^\n<>|\"*?]{0,1000}"
FORMATS = (
    Format(
        "repomix XML",
        re.compile(rb"(?m)\A\s*<file path=|^<(?:file_summary|directory_structure|files)>\r?$"),
        (b"<file path=", b"</file>", b"</files>"),
        _lines(rb'<file path="(?P<path>[^"\n]+)"[^<>\n]*>'),
        _lines(rb"</file>"),
        _lines(rb"</files>"),
        re.compile(rb"(?:</?files>)?"),
    ),
    Format(
        "files-to-prompt XML",
        re.compile(rb"\A\s*(?:<documents>\s*)?<document index="),
        (b"<document index=", b"</document"),
        _lines(rb'<document index="\d+">\n<source>(?P<path>[^\n]+)</source>\n<document_content>'),
        _lines(rb"</document_content>\n</document>"),
        _lines(rb"</documents>"),
        re.compile(rb"(?:</?documents>)?"),
    ),
    Format(
        "repomix Markdown",
        re.compile(rb"(?m)\A\s*## File: |^# Files\r?$"),
        (b"## File: ", b"```", b"# "),
        _lines(rb"## File: (?P<path>[^\n]+)\n(?P<fence>`{3,})[^`\n]*"),
        _lines(rb"(?P<fence>`{3,})"),
        _lines(rb"# (?:Git Diffs|Git Logs|Instruction)"),
    ),
    Format(
        "repomix plain",
        re.compile(rb"(?m)\A\s*={16}\r?\nFile: |^={64}\r?\nFiles\r?\n={64}\r?$"),
        (b"=" * 16,),
        _lines(rb"={16}\nFile: (?P<path>[^\n]+)\n={16}"),
        ending=_lines(rb"={64}\n" + _SECTION + rb"\n={64}"),
        filler=re.compile(rb"(?:={64}\s+End of Codebase\s+={64})?"),
    ),
    Format(
        "gitingest",
        re.compile(rb"(?m)\A\s*={48}\r?\n(?:FILE|File|SYMLINK): |^Directory structure:\r?$"),
        (b"=" * 48,),
        _lines(rb"={48}\n(?:FILE|File|SYMLINK): (?P<path>[^\n]+)\n={48}"),
    ),
    Format(
        "git diff",
        re.compile(rb"\A\s*(?:diff --(?:git|cc|combined) |commit [0-9a-f]{40}\b|From [0-9a-f]{40} )"),
        (b"diff --", b"commit ", b"From "),
        _lines(rb"diff --(?:git|cc|combined) (?P<path>[^\n]+)"),
        ending=_lines(rb"(?:commit|From) [0-9a-f]{40}\b[^\n]*"),
        is_diff=True,
    ),
    Format(
        "files-to-prompt",
        re.compile(rb"\A" + _PATH_LIKE + rb"\r?\n---\r?\n"),
        (b"",),
        _lines(rb"(?P<path>" + _PATH_LIKE + rb")\n---"),
        _lines(rb"\n---"),
        must_close=True,
    ),
)


def split(path: Path, start: int) -> Split | None:
    """Split the file at `path` from byte `start` on into the files packed in it; None when it is one text."""
    with open_regular(path) as file:
        file.seek(start)
        head = file.read(HEAD)
        for form in FORMATS:
            if form.evidence.search(head):
                found = _Scan(form, file, start).run()
                if found is not None:
                    return found
    return None


def diff_path(header: bytes) -> bytes:
    """The path that the rest of a `diff --git` line names: the new one, without its one-letter prefix."""
    if quoted := re.search(rb' "(?:[a-z]/)?((?:[^"\\]|\\.)*)"\Z', header):
        return re.sub(rb'\\([0-7]{3}|["\\])', _unescape, quoted[1])
    if same := re.fullmatch(rb"(?:[a-z]/)?(.+) (?:[a-z]/)?\1", header):
        return same[1]
    renamed = re.fullmatch(rb"[a-z]/.+ [a-z]/(.+)", header)
    return renamed[1] if renamed else header


def _unescape(escape: re.Match[bytes]) -> bytes:
    octal = escape[1]
    return bytes([int(octal, 8) & 255]) if len(octal) == 3 else octal


@dataclass(frozen=True)
class _Line:
    start: int
    text: bytes | None  # None when too long to be a mark


def _read_lines(file: BinaryIO, position: int) -> Iterator[_Line]:
    """Lines and their offsets; lines longer than any mark are skipped in bounded pieces."""
    while line := file.readline(LONGEST_MARK):
        start = position
        position += len(line)
        whole = line.endswith(b"\n") or len(line) < LONGEST_MARK
        yield _Line(start, line.rstrip(b"\r\n") if whole else None)
        while not line.endswith(b"\n") and (line := file.readline(1 << 20)):
            position += len(line)
    yield _Line(position, None)


class _Scan:
    """One pass over the lines, with as many lines of lookahead as a mark spans."""

    def __init__(self, form: Format, file: BinaryIO, start: int) -> None:
        self.form = form
        self.file = file
        self.split = Split(form.name)
        self.done = start  # everything before is in a member or a delimiter
        self.inside: re.Match[bytes] | None = None  # the opening of the file that is being read
        self.closed: tuple[int, int] | None = (
            None  # a closing mark, until the next words confirm or refute it
        )

    def run(self) -> Split | None:
        self.file.seek(self.done)
        lines = _read_lines(self.file, self.done)
        window: deque[_Line] = deque()
        spanned = 0
        while True:
            while len(window) <= MARK_LINES and (line := next(lines, None)):
                window.append(line)
            if len(window) == 1:
                return self._finish(window[0].start)
            spanned = spanned - 1 if spanned else self._look(window)
            window.popleft()

    def _look(self, window: deque[_Line]) -> int:
        """Take the mark that begins at the first line, if any; return how many further lines it spans."""
        first, form = window[0].text, self.form
        if first is None or not first.startswith(form.starts):
            self.closed = self.closed if first == b"" else None
            return 0
        text = _joined(window)
        may_end = self.inside is None or form.closing is None or self.closed is not None
        if may_end and (opening := form.opening.match(text)):
            return self._open(opening, window)
        if may_end and form.ending and (ending := form.ending.match(text)):
            self._end_file(window[0].start)
            return ending[0].count(b"\n")
        if self.inside and (closing := form.closing and form.closing.match(text)):
            same_fence = closing.groupdict().get("fence") == self.inside.groupdict().get("fence")
            spanned = closing[0].count(b"\n")
            self.closed = (window[0].start, window[spanned + 1].start) if same_fence else None
            return spanned
        if first:
            self.closed = None
        return 0

    def _open(self, opening: re.Match[bytes], window: deque[_Line]) -> int:
        spanned = opening[0].count(b"\n")
        self._end_file(window[0].start)
        self._end_gap(window[0].start)
        self.inside = opening
        if not self.form.is_diff:
            self.done = window[spanned + 1].start
            self.split.delimiters.append((window[0].start, self.done))
        return spanned

    def _end_file(self, here: int) -> None:
        if self.inside is None:
            return
        path: bytes = self.inside["path"]
        end, after = self.closed or (here, here)
        self.split.members.append(Member(diff_path(path) if self.form.is_diff else path, self.done, end))
        if end < after:
            self.split.delimiters.append((end, after))
        self.done, self.inside, self.closed = after, None, None

    def _end_gap(self, here: int) -> None:
        """Make text between files a member, unless it is blank or the format's wrapping."""
        if self.done == here:
            return
        position = self.file.tell()
        self.file.seek(self.done)
        words = self.file.read(min(here - self.done, LONGEST_FILLER)).strip()
        self.file.seek(position)
        if here - self.done <= LONGEST_FILLER and self.form.filler.fullmatch(words):
            self.split.delimiters.append((self.done, here))
        else:
            self.split.members.append(Member(None, self.done, here))
        self.done = here

    def _finish(self, size: int) -> Split | None:
        """If other files were closed, a last file without a closing mark means that the dump was cut off."""
        complete = self.closed is not None or self.form.closing is None
        earlier = any(member.path is not None for member in self.split.members)
        if self.inside and not complete and (self.form.must_close or not earlier):
            return None
        self._end_file(size)
        self._end_gap(size)
        return self.split if any(member.path is not None for member in self.split.members) else None


def _joined(window: deque[_Line]) -> bytes:
    texts: list[bytes] = []
    for line in list(window)[:MARK_LINES]:
        if line.text is None:
            break
        texts.append(line.text)
    return b"\n".join(texts)
