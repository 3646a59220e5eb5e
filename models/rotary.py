"""Where tokens stand, and the rotary angles of their positions."""

from functools import cache

import torch
from torch import Tensor

from longctx.models.config import RopeSpec

# cos and sin of positions, each (T, N) float32.
Angles = tuple[Tensor, Tensor]


class Positions:
    """The positions of one call's tokens and their angles, computed once for all layers.

    Attributes:
        at: (T,) float64. Float32 angles would be off by 0.016 rad at position 1M; float64 costs nothing here.
    """

    def __init__(self, at: Tensor):
        self.at = at
        none = at.new_empty(len(at), 0, dtype=torch.float32)
        self._angles: dict[RopeSpec | None, Angles] = {None: (none, none)}

    @classmethod
    def after(cls, position: int, tokens: int, device: torch.device) -> "Positions":
        """Return `tokens` positions, starting at `position`."""
        return cls(torch.arange(position, position + tokens, dtype=torch.float64, device=device))

    def angles(self, rope: RopeSpec | None) -> Angles:
        """Return cos and sin, each (T, N) float32, of angles formed in float64; N is 0 without a rope."""
        if rope is not None and rope not in self._angles:
            angles = self.at[:, None] * _frequencies(rope, self.at.device)
            self._angles[rope] = (angles.cos() * rope.scale).float(), (angles.sin() * rope.scale).float()
        return self._angles[rope]


@cache
def _frequencies(rope: RopeSpec, device: torch.device) -> Tensor:
    """Return radians per token of each pair of channels, float64."""
    with torch.inference_mode(False):  # they outlive the call, and may serve training next
        return torch.tensor(rope.frequencies, dtype=torch.float64, device=device)


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Rotate the first channels of x (B, H, T, D), in split halves; leave the rest unchanged."""
    cos, sin = angles
    if not cos.shape[-1]:
        return x
    first, second, rest = x.split((cos.shape[-1], cos.shape[-1], x.shape[-1] - 2 * cos.shape[-1]), dim=-1)
    turned = (  # float32, rounded once
        (first * cos).addcmul_(second, sin, value=-1),
        (second * cos).addcmul_(first, sin),
    )
    return torch.cat((*(part.to(x.dtype) for part in turned), rest), dim=-1)
