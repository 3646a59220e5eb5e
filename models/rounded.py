"""Checkpoints of 8 or 4 bits as `models quantize` writes them: rounded once, and read as they are.

The folder is that of a checkpoint. Of its own are `quantization_config` in config.json (method "longctx", the
form and the version of this layout) and the tensors, in a file for each layer and one for the rest. A tensor
is called by our name of the weight and its part: `X.levels`, `X.scales` and so on, as the matrices of
kernels/quantized (in rows) and kernels/int4 have them, with the experts of a layer stacked; `X.weight` is not
rounded. Matrices of 4 bits are mapped where the CPU multiplies by the layout of the files, which is that of
AVX-512: their pages come from the disk when they are used.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from longctx.kernels.int4 import BLOCK, Int4Matrix
from longctx.kernels.linear import Matrix
from longctx.kernels.quantized import quantize_rows
from longctx.kernels.select import HALVES
from longctx.models.published import Shape
from longctx.models.weight import ROUNDED, Form, Weight

Stored = Callable[[str, int | None], Tensor]  # the name of a tensor, and the number of a matrix in a stack
Kinds = dict[str, tuple[torch.dtype, Shape]]


def kinds_of(name: str, weight: Weight, form: Form, dtype: torch.dtype = torch.float32) -> Kinds:
    """Return kind and shape of each tensor that a weight is stored as in a checkpoint of a form.

    Args:
        name: of the weight.
        weight: of a model of that form.
        form: of the checkpoint.
        dtype: of a weight that is not rounded.
    """
    final = weight.final(form)
    if final not in ROUNDED:
        return {f"{name}.weight": (dtype, tuple(weight.shape))}
    *stack, rows, columns = weight.shape
    parts = ROUNDED[final][0].parts(rows, columns)
    return {f"{name}.{part}": (kind, (*stack, *shape)) for part, (kind, shape) in parts.items()}


def parts_of(weight: Weight, form: Form, made: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield the numbers of a weight's tensors in the order of `kinds_of`.

    Args:
        weight: what is written.
        form: of the checkpoint.
        made: the weight, or each matrix of a stack.
    """
    final, rest = weight.final(form), list[list[Tensor]]()
    for tensor in made:
        if final not in ROUNDED:
            yield tensor
            continue
        matrix = quantize_rows(tensor) if final == "int8" else ROUNDED[final][1](tensor)
        first, *others = _tensors(matrix)
        yield first  # the largest by far; the others wait
        rest.append(others)
    for tensors in zip(*rest, strict=True):
        yield from tensors


def fill(
    weight: Weight, stored: Stored, name: str, written: Weight, kept: Form, form: Form, device: torch.device
) -> None:
    """Fill a weight of a model from a checkpoint.

    Args:
        weight: of the model.
        stored: returns a tensor of the checkpoint, or one of a stack.
        name: of the stored weight.
        written: the weight in a model of the checkpoint's form.
        kept: the checkpoint's form.
        form: the model's form.
        device: the model's device.
    """
    if (final := written.final(kept)) not in ROUNDED:
        weight.fill(stored(f"{name}.weight", None), form, device)
        return
    as_it_is = weight.final(form) == final and weight.weight.dtype not in HALVES
    for member in range(weight.shape[0]) if len(weight.shape) > 2 else [None]:
        matrix = read(stored, name, written, kept, member)
        if as_it_is:
            weight.keep_rounded(matrix if weight.keep == "rows" else matrix.laid_out())
        else:
            weight.fill(matrix.plain(weight.shape[-1]), form, device, member)


def in_memory(weight: Weight, matrix: Any, same: bool, form: Form) -> Matrix:
    """Return a matrix that was read in the weight's final form; `same` tells that this is its own."""
    if not same:
        return weight.converted(matrix.plain(weight.shape[-1]), form)
    return matrix.laid_out()  # type: ignore[no-any-return]  # of either kind


def read(stored: Stored, name: str, written: Weight, kept: Form, member: int | None) -> Any:
    """Return a rounded matrix made of stored tensors, or of members of stored stacks."""
    *_, rows, columns = written.shape
    kind = ROUNDED[written.final(kept)][0]
    parts: dict[str, Any] = {part: stored(f"{name}.{part}", member) for part in kind.parts(rows, columns)}
    if "rows" in {field.name for field in dataclasses.fields(kind)}:
        parts["rows"] = rows
    return kind(**parts)


def _tensors(matrix: Matrix) -> list[Tensor]:
    assert not isinstance(matrix, Tensor)
    matrix = matrix.laid_out(BLOCK) if isinstance(matrix, Int4Matrix) else matrix
    values = [getattr(matrix, field.name) for field in dataclasses.fields(matrix)]
    return [value for value in values if isinstance(value, Tensor)]
