"""x W^T with weights of 8 bits on the CPU: a quarter of the bytes to read, and VNNI's or AMX's products.

Weights have one scale per row. Tokens are rounded to 8 bits too, each with its own scale (the dynamic scheme
of arXiv 2206.01861); their products are exact 32 bit integers. oneDNN's own product keeps weights in its own
layout and scales the integers while they are in cache. The time of a single token is that of reading the
weights, so it is multiplied as two rows of 8 bits, what it is and what rounding lost: of the loss of 8 bits,
most is that of tokens. Where oneDNN's product is missing or wrong, torch's product of integers does the same;
a single token then stays in bfloat16. All of these operators are private to torch: they are tried and
compared before use.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
PIECE = 64  # tokens rounded at once: they and what becomes of them stay in the cache of a core
ZERO = 128  # of integers without signs
TINY = 1e-30  # in place of the scale of a row of zeros
TOLERANCE = 0.02  # of |x| |w|, in the trial; correct results use a third of it


@dataclass(frozen=True)
class Int8Matrix:
    """A matrix (out, in) of 8 bit integers and the scale of each row, float32 and bfloat16.

    Columns of zeros are added up to a multiple of COLUMNS. Levels may be in oneDNN's layout, (in, out).
    """

    levels: Tensor
    scales: Tensor
    short_scales: Tensor

    @staticmethod
    def parts(rows: int, columns: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Return kind and shape of each tensor of a matrix of this shape."""
        padded = -(-columns // COLUMNS) * COLUMNS
        return {
            "levels": (torch.int8, (rows, padded)),
            "scales": (torch.float32, (rows,)),
            "short_scales": (torch.bfloat16, (rows,)),
        }

    def laid_out(self) -> "Int8Matrix":
        """Return the matrix in oneDNN's layout, where that works; one that is in rows."""
        if not can_lay_out():
            return self
        return replace(self, levels=torch.ops.onednn.qlinear_prepack(self.levels, None))

    def plain(self, columns: int) -> Tensor:
        """Return the matrix (out, in) as it was rounded, float32; of one that is in rows."""
        return self.levels[:, :columns].float().mul_(self.scales[:, None])


@dataclass(frozen=True)
class Rounded:
    """Tokens (N, in) rounded once for several matrices: 8 bit integers, and the scale of each, (N, 1).

    Columns are as many as an `Int8Matrix` has.
    """

    levels: Tensor
    scales: Tensor

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, rows: Tensor) -> "Rounded":
        return Rounded(self.levels[rows], self.scales[rows])

    def blocks(self, tokens: int) -> "Iterator[Rounded]":
        """Yield the tokens, so many at a time."""
        yield from map(Rounded, self.levels.split(tokens), self.scales.split(tokens))

    def float(self) -> Tensor:
        """Return what the integers stand for."""
        return self.levels * self.scales


def quantize(weight: Tensor) -> Int8Matrix:
    """Return a float CPU matrix (out, in) rounded to 8 bits, in the layout that multiplies fastest here."""
    return quantize_rows(weight).laid_out()


