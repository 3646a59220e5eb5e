"""What one layer remembers, and its part in a decode step: the interfaces that every mixer implements."""

from typing import Generic, Protocol, Self, TypeVar

from torch import Tensor

# Where pointer heads looked: position (B,) int64, and mean attention there (B,) float32.
Pointed = tuple[Tensor, Tensor]


class StepError(Exception):
    """A decode step cannot run: a kernel cannot be built, or a text has more pages than its table."""


class Memory(Protocol):
    """What one layer remembers of the tokens it has seen."""

    @property
    def nbytes(self) -> int:
        """Return the bytes held."""

    @property
    def pointed(self) -> Pointed | None:
        """Return where pointer heads looked from the last token, if it ran alone; None without such heads."""

    def fork(self) -> Self:
        """Return an independent continuation; what is only appended to is shared."""

    def without(self, start: int, end: int) -> Self:
        """Return a fork without tokens start..end, if it stores tokens one by one."""

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors, by name."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned into this new memory."""


M = TypeVar("M", bound=Memory)


class StepMemory(Generic[M]):
    """One layer's memories of B branches at fixed addresses, so that a step can be captured once.

    The methods here do nothing; a mixer overrides those it needs.
    """

    def enter(self, branch: int, memory: M, moved: bool) -> None:
        """Let a branch work on `memory`; `moved` if it is new here or advanced elsewhere meanwhile."""

    def leave(self, branch: int, memory: M) -> None:
        """Give `memory` its own storage again."""

    def advance(self, branch: int, memory: M) -> None:
        """Tell `memory` that the branch processed a token."""
