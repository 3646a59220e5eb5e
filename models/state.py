"""Everything a model remembers: a memory per layer, and the number of tokens read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from longctx.models.mixers.memory import Memory, Pointed

Value = TypeVar("Value")


@dataclass
class State:
    """What a model remembers; only this object knows how many tokens were read.

    Made by `Decoder.new_state`, changed in place by `forward` and `absorb`.
    """

    position: int
    layers: list[Memory]

    @property
    def nbytes(self) -> int:
        """Return the bytes of all layers."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def pointed(self) -> Pointed | None:
        """Return where the pointer heads looked from the last tokens, if few ran together."""
        return next((layer.pointed for layer in self.layers if layer.pointed is not None), None)

    def fork(self) -> "State":
        """Return an independent continuation."""
        return State(self.position, [layer.fork() for layer in self.layers])

    def without(self, start: int, end: int) -> "State":
        """Return a fork whose KV logs lack tokens start..end.

        Without positions, it is as if the logs had never seen them; recurrent states are unchanged.
        """
        return State(self.position - (end - start), [layer.without(start, end) for layer in self.layers])

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by layer and name; save `position` beside them."""
        return self._joined([layer.tensors() for layer in self.layers])

    def restore(self, position: int, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned into this new state."""
        self.position = position
        for layer, own in zip(self.layers, self._shared_out(tensors), strict=True):
            layer.restore(own)

    def constants(self) -> dict[str, Tensor]:
        """Return what any token may change, by layer and name."""
        return self._joined([layer.constants() for layer in self.layers])

    def rows(self) -> dict[str, int]:
        """Return the rows of each log, by layer and name."""
        return self._joined([layer.rows() for layer in self.layers])

    def appended(self, since: Mapping[str, int]) -> dict[str, list[Tensor]]:
        """Return what the logs hold behind the rows of `since`, in pieces that no later token changes."""
        shared = self._shared_out(since)
        return self._joined([layer.appended(own) for layer, own in zip(self.layers, shared, strict=True)])

    def adopt(
        self, position: int, constants: Mapping[str, Tensor], logs: Mapping[str, Sequence[Tensor]]
    ) -> None:
        """Load constants and whole logs into this new state; mapped pieces are kept as they are."""
        self.position = position
        shared = self._shared_out(constants), self._shared_out(logs)
        for layer, own, kept in zip(self.layers, *shared, strict=True):
            layer.adopt(own, kept)

    def _joined(self, parts: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
        return {f"{i}.{name}": x for i, part in enumerate(parts) for name, x in part.items()}

    def _shared_out(self, values: Mapping[str, Value]) -> list[dict[str, Value]]:
        """Return what is each layer's, by the names that the layer knows."""
        own: list[dict[str, Value]] = [{} for _ in self.layers]
        for name, value in values.items():
            layer, _, short = name.partition(".")
            own[int(layer)][short] = value
        return own
