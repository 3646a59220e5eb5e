"""How a checkpoint's tensors become one of our weights: joined, split, or made up if none is stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def _only(tensors: "Sequence[Tensor]") -> "Tensor":
    return tensors[0]


@dataclass(frozen=True)
class Target:
    """One weight, or one matrix of a stack, and where it comes from.

    Attributes:
        weight: our name for it, such as `layers.0.mixer.qkv`.
        sources: names of the checkpoint's tensors; empty for a weight of all ones.
        rows: first size of each source; empty when the one source has the weight's own shape.
        join: turns the sources into the weight.
        member: which matrix of a stack it is.
        instead: the source to use if the first one is not stored.
    """

    weight: str
    sources: tuple[str, ...]
    rows: tuple[int, ...] = ()
    join: "Callable[[Sequence[Tensor]], Tensor]" = _only
    member: int | None = None
    instead: str | None = None

    def shapes(self, shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shape of each source, from the shape of the weight."""
        own = tuple(shape if self.member is None else shape[1:])
        rows = self.rows or own[:1] * len(self.sources)
        return {name: (count, *own[1:]) for name, count in zip(self.sources, rows, strict=True)}
