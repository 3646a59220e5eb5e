"""A weight in the form that multiplies fastest here, and the only thing that multiplies by it.

Mixers and feed-forwards never look inside: to them, quantised, packed and plain matrices are alike.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longctx.kernels.int4 import GROUP, Int4Matrix, quantize4
from longctx.kernels.linear import (
    Activation,
    Matrix,
    Rounded,
    can_pack,
    choose_product,
    linear,
    pack,
    prepared,
)
from longctx.kernels.quantized import Int8Matrix, quantize, quantize_rows
from longctx.kernels.rounded import Bits, Product, RoundedMatrix, rounded_linear
from longctx.kernels.select import HALVES, Site

# plain: a tensor. packed: oneDNN's layout, for float32 on the CPU. int8: 8 bit integers. int4: 4 bit integers
# where most of the bytes are, in experts or feed-forwards, and 8 bits elsewhere. int4-all: 4 bits there too,
# but for the head, whose rounding costs most. Integers have the layout of CPU instructions where the rest is
# float32, and `RoundedMatrix` where it has 16 bits.
Form = Literal["plain", "packed", "int8", "int4", "int4-all"]
# What a matrix of few bits is, and how it is made.
ROUNDED: dict[Form, tuple[type[Int8Matrix | Int4Matrix], Callable[[Tensor], Matrix]]] = {
    "int8": (Int8Matrix, quantize),
    "int4": (Int4Matrix, quantize4),
}
BITS: dict[Form, Bits] = {"int8": 8, "int4": 4}
Keep = Literal["", "coarse", "fine", "cut", "rows", "exact", "plain"]


class Weight(nn.Module):
    """A matrix (out, in), a stack of them, or a vector of norm weights; uninitialised until `fill`.

    Args:
        shape: of the weight.
        dtype: of the plain form.
        keep: "plain" for what stays as it is, "exact" for what is not rounded, "rows" for what `rows`, "cut"
            for what `below` is asked of, "coarse" for what has 4 bits in "int4", "fine" for what never has.
    """

    def __init__(self, *shape: int, dtype: torch.dtype, keep: Keep = ""):
        super().__init__()
        self.shape, self.keep = shape, keep
        self.weight = nn.Parameter(torch.empty(*shape, dtype=dtype))
        self.packed: list[Matrix] = []  # a matrix each, once converted
        self.rounded: RoundedMatrix | None = None  # all of them
        self.product: Product = rounded_linear

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        if self.rounded is not None and len(self.shape) == 2:
            self.product = choose_product(site, self.rounded.bits, self.shape[1])

    def prepared(self, x: Tensor) -> Tensor | Rounded:
        """Return x as this weight takes it, and others of its form: it is rounded once for all of them."""
        return prepared(x, self.packed[0]) if self.packed else x

    def forward(self, x: Tensor | Rounded, activation: Activation = "none") -> Tensor:
        """Return activation(x W^T), for x (..., in) or what `prepared` returned."""
        if self.rounded is not None and isinstance(x, Tensor):
            return self.product(x, self.rounded, activation, None)
        return linear(x, self.packed[0] if self.packed else self.weight, activation)

    def rows(self, index: Tensor) -> Tensor:
        """Return rows (..., in) of W; in float32 where they were rounded."""
        if not self.packed:
            return F.embedding(index, self.weight)
        matrix = self.packed[0]
        assert isinstance(matrix, Int8Matrix)
        assert matrix.layout == "rows"
        return matrix.levels[index, : self.shape[1]] * matrix.scales[index, None]  # type: ignore[no-any-return]  # of any layout

    def below(self, row: int, x: Tensor, activation: Activation = "none") -> Tensor:
        """Return activation(x W^T) for the rows of W from `row` on."""
        if self.rounded is not None:
            return self.product(x, self.rounded[row:], activation, None)
        if self.packed:  # in a layout that cannot be cut; 8 bits with all rows are faster than floats without
            return self(x, activation)[..., row:]  # type: ignore[no-any-return]  # nn.Module does not know
        return linear(x, self.weight[row:], activation)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return hidden (..., in) times W^T in float32, whatever the weight's own dtype."""
        if self.rounded is not None:
            return self.product(hidden, self.rounded, "none", torch.float32)
        if self.packed or self.weight.dtype not in HALVES:
            return self(hidden.float())  # type: ignore[no-any-return]  # nn.Module does not know
        if self.weight.device.type == "cpu":
            return F.linear(hidden.float(), self.weight.float())
        rows = hidden.flatten(0, -2).to(self.weight.dtype)
        return torch.mm(rows, self.weight.t(), out_dtype=torch.float32).view(*hidden.shape[:-1], -1)

    def matrices(self) -> Tensor | RoundedMatrix | Sequence[Matrix]:
        """Return the matrices of a stack, in one piece where they are."""
        return self.packed or (self.weight if self.rounded is None else self.rounded)

    def final(self, form: Form) -> Form:
        """Return the form this weight takes in a model of that form."""
        if form == "plain" or self.keep == "plain" or len(self.shape) == 1:
            return "plain"
        if self.keep != "exact" and form != "packed":
            most = ("coarse",) if form == "int4" else ("", "coarse", "cut") if form == "int4-all" else ()
            return "int4" if self.keep in most and self.shape[-1] % GROUP == 0 else "int8"
        return "packed" if self.keep != "cut" and self.weight.dtype not in HALVES and can_pack() else "plain"

    def bytes_as(self, form: Form) -> int:
        """Return the bytes of the weight in a model of that form."""
        final = self.final(form)
        if final not in ROUNDED:
            return math.prod(self.shape) * self.weight.itemsize
        *stack, rows, columns = self.shape
        if self.weight.dtype in HALVES:
            return math.prod(stack) * RoundedMatrix.nbytes(rows, columns, BITS[final])
        parts = ROUNDED[final][0].parts(rows, columns).values()
        return math.prod(stack) * sum(dtype.itemsize * math.prod(shape) for dtype, shape in parts)

    def fill(self, tensor: Tensor, form: Form, device: torch.device, member: int | None = None) -> None:
        """Store a weight in its final form, or the next matrix of a stack."""
        form = self.final(form)
        if form == "packed" and device.type != "cpu":
            form = "plain"  # of what stays exact beside matrices of few bits
        if form in BITS and self.weight.dtype in HALVES:
            self._round(tensor, BITS[form], device, member)
            return
        if form != "plain":
            for matrix in tensor if tensor.ndim > 2 else [tensor]:
                self.keep_rounded(quantize_rows(matrix) if self.keep == "rows" else _converted(matrix, form))
            return
        if self.weight.is_meta:
            room = torch.empty(self.shape, dtype=self.weight.dtype, device=device)
            self.weight = nn.Parameter(room, requires_grad=False)
        (self.weight.data if member is None else self.weight.data[member]).copy_(tensor)

    def _round(self, tensor: Tensor, bits: Bits, device: torch.device, member: int | None) -> None:
        """Round a weight, or a matrix of a stack, into its place."""
        if self.rounded is None:
            self.rounded = RoundedMatrix.empty(*self.shape, bits=bits, device=device)
            self._free()
        (self.rounded if member is None else self.rounded[member]).round(tensor)

    def keep_rounded(self, matrix: Matrix) -> None:
        """Store a matrix that is in its final form, or the next one of a stack."""
        self.packed.append(matrix)
        self._free()

    def converted(self, matrix: Tensor, form: Form) -> Matrix:
        """Return a copy of a matrix of the stack in its final form, in memory of the host."""
        kind = self.kind_as(form)
        if isinstance(kind, int):
            made = RoundedMatrix.empty(*matrix.shape, bits=kind, device=torch.device("cpu"))
            made.round(matrix)
            return made
        final = self.final(form)
        return matrix.to(self.weight.dtype, copy=True) if final == "plain" else _converted(matrix, final)

    def kind_as(self, form: Form) -> torch.dtype | Bits:
        """Return the bits of a `RoundedMatrix`, if that is the final form, or the dtype of the plain one."""
        bits = BITS.get(self.final(form)) if self.weight.dtype in HALVES else None
        return bits or self.weight.dtype

    def leave(self) -> Tensor | RoundedMatrix:
        """Give up a stack that is in one piece, for whoever keeps it elsewhere, and return it."""
        assert not self.packed, "matrices that are packed one by one are in no piece"
        stack = self.weight.data if self.rounded is None else self.rounded
        self.rounded = None
        self._free()
        return stack

    def _free(self) -> None:
        self.weight = nn.Parameter(torch.empty(0, dtype=self.weight.dtype), requires_grad=False)

    def convert(self, form: Form) -> None:
        """Convert a plain weight to its final form; the plain one is freed, or memory would double."""
        if self.final(form) != "plain":
            self.fill(self.weight.detach(), form, self.weight.device)


def _converted(matrix: Tensor, form: Form) -> Matrix:
    return ROUNDED[form][1](matrix) if form in ROUNDED else pack(matrix.float())
