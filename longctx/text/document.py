"""Documents: named byte ranges of text that can be read again and again; and all of them together.

Knows nothing of tokens. Texts are never held in memory; those without a file lie in a temporary folder.
"""

import codecs
import os
import re
import secrets
import shutil
import sys
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Self

from longctx import signals
from longctx.errors import InputError
from longctx.formats.kinds import counted
from longctx.progress import Meter, Progress
from longctx.regular import Stamp, open_regular
from longctx.text.places import Stretch

MOST_NAMED = 3  # files of which it is said one by one what was left out
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """A text with a name for citations: the bytes from `start` to `end` of the file at `path`.

    `kind` is what the text was or is: "text", "csv", "pdf" ... (longctx.formats.kinds). Where its lines are
    not those of the file that has the name, `place` says what follows the name in a citation. `stamp` tells
    whether the file is still the same, where others may write to it. `meter` is told of what is read. `cut`:
    it ends before the text does, because the user wanted it to. `first_line` is the number of its first line:
    more than 1 where the user wanted it to begin later.
    """

    name: str
    path: Path
    start: int
    end: int
    encoding: str
    kind: str = "text"
    place: Callable[[Stretch], str] | None = field(default=None, repr=False, compare=False)
    stamp: Stamp | None = field(default=None, repr=False, compare=False)
    meter: Meter = field(default_factory=Meter, repr=False, compare=False)
    cut: bool = False
    first_line: int = 1

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the file once more.

        Raises:
            InputError: when it is gone, cannot be read, or is not the file that it was.
        """
        try:
            with open_regular(self.path) as file:
                if self.stamp and not self.stamp.fits(file):
                    raise InputError(f"{self.name}: changed while it was read; run the command again")
                yield file
        except OSError as error:
            gone = f"cannot be read any more, {(error.strerror or str(error)).lower()}"
            raise InputError(f"{self.name}: {gone}; run the command again") from error

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` to `end` once more; InputError if they are not there."""
        with self.opened() as file:
            file.seek(start)
            found = file.read(end - start)
        if len(found) < end - start:
            raise self._shorter()
        return found

    def _shorter(self) -> InputError:
        return InputError(f"{self.name}: became shorter while it was read; run the command again")

    def blocks(self, size: int = 1 << 16, start: int | None = None) -> Iterator[str]:
        """Yield the text from byte `start` on, line ends as they are, undecodable bytes as U+FFFD."""
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        position = self.start if start is None else start
        with self.opened() as file:
            file.seek(position)
            while position < self.end:
                block = file.read(min(size, self.end - position))
                if not block:
                    raise self._shorter()
                position += len(block)
                self.meter.advance(len(block))
                if text := decoder.decode(block):
                    yield text
        if text := decoder.decode(b"", True):
            yield text


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was not read, why, and what would help."""

    name: str
    reason: str
    advice: str = ""


@dataclass(frozen=True)
class Cut:
    """Where the user wanted the texts to begin or to end, and what comes of it.

    Attributes:
        given: what the user typed.
        place: of the first or last line that is read. line, lines: its number; the last one of that document.
        documents, of: how many documents are read, of how many.
    """

    given: str
    place: str
    line: int
    lines: int
    documents: int
    of: int

    def told(self, begins: bool) -> str:
        """Say it in a line."""
        read = f"read {'from' if begins else 'to'} line {self.line:,} of {self.lines:,} ({self.place})"
        if (self.line, self.documents) == (1 if begins else self.lines, self.of):
            read = f"read {'from the beginning' if begins else 'to the end'}"
        elif self.of > 1:
            read += f", {self.documents:,} of {self.of:,} documents"
        return f"--{'since' if begins else 'until'} {printable(self.given)}: {read}"


@dataclass
class Corpus:
    """All documents to read, in order. As a context manager, it removes spooled files on exit.

    Attributes:
        left_out: what was left out of documents that are read, by their names; the notes tell it, too.
        piped: some came through a pipe, and can be read only now.
        folders: that were looked through.
        reading: a store that came with the documents.
        since, until: where the texts begin and end, if that was asked for.
    """

    documents: list[Document] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    piped: bool = False
    folders: list[str] = field(default_factory=list)
    reading: Path | None = None
    since: Cut | None = None
    until: Cut | None = None
    meter: Meter = field(default_factory=Meter, repr=False, compare=False)
    _remove: "weakref.finalize[..., Corpus] | None" = field(default=None, repr=False, compare=False)
    _folder: Path = field(default=Path(), repr=False, compare=False)
    _files: int = field(default=0, repr=False, compare=False)
    _nameless: "dict[Path, weakref.finalize[[int], Corpus]]" = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def bytes(self) -> int:
        """The total size of the documents."""
        return sum(document.end - document.start for document in self.documents)

    def note_left_out(self, name: str, counts: Counter[str]) -> None:
        """Note how much of what was left out of a document."""
        if counts := +counts:
            self.left_out[name] = counts
            self.notes.append(f"{name}: left out {_listed(counts)}")

    def brief_notes(self) -> list[str]:
        """Return the notes; where things were left out of many documents, in one line for all of them."""
        if len(self.left_out) <= MOST_NAMED:
            return self.notes
        each = {f"{name}: left out {_listed(counts)}" for name, counts in self.left_out.items()}
        total = sum(self.left_out.values(), Counter())
        line = f"left out of {len(self.left_out)} files: {_listed(total)} (-v or --json lists them)"
        return [*(note for note in self.notes if note not in each), line]

    def scratch(self) -> Path:
        """Name a new file that lives until the corpus is closed or collected, or the program ends."""
        if self._remove is None:
            # Named first and made last: a signal in between finds what to remove.
            self._folder = Path(tempfile.gettempdir(), f"longctx-{secrets.token_hex(8)}")
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            signals.when_stopped(self._remove)
            self._folder.mkdir(mode=0o700)
        self._files += 1
        return self._folder / str(self._files)

    def spool(self, stream: BinaryIO, name: str = "") -> Path:
        """Copy `stream` to a scratch file; on Linux to one without a name: a kill leaves nothing."""
        if sys.platform == "linux":
            with tempfile.TemporaryFile() as file:
                self._copy(stream, file, name)
                file.flush()
                kept = os.dup(file.fileno())
            path = Path(f"/proc/self/fd/{kept}")
            self._nameless[path] = weakref.finalize(self, os.close, kept)
            return path
        path = self.scratch()
        with path.open("wb") as named:
            self._copy(stream, named, name)
        return path

    def _copy(self, stream: BinaryIO, file: IO[Any], name: str) -> None:
        typed, done = stream.isatty(), 0
        while block := stream.read(1 << 20):
            file.write(block)
            done += len(block)
            if name and not typed:
                self.meter.show(Progress(f"copying {name}", done, 0, 0))

    def drop(self, path: Path) -> None:
        """Remove a scratch file that is not needed."""
        if close := self._nameless.pop(path, None):
            close()
        else:
            path.unlink()

    def close(self) -> None:
        """Remove scratch files; documents from pipes, archives and the like cannot be read after this."""
        if self._remove is not None:
            self._remove()
            signals.forget(self._remove)
            self._remove = None
        for path in list(self._nameless):
            self.drop(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listed(counts: Counter[str]) -> str:
    return ", ".join(counted(what, count) for what, count in counts.items())


def printable(name: str) -> str:
    """`name`, with everything escaped that could move the cursor, break the line or reverse the text."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), name)
