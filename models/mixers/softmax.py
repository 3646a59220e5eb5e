"""Grouped-query softmax attention with partial rotary positions and a KV log."""

import torch
from torch import Tensor, nn

from longctx.kernels.attention import attention_weights, can_decode, choose_attention
from longctx.kernels.select import Site
from longctx.models.config import SoftmaxSpec
from longctx.models.kv_log import KVLog
from longctx.models.mixers.device_log import DeviceLog
from longctx.models.mixers.memory import Pointed
from longctx.models.rotary import Positions, rotate
from longctx.models.weight import Weight


class Softmax(nn.Module):
    """Softmax attention of one layer.

    Args:
        hidden: width of the residual stream.
        spec: what the layer is.
        dtype: of the matrices.
        last: unused; every mixer takes it.
    """

    def __init__(self, hidden: int, spec: SoftmaxSpec, dtype: torch.dtype, last: bool):
        super().__init__()
        self.spec = spec
        width, kv_width = spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim
        self.q = Weight(width, hidden, dtype=dtype)
        self.k = Weight(kv_width, hidden, dtype=dtype)
        self.v = Weight(kv_width, hidden, dtype=dtype)
        self.out = Weight(hidden, width, dtype=dtype)

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        self.attention = choose_attention(site, self.spec.head_dim)
        self.can_step = can_decode(site, self.spec.head_dim)

    def new_memory(self, batch: int, dtype: torch.dtype, device: torch.device) -> KVLog:
        """Return the memory before the first token."""
        return KVLog(batch, self.spec.n_kv_heads, self.spec.head_dim, dtype, device)

    def new_steps(self, batch: int, rows: int, device: torch.device) -> DeviceLog | None:
        """Return the memories of a decode step; None if its kernels do not run."""
        return DeviceLog(self.spec, batch, rows, device) if self.can_step else None

    def forward(self, x: Tensor, memory: KVLog, positions: Positions) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden) and advance the memory."""
        q = rotate(self._heads(self.q(x)), positions.angles(self.spec.rope))
        k, v = self.keys_values(x, positions)
        earlier = memory.pages()
        points = self.spec.pointer_heads and x.shape[1] == 1
        memory.pointed = self._pointed(attention_weights(q, k, earlier)) if points else None
        mixed = self.attention(q, k, v, earlier)
        memory.append(k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # nn.Module does not know

    def step(self, x: Tensor, memory: DeviceLog, positions: Positions) -> Tensor:
        """Do what `forward` does in a decode step: x (B, 1, hidden) is one token per branch."""
        q, k, v = (self._heads(project(x))[:, :, 0] for project in (self.q, self.k, self.v))
        mixed = memory.attend(q, k, v, positions.angles(self.spec.rope))
        return self.out(mixed.flatten(1)[:, None])  # type: ignore[no-any-return]  # as above

    def absorb(self, x: Tensor, memory: KVLog, positions: Positions) -> None:
        """Append keys and values."""
        memory.append(*self.keys_values(x, positions))

    def keys_values(self, x: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """Return rotated keys and values, each (B, Hkv, T, D)."""
        angles = positions.angles(self.spec.rope)
        return rotate(self._heads(self.k(x)), angles), self._heads(self.v(x))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.spec.head_dim).transpose(1, 2)

    def _pointed(self, weights: Tensor) -> Pointed:
        """Return the most attended token of (B, H, n) attention, averaged over the pointer heads."""
        mass, position = weights[:, list(self.spec.pointer_heads)].mean(dim=1).max(dim=-1)
        return position, mass

    @staticmethod
    def memory_bytes(spec: SoftmaxSpec, tokens: int, itemsize: int) -> int:
        """Return the bytes of a memory after that many tokens."""
        return 2 * spec.n_kv_heads * spec.head_dim * itemsize * tokens

    @staticmethod
    def workspace_bytes(spec: SoftmaxSpec, hidden: int, itemsize: int, cpu: bool) -> int:
        """Return the peak bytes per token.

        Input, normed input, and on a GPU: queries in two layouts, keys and values for every head, a float32
        sum and one of its terms.
        """
        return 2 * hidden * itemsize + (6 * 4 if cpu else 5 * itemsize + 4) * spec.n_heads * spec.head_dim
