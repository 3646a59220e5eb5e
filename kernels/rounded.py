"""x W^T with weights of 8 or 4 bits on a GPU: integers in the order of the matrix, and what they stand for.

A few tokens are limited by the bytes of the weights: a kernel reads the integers. Many tokens are limited by
arithmetic: the matrix is turned into the tokens' dtype, which costs one pass over it, and the libraries' own
product follows. On the CPU, matrices of few bits have other layouts, those of its instructions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels.int4 import GROUP, round_groups
from longctx.kernels.quantized import Activation, activate, round_rows

Bits = Literal[4, 8]
BYTES = 16  # that kernels read at once; rows must be multiples of that
ROWS = 16384  # rounded, or turned back, at once: a head of float32 is more than a gigabyte


@dataclass(frozen=True)
class RoundedMatrix:
    """A matrix (out, in), or a stack of them, as integers and steps: a weight is level times step.

    Attributes:
        levels: of 8 bits, (..., out, in) int8; of 4 bits, (..., out, in / 2) uint8. There each 16 bytes are a
            group of 32 columns: their low halves the first 16, their high halves the rest, all 8 above
            their values.
        steps: of 8 bits, (..., out, 1) float32; of 4 bits, (..., out, in / GROUP) bfloat16.
    """

    levels: Tensor
    steps: Tensor

    @classmethod
    def empty(cls, *shape: int, bits: Bits, device: torch.device) -> Self:
        """Return one of a shape (..., out, in), to be filled by `round`."""
        *rows, columns = shape
        if bits == 8:
            steps = torch.empty(*rows, 1, dtype=torch.float32, device=device)
            return cls(torch.empty(*shape, dtype=torch.int8, device=device), steps)
        steps = torch.empty(*rows, columns // GROUP, dtype=torch.bfloat16, device=device)
        return cls(torch.empty(*rows, columns // 2, dtype=torch.uint8, device=device), steps)

    @property
    def bits(self) -> Bits:
        """Return the bits of a level."""
        return 4 if self.levels.dtype == torch.uint8 else 8

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (..., out, in)."""
        return *self.levels.shape[:-1], self.levels.shape[-1] * 8 // self.bits

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, part: int | slice) -> "RoundedMatrix":
        """Return a matrix of a stack, or some rows of a matrix, in the same memory."""
        return RoundedMatrix(self.levels[part], self.steps[part])

    def round(self, weight: Tensor) -> None:
        """Take the rounded values of floats of this shape, in 4 bits those of `int4.quantize4`."""
        if weight.ndim > 2:
            for place, matrix in enumerate(weight):
                self[place].round(matrix)
            return
        for start in range(0, len(weight), ROWS):
            part, room = weight[start : start + ROWS], self[start : start + ROWS]
            rows = part.detach().to(self.levels.device).float()
            if self.bits == 8:
                levels, steps = round_rows(rows)
            else:
                rounded, steps, _ = round_groups(rows)
                first, second = rounded.to(torch.uint8).unflatten(1, (-1, 2, BYTES)).unbind(2)
                levels = (first | second << 4).flatten(1)
            room.levels.copy_(levels)
            room.steps.copy_(steps)

    def widened(self, dtype: torch.dtype) -> Tensor:
        """Return the weights of a matrix, (out, in), in a dtype."""
        if self.bits == 8:
            return (self.levels * self.steps).to(dtype)
        pieces = self.levels.unflatten(-1, (-1, BYTES))
        levels = torch.cat((pieces & 15, pieces >> 4), dim=-1).to(torch.int8) - 8
        return (levels * self.steps[..., None].float()).flatten(-2).to(dtype)

    @staticmethod
    def nbytes(rows: int, columns: int, bits: Bits) -> int:
        """Return the bytes of a matrix of this shape."""
        return rows * (columns + 4 if bits == 8 else columns // 2 + columns // GROUP * 2)


# x (..., in), the matrix, what the result goes through, and its dtype: x's, if none is named.
Product = Callable[[Tensor, RoundedMatrix, Activation, torch.dtype | None], Tensor]


def rounded_linear(
    x: Tensor, weight: RoundedMatrix, activation: Activation = "none", dtype: torch.dtype | None = None
) -> Tensor:
    """Return activation(x W^T), computed in the result's dtype."""
    x = x if dtype is None else x.to(dtype)
    starts = range(0, len(weight), ROWS)
    parts = [F.linear(x, weight[at : at + ROWS].widened(x.dtype)) for at in starts]
    return activate(parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1), activation)


def fits(columns: int, bits: Bits) -> bool:
    """Tell whether kernels can read rows of so many columns."""
    return columns * bits % (8 * BYTES) == 0


def random_matrix(draw: Callable[..., Tensor], bits: Bits, *shape: int) -> RoundedMatrix:
    """Return a random matrix or stack for a trial, scaled to keep the size of its input."""
    drawn = draw(*shape, dtype=torch.float32) * shape[-1] ** -0.5
    made = RoundedMatrix.empty(*shape, bits=bits, device=drawn.device)
    made.round(drawn)
    return made
