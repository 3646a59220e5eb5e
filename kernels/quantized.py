"""x W^T with weights of 8 bits on the CPU: a quarter of the bytes to read, and VNNI's or AMX's products.

Weights have one scale per row. Tokens are rounded to 8 bits too, each with its own scale (the dynamic scheme
of arXiv 2206.01861); their products are exact 32 bit integers. oneDNN's own product keeps weights in its own
layout and scales the integers while they are in cache. The time of a single token is that of reading the
weights, so it is multiplied as two rows of 8 bits, what it is and what rounding lost: of the loss of 8 bits,
most is that of tokens.

A CPU without VNNI adds the products of two columns in 16 bits, and cuts off what is larger: AVX2, as in most
laptops before 2021. There tokens have 7 bits, so that nothing is cut off, and all of them two rows; FBGEMM's
layout of the weights is read at the speed of memory, and many tokens take as long as in float32. Where
neither product is there, many tokens are multiplied by the weights as float32, and a single one in bfloat16.

All of these operators are private to torch: they are tried and compared before use.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["none", "silu", "sigmoid"]
Layout = Literal["rows", "onednn", "fbgemm"]
LEVELS = 127  # on each side of zero
FEWER = 63  # of tokens, where two products must fit in 16 bits: 2 * (63 + 64) * 127 < 2^15
TOKENS = 256  # multiplied at once: their results are scaled while in cache
ROWS = 4096  # of weights that are float32 at once
# The product of one token reads this many columns at once, even past the end of a row.
COLUMNS = 64
PIECE = 64  # tokens rounded at once: they and what becomes of them stay in the cache of a core
ZERO = 128  # of integers without signs
TINY = 1e-30  # in place of the scale of a row of zeros
TOLERANCE = 0.02  # of |x| |w|, in the trial; correct results use a third of it


@dataclass(frozen=True)
class Int8Matrix:
    """A matrix (out, in) of 8 bit integers and the scale of each row, float32 and bfloat16.

    Columns of zeros are added up to a multiple of COLUMNS.

    Attributes:
        levels: in rows; or in oneDNN's layout, (in, out); or an object that holds FBGEMM's.
        layout: which of them it is.
    """

    levels: Any
    scales: Tensor
    short_scales: Tensor
    layout: Layout = "rows"

    @property
    def most(self) -> int:
        """Return how many levels a token may have on each side of zero."""
        return FEWER if self.layout == "fbgemm" else LEVELS

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
        """Return the matrix in the layout that multiplies fastest here; one that is in rows."""
        if can_lay_out():
            return replace(self, levels=torch.ops.onednn.qlinear_prepack(self.levels, None), layout="onednn")
        if can_pack():
            return replace(self, levels=_pack(self.levels, self.scales), layout="fbgemm")
        return self

    def plain(self, columns: int) -> Tensor:
        """Return the matrix (out, in) as it was rounded, float32; of one that is in rows."""
        levels: Tensor = self.levels
        return levels[:, :columns].float().mul_(self.scales[:, None])


@dataclass(frozen=True)
class Rounded:
    """Tokens rounded once for several matrices.

    Columns are as many as an `Int8Matrix` has.

    Attributes:
        levels: (N, in) int8; or of one token that is by itself two rows, what it is and what rounding lost of
            it, (2, in) float32.
        scales: what a level of each is, (N, 1); or of both rows, (1, 2).
        leading: the dimensions that the tokens had.
    """

    levels: Tensor
    scales: Tensor
    leading: tuple[int, ...]

    @property
    def alone(self) -> bool:
        """Tell whether this is one token in two rows."""
        return len(self.scales) != len(self.levels)

    def __len__(self) -> int:
        return len(self.scales)

    def __getitem__(self, rows: Tensor) -> "Rounded":
        return Rounded(self.levels[rows], self.scales[rows], (len(rows),))

    def blocks(self, tokens: int) -> "Iterator[Rounded]":
        """Yield the tokens, so many at a time."""
        for levels, scales in zip(self.levels.split(tokens), self.scales.split(tokens), strict=True):
            yield Rounded(levels, scales, (len(levels),))

    def float(self) -> Tensor:
        """Return what the integers stand for."""
        return torch.mm(self.scales, self.levels) if self.alone else self.levels * self.scales


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
    if weight.layout == "rows":
        out = _of_rows(flat.float(), weight)
    elif len(flat) == 1:
        two = flat if isinstance(flat, Rounded) and flat.alone else _one_token(flat.float(), weight.most)
        # Both rows with what their levels stand for.
        out = torch.mm(two.scales, _product(two.levels, weight))
    else:
        return _of_many(flat, weight, activation).view(*leading(x), -1)
    return activate(out, activation).view(*leading(x), -1)


def _of_many(x: Tensor | Rounded, weight: Int8Matrix, activation: Activation) -> Tensor:
    """Return activation(x W^T) for tokens (N, in), and W that is not in rows."""
    out = torch.empty(len(x), len(weight.scales))
    if weight.layout == "fbgemm":
        for rows, results in zip(x.float().split(TOKENS), out.split(TOKENS), strict=True):
            levels, largest = _two_rows(rows, FEWER)
            first, second = _product(levels, weight).split(len(rows))
            torch.add(first, second, alpha=0.5 / FEWER, out=results).mul_(largest.div_(FEWER))
            activate(results, activation)
        return out
    for part, results in zip(rounded(x, TOKENS), out.split(TOKENS), strict=True):
        torch.mul(_product(part.levels, weight), part.scales, out=results)
        activate(results, activation)
    return out


def _of_rows(x: Tensor, weight: Int8Matrix) -> Tensor:
    """Return x W^T for x (N, in) float32, and W in rows."""
    if len(x) == 1:
        return torch._weight_int8pack_mm(x.bfloat16(), weight.levels, weight.short_scales).float()
    parts = weight.levels.split(ROWS)
    return torch.cat([F.linear(x, part.float()) for part in parts], dim=1).mul_(weight.scales)


def _one_token(x: Tensor, most: int) -> Rounded:
    """Return one token (1, in) in two rows of levels up to `most`."""
    levels, largest = _two_rows(x, most)
    return Rounded(levels, _steps(most) * largest, (1,))


def _two_rows(x: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return tokens (N, in) in levels up to `most`, and what that loses in finer ones.

    Few calls: for a small matrix, they take as long as the product.

    Returns:
        The levels, (2 N, in), and the largest number of each token, (N, 1).
    """
    largest = torch.linalg.vector_norm(x, ord=math.inf, dim=1, keepdim=True).clamp_min_(TINY)
    levels = (x * (_finer(most) / largest)).round_()
    levels[1].sub_(levels[0], alpha=2 * most)  # at most half a level of the first row
    return levels.view(-1, x.shape[1]), largest


