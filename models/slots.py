"""Room on a device for experts in one piece, where kernels take them so, and what fills it."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from longctx.kernels.linear import Matrix
from longctx.kernels.moe import Slotted, Stacked
from longctx.kernels.rounded import Bits, RoundedMatrix
from longctx.models.lane import Lane, Mark

Expert = tuple[Matrix, Matrix, Matrix]  # w1, w3, w2
Maker = Callable[[], Expert]


@dataclass(frozen=True)
class Kind:
    """What a matrix of an expert is: (out, in), and its numbers, or bits of `RoundedMatrix`."""

    rows: int
    columns: int
    kind: torch.dtype | Bits

    def empty(self, *stack: int, device: torch.device) -> Stacked:
        """Return room for a stack of them."""
        shape = *stack, self.rows, self.columns
        if isinstance(self.kind, torch.dtype):
            return torch.empty(shape, dtype=self.kind, device=device)
        return RoundedMatrix.empty(*shape, bits=self.kind, device=device)


class Slots:
    """Room for so many experts in one piece for each of their matrices.

    Attributes:
        pools: w1, w3 and w2 of all slots.
    """

    def __init__(self, lane: Lane, count: int, kinds: Sequence[Kind]):
        self.lane, self.count, self.kinds = lane, count, tuple(kinds)
        self._free: list[tuple[int, Mark]] = [(slot, None) for slot in range(count)]
        w1, w3, w2 = (shape.empty(count, device=lane.device) for shape in kinds)
        self.pools: tuple[Stacked, Stacked, Stacked] = w1, w3, w2
        for pool in self.pools:
            for part in parts(pool):
                lane.owns(part)

    def take(self) -> tuple[int, Mark]:
        """Return a slot that nobody has, and the moment when the device has done with it."""
        return self._free.pop()

    def give(self, slot: int, free: Mark) -> None:
        """Give a slot back."""
        self._free.append((slot, free))

    def fill(self, slot: int, maker: Maker, free: Mark) -> Mark:
        """Make an expert and copy it into a slot after a moment; return when that is done."""
        made = maker()
        pairs = [
            pair
            for pool, matrix in zip(self.pools, made, strict=True)
            for pair in zip(parts(pool[slot]), parts(matrix), strict=True)
        ]
        return self.lane.copy(pairs, free)

    def stacks(self, places: Sequence[int]) -> tuple[Slotted, Slotted, Slotted]:
        """Return the stacks of a layer whose experts are in these slots."""
        cuda = self.lane.device.type == "cuda"
        slots = torch.tensor(places, pin_memory=cuda).to(self.lane.device, non_blocking=True)
        w1, w3, w2 = (Slotted(pool, slots, places) for pool in self.pools)
        return w1, w3, w2


class AtOnce(Executor):
    """Runs everything when it is asked for."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return what is done already."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # whoever asks for the result gets it
            done.set_exception(error)
        return done


def parts(matrix: Matrix) -> tuple[Tensor, ...]:
    """Return the tensors of a matrix, or a stack, of a GPU."""
    assert isinstance(matrix, Tensor | RoundedMatrix)
    return (matrix,) if isinstance(matrix, Tensor) else (matrix.levels, matrix.steps)
