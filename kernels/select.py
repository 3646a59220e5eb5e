"""Which implementation runs an operation: one table, one switch, one way back when a kernel fails.

The torch versions are the reference and the CPU path. Triton kernels replace them on NVIDIA devices, or
everywhere when the user says so (on a CPU that means Triton's interpreter, for tests).
"""

import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Generic, TypeVar

import torch
from torch import Tensor

from longctx.errors import OptionError

T = TypeVar("T")
SWITCH = "LONGCTX_KERNELS"  # "torch" or "triton" forces one of them; unset or empty: the table decides
HALVES = (torch.bfloat16, torch.float16)
FLOATS = (*HALVES, torch.float32)
LEAST_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Rule:
    """Where a Triton kernel serves: dtypes of its inputs, widths (channels of a head), tokens at once."""

    dtypes: tuple[torch.dtype, ...]
    widths: tuple[int, int]
    tokens: tuple[int, int] = (1, 1 << 40)


@dataclass(frozen=True)
class Done(Generic[T]):
    """What a kernel returned, to tell it from a kernel that could not run."""

    value: T


# Everything outside a rule, and every operation without one, is torch's.
TABLE = {
    "lightning_prefill": Rule(FLOATS, (16, 256), tokens=(2, 1 << 40)),
    "lightning_absorb": Rule(FLOATS, (16, 256)),
    "lightning_decode": Rule(FLOATS, (16, 256), tokens=(1, 1)),
    "rms_norm": Rule(FLOATS, (16, 1 << 16)),
    "norm_gate": Rule(FLOATS, (16, 256)),
    "attention_decode": Rule(FLOATS, (16, 256), tokens=(1, 1)),
    "attention_merge": Rule(FLOATS, (16, 256)),
    "moe_decode": Rule(FLOATS, (16, 1 << 20), tokens=(1, 16)),
    "moe_combine": Rule(FLOATS, (16, 1 << 20)),
}

# Operation -> what went wrong; such an operation stays with torch for the rest of the process.
failures: dict[str, str] = {}


def serves(operation: str, x: Tensor, width: int, tokens: int) -> bool:
    """Tell whether the Triton kernel of `operation` runs on inputs like `x`."""
    forced = os.environ.get(SWITCH, "")
    if not forced and x.device.type != "cuda":
        return False  # first, for a token on a CPU asks this a hundred times
    rule = TABLE[operation]
    if forced not in ("", "torch", "triton"):
        raise OptionError(f"{SWITCH}={forced}: use torch or triton, or leave it unset")
    if operation in failures or forced == "torch" or not has_triton():
        return False
    fits = (
        x.dtype in rule.dtypes
        and rule.widths[0] <= width <= rule.widths[1]
        and rule.tokens[0] <= tokens <= rule.tokens[1]
    )
    here = x.device.type == "cuda" and capability(x.device) >= LEAST_CAPABILITY
    return fits and (here or forced == "triton")


def attempt(operation: str, kernel: Callable[[], T], x: Tensor) -> Done[T] | None:
    """Run a kernel on x's device; when it cannot be compiled or launched, warn once and return None.

    Triton compiles before it launches anything, so a caller whose kernel failed may run torch's version
    on the same tensors.
    """
    # Triton launches on the current device, which need not be the one the tensors are on.
    there: AbstractContextManager[None] = (
        torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()
    )
    try:
        with there:
            return Done(kernel())
    except compile_errors() as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        failures[operation] = f"{type(error).__name__}: {line}"
        warnings.warn(f"kernel {operation} cannot run here, using torch: {failures[operation]}", stacklevel=2)
        return None


@cache
def has_triton() -> bool:
    """Tell whether Triton is installed (it is made for Linux alone)."""
    return find_spec("triton") is not None


def describe(device: torch.device) -> str:
    """Return in words what runs the operations on a device, and what could not."""
    forced = os.environ.get(SWITCH, "")
    on_chip = device.type == "cuda" and capability(device) >= LEAST_CAPABILITY
    if has_triton() and (forced == "triton" or (on_chip and not forced)):
        said = f"triton {version('triton')}"
    else:
        said = "torch"
    said += f" ({SWITCH}={forced})" if forced else ""
    return "; ".join([said, *(f"{name} fell back to torch: {why}" for name, why in failures.items())])


@cache
def capability(device: torch.device) -> tuple[int, int]:
    """Return the compute capability that tile sizes are chosen for; (9, 0) where there is no CUDA device."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (9, 0)


@cache
def compile_errors() -> tuple[type[Exception], ...]:
    """Return what Triton raises when a kernel cannot be built or does not fit the chip."""
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources, PTXASError

    return (CompilationError, OutOfResources, PTXASError)
