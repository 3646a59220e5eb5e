"""A long text read with and without a budget for keys and values: memory, speed, and the same answers.

    python -m bench.kv_budget --tokens 4000000 --budget 64 --out bench/results/kv-budget.json

Each reading runs in a process of its own with the bundled model on one CPU thread. The text is noise of which
every line states a number, so that a question makes the model look everywhere. Exit status 1 if what was
written or where the model looked differs, or memory goes beyond the budget and what a question takes.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

from bench.measure import CHUNK, peak_bytes
from longctx.engine import Engine
from longctx.models.kv_form import KVForm
from longctx.models.kv_room import Room
from longctx.sampling import Sampling

BUNDLED = Path(__file__).resolve().parents[1] / "models" / "bundled"
ASKED = (0.1, 0.5, 0.9)  # depths of the lines that are asked for
LINE = "One of the special magic numbers for harbour-{n} is: {m}.\n"
QUESTION = "What is the special magic number for harbour-{n}? The special magic number for harbour-{n} is"
WRITING = "seconds_per_token_written", "cpu_seconds_per_token_written"
BESIDE = 32 << 20  # bytes that a question takes, however long the text: a page, scores of one, outputs


def number(n: int) -> int:
    """Return what the text says of a line."""
    return n * 7919 % 9_000_000 + 1_000_000


def chunks(engine: Engine, tokens: int, lines: int) -> Iterator[list[int]]:
    """Yield so many tokens of text."""
    left, rest = tokens, list[int]()
    for first in range(0, lines, 200):
        text = "".join(LINE.format(n=n, m=number(n)) for n in range(first, first + 200))
        rest += engine.tokenizer.encode(text)
        while len(rest) >= CHUNK and left > 0:
            yield rest[: min(CHUNK, left)]
            rest, left = rest[CHUNK:], left - CHUNK
        if left <= 0:
            return


def read(tokens: int, budget: int | None) -> dict[str, Any]:
    """Read and ask; return what it cost and what came of it."""
    torch.set_num_threads(1)
    engine = Engine.load(BUNDLED, "cpu", "float32")
    per_line = len(engine.tokenizer.encode(LINE.format(n=100_000, m=1_234_567))) - 1
    lines = tokens // per_line
    session = engine.session()
    session.fork().read([1] * CHUNK)  # what torch sets up once
    loaded = peak_bytes()
    if budget is not None:
        engine.model.kv = KVForm(room=Room(engine.device, budget))
        session = engine.session()
    began, worked = perf_counter(), process_time()
    for _ in session.read_chunks(chunks(engine, tokens, 2 * lines)):
        pass
    seconds, work, peak = perf_counter() - began, process_time() - worked, peak_bytes()
    began, worked, written, steps = perf_counter(), process_time(), [], 0
    for depth in ASKED:
        prompt = engine.tokenizer.encode(QUESTION.format(n=int(depth * lines)))
        pieces = list(session.fork().generate(prompt, Sampling(max_tokens=4)))
        steps += len(pieces)
        written.append([repr(piece) for piece in pieces])
    room = engine.model.kv.room
    return {
        "tokens": session.position,
        "log_bytes": session.state.nbytes,
        "read_seconds": seconds,
        "read_cpu_seconds": work,
        "seconds_per_token_written": (perf_counter() - began) / steps,
        "cpu_seconds_per_token_written": (process_time() - worked) / steps,
        "loaded_bytes": loaded,
        "peak_reading": peak,
        "peak_asking": peak_bytes(),
        "spilled": room.spilled if room else 0,
        "brought": room.brought if room else 0,
        "written": hashlib.sha256(json.dumps(written).encode()).hexdigest(),
        "first": written[0][:3],
    }


def child(tokens: int, budget: int | None) -> dict[str, Any]:
    """Run `read` in a process of its own."""
    command = [sys.executable, "-m", "bench.kv_budget", "--tokens", str(tokens), "--child"]
    command += [] if budget is None else ["--budget", str(budget >> 20)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> int:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=4_000_000)
    parser.add_argument("--budget", type=int, help="MiB")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    budget = None if given.budget is None else given.budget << 20
    if given.child:
        print(json.dumps(read(given.tokens, budget)))
        return 0
    bounded, free = child(given.tokens, budget), child(given.tokens, None)
    held = bounded["peak_reading"] - bounded["loaded_bytes"]
    asking = bounded["peak_asking"] - bounded["loaded_bytes"]
    result = {
        "budget": budget,
        "bounded": bounded,
        "unbounded": free,
        "same": bounded["written"] == free["written"],
        "beyond_loaded_reading": held,
        "beyond_loaded_asking": asking,
        # Of the time on a clock, and of the time of CPUs, which other programs disturb less.
        "slowdown_reading": [bounded[name] / free[name] for name in ("read_seconds", "read_cpu_seconds")],
        "slowdown_writing": [bounded[name] / free[name] for name in WRITING],
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    within = budget is None or (held <= budget and asking <= budget + BESIDE)
    return 0 if result["same"] and within else 1


if __name__ == "__main__":
    sys.exit(main())
