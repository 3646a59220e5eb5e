"""The commands on a GPU, as users run them, with the bundled model.

python -m bench.gpu.cli
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from bench.gpu.model import beside_plan
from bench.gpu.report import Table, run
from bench.gpu.timing import HERE
from longctx.engine import Engine
from longctx.hub import BUNDLED
from longctx.tasks.haystack import load_haystack, make_sample

BOOK = Path(__file__).parents[2] / "tests" / "data" / "alice.txt"
NIAH = {"64k": 5, "1M": 5, "4M": 1, "10M": 1}  # length -> depths


def longctx(*arguments: str, seconds: float = 240) -> tuple[dict[str, Any], float]:
    """Run a command with --json; return what it wrote and the seconds of the whole process.

    Raises:
        RuntimeError: when it fails or takes longer than `seconds`.
    """
    began = perf_counter()
    command = [sys.executable, "-m", "longctx", *arguments, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{arguments[0]}: not done after {seconds:.0f} s") from error
    if done.returncode:
        raise RuntimeError(f"{arguments[0]}: exit {done.returncode}: {(done.stderr + done.stdout)[-300:]}")
    return json.loads(done.stdout), perf_counter() - began


def doctor(table: Table) -> None:
    """Check the machine, the kernels and the model."""
    found, seconds = longctx("doctor")
    table.value("doctor", float(all(each["ok"] for each in found["checks"])))
    for each in found["checks"]:
        table.note(f"doctor: {each['name']}: {each['value']}")
    table.note(f"doctor took {seconds:.1f} s, kernels compiled")


def niah(table: Table, length: str, depths: int) -> None:
    """Hide a needle at some depths and look for it."""
    found, seconds = longctx("niah", "--length", length, "--depths", str(depths))
    trials = found["trials"]
    table.value(f"niah {length}", sum(trial["correct"] for trial in trials) / len(trials))
    best = min(trial["seconds"] for trial in trials)
    rate = found["usage"]["read_tokens_per_second"]
    table.note(f"niah {length}: {best:.1f} s a trial, read at {rate:,.0f} tok/s, process {seconds:.1f} s")


def ask(table: Table, folder: Path) -> None:
    """Ask about a text of a million tokens, twice: the second time every kernel is in Triton's cache."""
    engine = Engine.load(BUNDLED, "cpu")
    sample = make_sample(
        load_haystack(engine.tokenizer, None), engine.tokenizer, 1_000_000, 50, "number", 0, 0
    )
    path = folder / "text.txt"
    path.write_text(sample.before + sample.needle + sample.after, encoding="utf-8")
    for turn in ("first", "second"):
        found, seconds = longctx("ask", sample.question, str(path))
        usage = found["usage"]
        right = sample.expected in json.dumps(found)
        table.note(
            f"ask, {turn} run: read {usage['tokens_read']:,} tokens in {usage['read_seconds']:.2f} s,"
            f" wrote in {usage['write_seconds']:.2f} s, whole process {seconds:.1f} s,"
            f" {'right' if right else 'WRONG'}"
        )
    if right:
        table.value("ask on a text of 1M tokens, reading", usage["read_seconds"] + usage["write_seconds"])


def summarize(table: Table) -> None:
    """Summarize a book."""
    found, seconds = longctx("summarize", str(BOOK))
    table.value("summarize", float(len(json.dumps(found)) > 500))
    table.note(f"summarize took {seconds:.1f} s")


def memory(table: Table) -> None:
    """Compare the plan of a reading with the peak of the same reading."""
    HERE.forget()
    before = HERE.held()
    engine = Engine.load(BUNDLED, str(HERE.device))
    tokens, chunk = HERE.size(1 << 20, 2048), HERE.size(8192, 1024)
    session = engine.session()
    ids = torch.randint(engine.model.config.vocab_size, (chunk,)).tolist()
    for _ in range(0, tokens, chunk):
        session.read(ids)
    HERE.wait()
    beside_plan(table, "bundled model 1M", engine, tokens, chunk, HERE.peak() - before)


def tables(table: Table, args: argparse.Namespace) -> None:
    """Run everything; a command that fails does not take the rest with it."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [partial(doctor, table), partial(ask, table, Path(folder)), partial(memory, table)]
        parts += [partial(niah, table, length, depths) for length, depths in NIAH.items()]
        for part in parts[:1] if args.quick else [*parts, partial(summarize, table)]:
            table.guard(part.func.__name__, part)


if __name__ == "__main__":
    sys.exit(run("cli", __doc__, tables))
