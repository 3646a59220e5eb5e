"""Signals at random moments: the promised exit code, no word, and nothing left behind.

    python -m bench.interrupts --runs 100 --signal SIGINT --within 5 --seed 0

Each run pipes a text into `longctx ask -o FILE` and is sent the signal at a random moment after its start. A
run that is over before counts as such. Exit status 1 if a run breaks the promise.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TEXT = "The ferry left the quay at noon and came back before the lamps were lit in the harbour.\n" * 60_000
QUESTION = "What is the special magic number for quiet-lantern?"


def trial(number: signal.Signals, delay: float) -> str:
    """Start a command, stop it after `delay` seconds, and say what came of it."""
    with tempfile.TemporaryDirectory(prefix="interrupts-") as folder:
        temporary, text = Path(folder, "tmp"), Path(folder, "text.txt")
        temporary.mkdir()
        text.write_text(TEXT, encoding="utf-8")
        command = [sys.executable, "-m", "longctx", "ask", QUESTION, "--all", "--threads", "1", "-o"]
        with text.open("rb") as stdin:
            process = subprocess.Popen(
                [*command, str(temporary / "answer.txt")],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | {"TMPDIR": str(temporary)},
            )
            time.sleep(delay)
            process.send_signal(number)
            out, err = process.communicate(timeout=120)
        left = sorted(path.name for path in temporary.iterdir())
    if process.returncode in (0, 1) and left == ["answer.txt"] and b"Traceback" not in err:
        return "over before"
    if b"Failed to import the site module" in err:
        return "before any code but Python's own: nothing can be done about it"
    if process.returncode == -number and not out + err:
        return "before Python takes signals: ended by the system"  # a shell says 128 + n here, too
    if process.returncode != 128 + number or out or left or b"Traceback" in err or b"Error" in err:
        return f"BROKEN: exit {process.returncode} at {delay:.3f} s, left {left}, said {err[-300:]!r}"
    return "as promised"


def main() -> None:
    """Try one signal at many moments and print what came of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--signal", choices=["SIGINT", "SIGTERM", "SIGHUP"], default="SIGINT")
    parser.add_argument("--within", type=float, default=5.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as one under nohup ignores this
    moments = random.Random(args.seed)
    found = Counter(
        trial(signal.Signals[args.signal], moments.uniform(0, args.within)) for _ in range(args.runs)
    )
    for what, count in found.most_common():
        print(f"{count:>4}  {what}")
    sys.exit(any(what.startswith("BROKEN") for what in found))


if __name__ == "__main__":
    main()
