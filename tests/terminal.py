"""A command at a real terminal: what is typed comes from its keyboard, Ctrl-C included."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CTRL_C, CTRL_D = b"\x03", b"\x04"
# The terminal becomes the command's own, so that its keys send signals. Where tests run in the background,
# Ctrl-C is ignored from the start.
RUN = (
    "import fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "signal.signal(signal.SIGINT, signal.SIG_DFL); import longctx.__main__ as m; m.main()"
)
PATIENCE = 300.0  # seconds


class Terminal:
    """Runs `longctx` with some arguments; closes it at the end.

    Attributes:
        heard: what it has shown since `until` found something last.
    """

    def __init__(self, words: Sequence[str], settings: Path, **environment: str) -> None:
        self._ours, theirs = pty.openpty()
        env: Mapping[str, str] = (
            os.environ | {"XDG_CONFIG_HOME": str(settings), "TERM": "xterm"} | environment
        )
        command = [sys.executable, "-c", RUN, *words]
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
        )
        os.close(theirs)
        self.heard = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, keys: str | bytes) -> None:
        """Press keys; Return after text."""
        os.write(self._ours, keys if isinstance(keys, bytes) else keys.encode() + b"\r")

    def until(self, part: str) -> str:
        """Wait until something is shown; return what came before it."""
        end = time.monotonic() + PATIENCE
        while part not in self.heard:
            assert time.monotonic() < end, self.heard[-2000:]
            assert self._listen(), f"it ended without {part!r}: {self.heard[-2000:]}"
        before, _, self.heard = self.heard.partition(part)
        return before

    def anything(self) -> None:
        """Wait until anything more is shown."""
        end, heard = time.monotonic() + PATIENCE, len(self.heard)
        while len(self.heard) == heard:
            assert time.monotonic() < end
            assert self._listen(), f"it ended: {self.heard[-2000:]}"

    def ended(self) -> int:
        """Wait for the end; return the exit code."""
        end = time.monotonic() + PATIENCE
        while self._listen():
            assert time.monotonic() < end, self.heard[-2000:]
        return self.process.wait(PATIENCE)

    def _listen(self) -> bool:
        """Take what is shown within a second; tell whether there may be more."""
        if not select.select([self._ours], [], [], 1)[0]:
            return True
        try:
            shown = os.read(self._ours, 4096)
        except OSError:  # on Linux, once the other side is closed
            return False
        self.heard += shown.decode(errors="replace")
        return bool(shown)
