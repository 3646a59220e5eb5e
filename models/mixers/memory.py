"""What one layer remembers, and its part in a decode step: the interfaces that every mixer implements."""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, Self, TypeVar

from torch import Tensor

# Where pointer heads looked from each token: position (B, T) int64, and mean attention there (B, T) float32.
Pointed = tuple[Tensor, Tensor]
# Channels -> bytes of a row of so many in a KV log.
RowBytes = Callable[[int], int]


class StepError(Exception):
    """A decode step cannot run: a kernel cannot be built, or a text has more pages than its table."""


class Memory(Protocol):
    """What one layer remembers of the tokens it has seen."""

    @property
    def nbytes(self) -> int:
        """Return the bytes held."""

    @property
    def pointed(self) -> Pointed | None:
        """Return where pointer heads looked from the last tokens, if few ran together; else None."""

    def fork(self) -> Self:
        """Return an independent continuation; what is only appended to is shared."""

    def without(self, start: int, end: int) -> Self:
        """Return a fork without tokens start..end, if it stores tokens one by one."""

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors, by name."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned into this new memory."""

    def constants(self) -> dict[str, Tensor]:
        """Return what any token may change, by name; its size does not grow with the text."""

    def rows(self) -> dict[str, int]:
        """Return the rows of each log: tensors (B, H, n, D) to which tokens only append."""

    def appended(self, since: Mapping[str, int]) -> dict[str, list[Tensor]]:
        """Return the rows of each log from `since` on, in pieces that no later token changes."""

    def adopt(self, constants: Mapping[str, Tensor], logs: Mapping[str, Sequence[Tensor]]) -> None:
        """Load constants and whole logs, in pieces, into this new memory.

        Pieces on the memory's own device are kept as they are, such as those mapped from a file; nobody
        writes to them.
        """


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
