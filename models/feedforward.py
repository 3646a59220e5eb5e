"""What each token goes through by itself: experts behind a router, or one gated MLP."""

import torch
from torch import Tensor, nn

from longctx.kernels.moe import choose_mixture, choose_rounded_mixture, route, route_by_groups
from longctx.kernels.select import Site
from longctx.models.config import ExpertsSpec, GatedSpec
from longctx.models.offload import AwayExperts
from longctx.models.weight import Keep, Weight


class Experts(nn.Module):
    """A router and its gated experts; beside them, where there is one, an expert that all tokens share."""

    def __init__(self, hidden: int, spec: ExpertsSpec, dtype: torch.dtype, keep: Keep = ""):
        super().__init__()
        self.spec = spec
        self.away: AwayExperts | None = None  # where the device has no room for all of them
        n, inner = spec.n_experts, spec.intermediate_size
        self.router = Weight(n, hidden, dtype=torch.float32, keep="exact")
        self.w1 = Weight(n, inner, hidden, dtype=dtype, keep="coarse")
        self.w3 = Weight(n, inner, hidden, dtype=dtype, keep="coarse")
        self.w2 = Weight(n, hidden, inner, dtype=dtype, keep="coarse")
        if spec.groups:
            self.bias = Weight(n, dtype=torch.float32)
        if spec.shared_size:
            self.shared = Gated(hidden, GatedSpec(spec.shared_size), dtype)

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        n, inner, hidden = self.w1.shape
        bits = self.away.bits if self.away else self.w1.rounded and self.w1.rounded.bits
        if bits:
            self.mixture = choose_rounded_mixture(site, hidden, inner, bits)
        else:
            self.mixture = choose_mixture(site, hidden, inner, n)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden)."""
        flat = x.flatten(0, -2)
        chosen, weights = self._routed(flat)
        if self.away:
            mixed = self.mixture(flat, chosen, weights, *self.away.begin(chosen)).view_as(x)
            self.away.end()
        else:
            matrices = (self.w1.matrices(), self.w3.matrices(), self.w2.matrices())
            mixed = self.mixture(flat, chosen, weights, *matrices).view_as(x)
        return mixed.add_(self.shared(x)) if self.spec.shared_size else mixed

    def _routed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the experts of each token (T, k), and their weights."""
        spec, logits = self.spec, self.router(x.float())
        if not spec.groups:
            return route(logits, spec.top_k)
        sizes = spec.top_k, spec.groups, spec.top_groups
        chosen, weights = route_by_groups(logits, self.bias.weight, *sizes)
        if spec.normalised:
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
        return chosen, weights * spec.scale

    @staticmethod
    def workspace_bytes(spec: ExpertsSpec, hidden: int, itemsize: int, cpu: bool) -> int:
        """Return the peak bytes per token.

        Input, normed input, rows sorted by expert, their two inner halves, and results.
        """
        inner = spec.intermediate_size * spec.top_k + spec.shared_size
        if cpu:
            return itemsize * (3 * hidden + 4 * inner)
        return itemsize * (2 * (1 + spec.top_k) * hidden + 2 * inner)


class Gated(nn.Module):
    """A dense gated MLP.

    Args:
        hidden: width of the residual stream.
        spec: what it is.
        dtype: of the matrices.
        keep: "coarse" where its matrices are most of the model.
    """

    def __init__(self, hidden: int, spec: GatedSpec, dtype: torch.dtype, keep: Keep = ""):
        super().__init__()
        self.spec = spec
        self.gate = Weight(spec.intermediate_size, hidden, dtype=dtype, keep=keep)
        self.up = Weight(spec.intermediate_size, hidden, dtype=dtype, keep=keep)
        self.down = Weight(hidden, spec.intermediate_size, dtype=dtype, keep=keep)

    def use(self, site: Site) -> None:
        """Do nothing: `Weight` does all the products."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden)."""
        ready = self.gate.prepared(x)
        gate, up = self.gate(ready, self.spec.activation), self.up(ready)
        return self.down(gate * up if gate.requires_grad else gate.mul_(up))  # type: ignore[no-any-return]  # nn.Module does not know

    @staticmethod
    def workspace_bytes(spec: GatedSpec, hidden: int, itemsize: int, cpu: bool) -> int:
        """Return the bytes per token at the widest: input, that normed, and inner halves."""
        return itemsize * ((3 if cpu else 2) * hidden + (4 if cpu else 2) * spec.intermediate_size)
