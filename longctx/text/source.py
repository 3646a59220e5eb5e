"""From files, folders and pipes to Documents: named byte ranges of text that can be read again and again.

Knows nothing of tokens. Texts are never held in memory; pipes are spooled to a temporary folder.
"""

import codecs
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from longctx.errors import InputError
from longctx.text import packed
from longctx.text.encoding import Binary, inspect
from longctx.text.walk import generated, listed_by_git, unwanted_by_name, walk

LARGEST_IN_FOLDER = 8 << 20
STDIN_NAMES = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """A text with a name for citations: the bytes from `start` to `end` of the file at `path`."""

    name: str
    path: Path
    start: int
    end: int
    encoding: str

    def blocks(self, size: int = 1 << 16, start: int | None = None) -> Iterator[str]:
        """Yield the text from byte `start` on, line ends as they are, undecodable bytes as U+FFFD."""
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        position = self.start if start is None else start
        with self.path.open("rb") as file:
            file.seek(position)
            while position < self.end:
                block = file.read(min(size, self.end - position))
                if not block:
                    raise InputError(f"{self.name}: became shorter while it was read; run the command again")
                position += len(block)
                if text := decoder.decode(block):
                    yield text
        if text := decoder.decode(b"", True):
            yield text


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was not read, and why."""

    name: str
    reason: str


@dataclass
class Corpus:
    """All documents to read, in order. As a context manager, it removes spooled files on exit."""

    documents: list[Document] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _spools: list["weakref.finalize[..., Corpus]"] = field(default_factory=list, repr=False, compare=False)

    @property
    def bytes(self) -> int:
        """The total size of the documents."""
        return sum(document.end - document.start for document in self.documents)

    def spool(self, stream: BinaryIO) -> Path:
        """Copy `stream` to a file that lives until the corpus is closed or collected, or the program ends."""
        folder = tempfile.mkdtemp(prefix="longctx-")
        self._spools.append(weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True))
        path = Path(folder, "stdin")
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file)
        return path

    def close(self) -> None:
        """Remove spooled files; documents from pipes cannot be read after this."""
        while self._spools:
            self._spools.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def gather(inputs: Sequence[str], stdin: BinaryIO | None = None) -> Corpus:
    """Find the texts that `inputs` name: files, folders, pipes; "-" or no input means `stdin`."""
    gathering = _Gathering(Corpus(), stdin)
    try:
        for item in inputs or ("-",):
            gathering.add(item)
        gathering.check(inputs or ("-",))
    except BaseException:
        gathering.corpus.close()
        raise
    return gathering.corpus


def printable(name: str) -> str:
    """`name`, with everything escaped that could move the cursor, break the line or reverse the text."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


