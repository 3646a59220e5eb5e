"""How fast a device gets what it has no room for, and how fast it multiplies: measured where it is here."""

import math
from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Stated, for devices that are not here.
DISK = 2e9  # bytes per second, of a laptop's solid state disk
BUS = 25e9  # bytes per second from memory of the host to a GPU: PCI Express 4.0 with 16 lanes
PRODUCTS = 1e14  # multiplications and additions per second, of a GPU of 24 GB in 16 bits
PIECE = 1 << 26  # bytes of a copy that is timed
SIDE = 4096  # of matrices that are multiplied


@cache
def bus_rate(device: "torch.device") -> float:
    """Return the bytes per second from pinned memory of the host to a GPU."""
    import torch

    if not torch.cuda.is_available():
        return BUS
    source = torch.empty(PIECE, dtype=torch.uint8, pin_memory=True)
    target = torch.empty_like(source, device=device)
    return PIECE / best(lambda: target.copy_(source, non_blocking=True), device)


@cache
def product_rate(device: "torch.device") -> float:
    """Return the multiplications and additions per second of a GPU."""
    import torch

    if not torch.cuda.is_available():
        return PRODUCTS
    matrix = torch.ones(SIDE, SIDE, dtype=torch.bfloat16, device=device)
    return 2 * SIDE**3 / best(lambda: matrix @ matrix, device)


def best(run: Callable[[], object], device: "torch.device", most: float = math.inf) -> float:
    """Return the seconds of the fastest of three runs, or of as many as take `most`, after one to warm up."""
    import torch

    times = []
    for _ in range(4):
        started = perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter() - started)
        if len(times) > 1 and sum(times) > most:
            break
    return min(times[1:])
