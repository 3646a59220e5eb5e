"""Clocks on a CUDA device: events around each run, after a warm-up, with an empty L2 where bytes count."""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import torch
from torch import Tensor

from bench.gpu.roofline import Ceilings

T = TypeVar("T")
# Bytes written between two runs: eight times the L2 cache of an H200, and 0.1 ms in which the next launches
# are enqueued, so that the device does not wait for Python.
FLUSH = 512 << 20
WARM_UP = 0.05  # seconds
BUDGET = 0.25  # seconds of timed runs


@dataclass(frozen=True)
class Timing:
    """Seconds of the middle and the fastest run."""

    median: float
    best: float
    runs: int


class Place:
    """Where the tables run: on a CUDA device, or in a rehearsal on the CPU.

    A rehearsal only shows that all code runs: its sizes are small, Triton interprets, and its figures mean
    nothing.
    """

    def __init__(self) -> None:
        self.rehearsal = False

    @property
    def device(self) -> torch.device:
        """Return the device of all tensors."""
        return torch.device("cpu" if self.rehearsal else "cuda")

    def size(self, real: int, small: int) -> int:
        """Return a size: the real one, or the small one of a rehearsal."""
        return small if self.rehearsal else real

    def wait(self) -> None:
        """Wait until the device is done."""
        if not self.rehearsal:
            torch.cuda.synchronize()

    def forget(self) -> None:
        """Give unused memory back and start a new count of the peak."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def held(self) -> int:
        """Return the bytes that tensors hold now."""
        return 0 if self.rehearsal else torch.cuda.memory_allocated()

    def peak(self) -> int:
        """Return the most bytes that tensors held since `forget`."""
        return 1 if self.rehearsal else torch.cuda.max_memory_allocated()


HERE = Place()


def need_cuda() -> None:
    """End the program with one line when there is no CUDA device."""
    if not torch.cuda.is_available():
        sys.exit("needs a CUDA device")


def measure(job: Callable[[], object], *, cold: bool = True, budget: float = BUDGET) -> Timing:
    """Time a job on the current stream.

    Args:
        job: enqueues work and returns without waiting.
        cold: empty the L2 cache before each run, as the layers between two calls of a kernel would.
        budget: seconds of timed runs; there are at least three of them and at most 200.
    """
    if HERE.rehearsal:
        began = perf_counter()
        job()
        seconds = perf_counter() - began
        return Timing(seconds, seconds, 1)
    job()  # compiles, allocates, tunes
    torch.cuda.synchronize()
    first = _once(job, None)
    for _ in range(min(50, int(WARM_UP / first))):
        job()
    scratch = torch.empty(FLUSH, dtype=torch.int8, device=HERE.device) if cold else None
    runs = max(3, min(200, int(budget / first)))
    times = [_once(job, scratch) for _ in range(runs)]
    return Timing(statistics.median(times), min(times), runs)


def interleave(jobs: Mapping[str, Callable[[], object]], *, cold: bool = True) -> dict[str, Timing]:
    """Time several jobs in turn, so that a slow moment of the device hits all of them."""
    halves = [
        {name: measure(job, cold=cold, budget=BUDGET / 2) for name, job in jobs.items()} for _ in range(2)
    ]
    return {
        name: Timing(
            min(half[name].median for half in halves),
            min(half[name].best for half in halves),
            sum(half[name].runs for half in halves),
        )
        for name in jobs
    }


def in_graph(jobs: Sequence[Callable[[], object]], rounds: int = 3) -> Timing:
    """Time one of several jobs run one after another in a CUDA graph: what it costs when launches are free.

    Jobs on different data, more than the L2 cache holds, are timed as between the layers of a model.
    """
    if HERE.rehearsal:
        return _each(measure(lambda: [job() for job in jobs]), len(jobs))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for job in jobs:
            job()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for job in list(jobs) * rounds:
            job()
    return _each(measure(graph.replay, cold=False), len(jobs) * rounds)


def back_to_back(jobs: Sequence[Callable[[], object]], rounds: int = 10) -> Timing:
    """Time one of several jobs launched one after another from Python: launch cost included."""
    all_of_them = list(jobs) * HERE.size(rounds, 1)
    return _each(measure(lambda: [job() for job in all_of_them], cold=False), len(all_of_them))


def _each(timing: Timing, parts: int) -> Timing:
    return Timing(timing.median / parts, timing.best / parts, timing.runs)


def ceilings() -> Ceilings:
    """Measure what rooflines are drawn from: a copy of 2 GiB, a bf16 product of 8192, an empty launch."""
    size, side = HERE.size(2 << 30, 1 << 20), HERE.size(8192, 64)
    source = torch.empty(size, dtype=torch.int8, device=HERE.device).random_()
    target = torch.empty_like(source)
    a, b = torch.randn(2, side, side, device=HERE.device).bfloat16()
    tiny = torch.zeros(1, device=HERE.device)
    copy = measure(lambda: target.copy_(source), cold=False)
    product = measure(lambda: a @ b, cold=False)
    launch = back_to_back([lambda: tiny.add_(1)], rounds=200)
    return Ceilings(2 * source.nbytes / copy.best, 2 * side**3 / product.median, launch.median)


def guarded(job: Callable[[], T]) -> tuple[T | None, str]:
    """Run a peer or a step; return its result, or None and why it failed, so that the rest goes on."""
    try:
        return job(), ""
    except (ImportError, RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        line = next(iter(str(error).strip().splitlines()), "")
        HERE.forget()
        return None, f"{type(error).__name__}: {line}"[:200]


def relative_error(out: Tensor, reference: Tensor) -> float:
    """Return |out - reference| / |reference| over all numbers."""
    return float((out.double() - reference.double()).norm() / reference.double().norm())


def _once(job: Callable[[], object], scratch: Tensor | None) -> float:
    if scratch is not None:
        scratch.zero_()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    job()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3
