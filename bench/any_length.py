"""A log of a gigabyte: three planted lines asked for, its summary, and a search for the same words by grep.

    python -m bench.any_length --megabytes 1000 --out bench/results/any-length.json

The log is made in a temporary folder and removed at the end. Each command runs by itself; shown are its
seconds, its peak memory, and when the first progress appeared on a terminal. Exit status 1 if an answer is
wrong or a bar is missed: 1.5 GB of memory, 0.2 s from the start of the work to the first progress.
"""

import argparse
import json
import os
import platform
import pty
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

LONGCTX = [sys.executable, "-m", "longctx"]
MOST_BYTES = 1.5e9
FIRST_PROGRESS = 0.2
PLANTED = {  # depth -> level and message, question, answer, what grep searches for
    0.1: (
        "INFO  [auth-3] the access code for amber-lamp is 48213",
        "What is the access code for amber-lamp?",
    ),
    0.5: (
        "WARN  [cache-7] the checksum of backup tin-bell is 9c41e7",
        "What is the checksum of backup tin-bell?",
    ),
    0.9: ("INFO  [search-1] the rack of node K7-R2P is 'north-14'", "What is the rack of node K7-R2P?"),
}
RIGHT = {0.1: ("48213", "amber-lamp"), 0.5: ("9c41e7", "tin-bell"), 0.9: ("north-14", "K7-R2P")}


def message(rng: random.Random) -> str:
    """Return the level and the text of one entry of an ordinary service."""
    worker = f"[{rng.choice(('billing', 'mailer', 'auth', 'search', 'cache'))}-{rng.randrange(1, 32)}]"
    kind = rng.random()
    if kind < 0.5:
        path = rng.choice(("/api/v1/users", "/api/v1/orders", "/health", "/login"))
        status = rng.choice((200, 200, 404))
        return f"INFO  {worker} GET {path}/{rng.randrange(99999)} {status} {rng.randrange(900)}ms"
    if kind < 0.8:
        return (
            f"DEBUG {worker} cache {rng.choice(('hit', 'miss'))} for key session:{rng.getrandbits(64):016x}"
        )
    if kind < 0.95:
        return f"INFO  {worker} job {rng.randrange(9999999)} finished in {rng.random() * 90:.2f} s"
    if kind < 0.99:
        return f"WARN  {worker} queue depth {rng.randrange(100, 9999)} above the limit, slowing down"
    return f"ERROR {worker} connection to 10.0.{rng.randrange(256)}.{rng.randrange(256)}:5432 lost"


def write_log(path: Path, size: int) -> None:
    """Write a log of about `size` bytes; each planted line stands at its depth."""
    rng, at = random.Random(13), datetime(2026, 3, 1)
    waiting, written = sorted(PLANTED), 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            lines = []
            for _ in range(1000):
                at += timedelta(milliseconds=rng.randrange(1, 900))
                lines.append(f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03d} {message(rng)}\n")
            if waiting and written >= waiting[0] * size:
                lines.append(f"{at:%Y-%m-%d %H:%M:%S},999 {PLANTED[waiting.pop(0)][0]}\n")
            written += file.write("".join(lines))


@dataclass
class Run:
    """One command: its seconds, its peak memory in bytes, when it first said something on a terminal."""

    what: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    first_progress: float
    exit_status: int
    answer: str
    notes: list[str]


def run(what: str, command: list[str]) -> Run:
    """Run a command with stderr on a terminal, and measure it."""
    leader, follower = pty.openpty()
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=follower, stdin=subprocess.DEVNULL)
        os.close(follower)
        first, said = 0.0, b""
        for piece in _pieces(leader):
            first = first or time.perf_counter() - began
            said += piece
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        out.seek(0)
        answer = out.read().decode("utf-8", "replace")
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    notes = [line for line in said.decode("utf-8", "replace").splitlines() if line.startswith("read ")]
    return Run(
        what,
        seconds,
        used.ru_utime + used.ru_stime,
        used.ru_maxrss * unit,
        first,
        process.returncode,
        answer,
        notes,
    )


def _pieces(leader: int) -> Iterator[bytes]:
    """Yield what a command writes to its terminal until it closes it."""
    while True:
        select.select([leader], [], [])
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:  # Linux says so when the other end is closed
            piece = b""
        if not piece:
            os.close(leader)
            return
        yield piece


def ask(log: Path, depth: float, threads: int) -> tuple[Run, str]:
    """Ask for a planted line; return the run, and what is wrong with its answer."""
    question, right = PLANTED[depth][1], RIGHT[depth][0]
    words = [*LONGCTX, "ask", question, str(log), "--threads", str(threads), "--json"]
    asked = run(question, words)
    asked.answer = json.loads(asked.answer)["answer"] if asked.answer else ""
    return asked, "" if asked.answer.strip("'\"") == right else f"{question} {asked.answer!r}"


def late_or_large(one: Run, start: float) -> Iterator[str]:
    """Yield the bars that a command of ours misses; `start` is what any command takes before it works."""
    if one.peak_bytes > MOST_BYTES:
        yield f"{one.what}: {one.peak_bytes:,} bytes"
    if (late := one.first_progress - start) > FIRST_PROGRESS:
        yield f"{one.what}: first progress after {late:.2f} s of work"


def measure(log: Path, threads: int) -> dict[str, Any]:
    """Run every command on a log, and tell what each took and which bars were missed."""
    start = run("start", [*LONGCTX, "--version"]).seconds
    searcher = shutil.which("rg") or shutil.which("grep") or "grep"
    runs, missed = [], []
    for depth in PLANTED:
        asked, wrong = ask(log, depth, threads)
        words = RIGHT[depth][1]
        searched = run(f"{Path(searcher).name} -F {words}", [searcher, "-F", words, str(log)])
        runs += [asked, searched]
        missed += [*filter(None, [wrong]), *late_or_large(asked, start)]
    told = run("summarize", [*LONGCTX, "summarize", str(log)])
    told.answer = told.answer.replace(str(log), log.name)
    return {
        "bytes": log.stat().st_size,
        "threads": threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "load": os.getloadavg()[0],
        "start_seconds": start,
        "runs": [asdict(one) for one in (*runs, told)],
        "missed": [*missed, *late_or_large(told, start)],
    }


def main() -> None:
    """Make the log, run every command on it, print a table and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--log", type=Path, help="one made before, kept")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="any-length-") as folder:
        log = args.log or Path(folder, "service.log")
        if not log.exists():
            write_log(log, args.megabytes * 1_000_000)
        values = measure(log, args.threads)
    for one in values["runs"]:
        print(
            f"{one['what']:<44} {one['seconds']:7.1f} s, of a CPU {one['cpu_seconds']:7.1f} s  "
            f"{one['peak_bytes'] / 1e6:6.0f} MB  first progress {one['first_progress']:.2f} s"
        )
    if args.out:
        args.out.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    missed = values["missed"]
    print("\n".join(["missed:", *missed]) if missed else "every bar is met")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
