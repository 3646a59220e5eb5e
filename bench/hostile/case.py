"""A command among the files of strangers, and what all kinds of them share.

SECRET lies beside the folder, in ../outside: where its number comes out, something led there.
"""

import json
import os
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from bench.fuzz_inputs import PROSE

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "models" / "bundled"
KNOWN = ROOT / "models" / "known"
QUESTION = "What is the special magic number for quiet-lantern?"
FACT = "One of the special magic numbers for quiet-lantern is: 4031775.\n"
SECRET = "9090909"
HIDDEN = f"One of the special magic numbers for quiet-lantern is: {SECRET}.\n"
OUTSIDE = "../outside/secret.txt"
MARKS = "\x1b]52;c;x\x07\u202e\u061c\u2028"


class Case(NamedTuple):
    """A command about what was made.

    Attributes:
        words: the command's arguments; it runs in the folder.
        meanwhile: called again and again while it runs; changes what is read.
        made: the names that the command itself may leave in the folder.
        fresh: to be run in a process of its own, for what happens before anything is imported.
    """

    words: list[str]
    meanwhile: Callable[[], object] | None = None
    made: tuple[str, ...] = ()
    fresh: bool = False


def ask(*words: str) -> list[str]:
    """Return a command that asks about a.txt with a model in `model`."""
    return ["ask", QUESTION, "a.txt", "--deep", "--no-store", "--threads", "1", *words]


def model(place: Path, writes: bool = False) -> Path:
    """Copy the bundled model, and a text with a fact; it writes answers if it does not point at them."""
    folder = place / "model"
    folder.mkdir()
    for path in BUNDLED.glob("*.*"):
        shutil.copyfile(path, folder / path.name)
    if writes:
        change_json(folder / "config.json", lambda raw: raw.pop("pointer_heads"))
    (place / "a.txt").write_text(PROSE + FACT)
    return folder


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file holds."""
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def become(path: Path, random: Random, leads: bool = True) -> None:
    """Make a path something that is no file; if it may, a link that leads outside."""
    path.unlink(missing_ok=True)
    kind = random.randrange(7 if leads else 6)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(random.choice(["/dev/zero", "/dev/random", "/dev/full", "/dev/tty"]))
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        path.mkdir()
    elif kind == 4:
        with socket.socket(socket.AF_UNIX) as server, suppress(OSError):  # a name may be too long
            server.bind(os.path.relpath(path))
    elif kind == 5:
        path.write_bytes(b"x")
        path.chmod(0)
    else:
        path.symlink_to(
            next(room / "outside" / "secret.txt" for room in path.parents if (room / "outside").is_dir())
        )
