"""Where a command's answer goes: stdout or a file. Notes and progress go to stderr.

Text from documents is stripped of control characters before it reaches a terminal.
"""

import errno
import json
import os
import re
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from longctx import signals
from longctx.errors import OutputError
from longctx.formats.kinds import counted
from longctx.machine import gib, resident_memory
from longctx.progress import Progress
from longctx.tasks.results import Text, Thought

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

    from longctx.text.source import Corpus, Skipped

Event = TypeVar("Event")
SCHEMA = 1
BETWEEN = 0.05  # seconds between two states of the progress bar
# Control characters (but tab and line feed) and marks that reorder text must not reach a terminal.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Return text that is safe on a terminal: line ends as line feeds, control characters as U+FFFD."""
    return _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


class Output:
    """Where one command's answer goes, and what appears on stderr; on exit the progress bar is removed.

    Without a path, or with "-", it goes to stdout.

    Raises:
        OutputError: at once, when the answer cannot be written to `path`.
    """

    def __init__(self, path: str | None, as_json: bool, quiet: bool, verbose: bool):
        path = None if path == "-" else path
        self.path, self.as_json, self.quiet, self.verbose = path, as_json, quiet, verbose
        self._bar: Bar | None = None
        self._drawn = 0.0
        if path:
            _check_writable(Path(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    @cached_property
    def console(self) -> "Console":
        """Return the terminal on stderr, which prints notes above a progress bar."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.quiet, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Tell whether text is shown while it is written."""
        return self.path is None and not self.as_json

    def note(self, text: str, *, detail: bool = False) -> None:
        """Print a note on stderr; details only with -v."""
        if self.quiet or (detail and not self.verbose):
            return
        if self._bar is None:
            click.echo(clean(text), err=True)
        else:
            self.console.print(clean(text), markup=False, emoji=False)

    def report_sources(self, corpus: "Corpus") -> None:
        """Report what is read and what is skipped; nothing is skipped silently."""
        for note in corpus.notes if self.verbose else corpus.brief_notes():
            self.note(note)
        for skipped in corpus.skipped:
            self.note(f"not read: {skipped.name}: {skipped.reason}", detail=True)
        if corpus.skipped:
            hint = "" if self.verbose else " (-v or --json lists them)"
            self.note(f"not read: {_by_reason(corpus.skipped)}{hint}")
        for cut, begins in ((corpus.since, True), (corpus.until, False)):
            if cut:
                self.note(cut.told(begins))

    def spare(self, inputs: Iterable[str]) -> None:
        """Refuse to write the answer over a file that is read: it may be the only copy.

        Raises:
            OutputError: naming the file.
        """
        if self.path and Path(self.path).is_file():
            for name in inputs:
                if Path(name).is_file() and Path(name).samefile(self.path):
                    raise OutputError(f"{name}: would be read and written over; choose another file for -o")

    def write(self, text: str, values: dict[str, Any]) -> None:
        """Write the result: `text` for people, or `values` as one JSON object."""
        if self.as_json:
            text = json.dumps({"schema": SCHEMA, **values}, indent=2)
        if self.path is None:
            _print(text)
            return
        try:
            _write_whole(Path(self.path), text + "\n")
        except OSError as error:
            _print(text)  # a full disk must not cost an hour of reading
            raise OutputError(f"{self.path}: {error.strerror}; the answer went to stdout instead") from error

    def show(self, event: Event) -> Event:
        """Draw progress, or print text as it is written, if a person can see it; return the event."""
        if isinstance(event, Progress):
            self._draw(event)
        else:
            self.hide()
            if self.live and isinstance(event, Text):
                click.echo(clean(event.text), nl=False)
            elif isinstance(event, Thought) and not self.quiet:
                click.echo(clean(event.text), nl=False, err=True)
        return event

    def _draw(self, event: Progress) -> None:
        if self.quiet or not _may_be_terminal() or not self.console.is_terminal:
            return
        if self._bar is None:
            self._bar = _bar(self.console)
            signals.when_stopped(self.hide)  # gives the cursor back
            self._bar.start()
        (task,) = self._bar.tasks
        now = monotonic()
        if now - self._drawn < BETWEEN and task.description == event.label:
            return
        self._drawn = now
        if task.description != (label := clean(event.label)):
            self._bar.reset(task.id, description=label)
        rate = event.tokens / task.elapsed if task.elapsed else 0.0
        facts = _amount(event)
        if event.tokens:
            facts = f"{event.tokens:,} tokens  {rate:,.0f}/s  {gib(resident_memory())}"
        self._bar.update(task.id, completed=event.bytes_done, total=event.bytes_total or None, facts=facts)

    def hide(self) -> None:
        """Remove the progress bar; what is printed, or typed, next has the terminal for itself."""
        if self._bar:
            self._bar.stop()
            self._bar = None
            signals.forget(self.hide)


def _may_be_terminal() -> bool:
    """Tell whether a person may look at stderr; rich, which takes long to import, decides it then."""
    forced = any(os.environ.get(name) for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))
    return sys.stderr is not None and (forced or sys.stderr.isatty())


def _amount(event: Progress) -> str:
    """Return how far a stage is: "1.2 GiB of 3.4 GiB", "3 of 12 pages"."""
    if event.unit != "bytes":
        return f"{event.bytes_done:,} of {event.bytes_total:,} {event.unit}"
    if event.bytes_total:
        return f"{gib(event.bytes_done)} of {gib(event.bytes_total)}"
    return gib(event.bytes_done) if event.bytes_done else ""


def _by_reason(skipped: "list[Skipped]") -> str:
    """Return how much was skipped for each reason, with what helps: "1 PDF (pip install ...), 2 hidden"."""
    counts = Counter((one.reason, one.advice) for one in skipped)
    return ", ".join(
        counted(reason, count) + f" ({advice})" * bool(advice)
        for (reason, advice), count in counts.most_common()
    )


def _bar(console: "Console") -> "Bar":
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    description, facts = (
        TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[facts]}")
    )
    bar = Bar(
        description, BarColumn(bar_width=24), facts, TimeRemainingColumn(), console=console, transient=True
    )
    bar.add_task("", total=None, facts="")
    return bar


