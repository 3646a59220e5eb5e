"""The command among the files of strangers: each run ends soon, in one line or an answer, and leaves nothing.

    python -m bench.hostile --runs 380 --seed 1 [KIND ...]

Run it as an ordinary user: root may read and write everything. The kinds of `bench.hostile_cases` take turns;
each run has a folder, a home and a TMPDIR of its own. Counted are tracebacks and unpromised exit codes, runs
over 20 seconds or 2 GiB (of the largest process), escapes (the secret outside is told, a file there changes,
a program of the folder runs, marks reach the terminal), and what is left: files, processes. Exit status 1 if
there is any.
"""

import argparse
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from bench.hostile_cases import HIDDEN, KINDS, ROOT, SECRET, Case, longctx

SECONDS = 20
MEMORY = 2 << 30
GIVEN_UP = 60  # seconds after which a run is killed
PROMISED = {0, 1, 2, 3, 4, 5, 6, 7}
SCREEN = 8000  # characters of messages
MARK = "LONGCTX_HOSTILE"  # in the environment of all processes of a run
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def snapshot(folder: Path) -> dict[str, str]:
    """Return what each path below a folder is: its kind, and of a file a hash."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(root, name)
            what = oct(path.lstat().st_mode >> 12)
            if path.is_file() and not path.is_symlink():
                with suppress(PermissionError):
                    what += hashlib.sha256(path.read_bytes()).hexdigest()
            found[os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")] = what
    return found


def processes(number: str) -> list[int]:
    """Return the processes of a run that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"{MARK}={number}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def waited(process: psutil.Process) -> dict[int, float]:
    """Return the seconds for which the main threads of a process and its children waited for a processor."""
    found = {}
    with suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with suppress(OSError):
                found[one.pid] = int(Path(f"/proc/{one.pid}/schedstat").read_text().split()[1]) / 1e9
    return found


def started(case: Case, room: Path, number: str) -> tuple[int, float, int]:
    """Run the command; return its exit code, seconds, and the bytes of its largest process.

    Seconds in which other work on the machine kept it from running do not count.
    """
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("LONGCTX", "XDG"))}
    homes = {"HOME": str(room / "home"), "TMPDIR": str(room / "tmp"), MARK: number, "PYTHONPATH": str(ROOT)}
    lost: dict[int, float] = {}
    with (room / "out").open("wb") as out, (room / "err").open("wb") as err:
        begin = time.monotonic()
        child = psutil.Popen(
            [str(longctx()), *case.words],
            cwd=room / "place",
            env=ours | homes,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        done, status, used = 0, 0, None
        while not done:
            lost |= waited(child)
            if time.monotonic() - begin - sum(lost.values()) > GIVEN_UP:
                os.killpg(child.pid, signal.SIGKILL)
            if case.meanwhile:
                case.meanwhile()
            time.sleep(0.05)
            done, status, used = os.wait4(child.pid, os.WNOHANG)
        seconds = time.monotonic() - begin - sum(lost.values())
    assert used is not None
    return os.waitstatus_to_exitcode(status), seconds, used.ru_maxrss << 10


def wrong(case: Case, room: Path, number: str, before: list[dict[str, str]]) -> list[str]:
    """Return what the run of a case has broken."""
    code, seconds, memory = started(case, room, number)
    out, err = ((room / name).read_bytes().decode("utf-8", "replace") for name in ("out", "err"))
    found = []
    if code not in PROMISED or re.search(r"Traceback|panicked|Fatal Python error", err):
        found.append(f"traceback: exit {code}")
    if len(err) > SCREEN:
        found.append(f"long message: {len(err)} characters")
    if seconds > SECONDS:
        found.append(f"hang: {seconds:.0f} s")
    if memory > MEMORY:
        found.append(f"memory: {memory >> 20} MiB")
    place, outside = snapshot(room / "place"), snapshot(room / "outside")
    if SECRET in out + err or outside != before[1] or any(name.endswith("OWNED") for name in place):
        found.append("escape")
    if marks := _CONTROLS.findall(err):
        found.append(f"escape: marks in messages {sorted(set(marks))}")
    new = [name for name in place if name not in before[0] and name.split("/")[0] not in case.made]
    changed = [name for name in place if name in before[0] and place[name] != before[0][name]]
    if new or (changed and not case.meanwhile and not case.made) or any((room / "tmp").iterdir()):
        found.append(f"left: {new[:3]} {changed[:3]} {os.listdir(room / 'tmp')[:3]}")  # noqa: PTH208
    for process in processes(number):
        found.append("left: a process")
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return [f"{one}; said {err[-300:]!r}" if one.startswith("traceback") else one for one in found]


def trial(kind: str, seed: int, number: int) -> list[str]:
    """Make one case, and return what its run has broken."""
    with tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True) as folder:
        room = Path(folder)
        for name in ("place", "outside", "home", "tmp"):
            (room / name).mkdir()
        (room / "outside" / "secret.txt").write_text(HIDDEN)
        case = KINDS[kind](room / "place", Random(f"{seed} {kind} {number}"))
        return wrong(
            case, room, f"{os.getpid()}.{number}", [snapshot(room / "place"), snapshot(room / "outside")]
        )


def main() -> None:
    """Run a campaign and print what came of it."""
    described = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=described)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--runs", type=int, default=380)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first run: to try one again")
    args = parser.parse_args()
    if os.geteuid() == 0:
        parser.error("run it as an ordinary user")
    kinds, runs, broken = args.kinds or list(KINDS), Counter[str](), Counter[str]()
    for number in range(args.first, args.first + args.runs):
        kind = kinds[number % len(kinds)]
        found = trial(kind, args.seed, number)
        runs[kind] += 1
        broken.update({one.split(":")[0] for one in found})
        for one in found:
            print(f"{number} {kind}: {one}", flush=True)
    print(f"seed {args.seed}: {sum(runs.values())} runs, {dict(runs)}")
    print(f"broken: {dict(broken) or 'nothing'}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