@cache
def _finer(most: int) -> Tensor:
    """Return how many levels the largest number of a token is in both rows, (2, 1, 1)."""
    with torch.inference_mode(False):
        return torch.tensor([most, 2.0 * most**2])[:, None, None]


@cache
def _steps(most: int) -> Tensor:
    """Return what a level is of a whole one and of what was lost, (1, 2), as shares of the largest number."""
    with torch.inference_mode(False):
        return torch.tensor([[1 / most, 0.5 / most**2]])


def leading(x: Tensor | Rounded) -> tuple[int, ...]:
    """Return the dimensions of x before its channels."""
    return x.leading if isinstance(x, Rounded) else x.shape[:-1]


def rounded(x: Tensor | Rounded, tokens: int) -> Iterator[Rounded]:
    """Yield tokens (N, in), so many at a time, and round those that are not yet."""
    if isinstance(x, Rounded):
        yield from x.blocks(tokens)
    else:
        for part in x.split(tokens):
            yield Rounded(*round_rows(part), (len(part),))


def round_many(x: Tensor) -> Rounded:
    """Return tokens (..., in) float32 in 8 bits."""
    return Rounded(*round_rows(_widen(x.reshape(-1, x.shape[-1]))), x.shape[:-1])


def round_tokens(x: Tensor, weight: Int8Matrix) -> Tensor | Rounded:
    """Return tokens (..., in) float32 as products with matrices in this layout take them, rounded once."""
    flat = x.reshape(-1, x.shape[-1])
    if weight.layout == "rows" or (weight.layout == "fbgemm" and len(flat) > 1):
        return x  # is rounded in pieces that stay in the cache, or not at all
    if len(flat) > 1:
        return round_many(x)
    return replace(_one_token(_widen(flat), weight.most), leading=x.shape[:-1])


