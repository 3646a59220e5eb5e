"""Grouped-query softmax attention with partial rotary positions and a KV log."""

import math

import torch
from torch import Tensor, nn

from longctx.kernels.attention import can_decode, choose_attention
from longctx.kernels.linear import Rounded
from longctx.kernels.norm import choose_norm
from longctx.kernels.pointing import MOST, pointing_attention
from longctx.kernels.select import Site
from longctx.models.config import SoftmaxSpec
from longctx.models.kv_form import AS_IT_COMES, KVForm
from longctx.models.kv_log import KVLog
from longctx.models.mixers.branches import HostLogs
from longctx.models.mixers.device_log import DeviceLog
from longctx.models.mixers.memory import RowBytes
from longctx.models.rotary import Positions, rotate
from longctx.models.weight import Weight


class Softmax(nn.Module):
    """Softmax attention of one layer.

    Args:
        hidden: width of the residual stream.
        spec: what the layer is.
        dtype: of the matrices.
        last: not used; every mixer is told.
    """

    def __init__(self, hidden: int, spec: SoftmaxSpec, dtype: torch.dtype, last: bool):
        super().__init__()
        self.spec = spec
        width, kv_width = spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim
        self.q = Weight(width, hidden, dtype=dtype)
        self.k = Weight(kv_width, hidden, dtype=dtype)
        self.v = Weight(kv_width, hidden, dtype=dtype)
        self.out = Weight(hidden, width, dtype=dtype)
        if spec.gated:
            self.gate = Weight(width, hidden, dtype=dtype)
        if spec.norm_eps is not None:
            self.q_norm, self.k_norm = (Weight(spec.head_dim, dtype=torch.float32) for _ in "qk")

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        self.attention = choose_attention(site, self.spec.head_dim)
        self.rms_norm = choose_norm(site, self.spec.head_dim)
        self.can_step = can_decode(site, self.spec.head_dim)

    def new_memory(
        self, batch: int, dtype: torch.dtype, device: torch.device, form: KVForm = AS_IT_COMES
    ) -> KVLog:
        """Return the memory before the first token."""
        return KVLog(batch, self.spec.n_kv_heads, self.spec.head_dim, dtype, device, form=form)

    def new_steps(self, batch: int, rows: int, device: torch.device) -> DeviceLog | HostLogs | None:
        """Return the memories of a decode step; None if its kernels do not run.

        Without them a step still pays for several branches on a CPU, which read the weights once.
        """
        if self.can_step:
            return DeviceLog(self.spec, batch, rows, device)
        if batch < 2 or device.type != "cpu":
            return None
        return HostLogs(batch, self.attend, shares=not self.spec.pointer_heads)

    def forward(self, x: Tensor, memory: KVLog, positions: Positions) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden) and move the memory past it."""
        ready = self.q.prepared(x)
        q = rotate(self._heads(self._queries(ready, positions)), positions.angles(self.spec.rope))
        k, v = self.keys_values(ready, positions)
        return self._finished(ready, self.attend(q, k, v, memory).transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, memory: KVLog) -> Tensor:
        """Attend to the log and to the chunk itself, and append the chunk.

        Args:
            q: (B, H, T, D). k, v: (B, Hkv, T, D).

        Returns:
            (B, H, T, D).
        """
        kept = memory.rows_of(k), memory.rows_of(v)
        k, v = map(memory.plain, kept)
        seen = memory.seen(q)
        earlier = memory.pages(seen)
        memory.pointed = None
        if self.spec.pointer_heads and q.shape[2] <= MOST:
            mixed, (at, mass) = pointing_attention(q, k, v, earlier, self.spec.pointer_heads)
            memory.pointed = seen.origin(at), mass
        else:
            mixed = self.attention(q, k, v, earlier)
        memory.add(*kept)
        return mixed

    def step(self, x: Tensor, memory: DeviceLog | HostLogs, positions: Positions) -> Tensor:
        """Do what `forward` does for a token of each branch, x (B, 1, hidden), in a decode step."""
        projected = self._queries(x.transpose(0, 1), positions).transpose(0, 1), self._keys(x), self.v(x)
        q, k, v = (self._heads(rows)[:, :, 0] for rows in projected)
        mixed = memory.attend(q, k, v, positions.angles(self.spec.rope))
        return self._finished(x, mixed.flatten(1)[:, None])

    def absorb(self, x: Tensor, memory: KVLog, positions: Positions) -> None:
        """Append keys and values."""
        memory.append(*self.keys_values(x, positions))

    def keys_values(self, x: Tensor | Rounded, positions: Positions) -> tuple[Tensor, Tensor]:
        """Return rotated keys and values, each (B, Hkv, T, D)."""
        angles = positions.angles(self.spec.rope)
        return rotate(self._heads(self._keys(x)), angles), self._heads(self.v(x))

    def _queries(self, x: Tensor | Rounded, positions: Positions) -> Tensor:
        """Return queries (B, T, H D), normed and scaled, not rotated."""
        spec = self.spec
        q: Tensor = self.q(x)
        if spec.norm_eps is not None:
            q = self._normed(q, self.q_norm.weight)
        if spec.log_scale is not None:
            factors = torch.log(positions.at + spec.log_scale) / math.log(spec.log_scale)
            q = (q * factors[:, None].float()).to(q.dtype)
        return q if spec.scale == 1 else q * spec.scale

    def _keys(self, x: Tensor | Rounded) -> Tensor:
        """Return keys (B, T, Hkv D), normed, not rotated."""
        return self.k(x) if self.spec.norm_eps is None else self._normed(self.k(x), self.k_norm.weight)

    def _normed(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Norm each head of (B, T, H D)."""
        heads = rows.unflatten(-1, (-1, self.spec.head_dim))
        return self.rms_norm(heads, weight, self.spec.norm_eps or 0.0).flatten(2)

    def _finished(self, x: Tensor | Rounded, mixed: Tensor) -> Tensor:
        """Return (B, T, hidden) of what was attended to, (B, T, H D), gated by the layer's input x."""
        if self.spec.gated:
            mixed = mixed * self.gate(x, "sigmoid")
        return self.out(mixed)  # type: ignore[no-any-return]  # nn.Module does not know

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.spec.head_dim).transpose(1, 2)

    @staticmethod
    def memory_bytes(spec: SoftmaxSpec, tokens: int, row: RowBytes) -> int:
        """Return the bytes of a memory after that many tokens."""
        return 2 * spec.n_kv_heads * row(spec.head_dim) * tokens

    @staticmethod
    def workspace_bytes(spec: SoftmaxSpec, hidden: int, itemsize: int, cpu: bool) -> int:
        """Return the peak bytes per token.

        Input, normed input, and on a GPU: queries in two layouts, keys and values for every head, a float32
        sum and one of its terms.
        """
        return 2 * hidden * itemsize + (6 * 4 if cpu else 5 * itemsize + 4) * spec.n_heads * spec.head_dim
