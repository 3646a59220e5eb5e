"""Everything a model remembers: a memory per layer, and the number of tokens read."""

from dataclasses import dataclass

from torch import Tensor

from longctx.models.mixers.memory import Memory, Pointed


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
        """Return where the pointer heads looked from the last token, if it ran alone."""
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
        return {
            f"{i}.{name}": x for i, layer in enumerate(self.layers) for name, x in layer.tensors().items()
        }

    def restore(self, position: int, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned into this new state."""
        self.position = position
        for i, layer in enumerate(self.layers):
            own = {name.partition(".")[2]: x for name, x in tensors.items() if name.startswith(f"{i}.")}
            layer.restore(own)
