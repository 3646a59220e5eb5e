"""How a checkpoint's tensors become one of our weights: joined, split, or made up if none is stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def _rows(tensors: "Sequence[Tensor]") -> "Tensor":
    """Put the rows of all sources one below the other."""
    first, *rest = tensors
    if not rest:
        return first
    made = first.new_empty(sum(len(tensor) for tensor in tensors), *first.shape[1:])
    at = 0
    for tensor in tensors:
        made[at : at + len(tensor)] = tensor
        at += len(tensor)
    return made


@dataclass(frozen=True)
class Target:
    """One weight, or one matrix of a stack, and where it comes from.

    Attributes:
        weight: our name for it, such as `layers.0.mixer.qkv`.
        sources: names of the checkpoint's tensors; empty for a weight of all ones.
        rows: first size of each source; empty when the one source has the weight's own shape.
        join: makes the weight of the sources; their rows, one source below the other, if nothing else.
        member: which matrix of a stack it is.
        shape: of the one source, where it is none of the above.
        instead: what to take when the first source is not stored.
    """

    weight: str
    sources: tuple[str, ...]
    rows: tuple[int, ...] = ()
    join: "Callable[[Sequence[Tensor]], Tensor]" = _rows
    member: int | None = None
    shape: tuple[int, ...] = ()
    instead: str | None = None

    def shapes(self, shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shape of each source, from the shape of the weight."""
        if self.shape:
            return {self.sources[0]: self.shape}
        own = tuple(shape if self.member is None else shape[1:])
        rows = self.rows or own[:1] * len(self.sources)
        return {name: (count, *own[1:]) for name, count in zip(self.sources, rows, strict=True)}
