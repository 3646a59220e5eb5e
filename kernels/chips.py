"""Facts about NVIDIA chips that kernels are cut by (CUDA programming guide, technical specifications)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")
LEAST_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Chip:
    """One generation, by its chip for data centres.

    Attributes:
        multiprocessors: that the whole chip has.
        shared: bytes of shared memory of a multiprocessor; a block may have all but 1 KiB of it.
        bulk: has the tensor memory accelerator: one thread asks for a whole tile.
    """

    multiprocessors: int
    shared: int
    bulk: bool


# By the first number of the compute capability: A100, H100 and H200, B200.
CHIPS = {8: Chip(108, 164 << 10, False), 9: Chip(132, 228 << 10, True), 10: Chip(148, 228 << 10, True)}


@cache
def capability(device: torch.device) -> tuple[int, int]:
    """Return the compute capability that tiles are chosen for; (9, 0) where there is no CUDA device."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (9, 0)


def chip(device: torch.device) -> Chip:
    """Return the facts of a device's generation; a later one counts as Hopper."""
    return CHIPS.get(capability(device)[0], CHIPS[9])


def on_device(launch: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Tensor, P], R]:
    """Make a wrapper run with the device of its first tensor as the current one: Triton launches there."""

    @wraps(launch)
    def run(first: Tensor, /, *rest: P.args, **named: P.kwargs) -> R:
        with torch.cuda.device_of(first):
            return launch(first, *rest, **named)

    return run if torch.cuda.device_count() > 1 else launch
