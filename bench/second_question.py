"""What a second question about a long text costs beside the first, which reads it: a process for each.

    python -m bench.second_question --tokens 1000000

The bundled model, on a CPU. Text and store are in a temporary folder and go with it. Each question is one
command with `--json`; the clock runs from its start to the first byte of the answer. CPU seconds are those of
the process, whatever else the machine does. `import torch` is timed in a process of its own, and what the
questions take beside it is told as well. Modules are compiled by the first question, as an installation has
them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import longctx
from longctx.models.config_file import read_config
from longctx.store.folder import PASSAGES
from longctx.tasks.haystack import hidden, load_haystack, make_sample
from longctx.tokens.tokenizer import Tokenizer

BUNDLED = Path(longctx.__file__).parent / "models" / "bundled"
SECOND = "copper-kettle", "7730164"  # the name and the number that the second question is about
# As the command does it: without most of Python's searches for unreachable objects, at the end as well.
TORCH = "import gc; gc.set_threshold(50_000); import torch; print(flush=True); gc.freeze()"
MEASURED = "first_byte", "cpu", "reading"  # of a run, in seconds


@dataclass(frozen=True)
class Run:
    """One command.

    Attributes:
        first_byte, cpu: seconds. reading: of these, what the model's reading took.
        reused, read: tokens. answer: its text.
    """

    first_byte: float
    cpu: float
    reading: float = 0.0
    reused: int = 0
    read: int = 0
    answer: str = ""


def write_text(path: Path, tokens: int) -> tuple[tuple[str, str], tuple[str, str]]:
    """Write a text of about so many tokens with two facts; return their questions and answers."""
    tokenizer = Tokenizer.load(BUNDLED, read_config(BUNDLED).vocab_size)
    sample = make_sample(load_haystack(tokenizer, None), tokenizer, tokens - 64, 30.0, "number", 0, 0)
    needle, question = hidden("number", *SECOND)
    at = sample.after.index(". ", len(sample.after) // 2) + 2
    path.write_text(f"{sample.before}{sample.needle}{sample.after[:at]}{needle} {sample.after[at:]}")
    then = time.time() - 3600  # as most texts: one that was just written is looked through at each question
    os.utime(path, (then, then))
    return (sample.question, sample.expected), (question, SECOND[1])


def timed(command: list[str]) -> tuple[float, float, bytes]:
    """Run a command; return the seconds to its first byte, its CPU seconds, and what it printed."""
    given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=given) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        waited = time.perf_counter() - began
        out = first + process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return waited, used.ru_utime + used.ru_stime, out


def ask(text: Path, store: Path, question: str, right: str) -> Run:
    """Ask in a process of its own."""
    command = [sys.executable, "-m", "longctx", "ask", question, str(text), "--store", str(store), "--json"]
    first_byte, cpu, out = timed(command)
    told = json.loads(out)
    if told["answer"] != right:
        raise SystemExit(f"the answer is {told['answer']!r}, not {right!r}")
    usage = told["usage"]
    return Run(first_byte, cpu, usage["read_seconds"], usage["tokens_reused"], usage["tokens_read"], right)


def measure(tokens: int, repeats: int) -> dict[str, Any]:
    """Ask the first question once and the second so many times; return all runs and the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        text, store = Path(folder, "text.txt"), Path(folder, "store")
        one, two = write_text(text, tokens)
        first = ask(text, store, *one)
        (index,) = store.glob(f"{PASSAGES}/*/passages.sqlite")
        second = [ask(text, store, *two) for _ in range(repeats)]
        floor = [Run(*timed([sys.executable, "-c", TORCH])[:2]) for _ in range(repeats)]
        kept = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        sizes = {"text": text.stat().st_size, "store": kept, "index": index.stat().st_size}
    assert all(run.read == 0 and run.reused for run in second), "something was read twice"
    torch, again = medians(floor), medians(second)
    ratios = {name: getattr(first, name) / again[name] for name in MEASURED}
    beside = {name: again[name] - torch[name] for name in MEASURED}
    besides = {name: (getattr(first, name) - torch[name]) / beside[name] for name in MEASURED}
    runs = {"first": asdict(first), "second": [*map(asdict, second)], "import torch": [*map(asdict, floor)]}
    told = {"ratios": ratios, "beside torch": beside, "ratios beside torch": besides}
    return {"tokens": first.read, "bytes": sizes, **told, **runs, "load": os.getloadavg()}


def medians(runs: list[Run]) -> dict[str, float]:
    """Return the median of each number of some runs."""
    return {name: statistics.median(getattr(run, name) for run in runs) for name in MEASURED}


def table(found: dict[str, Any]) -> str:
    """Write the medians side by side."""
    rows = [f"{'':<24}{'first byte':>12}{'CPU':>10}{'reading':>10}   seconds"]
    for name in ("first", "second", "import torch", "beside torch"):
        runs = found[name] if isinstance(found[name], list) else [found[name]]
        cells = [statistics.median(run[key] for run in runs) for key in MEASURED]
        rows.append(f"{name:<24}{cells[0]:>12.2f}{cells[1]:>10.2f}{cells[2]:>10.3f}")
    for name in ("ratios", "ratios beside torch"):
        cells = [found[name][key] for key in MEASURED]
        rows.append(f"{name:<24}{cells[0]:>12,.0f}{cells[1]:>10,.0f}{cells[2]:>10,.0f}")
    return "\n".join([f"{found['tokens']:,} tokens", *rows])


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    given = parser.parse_args()
    found = measure(given.tokens, given.repeats)
    print(table(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
