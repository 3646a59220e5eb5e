"""Linear attention with a fixed decay per head: a state of constant size, normed over all heads and gated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longctx.kernels.lightning import Decay, decay_tables
from longctx.kernels.linear import Rounded
from longctx.kernels.mixer import choose_lightning
from longctx.kernels.norm import choose_norm
from longctx.kernels.select import Site
from longctx.models.config import LightningSpec
from longctx.models.mixers.memory import StepMemory
from longctx.models.rotary import Positions, rotate
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

    def constants(self) -> dict[str, Tensor]:
        """Return the state."""
        return self.tensors()

    def rows(self) -> dict[str, int]:
        """Return nothing: no log is kept."""
        return {}

    def appended(self, since: Mapping[str, int]) -> dict[str, list[Tensor]]:
        """Return nothing, as `rows`."""
        return {}

    def adopt(self, constants: Mapping[str, Tensor], logs: Mapping[str, Sequence[Tensor]]) -> None:
        """Copy a saved state into this one.

        Raises:
            ValueError: when it has another shape or dtype.
        """
        kv = constants["kv"]
        if (kv.shape, kv.dtype) != (self.kv.shape, self.kv.dtype):
            raise ValueError(f"a state of shape {tuple(kv.shape)}, {kv.dtype}")
        self.kv.copy_(kv)

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
        self.spec, self.fused = spec, _fused(spec)
        self.width, kv_width = (heads * spec.head_dim for heads in (spec.n_heads, spec.n_kv_heads))
        # Rows: q of all heads, then k, then v.
        self.qkv = Weight(self.width + 2 * kv_width, hidden, dtype=dtype, keep="cut" if last else "")
        self.gate = Weight(self.width, hidden, dtype=dtype)
        self.norm = Weight(self.width, dtype=torch.float32)
        self.out = Weight(hidden, self.width, dtype=dtype)
        if spec.head_norm:
            self.q_norm, self.k_norm = (Weight(spec.head_dim, dtype=torch.float32) for _ in "qk")
        if spec.lrpe:
            self.theta = Weight(spec.n_heads, 1, spec.head_dim, dtype=torch.float32, keep="plain")

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        self.mix = choose_lightning(site, self.spec.n_heads, self.spec.head_dim)
        self.rms_norm = choose_norm(site, self.width // self.spec.norm_groups)
        self.head_norm = choose_norm(site, self.spec.head_dim)

    def new_memory(
        self, batch: int, dtype: torch.dtype, device: torch.device, form: object = None
    ) -> LightningMemory:
        """Return the memory before the first token; always float32, and too small for any other form."""
        return LightningMemory(torch.zeros(batch, *state_shape(self.spec), device=device))

    def new_steps(self, batch: int, rows: int, device: torch.device) -> LightningSteps | None:
        """Return the memories of a decode step; None where the kernels do not run, and for one branch."""
        if not self.mix.raw and not (batch > 1 and device.type == "cpu"):
            return None
        return LightningSteps(torch.zeros(batch, *state_shape(self.spec), device=device))

    def forward(self, x: Tensor, memory: LightningMemory, positions: Positions) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden) and advance the memory."""
        spec = self.spec
        if self.fused:
            first, second = self.mix.activations
            ready = self.gate.prepared(x)
            qkv, gate, weight = self.qkv(ready, first), self.gate(ready, second), self.norm.weight
            mixed, memory.kv = self.mix.mix(qkv, gate, weight, spec.norm_eps, self._decay(x), memory.kv)
            return self.out(mixed)  # type: ignore[no-any-return]  # nn.Module does not know
        ready = self.gate.prepared(x)
        mixed = self._attended(x, self._prepared(self.qkv(ready), spec.n_heads, positions), memory)
        return self._finished(mixed, ready)

    def step(self, x: Tensor, memory: LightningMemory, positions: Positions) -> Tensor:
        """Do what `forward` does for a token of each branch, x (B, 1, hidden), in a decode step."""
        if self.fused:  # which knows no positions
            return self.forward(x, memory, positions)
        # As one row of tokens, for each branch has a position of its own.
        row = self._prepared(self.qkv(x.transpose(0, 1)), self.spec.n_heads, positions)
        return self._finished(self._attended(x, [each.transpose(0, 1) for each in row], memory), x)

    def absorb(self, x: Tensor, memory: LightningMemory, positions: Positions) -> None:
        """Move the memory past x: keys and values only."""
        if self.fused:
            self.mix.absorb(self.qkv.below(self.width, x, self.mix.activations[0]), self._decay(x), memory.kv)
        else:
            k, v = self._prepared(self.qkv.below(self.width, x), 0, positions)
            self.mix.take(k, v, self._decay(x), memory.kv)

    def _attended(self, x: Tensor, prepared: list[Tensor], memory: LightningMemory) -> Tensor:
        """Return (B, T, H D): attention of q, k and v."""
        q, k, v = prepared
        return self.mix.attend(q, k, v, self._decay(x), memory.kv).flatten(2)

    def _finished(self, mixed: Tensor, ready: Tensor | Rounded) -> Tensor:
        """Return (B, T, hidden) of what was attended to, normed and gated by the layer's input."""
        return self.out(self._normed(mixed) * self.gate(ready, self.spec.gate))  # type: ignore[no-any-return]  # as above

    def _decay(self, x: Tensor) -> Decay:
        return decay_tables(self.spec.slopes, x.device)

    def _prepared(self, projected: Tensor, queries: int, positions: Positions) -> list[Tensor]:
        """Return queries (where there are any), keys and values (B, T, H, D or 2 D) of raw projections."""
        spec = self.spec
        heads = projected.view(*projected.shape[:2], -1, spec.head_dim)
        *turned, v = heads.split([*([queries] if queries else []), spec.n_kv_heads, spec.n_kv_heads], dim=2)
        norms = [self.q_norm, self.k_norm][-len(turned) :] if spec.head_norm else []
        if spec.activated:
            turned = [F.silu(x) for x in turned]
            v = F.silu(v) if spec.activated == "qkv" else v
        for i, norm in enumerate(norms):
            turned[i] = self.head_norm(turned[i], norm.weight, spec.norm_eps)
        angles = positions.angles(spec.rope)
        turned = [self._placed(rotate(x.transpose(1, 2), angles).transpose(1, 2), positions) for x in turned]
        if queries and spec.scale != 1:
            turned[0] = turned[0] * spec.scale
        *turned, v = (self._shared(x) for x in (*turned, v))
        return [*turned, v]

    def _placed(self, x: Tensor, positions: Positions) -> Tensor:
        """Apply LRPE to x (B, T, H, D), where the layer has it."""
        if not self.spec.lrpe:
            return x
        angles = positions.at[:, None, None] * self.theta.weight[:, 0]  # (T, H, D), in float64
        return torch.cat((x * angles.cos().float(), x * angles.sin().float()), dim=-1).to(x.dtype)

    def _shared(self, x: Tensor) -> Tensor:
        """Repeat keys or values for the query heads that share them."""
        groups = self.spec.n_heads // x.shape[2]
        return x.repeat_interleave(groups, dim=2) if groups > 1 else x

    def _normed(self, mixed: Tensor) -> Tensor:
        """Norm (B, T, H D), each group of channels by itself."""
        spec, weight = self.spec, self.norm.weight
        if spec.norm_groups == 1:
            return self.rms_norm(mixed, weight, spec.norm_eps)
        groups = mixed.unflatten(-1, (spec.norm_groups, -1))
        plain = torch.ones_like(weight[: groups.shape[-1]])
        return (self.rms_norm(groups, plain, spec.norm_eps).flatten(2) * weight).to(mixed.dtype)

    @staticmethod
    def memory_bytes(spec: LightningSpec, tokens: int, row: object) -> int:
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
    """Tell whether one kernel does all from the projections to the gated result."""
    sizes = spec.n_heads, spec.n_heads, spec.head_dim
    return spec == LightningSpec(*sizes, spec.slopes, spec.norm_eps, activated="qkv")
