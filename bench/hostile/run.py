"""Runs of the command for `bench.hostile`: in a fork of a process that has imported everything, or afresh."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import torch  # noqa: F401 - before all forks, which then need not

import longctx.models.decoder
import longctx.models.weights
import longctx.tasks.ask
import longctx.tokens.tokenizer  # noqa: F401 - as torch
from longctx.__main__ import main

ROOT = Path(__file__).parents[2]
GIVEN_UP = 60  # seconds after which a run is killed
LOOKS = 0.5  # seconds between two looks at what a run waits for
MARK = "LONGCTX_HOSTILE"  # in the environment of all processes of a run


class Ran(NamedTuple):
    """How a run ended: its exit code, its seconds, and the bytes of its largest process.

    Seconds in which other work on the machine kept it from a processor do not count.
    """

    code: int
    seconds: float
    memory: int


def run(words: list[str], room: Path, fresh: bool, meanwhile: Callable[[], object] | None = None) -> Ran:
    """Run a command in room/place, with a home and a TMPDIR of its own in the room.

    Args:
        fresh: in a process of its own; otherwise in a fork, which saves most of a run's time.
        meanwhile: called again and again while it runs.
    """
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("LONGCTX", "XDG"))}
    homes = {
        "HOME": str(room / "home"),
        "TMPDIR": str(room / "tmp"),
        MARK: str(room),
        "PYTHONPATH": str(ROOT),
    }
    if not (child := os.fork()):
        try:
            _become(words, room, ours | homes, fresh)
        finally:
            os._exit(99)
    begin, looked, lost = time.monotonic(), 0.0, dict[int, float]()
    done, status, used = 0, 0, None
    while not done:
        if (now := time.monotonic()) - looked > LOOKS:
            looked, lost = now, lost | _waited(child)
        if now - begin - sum(lost.values()) > GIVEN_UP:
            os.killpg(child, signal.SIGKILL)
        if meanwhile:
            meanwhile()
        time.sleep(0.02)
        done, status, used = os.wait4(child, os.WNOHANG)
    seconds = time.monotonic() - begin - sum(lost.values())
    assert used is not None
    return Ran(os.waitstatus_to_exitcode(status), seconds, used.ru_maxrss << 10)


def _become(words: list[str], room: Path, environment: dict[str, str], fresh: bool) -> None:
    """In the child: be the command."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(room / "place")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(room / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    if fresh:
        os.execve(Path(sys.executable).with_name("longctx"), ["longctx", *words], environment)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.argv = ["longctx", *words]
    code = 70
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _waited(child: int) -> dict[int, float]:
    """Return the seconds for which main threads of a run waited for a processor."""
    found = {}
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(child)
        for one in (process, *process.children(recursive=True)):
            with suppress(OSError):
                found[one.pid] = int(Path(f"/proc/{one.pid}/schedstat").read_text().split()[1]) / 1e9
    return found


def processes(room: Path) -> list[int]:
    """Return the processes of a run that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={room}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def read_into(store: Path, text: Path) -> None:
    """Keep a reading of a text in a store."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("place", "home", "tmp"):
            Path(folder, name).mkdir()
        words = ["read", str(text), "--store", str(store), "--threads", "1", "-q"]
        assert not run(words, Path(folder), fresh=False).code, Path(folder, "err").read_text()


def git(place: Path, *words: str) -> None:
    """Run git in a folder."""
    subprocess.run(["git", "-C", str(place), *words], check=True, capture_output=True)