def _check_writable(path: Path) -> None:
    """Refuse an unwritable output before an hour of reading, not after."""
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot be written ({reason}); choose another file for -o") from error
    if path.is_dir():
        raise OutputError(f"{path}: is a directory; -o takes a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{path}: cannot be written; choose another file for -o")


def _print(text: str) -> None:
    """Write an answer to stdout; where that is full or closed, keep it in a file.

    Raises:
        OutputError: naming that file.
    """
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        click.echo(text)
    except BrokenPipeError:  # the reader has seen enough
        raise
    except OSError as error:
        if sys.stdout is not None:  # or Python complains again when it flushes stdout at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        with tempfile.NamedTemporaryFile(
            "w", prefix="longctx-answer-", delete=False, encoding="utf-8"
        ) as kept:
            kept.write(text + "\n")
        raise OutputError(f"stdout: {error.strerror}; the answer is in {kept.name}") from error


def _is_open_as(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _write_whole(path: Path, text: str) -> None:
    """Write all or nothing: an existing file is replaced only by a complete one, with its permissions.

    A link is followed: what it points at is written.
    """
    path = path.resolve()
    if path.exists() and sys.stdout and _is_open_as(path, 1):
        click.echo(text, nl=False)
        return
    if path.exists() and not path.is_file():  # a device or a pipe
        with path.open("w", encoding="utf-8") as file:
            file.write(text)
        return
    with signals.scratch(path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")) as part:
        with part.open("x", encoding="utf-8") as file:
            file.write(text)
        if path.exists():
            part.chmod(path.stat().st_mode & 0o7777)
        part.replace(path)
