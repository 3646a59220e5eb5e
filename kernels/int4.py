"""x W^T with weights of 4 bits on the CPU, in groups of 32 columns: an eighth of the bytes to read.

A weight is level * factor * scale: 4 bits, a small integer for each group, and a number for each row. So a
matrix turns into one of 8 bits without a rounding more, and many tokens go through the products of integers
that 8 bit weights have; where the CPU has no instructions for these, through those of float32. Few tokens
go through torch's own product of bfloat16 and 4 bits. That operator and its layout are private to torch: they
are tried and compared before they are used. The layout depends on the CPU; files have that of AVX-512.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels.quantized import (
    TINY,
    TOKENS,
    TOLERANCE,
    Activation,
    Rounded,
    activate,
    can_lay_out,
    leading,
    round_many,
    rounded,
)

GROUP = 32  # columns that share a factor
BLOCK = 64  # rows that files and AVX-512 have together; the layout of fewer is another one
FACTORS = 15  # on each side of zero: the largest times the lowest level, -8, still has 8 bits
FEW = 32  # tokens, up to which the product of 4 bits is faster than turning the weight into 8 bits
NIBBLES = 0x0F0F0F0F0F0F0F0F
LOSS = 0.1  # of a random matrix, in the trial; right results are at 0.087


@dataclass(frozen=True)
class Int4Matrix:
    """A matrix (out, in) of 4 bit integers in torch's layout.

    Rows of zeros are added up to a multiple of BLOCK. Rows are together in blocks, the second half of them
    in the high bits of the first half.

    Attributes:
        levels: (out, in / 2) uint8.
        scales: (in / GROUP, out, 2) bfloat16: what a level is multiplied by, and zero.
        row_scales: (out,) float32; scales are multiples of them.
        rows: without those added.
        block: rows that are together.
    """

    levels: Tensor
    scales: Tensor
    row_scales: Tensor
    rows: int
    block: int = BLOCK

    @staticmethod
    def parts(rows: int, columns: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Return kind and shape of each tensor of a matrix of this shape."""
        padded = -(-rows // BLOCK) * BLOCK
        return {
            "levels": (torch.uint8, (padded, columns // 2)),
            "scales": (torch.bfloat16, (columns // GROUP, padded, 2)),
            "row_scales": (torch.float32, (padded,)),
        }

    def laid_out(self, block: int | None = None) -> "Int4Matrix":
        """Return the matrix with so many rows together: as many as products of this CPU take."""
        block = block or block_here()
        if block == self.block:
            return self
        return replace(
            self, levels=_packed(self.in_order(_unpacked(self.levels, self.block)), block), block=block
        )

    def plain(self, columns: int) -> Tensor:
        """Return the matrix (out, in) as it was rounded, float32."""
        wide = self.in_order(_widened(self)) * self.row_scales
        return wide.t()[: self.rows].contiguous()

    def in_order(self, results: Tensor) -> Tensor:
        """Return (N, out) with columns in the order of rows, of a product with what `_widened` returned."""
        return results.view(len(results), 2, -1, self.block // 2).transpose(1, 2).reshape(results.shape)


@cache
def block_here() -> int:
    """Return how many rows the product of this CPU takes together."""
    return BLOCK if torch.backends.cpu.get_cpu_capability() == "AVX512" else BLOCK // 2


def quantize4(weight: Tensor) -> Int4Matrix:
    """Return a float CPU matrix (out, in) rounded to 4 bits for this CPU; `in` is a multiple of GROUP."""
    rows, columns = weight.shape
    padded = F.pad(weight.detach(), (0, 0, 0, -rows % BLOCK))
    levels = torch.empty(padded.shape, dtype=torch.uint8)
    scales = torch.zeros(columns // GROUP, len(padded), 2, dtype=torch.bfloat16)
    row_scales = torch.empty(len(padded))
    for start in range(0, len(padded), BLOCK):  # block by block, each in the cache
        part = slice(start, start + BLOCK)
        levels[part], steps, row_scales[part] = round_groups(padded[part].float())
        scales[:, part, 0] = steps.T
    block = block_here()
    return Int4Matrix(_packed(levels.t(), block), scales, row_scales, rows, block)


def round_groups(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Round rows (N, in) float32 to 4 bits, group by group.

    Returns:
        Levels (N, in), 8 above their values; what these are multiplied by, (N, in / GROUP); and the scale of
        each row, (N,), of which those are multiples. All float32.
    """
    grouped = rows.unflatten(1, (-1, GROUP))
    low, high = grouped.amin(2), grouped.amax(2)
    # Levels go one further down than up: the largest of a group, whatever its sign, becomes the lowest.
    steps = torch.where(high > -low, high, low).div_(-8)
    row_scales = (steps.abs().amax(1) / FACTORS).clamp_min_(TINY)
    nearest = (steps / row_scales[:, None]).round_()
    best = _rounded(grouped, nearest, row_scales)
    for beside in (-1, 1):  # factors are coarse: the nearest is not always the one that loses least
        factors = (nearest.abs() + beside).clamp_(1, FACTORS).copysign_(nearest)
        levels, steps, loss = _rounded(grouped, factors, row_scales)
        better = loss < best[2]
        best = (
            torch.where(better[..., None], levels, best[0]),
            torch.where(better, steps, best[1]),
            torch.where(better, loss, best[2]),
        )
    return best[0].add_(8).flatten(1), best[1], row_scales


def _rounded(grouped: Tensor, factors: Tensor, row_scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return levels of groups (N, G, GROUP), what they are multiplied by, and what each group loses."""
    steps = torch.where(factors == 0, 1.0, factors) * row_scales[:, None]
    levels = (grouped * (1 / steps)[..., None]).round_().clamp_(-8, 7)
    return levels, steps, (levels * steps[..., None]).sub_(grouped).square_().sum(2)


def int4_linear(x: Tensor | Rounded, weight: Int4Matrix, activation: Activation = "none") -> Tensor:
    """Return activation(x W^T), float32.

    Args:
        x: (..., in) float32 or bfloat16, or tokens rounded before. weight: (out, in).
    """
    flat = x if isinstance(x, Rounded) else x.reshape(-1, x.shape[-1])
    if len(flat) <= FEW:
        few = flat.float() if isinstance(flat, Rounded) else flat
        few = few[:, : 2 * weight.levels.shape[1]].bfloat16()
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(few, weight.levels, GROUP, weight.scales).float()
        return activate(out, activation)[:, : weight.rows].view(*leading(x), -1)
    wide = _widened(weight)
    if not can_lay_out():  # without its instructions, a product of integers takes 30 times as long
        out = weight.in_order(torch.mm(flat.float()[:, : len(wide)], wide.float())).mul_(weight.row_scales)
        return activate(out, activation)[:, : weight.rows].reshape(*leading(x), -1)
    out = torch.empty(len(flat), wide.shape[1])
    flat = flat if isinstance(flat, Rounded) else flat.float()
    for rows, results in zip(rounded(flat, TOKENS), out.split(TOKENS), strict=True):
        levels = rows.levels[:, : len(wide)]
        halves = torch._int_mm(levels, wide).view(len(levels), 2, -1, weight.block // 2)
        results.view(len(levels), -1, 2, weight.block // 2).copy_(halves.transpose(1, 2))
        results.mul_(weight.row_scales).mul_(rows.scales)
        activate(results, activation)
    return out[:, : weight.rows].reshape(*leading(x), -1)


def prepare4(x: Tensor) -> Tensor | Rounded:
    """Return tokens (..., in) as products with matrices of 4 bits take them, prepared once for several."""
    flat = x.reshape(-1, x.shape[-1])
    if len(flat) <= FEW:
        return x.bfloat16()
    return round_many(x.float()) if can_lay_out() else x


def int4_experts(x: Tensor, experts: Sequence[tuple[Int4Matrix, Int4Matrix, Int4Matrix]]) -> Tensor:
    """Return (SiLU(x w1^T) * (x w3^T)) w2^T for one token and each of a few experts, (k, D) float32.

    What is not a product is done once for all of them: in decoding it would take as long as the products.

    Args:
        x: (1, D). experts: w1 (F, D), w3 (F, D) and w2 (D, F) of each.
    """
    product, (w1, _, w2) = torch.ops.aten._weight_int4pack_mm_for_cpu, experts[0]
    short = x.bfloat16()
    gate, up = (
        torch.cat([product(short, w[i].levels, GROUP, w[i].scales) for w in experts]).float() for i in (0, 1)
    )
    hidden = F.silu(gate, inplace=True).mul_(up)[:, : w1.rows].bfloat16()
    rows = hidden.split(1)
    parts = [product(row, w.levels, GROUP, w.scales) for row, (_, _, w) in zip(rows, experts, strict=True)]
    return torch.cat(parts)[:, : w2.rows].float()


@cache
def can_quantize4() -> bool:
    """Tell whether this torch on this CPU has the operators, lays out as we know, and computes rightly."""
    random = torch.Generator().manual_seed(0)
    weight, x = torch.randn(130, 96, generator=random), torch.randn(70, 96, generator=random)
    try:
        matrix = quantize4(weight)
        exact = matrix.plain(96).double()
        bound = TOLERANCE * x.double().norm(dim=1, keepdim=True) * weight.double().norm(dim=1)
        expected = x.double() @ exact.T
        return bool((exact - weight).norm() < LOSS * weight.norm()) and all(
            bool(((int4_linear(x[:rows], matrix) - expected[:rows]).abs() <= bound[:rows]).all())
            for rows in (1, 2, 70)
        )
    except (AttributeError, RuntimeError):
        return False


def _widened(weight: Int4Matrix) -> Tensor:
    """Return W^T (in, out) in units of `row_scales`, int8; rows of W in the order of `_halved`."""
    factors = (weight.scales[..., 0].float() / weight.row_scales).round_().to(torch.int8)
    levels = _unpacked(weight.levels, weight.block).view(torch.int8)
    groups = levels.view(-1, GROUP, levels.shape[1]).sub_(8)
    return groups.mul_(_halved(factors, weight.block)[:, None]).view_as(levels)


def _unpacked(packed: Tensor, block: int) -> Tensor:
    """Return levels (in, out) uint8 of what has so many rows together, (out, in / 2).

    Rows are in the order of `_halved`: results are put in order instead, they are fewer.
    """
    rows, half = packed.shape
    # A column of a block has block / 2 bytes; they are moved eight at a time.
    words = packed.view(torch.int64).view(rows // block, 2 * half, -1).transpose(0, 1).reshape(2 * half, -1)
    wide = words.new_empty(2 * half, 2, words.shape[1])
    torch.bitwise_and(words, NIBBLES, out=wide[:, 0])
    torch.bitwise_and(words.bitwise_right_shift(4), NIBBLES, out=wide[:, 1])
    return wide.view(torch.uint8).view(2 * half, rows)


def _halved(x: Tensor, block: int) -> Tensor:
    """Return (..., out) with the first halves of all blocks of rows before the second ones."""
    halves: Tensor = x.unflatten(-1, (-1, 2, block // 2))
    return halves.transpose(-3, -2).flatten(-3)


def _packed(levels: Tensor, block: int) -> Tensor:
    """Return levels (in, out) uint8 with so many rows together, (out, in / 2)."""
    columns, rows = levels.shape
    low, high = levels.reshape(columns, rows // block, 2, -1).transpose(0, 1).unbind(2)
    return (low | high << 4).reshape(rows, columns // 2).contiguous()  # one block is a view of its columns
