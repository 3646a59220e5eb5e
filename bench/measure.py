"""Clocks: interleaved repeats, the machine's ceilings, and the peak memory of a child process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from longctx.engine import Engine
from longctx.sampling import Sampling

REST = 0.05  # seconds between two runs, so that the worker threads of the last engine stop spinning
CHUNK = 2048  # tokens that longctx is fed at once unless a case says otherwise


@dataclass(frozen=True)
class Timing:
    """Seconds of the fastest and slowest of some repeats: noise only ever adds time, so best is the value."""

    best: float
    worst: float
    repeats: int


def interleave(jobs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Run all jobs in turn, `repeats` times over, so that a slow minute of the machine hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            time.sleep(REST)
            began = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - began)
    return {name: Timing(min(runs), max(runs), repeats) for name, runs in seconds.items()}


def ceilings() -> dict[str, float]:
    """Measure float32 GFLOP/s of a large product and GB/s of streaming memory.

    torch multiplies through MKL or through oneDNN, and on some processors one is twice the other:
    both are shown, and a roofline takes the faster.
    """
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    source = torch.ones(32 << 20)
    target = torch.empty_like(source)
    matrix, vector = source.view(4096, -1), torch.ones(source.numel() // 4096)
    jobs: dict[str, Callable[[], object]] = {
        "mm": lambda: a @ b,
        "onednn": lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""),
        "copy": lambda: target.copy_(source),
        "read": lambda: matrix @ vector,
    }
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        del jobs["onednn"]
    interleave(jobs, 1)
    best = {name: timing.best for name, timing in interleave(jobs, 7).items()}
    work = {"mm": 2 * 2048**3, "onednn": 2 * 2048**3, "copy": 2 * source.nbytes, "read": source.nbytes}
    return {name: work[name] / seconds / 1e9 for name, seconds in best.items()}


def memory_of_read(folder: Path, tokens: int, threads: int) -> dict[str, float]:
    """Read random tokens in a fresh process; return its bytes before and at the peak, and of its state."""
    command = [sys.executable, "-m", "bench.measure", str(folder), str(tokens), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def peak_bytes() -> int:
    """Return the most memory this process has held, in bytes."""
    # Not getrusage: across exec its ru_maxrss keeps the peak of the process that started this one.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status: no VmHWM line; peak memory can only be measured on Linux")


def _child(folder: Path, tokens: int, threads: int) -> None:
    torch.set_num_threads(threads)
    engine = Engine.load(folder, "cpu", "float32")
    ids = torch.randint(engine.model.config.vocab_size, (CHUNK,)).tolist()
    engine.session().read(ids)  # what the first chunk allocates is not growth
    before, session = peak_bytes(), engine.session()
    for _ in range(0, tokens, CHUNK):
        session.read(ids)
    next(session.generate(ids[:1], Sampling(max_tokens=1)))
    print(json.dumps({"before": before, "peak": peak_bytes(), "state": session.state.nbytes}))


if __name__ == "__main__":
    _child(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
