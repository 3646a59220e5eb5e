"""x W^T with weights of 8 bits on the CPU: a quarter of the bytes to read, and VNNI's products in prefill.

Weights have one scale per row. For a single token, as in decoding, the time goes into reading them: it
stays in bfloat16. Several tokens are rounded to 8 bits too, each with its own scale (the dynamic scheme of
arXiv 2206.01861); their products are exact 32 bit integers. Both operators are private to torch: they
are tried and compared before use.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["none", "silu", "sigmoid"]
LEVELS = 127  # on each side of zero
TOKENS = 256  # multiplied at once: their results are scaled while in cache
# The product of one token reads this many columns at once, even past the end of a row.
COLUMNS = 64
TINY = 1e-30  # in place of the scale of a row of zeros
TOLERANCE = 0.02  # of |x| |w|, in the trial; correct results use a third of it


@dataclass(frozen=True)
class Int8Matrix:
    """A matrix (out, in) of 8 bit integers and the scale of each row, float32 and bfloat16.

    Columns of zeros are added up to a multiple of COLUMNS.
    """

    levels: Tensor
    scales: Tensor
    short_scales: Tensor

    @staticmethod
    def nbytes(rows: int, columns: int) -> int:
        """Return the bytes of a matrix of this shape."""
        return rows * -(-columns // COLUMNS) * COLUMNS + (4 + 2) * rows


def quantize(weight: Tensor) -> Int8Matrix:
    """Return a float CPU matrix (out, in) rounded to 8 bits, symmetric, one scale per row."""
    rows, columns = weight.shape
    levels = torch.empty(rows, -(-columns // COLUMNS) * COLUMNS, dtype=torch.int8)
    scales = torch.empty(rows, 1)
    for start in range(0, rows, TOKENS):  # a head in float32 is more than a gigabyte
        part = slice(start, start + TOKENS)
        levels[part], scales[part] = round_rows(_widen(weight.detach()[part].float()))
    return Int8Matrix(levels, scales[:, 0], scales[:, 0].bfloat16())


def int8_linear(x: Tensor, weight: Int8Matrix, activation: Activation = "none") -> Tensor:
    """Return activation(x W^T).

    One token's result does not depend on the others.

    Args:
        x: (..., in) float32. weight: (out, in).
    """
    flat = _widen(x.reshape(-1, x.shape[-1]))
    if len(flat) == 1:
        out = torch._weight_int8pack_mm(flat.bfloat16(), weight.levels, weight.short_scales).float()
        return activate(out, activation).view(*x.shape[:-1], -1)
    out = x.new_empty(len(flat), len(weight.levels))
    for rows, results in zip(flat.split(TOKENS), out.split(TOKENS), strict=True):
        levels, scales = round_rows(rows)
        # A product of integers and floats in one step takes longer than the three.
        results.copy_(torch._int_mm(levels, weight.levels.t())).mul_(weight.scales).mul_(scales)
        activate(results, activation)
    return out.view(*x.shape[:-1], -1)


@cache
def can_quantize() -> bool:
    """Tell whether this torch on this CPU has the operators and they compute correctly."""
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(40, 96, generator=random)
    weight[0], weight[1] = 1.0, -1.0  # the largest sums, which must not overflow
    x = torch.randn(70, 96, generator=random)
    x[0], x[1] = 1.0, -1.0
    expected = x.double() @ weight.double().T
    bound = TOLERANCE * x.double().norm(dim=1, keepdim=True) * weight.double().norm(dim=1)
    matrix = quantize(weight)
    try:
        return all(
            bool(((int8_linear(x[:rows], matrix) - expected[:rows]).abs() <= bound[:rows]).all())
            for rows in (1, 2, 70)
        )
    except (AttributeError, RuntimeError):
        return False


def _widen(rows: Tensor) -> Tensor:
    """Return rows with zeros added up to a multiple of COLUMNS."""
    return F.pad(rows, (0, -rows.shape[1] % COLUMNS)) if rows.shape[1] % COLUMNS else rows


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows (N, in) as 8 bit integers, and the scale of each, (N, 1)."""
    largest = torch.maximum(rows.amax(1, keepdim=True), rows.amin(1, keepdim=True).neg_())
    scales = largest.clamp_min_(TINY).div_(LEVELS)
    return (rows / scales).round_().to(torch.int8), scales


def activate(out: Tensor, activation: Activation) -> Tensor:
    """Return the activation of `out`, in its memory."""
    if activation == "silu":
        return F.silu(out, inplace=True)
    return out.sigmoid_() if activation == "sigmoid" else out
