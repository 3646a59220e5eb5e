"""Softmax attention over a long log on a CPU: its share of the roofline, and the error of bfloat16.

    python -m bench.long_context --out RESULT.json     # about 4 minutes on one core

Decode is one token over the log, and its roofline the rate at which memory is read. A chunk's roofline is the
fastest float32 product, also for bfloat16. Both logs take turns; medians count.
"""

# ruff: noqa: E402  # torch reads the environment when it is imported
from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from longctx.machine import prepare_cpu

prepare_cpu()  # before torch is imported

import torch
from torch import Tensor

from bench.measure import ceilings
from bench.report import machine
from longctx.kernels.attention import choose_attention, has_bfloat16
from longctx.kernels.select import Site
from longctx.models.kv_log import KVLog

CPU = torch.device("cpu")
# Query heads, KV heads, channels.
SHAPES = {"ring-mini": (16, 4, 128), "hypenet-2b": (16, 8, 128), "smollm2": (9, 3, 64)}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CHUNK = 1024  # tokens; a reading has 2048 or 4096 at once, at the same rate
MOST_WORK = 1.2e12  # operations of one run of a chunk, or only decode is measured
REPEATS = 7


def turns(jobs: Mapping[str, Callable[[], Tensor]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each job; they take turns, after one run that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(runs[1:]) for name, runs in seconds.items()}


def measured(name: str, log: int, tokens: int, limits: dict[str, float]) -> dict[str, Any]:
    """Attend from some tokens to a log of a model's shape in both dtypes; return times and error."""
    heads, kv_heads, width = SHAPES[name]
    attention, jobs = choose_attention(Site(CPU, torch.float32), width), {}
    q = torch.randn(1, heads, tokens, width)
    k, v = torch.randn(2, 1, kv_heads, tokens, width)
    keys, values = torch.randn(2, 1, kv_heads, log, width)
    for label, dtype in DTYPES.items():
        memory = KVLog(1, kv_heads, width, dtype, CPU)
        memory.append(keys, values)

        jobs[label] = partial(attention, q, k.to(dtype), v.to(dtype), memory.pages())
    repeats = REPEATS if tokens == 1 else 3
    row: dict[str, Any] = {"shape": name, "log": log, "tokens": tokens}
    work = 4 * heads * width * tokens * (log + tokens / 2)
    for label, seconds in turns(jobs, repeats).items():
        size = 2 * kv_heads * width * DTYPES[label].itemsize * log
        ceiling = size / limits["bytes"] if tokens == 1 else work / limits["flops"]
        row[label] = {"milliseconds": round(1e3 * seconds, 2), "of_roofline": round(ceiling / seconds, 2)}
    exact, short = (job().double() for job in jobs.values())
    row["relative_error"] = float(f"{(short - exact).norm() / exact.norm():.2g}")
    return row


def main() -> None:
    """Print a line per case, and save all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--logs", type=int, nargs="*", default=[1 << 15, 1 << 17])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rates = ceilings()
    limits = {
        "flops": 1e9 * max(rates["mm"], rates.get("onednn", 0.0)),
        "bytes": 1e9 * max(rates["copy"], rates["read"]),
    }
    rows = []
    for name, (heads, _, width) in SHAPES.items():
        for log in args.logs:
            for tokens in (1, CHUNK):
                if tokens == 1 or 4 * heads * width * tokens * log <= MOST_WORK:
                    rows.append(measured(name, log, tokens, limits))
                    print(json.dumps(rows[-1]), flush=True)
    report = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "threads": torch.get_num_threads()}
    report |= machine() | {"bfloat16": has_bfloat16(), "ceilings": rates, "rows": rows}
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
