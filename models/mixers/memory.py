"""What one layer remembers, and its place in a decode step: the contracts that every mixer keeps."""

from typing import Generic, Protocol, Self, TypeVar

from torch import Tensor

# Where pointer heads looked: position (B,) int64, and mean attention there (B,) float32.
Pointed = tuple[Tensor, Tensor]


class StepError(Exception):
    """A decode step cannot run: a kernel cannot be built, or a text has more pages than its table."""


class Memory(Protocol):
    """What one layer remembers of the tokens that went through it."""

    @property
    def nbytes(self) -> int:
        """Return the bytes held."""

    @property
    def pointed(self) -> Pointed | None:
        """Return where pointer heads looked from the last token alone; None where there are none."""

    def fork(self) -> Self:
        """Return an independent continuation; what is only appended to is shared."""

    def without(self, start: int, end: int) -> Self:
        """Return a fork that has lost tokens start..end, where single tokens can be told apart in it."""

    def tensors(self) -> dict[str, Tensor]:
        """Return all that is held, by name."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` returned, into a new memory."""


M = TypeVar("M", bound=Memory)


class StepMemory(Generic[M]):
    """One layer's memories of B branches at fixed addresses, so that a step can be captured once.

    Here are the steps that a kind of layer need not care for.
    """

    def enter(self, branch: int, memory: M, moved: bool) -> None:
        """Let a branch work on `memory`; `moved` when it is another one, or went on elsewhere meanwhile."""

    def leave(self, branch: int, memory: M) -> None:
        """Let `memory` have a place of its own again."""

    def advance(self, branch: int, memory: M) -> None:
        """Tell `memory` that a token went through the branch."""
