"""What keeping a reading costs the reading: processor time and seconds, with a store and without, in turn.

    python -m bench.checkpoint_cost --tokens 400000 --runs 5 --out results/NAME.json

Each run is a process of its own that reads the same text with the bundled model, which reads fastest of all
and so has the least time for its checkpoints. They are written beside the computation, so that their seconds
overlap with it; their processor time does not. The share is that of all checkpoints in the processor time of
a reading; the last one counts, though it is written while the answer is.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import longctx
from bench.kill_campaign import made_text
from longctx.engine import Engine
from longctx.reading import Reading
from longctx.store.folder import open_folder
from longctx.store.keeper import Keeper
from longctx.store.writer import Checkpoint, Writer
from longctx.text.source import gather

BUNDLED = Path(longctx.__file__).parent / "models" / "bundled"
CHUNK = 2048


def timed(spent: dict[str, float]) -> None:
    """Let the parts of keeping count their processor time, each in its own thread."""
    attempt, checkpoint = Writer._attempt, Keeper._checkpoint

    def _attempt(self: Writer, kept: Checkpoint) -> None:
        began, wall = time.thread_time(), time.perf_counter()
        attempt(self, kept)
        spent["writing_cpu"] += time.thread_time() - began
        spent["writing"] += time.perf_counter() - wall
        spent["checkpoints"] += 1
        spent["bytes"] += kept.bytes

    def _checkpoint(self: Keeper, *args: Any) -> None:
        began, wall = time.thread_time(), time.perf_counter()
        checkpoint(self, *args)
        spent["beginning_cpu"] += time.thread_time() - began
        spent["beginning"] += time.perf_counter() - wall

    Writer._attempt = _attempt  # type: ignore[method-assign,assignment]
    Keeper._checkpoint = _checkpoint  # type: ignore[method-assign,assignment]


def read(text: Path, store: Path | None, threads: int) -> dict[str, float]:
    """Read a text once; return what it took."""
    torch.set_num_threads(threads)
    engine = Engine.load(BUNDLED, "cpu", "float32")
    before = engine.tokenizer.encode("Read:")
    spent = dict.fromkeys(
        ("writing", "writing_cpu", "beginning", "beginning_cpu", "checkpoints", "bytes"), 0.0
    )
    timed(spent)
    cpu, began = time.process_time(), time.perf_counter()
    folder = open_folder(store, print) if store else None
    reading = Reading(engine, gather([str(text)]).documents, before, CHUNK, store=folder)
    for _ in reading.read():
        pass
    seconds = time.perf_counter() - began
    reading.close()
    spent |= {"seconds": seconds, "closed": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    spent["tokens"] = reading.session.position
    return spent


def again(text: Path, store: Path | None, threads: int) -> dict[str, float]:
    """Read in a new process."""
    words = [sys.executable, "-m", "bench.checkpoint_cost", "--read", str(text), "--threads", str(threads)]
    words += ["--store", str(store)] if store else []
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Read in turn, with a store and without, and tell the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=400_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(json.dumps(read(given.read, given.store, given.threads)))
        return
    rows: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_text(made_text(given.tokens * 3 // 4, seed=1))
        for run in range(given.runs):
            for name, store in (("without", None), ("with", Path(folder, f"store-{run}"))):
                rows[name].append(again(text, store, given.threads))
                print(name, {key: round(value, 3) for key, value in rows[name][-1].items()}, flush=True)
    own = [(one["writing_cpu"] + one["beginning_cpu"]) / one["cpu"] for one in rows["with"]]
    told = {
        "processor_share": statistics.median(own),
        "cpu_ratio": statistics.median(one["cpu"] for one in rows["with"])
        / statistics.median(one["cpu"] for one in rows["without"]),
        "seconds_ratio": statistics.median(one["seconds"] for one in rows["with"])
        / statistics.median(one["seconds"] for one in rows["without"]),
        "threads": given.threads,
        "load": os.getloadavg()[0],
        "runs": rows,
    }
    print({key: told[key] for key in ("processor_share", "cpu_ratio", "seconds_ratio")})
    if given.out:
        given.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
