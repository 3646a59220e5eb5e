"""Which implementation runs an operation: chosen and tried once, when a model is loaded.

The torch versions are the reference and the CPU path. Triton kernels replace them on NVIDIA devices, or
everywhere if the user asks (on a CPU that means Triton's interpreter, for tests).
"""

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec

import torch
from torch import Tensor

from longctx.errors import OptionError
from longctx.kernels.chips import LEAST_CAPABILITY, capability

SWITCH = "LONGCTX_KERNELS"  # "torch" or "triton" forces one of them; unset or empty: the device decides
HALVES = (torch.bfloat16, torch.float16)
HEAD_WIDTHS = range(16, 257)  # head sizes that the Triton kernels support
# Tolerance of a kernel's trial, as a share of the largest value: more than rounding, far less than a wrong
# result.
TOLERANCE = {torch.bfloat16: 5e-2, torch.float16: 1e-2, torch.float32: 1e-3}

# Yields pairs of the kernel's result and torch's. Takes a function that draws random numbers of a shape, in
# the site's dtype or another one, and the sizes of the operation.
Trial = Callable[..., Iterable[tuple[Tensor, Tensor]]]

# Operation -> error; torch runs such an operation for the rest of the process.
failures: dict[str, str] = {}


@dataclass(frozen=True)
class Site:
    """Where a model runs.

    Attributes:
        dtype: of its matrices.
        gradients: it is trained.
    """

    device: torch.device
    dtype: torch.dtype
    gradients: bool = False


def note(operation: str, why: object) -> None:
    """Remember the first line of an error that keeps a kernel from running, and warn once."""
    if operation not in failures:
        failures[operation] = next(iter(str(why).strip().splitlines()), type(why).__name__)
        warnings.warn(f"kernel {operation} cannot run here: {failures[operation]}", stacklevel=3)


def works(operation: str, trial: Trial, site: Site, *sizes: int) -> bool:
    """Tell whether Triton kernels are wanted here and, run once, agree with torch.

    Raises:
        OptionError: when the environment names unknown kernels.
    """
    forced = os.environ.get(SWITCH, "")
    if forced not in ("", "torch", "triton"):
        raise OptionError(f"{SWITCH}={forced}: use torch or triton, or leave it unset")
    if site.gradients or site.dtype not in TOLERANCE or not _wanted(site.device, forced):
        return False
    return _tried(operation, trial, site, sizes)


@cache
def _tried(operation: str, trial: Trial, site: Site, sizes: tuple[int, ...]) -> bool:
    random = torch.Generator(site.device).manual_seed(0)

    def draw(*shape: int, dtype: torch.dtype = site.dtype) -> Tensor:
        return torch.randn(shape, generator=random, device=site.device).to(dtype)

    try:
        # Models are made on the meta device.
        with torch.no_grad(), torch.device("cpu"):
            for found, right in trial(draw, *sizes):
                error = (found.float() - right.float()).abs().max() / right.float().abs().max()
                if not error <= TOLERANCE[site.dtype]:
                    note(operation, f"its results are off by {float(error):.1%}")
                    return False
    except Exception as error:  # whatever a kernel raises, torch runs instead
        note(operation, f"{type(error).__name__}: {error}")
        return False
    return True


def describe(device: torch.device) -> str:
    """Describe what runs the operations on a device, and what failed."""
    forced = os.environ.get(SWITCH, "")
    said = f"triton {version('triton')}" if _wanted(device, forced) else "torch"
    said += f" ({SWITCH}={forced})" if forced else ""
    return "; ".join([said, *(f"{name} fell back to torch: {why}" for name, why in failures.items())])


def _wanted(device: torch.device, forced: str) -> bool:
    # Triton is made for Linux alone.
    here = device.type == "cuda" and capability(device) >= LEAST_CAPABILITY
    return (forced == "triton" or (here and not forced)) and find_spec("triton") is not None
