"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): the log holds one compressed vector per token.

Keys and values of all heads are products of that vector. Here they are never formed: the products are moved
into the queries and behind the sum, so that attention runs on the log itself, as if it were one KV head.
"""

import math

import torch
from torch import Tensor, nn

from longctx.kernels.attention import choose_attention
from longctx.kernels.norm import choose_norm
from longctx.kernels.select import Site
from longctx.models.config import LatentSpec
from longctx.models.kv_log import KVLog
from longctx.models.rotary import Positions, rotate
from longctx.models.weight import Weight


class Latent(nn.Module):
    """Latent attention of one layer.

    Args:
        hidden: width of the residual stream.
        spec: what the layer is.
        dtype: of the matrices.
        last: not used; every mixer is told.
    """

    def __init__(self, hidden: int, spec: LatentSpec, dtype: torch.dtype, last: bool):
        super().__init__()
        self.spec = spec
        heads, rank = spec.n_heads, spec.kv_rank
        if spec.q_rank:
            self.q_a = Weight(spec.q_rank, hidden, dtype=dtype)
            self.q_norm = Weight(spec.q_rank, dtype=torch.float32)
        self.q_b = Weight(heads * (spec.plain_dim + self._turned), spec.q_rank or hidden, dtype=dtype)
        self.kv_a = Weight(rank + self._turned, hidden, dtype=dtype)
        self.kv_norm = Weight(rank, dtype=torch.float32)
        self.k_b = Weight(heads, rank, spec.plain_dim, dtype=dtype, keep="plain")
        self.v_b = Weight(heads, spec.value_dim, rank, dtype=dtype, keep="plain")
        self.out = Weight(hidden, heads * spec.value_dim, dtype=dtype)

    @property
    def _turned(self) -> int:
        return 2 * len(self.spec.rope.frequencies)

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        self.attention = choose_attention(site, self.spec.kv_rank + self._turned)
        self.q_rms_norm = choose_norm(site, self.spec.q_rank or 1)
        self.kv_rms_norm = choose_norm(site, self.spec.kv_rank)

    def new_memory(self, batch: int, dtype: torch.dtype, device: torch.device) -> KVLog:
        """Return the memory before the first token."""
        return KVLog(batch, 1, self.spec.kv_rank + self._turned, dtype, device, values=False)

    def new_steps(self, batch: int, rows: int, device: torch.device) -> None:
        """Return None: no kernel of a decode step reads such a log yet."""

    def forward(self, x: Tensor, memory: KVLog, positions: Positions) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden) and move the memory past it."""
        spec = self.spec
        k = self._latent(x, positions).to(memory.dtype)
        # The log's own channels are more than those that the scores are scaled by.
        q = self._queries(x, positions) * (spec.scale * math.sqrt(k.shape[-1]))
        mixed = self.attention(q, k, k, memory.pages())[..., : spec.kv_rank]
        memory.append(k, k)
        heads = mixed @ self.v_b.weight.transpose(1, 2)  # (B, H, T, value_dim)
        return self.out(heads.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # nn.Module does not know

    def absorb(self, x: Tensor, memory: KVLog, positions: Positions) -> None:
        """Append the compressed vectors."""
        k = self._latent(x, positions)
        memory.append(k, k)

    def _queries(self, x: Tensor, positions: Positions) -> Tensor:
        """Return queries (B, H, T, rank + turned) against the log."""
        spec = self.spec
        inner = self.q_rms_norm(self.q_a(x), self.q_norm.weight, spec.norm_eps) if spec.q_rank else x
        heads = self.q_b(inner).unflatten(-1, (spec.n_heads, -1)).transpose(1, 2)
        plain, turned = heads.split([spec.plain_dim, self._turned], dim=-1)
        within = plain @ self.k_b.weight.transpose(1, 2)  # (B, H, T, rank)
        return torch.cat((within, rotate(turned, positions.angles(spec.rope))), dim=-1)

    def _latent(self, x: Tensor, positions: Positions) -> Tensor:
        """Return what the log keeps of x: the normed compressed vector and the shared rotated key."""
        spec = self.spec
        inner, turned = self.kv_a(x)[:, None].split([spec.kv_rank, self._turned], dim=-1)
        normed = self.kv_rms_norm(inner, self.kv_norm.weight, spec.norm_eps)
        return torch.cat((normed, rotate(turned, positions.angles(spec.rope))), dim=-1)

    @staticmethod
    def memory_bytes(spec: LatentSpec, tokens: int, itemsize: int) -> int:
        """Return the bytes of a memory after that many tokens."""
        return (spec.kv_rank + 2 * len(spec.rope.frequencies)) * itemsize * tokens

    @staticmethod
    def workspace_bytes(spec: LatentSpec, hidden: int, itemsize: int, cpu: bool) -> int:
        """Return the bytes per token at the widest: queries, keys for every head, and the sum in float32."""
        wide = spec.n_heads * (spec.kv_rank + 2 * len(spec.rope.frequencies))
        return 2 * hidden * itemsize + (3 * itemsize + 2 * 4) * wide