class _Gathering:
    """A corpus that is being filled."""

    def __init__(self, corpus: Corpus, stdin: BinaryIO | None) -> None:
        self.corpus = corpus
        self.stdin = stdin
        self.seen: set[str] = set()

    def add(self, item: str) -> None:
        """Add one thing that the user named; it must be readable."""
        name = printable(str(Path(item))) if item else "''"
        try:
            if not item:
                raise FileNotFoundError  # Path("") would be the current folder
            if item in STDIN_NAMES:
                self._add_stdin()
                return
            mode = Path(item).stat().st_mode
            if stat.S_ISDIR(mode):
                self._add_folder(item)
            elif stat.S_ISFIFO(mode):
                with Path(item).open("rb") as pipe:
                    self._add_text(self.corpus.spool(pipe), name, named=True)
            elif stat.S_ISREG(mode):
                if self._is_new(item, name):
                    self._add_text(Path(item).absolute(), name, named=True)
            else:
                raise InputError(f"{name}: a device or a socket; name a file, a folder or a pipe")
        except FileNotFoundError as error:
            hint = "check the name, or use - to read standard input"
            raise InputError(f"{name}: no such file or folder; {hint}") from error
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            full = getattr(error, "errno", None) == errno.ENOSPC
            hint = "set TMPDIR to a folder with more room" if full else "check the file and its permissions"
            raise InputError(f"{name}: cannot be read, {reason}; {hint}") from error

    def check(self, inputs: Sequence[str]) -> None:
        """Raise when there is nothing to read."""
        if self.corpus.documents:
            return
        skipped = [f"{skip.name}: {skip.reason}" for skip in self.corpus.skipped]
        if len(inputs) == len(skipped) == 1:
            raise InputError(f"{skipped[0]}; give it some text to read")
        more = ["..."] if len(skipped) > 5 else []
        found = f"only {', '.join(skipped[:5] + more)}" if skipped else "no file at all"
        names = ", ".join(printable(item) for item in inputs)
        raise InputError(f"{names}: no text to read, {found}; name a file with text in it")

    def _is_new(self, item: str, name: str) -> bool:
        """Whether this file was not named before."""
        real = os.path.realpath(item)
        if real in self.seen:
            self.corpus.notes.append(f"{name}: named more than once, read once")
            return False
        self.seen.add(real)
        return True

    def _add_stdin(self) -> None:
        if "-" in self.seen:
            return
        self.seen.add("-")
        stream = self.stdin
        if stream is None:
            if sys.stdin is None or sys.stdin.isatty():
                raise InputError("<stdin>: nothing is piped in; name a file or a folder, or pipe text in")
            stream = sys.stdin.buffer
        self._add_text(self.corpus.spool(stream), "<stdin>", named=True)

    def _add_text(self, path: Path, name: str, *, named: bool) -> None:
        """Add one file, or the files packed in it if the user named it."""
        size = path.stat().st_size
        found = inspect(path)
        if isinstance(found, Binary):
            if named:
                raise InputError(f"{name}: {found.kind}, not text; {found.advice}")
            self._skip(name, found.kind)
            return
        if found.start >= size:
            self._skip(name, "empty")
            return
        if found.note:
            self.corpus.notes.append(f"{name}: {found.note}")
        wide = found.encoding.startswith(("utf-16", "utf-32"))
        split = packed.split(path, found.start) if named and not wide else None
        if split is None:
            self.corpus.documents.append(Document(name, path, found.start, size, found.encoding))
        else:
            self._add_members(split, path, name, found.encoding)

    def _add_members(self, split: packed.Split, path: Path, outer: str, encoding: str) -> None:
        files = 0
        before = ""
        for member in split.members:
            if member.path is None:
                name = f"{outer} (after {before})" if before else outer
            else:
                before = name = printable(member.path.decode(encoding, "replace"))
                files += 1
            if member.start == member.end:
                self._skip(name, "empty")
            else:
                self.corpus.documents.append(Document(name, path, member.start, member.end, encoding))
        self.corpus.notes.append(f"{outer}: {files} files packed as {split.format}")

    def _skip(self, name: str, reason: str) -> None:
        skipped = Skipped(name, reason)
        if skipped not in self.corpus.skipped[-1:]:  # name a hidden folder once, not for each file
            self.corpus.skipped.append(skipped)

    def _add_folder(self, item: str) -> None:
        root = os.path.realpath(item)
        # Nothing listed: not a work tree, or a folder that git ignores but the user named.
        found = listed_by_git(root) or walk(root)
        for relative in sorted(set(found), key=os.fsencode):
            prefix, reason = unwanted_by_name(relative)
            inner = printable(str(Path(item, prefix))) + "/" * prefix.endswith("/")
            if reason:
                self._skip(inner, reason)
                continue
            try:
                self._add_from_folder(Path(root, relative), inner)
            except FileNotFoundError:
                continue  # git lists what is tracked, even when it was deleted
            except OSError as error:
                self._skip(inner, (error.strerror or str(error)).lower())

    def _add_from_folder(self, path: Path, name: str) -> None:
        status = path.lstat()
        real = os.path.realpath(path)
        if real != str(path):
            self._skip(name, "symbolic link, not followed")
        elif stat.S_ISDIR(status.st_mode):
            nested = (path / ".git").exists()
            self._skip(
                name.removesuffix("/") + "/",
                "repository of its own, name it to read it" if nested else "cannot be opened",
            )
        elif not stat.S_ISREG(status.st_mode):
            self._skip(name, "not a regular file")
        elif status.st_size > LARGEST_IN_FOLDER:
            self._skip(name, f"larger than {LARGEST_IN_FOLDER >> 20} MiB, name it to read it")
        elif reason := generated(path):
            self._skip(name, reason)
        elif real not in self.seen:
            self._add_text(path, name, named=False)
            self.seen.add(real)
