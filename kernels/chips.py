"""Facts about NVIDIA chips that decide tile sizes (CUDA programming guide, technical specifications)."""

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
    """One generation, represented by its data-centre chip.

    Attributes:
        multiprocessors: on the whole chip.
        shared: bytes of shared memory of a multiprocessor; a block may have all but 1 KiB of it.
        bulk: has the tensor memory accelerator: one thread asks for a whole tile.
    """

    multiprocessors: int
    shared: int
    bulk: bool


# By major compute capability: A100, H100 and H200, B200.
CHIPS = {8: Chip(108, 164 << 10, False), 9: Chip(132, 228 << 10, True), 10: Chip(148, 228 << 10, True)}


@cache
def capability(device: torch.device) -> tuple[int, int]:
    """Return the compute capability that tiles are chosen for; (9, 0) where there is no CUDA device."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (9, 0)


def chip(device: torch.device) -> Chip:
    """Return the facts of a device's generation; a later one counts as Hopper."""
    return CHIPS.get(capability(device)[0], CHIPS[9])


def on_device(launch: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Tensor, P], R]:
    """Make a wrapper run with its first tensor's device as the current one, where Triton launches."""

    @wraps(launch)
    def run(first: Tensor, /, *rest: P.args, **named: P.kwargs) -> R:
        with torch.cuda.device_of(first):
            return launch(first, *rest, **named)

    return run if torch.cuda.device_count() > 1 else launch
