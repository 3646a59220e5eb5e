"""What each token goes through by itself: experts behind a router, or one gated MLP."""

import torch
from torch import Tensor, nn

from longctx.kernels.moe import choose_mixture
from longctx.kernels.select import Site
from longctx.models.config import ExpertsSpec, GatedSpec
from longctx.models.weight import Weight


class Experts(nn.Module):
    """A router and its gated experts."""

    def __init__(self, hidden: int, spec: ExpertsSpec, dtype: torch.dtype):
        super().__init__()
        self.spec = spec
        n, inner = spec.n_experts, spec.intermediate_size
        self.router = Weight(n, hidden, dtype=torch.float32, keep="plain")
        self.w1 = Weight(n, inner, hidden, dtype=dtype)
        self.w3 = Weight(n, inner, hidden, dtype=dtype)
        self.w2 = Weight(n, hidden, inner, dtype=dtype)

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        n, inner, hidden = self.w1.shape
        self.mixture = choose_mixture(site, hidden, inner, n)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden)."""
        matrices = (self.w1.matrices(), self.w3.matrices(), self.w2.matrices())
        return self.mixture(x.flatten(0, -2), self.router.weight, *matrices, self.spec.top_k).view_as(x)

    @staticmethod
    def workspace_bytes(spec: ExpertsSpec, hidden: int, itemsize: int, cpu: bool) -> int:
        """Return the peak bytes per token.

        Input, normed input, rows sorted by expert, their two inner halves, and results.
        """
        if cpu:
            return itemsize * (3 * hidden + 4 * spec.intermediate_size * spec.top_k)
        moved = spec.top_k if spec.n_experts > 1 else 0
        return itemsize * (2 * (1 + moved) * hidden + 2 * max(moved, 1) * spec.intermediate_size)


class Gated(nn.Module):
    """A dense gated MLP."""

    def __init__(self, hidden: int, spec: GatedSpec, dtype: torch.dtype):
        super().__init__()
        self.spec = spec
        self.gate = Weight(spec.intermediate_size, hidden, dtype=dtype)
        self.up = Weight(spec.intermediate_size, hidden, dtype=dtype)
        self.down = Weight(hidden, spec.intermediate_size, dtype=dtype)

    def use(self, site: Site) -> None:
        """Do nothing: `Weight` does all the products."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden)."""
        return self.down(self.gate(x, self.spec.activation) * self.up(x))  # type: ignore[no-any-return]  # nn.Module does not know

    @staticmethod
    def workspace_bytes(spec: GatedSpec, hidden: int, itemsize: int, cpu: bool) -> int:
        """Return the peak bytes per token: input, normed input, result, two inner halves."""
        return itemsize * (3 * hidden + 2 * spec.intermediate_size)