def quantize_rows(weight: Tensor) -> Int8Matrix:
    """Return a float CPU matrix (out, in) rounded to 8 bits, symmetric, one scale per row; in rows."""
    rows, columns = weight.shape
    levels = torch.empty(rows, -(-columns // COLUMNS) * COLUMNS, dtype=torch.int8)
    scales = torch.empty(rows, 1)
    for start in range(0, rows, TOKENS):  # a head in float32 is more than a gigabyte
        part = slice(start, start + TOKENS)
        levels[part], scales[part] = round_rows(_widen(weight.detach()[part].float()))
    return Int8Matrix(levels, scales[:, 0], scales[:, 0].bfloat16())


def int8_linear(x: Tensor | Rounded, weight: Int8Matrix, activation: Activation = "none") -> Tensor:
    """Return activation(x W^T).

    One token's result does not depend on the others, but is more exact if it is alone.

    Args:
        x: (..., in) float32, or tokens rounded before. weight: (out, in).
    """
    flat = x if isinstance(x, Rounded) else _widen(x.reshape(-1, x.shape[-1]))
    if len(flat) == 1 and not weight.levels.is_mkldnn:
        out = torch._weight_int8pack_mm(flat.float().bfloat16(), weight.levels, weight.short_scales).float()
        return activate(out, activation).view(*leading(x), -1)
    if len(flat) == 1 and isinstance(flat, Tensor):
        return activate(_of_one_token(flat, weight), activation).view(*leading(x), -1)
    out = torch.empty(len(flat), len(weight.scales))
    for rows, results in zip(rounded(flat, TOKENS), out.split(TOKENS), strict=True):
        if weight.levels.is_mkldnn:
            product = _laid_out_product(rows.levels, weight.levels, weight.scales)
            torch.mul(product, rows.scales, out=results)
        else:
            # A product of integers and floats in one step takes longer than the three.
            results.copy_(torch._int_mm(rows.levels, weight.levels.t())).mul_(weight.scales).mul_(rows.scales)
        activate(results, activation)
    return out.view(*leading(x), -1)


def _of_one_token(x: Tensor, weight: Int8Matrix) -> Tensor:
    """Return x W^T for x (1, in), and W in oneDNN's layout.

    Few calls: for a small matrix, they take as long as the product.
    """
    largest = torch.linalg.vector_norm(x, ord=math.inf).clamp_min_(TINY)
    scaled = x.div(largest).mul_(LEVELS)
    whole = scaled.round()
    lost = scaled.sub_(whole).mul_(2 * LEVELS)  # at most half a level
    unsigned = torch.cat((whole, lost)).round_().add_(ZERO).to(torch.uint8)
    # Both rows in one product with what their levels stand for.
    return torch.mm(_steps() * largest, _product(unsigned, weight.levels, weight.scales))


@cache
def _steps() -> Tensor:
    """Return what a level is of a whole one and of what was lost, (1, 2), as shares of the largest number."""
    with torch.inference_mode(False):
        return torch.tensor([[1 / LEVELS, 0.5 / LEVELS**2]])


def leading(x: Tensor | Rounded) -> tuple[int, ...]:
    """Return the dimensions of x before its channels."""
    return (len(x),) if isinstance(x, Rounded) else x.shape[:-1]


def rounded(x: Tensor | Rounded, tokens: int) -> Iterator[Rounded]:
    """Yield tokens (N, in), so many at a time, and round those that are not yet."""
    if isinstance(x, Rounded):
        yield from x.blocks(tokens)
    else:
        for part in x.split(tokens):
            yield Rounded(*round_rows(part))


def round_tokens(x: Tensor) -> Rounded:
    """Round tokens (N, in) float32 for several products."""
    return Rounded(*round_rows(_widen(x)))


def _laid_out_product(x: Tensor, levels: Tensor, scales: Tensor) -> Tensor:
    """Return x W^T, float32, for x (N, in) int8, and W in oneDNN's layout with the scales of its rows."""
    return _product(x.contiguous().view(torch.uint8).bitwise_xor(ZERO), levels, scales)


def _product(unsigned: Tensor, levels: Tensor, scales: Tensor) -> Tensor:
    """Return what `_laid_out_product` does, of x (N, in) uint8 that is ZERO too large.

    Without AMX, oneDNN is fast only where x has no signs: so ZERO was added, and it takes that off again.
    """
    out: Tensor = torch.ops.onednn.qlinear_pointwise(
        unsigned, 1.0, ZERO, levels, scales, _zeros(len(scales)), None, 1.0, 0, torch.float32, "none", [], ""
    )
    return out


@cache
def _zeros(count: int) -> Tensor:
    """Return the zero points of so many rows; made anew, those of a head take longer than its norm."""
    with torch.inference_mode(False):
        return torch.zeros(count, dtype=torch.int64)


@cache
def can_lay_out() -> bool:
    """Tell whether oneDNN's product of 8 bits is here and exact: old CPUs cut off sums of large numbers."""
    random = torch.Generator().manual_seed(0)
    x, w = (torch.randint(-LEVELS, LEVELS + 1, (n, 192), generator=random).to(torch.int8) for n in (70, 40))
    x[0], x[1], w[0], w[1] = LEVELS, -LEVELS, LEVELS, -LEVELS
    scales = torch.rand(40, generator=random)
    expected = (x.double() @ w.double().T * scales).float()
    try:
        levels = torch.ops.onednn.qlinear_prepack(w, None)
        return levels.is_mkldnn and all(
            torch.allclose(_laid_out_product(x[:rows], levels, scales), expected[:rows], rtol=1e-5, atol=1e-3)
            for rows in (1, 2, 70)
        )
    except (AttributeError, RuntimeError):
        return False


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
    levels, scales = rows.new_empty(rows.shape, dtype=torch.int8), rows.new_empty(len(rows), 1)
    scaled = rows.new_empty(min(len(rows), PIECE), rows.shape[1])
    for start in range(0, len(rows), PIECE):
        part = slice(start, start + PIECE)
        piece = rows[part]
        largest = torch.maximum(piece.amax(1, keepdim=True), piece.amin(1, keepdim=True).neg_())
        torch.div(largest.clamp_min_(TINY), LEVELS, out=scales[part])
        levels[part] = torch.div(piece, scales[part], out=scaled[: len(piece)]).round_()
    return levels, scales


def activate(out: Tensor, activation: Activation) -> Tensor:
    """Return the activation of `out`, in its memory."""
    if activation == "silu":
        return F.silu(out, inplace=True)
    return out.sigmoid_() if activation == "sigmoid" else out
