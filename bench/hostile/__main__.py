"""The command among the files of strangers: each run ends soon, in one line or an answer, and leaves nothing.

    python -m bench.hostile --runs 380 --seed 1 [KIND ...]

Run it as an ordinary user: root may do anything. The kinds of `bench.hostile.kinds` take turns. Each run is a
fork with a folder, a home and a TMPDIR of its own. Counted are tracebacks and other exit codes, more than 20
seconds or 2 GiB (of the largest process), escapes (the secret outside is told, a file there changes, a
program of the folder runs, marks reach the terminal), and what is left: files, processes. Exit status 1 if
there is any.
"""

import argparse
import hashlib
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

from bench.hostile.case import HIDDEN, SECRET, Case
from bench.hostile.kinds import KINDS
from bench.hostile.run import processes, run

SECONDS = 20
MEMORY = 2 << 30
PROMISED = {0, 1, 2, 3, 4, 5, 6, 7}
SCREEN = 8000  # characters of messages
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


def wrong(case: Case, room: Path, before: list[dict[str, str]]) -> list[str]:
    """Return what the run of a case has broken."""
    code, seconds, memory = run(case.words, room, case.fresh, case.meanwhile)
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
    for process in processes(room):
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
        return wrong(case, room, [snapshot(room / "place"), snapshot(room / "outside")])


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
