"""x W^T with an activation; on the CPU with weights in oneDNN's own layout.

torch's float32 matmul goes through MKL, which runs at half speed on CPUs that are not Intel's; oneDNN with a
packed weight reaches the ceiling on all of them and applies the activation while the result is in cache.
Its operators are private to torch, so they are tried and compared before use.
"""

from collections.abc import Callable, Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels.differentiable import silu
from longctx.kernels.int4 import Int4Matrix, int4_linear, prepare4
from longctx.kernels.quantized import (
    Activation,
    Int8Matrix,
    Rounded,
    int8_linear,
    round_tokens,
)
from longctx.kernels.rounded import Bits, Product, RoundedMatrix, fits, random_matrix, rounded_linear
from longctx.kernels.select import Site, works

__all__ = ["Activation", "Matrix", "Rounded", "can_pack", "choose_product", "linear", "pack", "prepared"]

Matrix = Tensor | Int8Matrix | Int4Matrix | RoundedMatrix
# oneDNN lays a weight out for one batch size. This one serves prefill, and decode reads it fastest too.
BATCH = 2048


def prepared(x: Tensor, weight: Matrix) -> Tensor | Rounded:
    """Return tokens (..., in) as products with matrices like this one take them, prepared once for many."""
    if isinstance(weight, Int8Matrix):
        return round_tokens(x.float(), weight)
    if isinstance(weight, Int4Matrix):
        return prepare4(x)
    return x


def linear(x: Tensor | Rounded, weight: Matrix, activation: Activation = "none") -> Tensor:
    """Return activation(x W^T).

    Args:
        x: (..., in), or from `prepared`. weight: (out, in), plain, rounded or packed.
        activation: "silu" is x * sigmoid(x).
    """
    if isinstance(weight, Int8Matrix):
        return int8_linear(x, weight, activation)
    if isinstance(weight, Int4Matrix):
        return int4_linear(x, weight, activation)
    assert isinstance(x, Tensor)
    if isinstance(weight, RoundedMatrix):
        return rounded_linear(x, weight, activation)
    if weight.is_mkldnn:
        name = "swish" if activation == "silu" else activation
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, None, name, [], "")
        return out
    out = F.linear(x, weight)
    if activation == "silu":
        return silu(out) if out.requires_grad else F.silu(out)
    return torch.sigmoid(out) if activation == "sigmoid" else out


def pack(weight: Tensor) -> Tensor:
    """Return a copy of a float32 CPU matrix in oneDNN's layout, which only `linear` understands."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), BATCH)
    return packed


@cache
def can_pack() -> bool:
    """Tell whether this torch on this CPU has the operators and they compute correctly."""
    operators = ("_linear_pointwise", "_reorder_linear_weight")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, n) for n in operators):
        return False
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(96, 160, generator=random)
    try:
        packed = pack(weight)
        for rows in (1, 3, 64):
            x = torch.randn(rows, 160, generator=random)
            for activation in ("none", "silu", "sigmoid"):
                expected = linear(x.double(), weight.double(), activation)
                if not torch.allclose(linear(x, packed, activation).double(), expected, rtol=1e-4, atol=1e-4):
                    return False
    except RuntimeError:
        return False
    return True


def choose_product(site: Site, bits: Bits, columns: int) -> Product:
    """Return what multiplies by rounded matrices of so many bits and columns at a site."""
    # Rows are read in pieces, so the trial needs no longer ones.
    if fits(columns, bits) and works(f"int{bits}_linear", _trial, site, bits, min(columns, 1056)):
        from longctx.kernels.rounded_triton import rounded_linear as kernel

        return kernel
    return rounded_linear


def _trial(draw: Callable[..., Tensor], bits: Bits, columns: int) -> Iterator[tuple[Tensor, Tensor]]:
    from longctx.kernels.rounded_triton import FEW
    from longctx.kernels.rounded_triton import rounded_linear as kernel

    weight = random_matrix(draw, bits, 21, columns)
    for tokens in (1, FEW + 1):
        x = draw(tokens, columns)
        yield kernel(x, weight, "silu"), rounded_linear(x, weight, "silu")
