"""From files, folders and pipes to documents. Nothing is read yet but what tells how to read it."""

import errno
import os
import stat
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from longctx.errors import InputError
from longctx.progress import Meter, Progress
from longctx.text.document import Corpus, Document, Skipped, printable

if TYPE_CHECKING:
    from longctx.text.opening import Files

__all__ = ["Corpus", "Document", "Skipped", "gather", "printable"]

TOLD = 50  # files between two reports of progress
LARGEST_IN_FOLDER = 8 << 20
STDIN_NAMES = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
UNREADABLE = "unreadable"  # what the reason begins with where the system refuses a file in a folder


def gather(
    inputs: Sequence[str],
    stdin: BinaryIO | None = None,
    show: Callable[[Progress], object] | None = None,
) -> Corpus:
    """Find the texts that `inputs` name: files, folders, pipes; "-" or no input means `stdin`.

    Args:
        show: is told of the progress of finding and unpacking, and later of reading without a model.
    """
    gathering = _Gathering(Corpus(meter=Meter(show)), stdin)
    try:
        for item in inputs or ("-",):
            gathering.add(item)
        gathering.check(inputs or ("-",))
    except BaseException:
        gathering.corpus.close()
        raise
    return gathering.corpus


def settled_first(corpus: Corpus) -> list[Document]:
    """Return the documents with those last that git knows to be changed again and again; else as they are.

    A model that has read them so need not read all again because of those.
    """
    from longctx.text.walk import often_changed

    often = {Path(root, name) for root in corpus.folders for name in often_changed(root)}
    return sorted(corpus.documents, key=lambda document: document.path in often)


class _Gathering:
    """A corpus that is being filled."""

    def __init__(self, corpus: Corpus, stdin: BinaryIO | None) -> None:
        self.corpus = corpus
        self.stdin = stdin
        self.seen: set[str] = set()

    @cached_property
    def files(self) -> "Files":
        """What adds documents; a mistyped name does not wait for it to be imported."""
        from longctx.text.opening import Files

        return Files(self.corpus)

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
                self.corpus.piped = True
                with Path(item).open("rb") as pipe:
                    self.files.add_scratch(self.corpus.spool(pipe, name), name, named=True)
            elif stat.S_ISREG(mode):
                if self._is_new(item, name):
                    self.files.add_file(Path(item).absolute(), name, named=True)
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
            unreadable = self.corpus.skipped[0].reason.startswith(UNREADABLE)
            hint = "check its permissions" if unreadable else "give it some text to read"
            raise InputError(f"{skipped[0]}; {hint}")
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
        self.corpus.piped = True
        self.files.add_scratch(self.corpus.spool(stream, "<stdin>"), "<stdin>", named=True)

    def _add_folder(self, item: str) -> None:
        from longctx.text.walk import listed_by_git, unwanted_by_name, walk

        root = os.path.realpath(item)
        self.corpus.folders.append(root)
        # Nothing listed: not a work tree, or a folder that git ignores but the user named.
        found = listed_by_git(root) or walk(root)
        files = sorted(set(found), key=os.fsencode)
        for number, relative in enumerate(files):
            if number % TOLD == 0:
                self.corpus.meter.show(
                    Progress(f"finding texts in {printable(item)}", number, len(files), 0, "files")
                )
            prefix, reason = unwanted_by_name(relative)
            inner = printable(str(Path(item, prefix))) + "/" * prefix.endswith("/")
            if reason:
                self.files.skip(inner, reason)
                continue
            try:
                self._add_from_folder(Path(root, relative), inner)
            except FileNotFoundError:
                continue  # git lists what is tracked, even when it was deleted
            except OSError as error:
                self.files.skip(inner, f"{UNREADABLE}, {(error.strerror or str(error)).lower()}")

    def _add_from_folder(self, path: Path, name: str) -> None:
        from longctx.text.walk import generated

        status = path.lstat()
        real = os.path.realpath(path)
        if real != str(path):
            self.files.skip(name, "a symbolic link, not followed")
        elif stat.S_ISDIR(status.st_mode):
            nested = (path / ".git").exists()
            self.files.skip(
                name.removesuffix("/") + "/",
                "repository of its own, name it to read it" if nested else "cannot be opened",
            )
        elif not stat.S_ISREG(status.st_mode):
            self.files.skip(name, "not a regular file")
        elif status.st_size > LARGEST_IN_FOLDER:
            self.files.skip(name, f"larger than {LARGEST_IN_FOLDER >> 20} MiB, name it to read it")
        elif reason := generated(path):
            self.files.skip(name, reason)
        elif real not in self.seen:
            self.files.add_file(path, name, named=False)
            self.seen.add(real)
