"""Linear attention with a fixed decay per head: a state of constant size, normed over all heads and gated."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longctx.kernels.lightning import Decay, decay_tables, lightning_absorb, lightning_attention
from longctx.kernels.mixer import choose_lightning
from longctx.kernels.norm import choose_norm
from longctx.kernels.select import Site
from longctx.models.config import LightningSpec
from longctx.models.mixers.memory import StepMemory
from longctx.models.rotary import Positions
from longctx.models.weight import Weight


@dataclass
class LightningMemory:
    """The recurrent state of one layer.

    Attributes:
        kv: (B, H, Dk, Dv) float32, row = key channel.
    """

    kv: Tensor
    pointed = None

    @property
    def nbytes(self) -> int:
        """Return the bytes held."""
        return self.kv.nbytes

    def fork(self) -> "LightningMemory":
        """Return a copy: the state is small and every token changes all of it."""
        return LightningMemory(self.kv.clone())

    def without(self, start: int, end: int) -> "LightningMemory":
        """Return a copy: single tokens cannot be removed from a recurrent state."""
        return self.fork()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state."""
        return {"kv": self.kv}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Copy a saved state into this one."""
        self.kv.copy_(tensors["kv"])

    def lend(self, room: Tensor) -> None:
        """Move into a decode step's buffer, unless already there."""
        if self.kv.data_ptr() != room.data_ptr():
            room.copy_(self.kv)
            self.kv = room

    def take_back(self, room: Tensor) -> None:
        """Move out of that buffer, if still there."""
        if self.kv.data_ptr() == room.data_ptr():
            self.kv = self.kv.clone()


class LightningSteps(StepMemory[LightningMemory], LightningMemory):
    """The states of B branches in one tensor; each lives here until another takes its place."""

    def enter(self, branch: int, memory: LightningMemory, moved: bool) -> None:
        """Move the memory in."""
        memory.lend(self.kv[branch : branch + 1])

    def leave(self, branch: int, memory: LightningMemory) -> None:
        """Move the memory out."""
        memory.take_back(self.kv[branch : branch + 1])


class Lightning(nn.Module):
    """Lightning attention of one layer.

    Args:
        hidden: width of the residual stream.
        spec: what the layer is.
        dtype: of the matrices.
        last: this is the last layer, whose `absorb` uses only some rows of the projection.
    """

    def __init__(self, hidden: int, spec: LightningSpec, dtype: torch.dtype, last: bool):
        super().__init__()
        self.spec = spec
        self.width = spec.n_heads * spec.head_dim
        # Rows: q of all heads, then k, then v.
        self.qkv = Weight(3 * self.width, hidden, dtype=dtype, keep="plain" if last else "")
        self.gate = Weight(self.width, hidden, dtype=dtype)
        self.norm = Weight(self.width, dtype=torch.float32)
        self.out = Weight(hidden, self.width, dtype=dtype)
        if spec.lrpe:
            self.theta = Weight(spec.n_heads, 1, spec.head_dim, dtype=torch.float32, keep="plain")

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        self.mix = choose_lightning(site, self.spec.n_heads, self.spec.head_dim)
        self.rms_norm = choose_norm(site, self.width)

    def new_memory(self, batch: int, dtype: torch.dtype, device: torch.device) -> LightningMemory:
        """Return the memory before the first token; always float32."""
        return LightningMemory(torch.zeros(batch, *state_shape(self.spec), device=device))

    def new_steps(self, batch: int, rows: int, device: torch.device) -> LightningSteps | None:
        """Return the memories of a decode step; None if its kernel does not run."""
        if not (self.mix.raw and _fused(self.spec)):
            return None
        return LightningSteps(torch.zeros(batch, *state_shape(self.spec), device=device))

    def forward(self, x: Tensor, memory: LightningMemory, positions: Positions) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden) and advance the memory."""
        spec = self.spec
        if _fused(spec):
            first, second = self.mix.activations
            qkv, gate, weight = self.qkv(x, first), self.gate(x, second), self.norm.weight
            mixed, memory.kv = self.mix.mix(qkv, gate, weight, spec.norm_eps, self._decay(x), memory.kv)
            return self.out(mixed)  # type: ignore[no-any-return]  # nn.Module does not know
        q, k, v = self._turned(self.qkv(x), 3, positions)
        mixed = lightning_attention(q, k, v, self._decay(x), memory.kv).flatten(2)
        return self.out(self.gate(x, spec.gate) * self.rms_norm(mixed, self.norm.weight, spec.norm_eps))  # type: ignore[no-any-return]  # as above

    step = forward  # a step's memory is an ordinary state

    def absorb(self, x: Tensor, memory: LightningMemory, positions: Positions) -> None:
        """Advance the memory past x; only keys and values are computed."""
        if _fused(self.spec):
            self.mix.absorb(self.qkv.below(self.width, x, self.mix.activations[0]), self._decay(x), memory.kv)
        else:
            k, v = self._turned(self.qkv.below(self.width, x), 2, positions)
            lightning_absorb(k, v, self._decay(x), memory.kv)

    def _decay(self, x: Tensor) -> Decay:
        return decay_tables(self.spec.slopes, x.device)

    def _turned(self, projected: Tensor, parts: int, positions: Positions) -> list[Tensor]:
        """Return activated q, k and raw v (B, T, H, D or 2 D) of projections (B, T, parts H D)."""
        *turned, v = projected.view(*projected.shape[:2], parts, self.spec.n_heads, -1).unbind(2)
        if self.spec.activation == "silu":
            turned = [F.silu(x) for x in turned]
        if self.spec.lrpe:
            angles = positions.at[:, None, None] * self.theta.weight[:, 0]  # (T, H, D), in float64
            cos, sin = angles.cos().float(), angles.sin().float()
            turned = [torch.cat((x * cos, x * sin), dim=-1).to(x.dtype) for x in turned]
        return [*turned, v]

    @staticmethod
    def memory_bytes(spec: LightningSpec, tokens: int, itemsize: int) -> int:
        """Return the bytes of a memory, the same for any number of tokens."""
        return 4 * math.prod(state_shape(spec))

    @staticmethod
    def workspace_bytes(spec: LightningSpec, hidden: int, itemsize: int, cpu: bool) -> int:
        """Return the peak bytes per token: input, normed input, projections, gate, result."""
        width = spec.n_heads * spec.head_dim
        return itemsize * (2 * hidden + (6 if cpu else 7) * width)


def state_shape(spec: LightningSpec) -> tuple[int, int, int]:
    """Return the shape of the state: heads, key channels, value channels."""
    return spec.n_heads, spec.head_dim * (2 if spec.lrpe else 1), spec.head_dim


def _fused(spec: LightningSpec) -> bool:
    """Tell whether one kernel does everything between the projections and the gated result."""
    return (spec.activation, spec.lrpe, spec.gate) == ("silu", False, "sigmoid")
