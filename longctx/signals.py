"""Ctrl-C and its kin: the command ends at once and in silence, and leaves nothing behind.

It imports nothing that takes time, so that it can be asked for before all else. Programs that use longctx as
a library keep their own signals.
"""

import os

TYPE_CHECKING = False  # typing, pathlib and contextlib would each take longer than all of this
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType
else:
    import _signal as signal  # what it is made of: signal gives its numbers names, and imports enum for that

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

# What to call, the last first; None in programs that keep their own signals.
_undo: "list[Callable[[], object]] | None" = None
_patient: "patience | None" = None


def obey() -> None:
    """From now on end with 128 + the signal's number; a signal that the caller ignores (nohup) stays ignored.

    The process ends in the handler. An exception would have to get through the imports of other libraries,
    where it is swallowed, or printed, or leaves a module half made.
    """
    global _undo  # noqa: PLW0603  # signals are the process's, too
    _undo = []
    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def when_stopped(undo: "Callable[[], object]") -> None:
    """Let a signal call `undo` before the process ends."""
    if _undo is not None:
        _undo.append(undo)


def forget(undo: "Callable[[], object]") -> None:
    """Take `undo` back: it was done, or is not needed any more."""
    if _undo and undo in _undo:
        _undo.remove(undo)


def done() -> None:
    """Let nothing stop the program any more: the answer is out, and Python is about to end."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


class interruptible:  # used as a function
    """Let Ctrl-C raise KeyboardInterrupt here, for what a person may stop without ending the command."""

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before is _stop:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)


class scratch:  # used as a function
    """Give a path to write to and to rename; what is still there at the end, or at a signal, is removed."""

    def __init__(self, path: "Path") -> None:
        self._path = path

    def __enter__(self) -> "Path":
        when_stopped(self._remove)
        return self._path

    def __exit__(self, *_: object) -> None:
        self._remove()
        forget(self._remove)

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)


class within:  # used as a function
    """Raise TimeoutError in what takes longer than so many seconds, where the system can: in the main thread.

    Only what asks for signals is ended so: Python itself, and its regular expressions.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._can = hasattr(signal, "setitimer")

    def __enter__(self) -> None:
        try:
            self._before = signal.signal(signal.SIGALRM, self._stop) if self._can else None
        except ValueError:  # another thread
            self._can = False
        if self._can:
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        if self._can:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)

    def _stop(self, *_: object) -> None:
        raise TimeoutError(f"more than {self._seconds} s")


class patience:  # used as a function
    """Let a first Ctrl-C only be noted while something is finished; a second one ends the program at once.

    Attributes:
        asked: whether the user has pressed it.
    """

    def __init__(self, answer: "Callable[[], object]") -> None:
        self._answer = answer  # says so
        self.asked = False

    def __enter__(self) -> "patience":
        global _patient  # noqa: PLW0603  # as above
        _patient = self
        return self

    def __exit__(self, *_: object) -> None:
        global _patient  # noqa: PLW0603  # as above
        _patient = None

    def note(self) -> bool:
        """Take a first Ctrl-C; tell whether it was that."""
        first, self.asked = not self.asked, True
        if first:
            self._answer()
        return first


def _stop(number: int, _: "FrameType | None") -> None:
    if number == signal.SIGINT and _patient is not None and _patient.note():
        return
    for undo in reversed(_undo or []):
        try:
            undo()
        except Exception:  # the others are still to be undone
            continue
    os._exit(128 + number)