def _product(x: Tensor, weight: Int8Matrix) -> Tensor:
    """Return x W^T, float32, for W that is not in rows.

    Args:
        x: integers (N, in), float32; for oneDNN's layout int8 as well.
    """
    if weight.layout == "onednn":
        return _of_laid_out(x, weight.levels, weight.scales)
    # It makes integers without signs of floats by itself.
    out: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
        x, 1.0, FEWER + 1, weight.levels
    )
    return out


def _of_laid_out(x: Tensor, levels: Tensor, scales: Tensor) -> Tensor:
    """Return x W^T, float32, for integers x (N, in), and W in oneDNN's layout with the scales of its rows.

    Without AMX, oneDNN is fast only where x has no signs: so ZERO is added, and it takes that off again.
    """
    if x.dtype == torch.int8:
        unsigned = x.contiguous().view(torch.uint8).bitwise_xor(ZERO)
    else:
        unsigned = x.add(ZERO).to(torch.uint8)
    out: Tensor = torch.ops.onednn.qlinear_pointwise(
        unsigned, 1.0, ZERO, levels, scales, _zeros(len(scales)), None, 1.0, 0, torch.float32, "none", [], ""
    )
    return out


def _of_levels(x: Tensor, levels: Tensor, scales: Tensor) -> Tensor:
    """Return x W^T, float32, for integers x (N, in) int8 and W (out, in) in rows."""
    return _of_laid_out(x, torch.ops.onednn.qlinear_prepack(levels, None), scales)


def _pack(levels: Tensor, scales: Tensor) -> Any:
    """Return what FBGEMM multiplies by: levels (out, in) int8 and the scales of their rows."""
    with warnings.catch_warnings():  # tensors that hold scales are deprecated, and nothing else is packed
        warnings.simplefilter("ignore", UserWarning)
        held = torch._make_per_channel_quantized_tensor(levels, scales.double(), _zeros(len(scales)), 0)
        return torch.ops.quantized.linear_prepack(held, None)


@cache
def _zeros(count: int) -> Tensor:
    """Return the zero points of so many rows; made anew, those of a head take longer than its norm."""
    with torch.inference_mode(False):
        return torch.zeros(count, dtype=torch.int64)


@cache
def can_lay_out() -> bool:
    """Tell whether oneDNN's product of 8 bits is here and exact: old CPUs cut off sums of large numbers."""
    return _is_exact(LEVELS, _of_levels)


@cache
def can_pack() -> bool:
    """Tell whether FBGEMM's product is here, and exact for tokens of fewer levels."""

    def product(x: Tensor, levels: Tensor, scales: Tensor) -> Tensor:
        return _product(x.float(), Int8Matrix(_pack(levels, scales), scales, scales, "fbgemm"))

    return _is_exact(FEWER, product)


def _is_exact(most: int, product: Callable[[Tensor, Tensor, Tensor], Tensor]) -> bool:
    """Try x W^T with tokens of at most so many levels and weights of 8 bits, the largest sums among them."""
    random = torch.Generator().manual_seed(0)
    x = torch.randint(-most, most + 1, (70, 192), generator=random).to(torch.int8)
    w = torch.randint(-LEVELS, LEVELS + 1, (40, 192), generator=random).to(torch.int8)
    x[0], x[1], w[0], w[1] = most, -most, LEVELS, -LEVELS
    scales = torch.rand(40, generator=random)
    expected = (x.double() @ w.double().T * scales).float()
    try:
        return all(
            torch.allclose(product(x[:rows], w, scales), expected[:rows], rtol=1e-5, atol=1e-3)
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
