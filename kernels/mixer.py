"""A lightning layer between its projections: attention, the norm over all heads, the gate.

The Triton kernels read raw projections and apply the activations; torch has the matrix product before apply
them, where they cost nothing. `LightningMix.raw` tells which.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels import differentiable
from longctx.kernels.lightning import Decay, decay_tables, lightning_absorb, lightning_attention
from longctx.kernels.linear import Activation
from longctx.kernels.norm import torch_rms_norm
from longctx.kernels.select import HEAD_WIDTHS, Site, works


@dataclass(frozen=True)
class LightningMix:
    """An implementation of a lightning layer between its projections.

    Attributes:
        raw: projections come without activation; otherwise q, k and v come through SiLU, the gate through
            a sigmoid.
        mix: (qkv, gate, weight, eps, decay, state) -> norm(lightning_attention(q, k, v)) * gate, (B, T, H D)
            in qkv's dtype, and the state: the tensor given, changed in place, or a new one where gradients
            go through it. qkv is (B, T, 3 H D), q of all heads, then k, then v; gate (B, T, H D); both are
            given up; weight (H D) float32 and eps are the norm's, over all heads; decay and state as in
            `lightning_attention`, with Dk = Dv = D.
        absorb: (kv, decay, state) moves the state past k, then v, (B, T, 2 H D), and forms no output.
        attend, take: the attention alone, and what forms no output, for layers that differ: arguments as of
            `lightning_attention` and `lightning_absorb`, the state changed in place.
    """

    raw: bool
    mix: Callable[[Tensor, Tensor, Tensor, float, Decay, Tensor], tuple[Tensor, Tensor]]
    absorb: Callable[[Tensor, Decay, Tensor], None]
    attend: Callable[[Tensor, Tensor, Tensor, Decay, Tensor], Tensor] = lightning_attention
    take: Callable[[Tensor, Tensor, Decay, Tensor], None] = lightning_absorb

    @property
    def activations(self) -> tuple[Activation, Activation]:
        """Return the activations that the products for q, k, v and for the gate must apply."""
        return ("none", "none") if self.raw else ("silu", "sigmoid")


def choose_lightning(site: Site, heads: int, width: int) -> LightningMix:
    """Return the implementation for `heads` heads of `width` channels at a site."""
    if site.gradients:
        return DIFFERENTIABLE
    return TRITON if width in HEAD_WIDTHS and works("lightning", _trial, site, heads, width) else TORCH


def _mix(
    qkv: Tensor, gate: Tensor, weight: Tensor, eps: float, decay: Decay, state: Tensor
) -> tuple[Tensor, Tensor]:
    q, k, v = _split(qkv, 3, state)
    mixed = lightning_attention(q, k, v, decay, state)
    return gate.mul_(torch_rms_norm(mixed.flatten(2), weight, eps)), state


def _absorb(kv: Tensor, decay: Decay, state: Tensor) -> None:
    k, v = _split(kv, 2, state)
    lightning_absorb(k, v, decay, state)


def _mix_differentiable(
    qkv: Tensor, gate: Tensor, weight: Tensor, eps: float, decay: Decay, state: Tensor
) -> tuple[Tensor, Tensor]:
    tables = decay.within, decay.query, decay.key
    q, k, v = _split(qkv, 3, state)
    mixed, state = differentiable.lightning_attention(q, k, v, decay.slopes, tables, state)
    return gate * differentiable.rms_norm(mixed.flatten(2), weight, eps), state


def _mix_triton(
    qkv: Tensor, gate: Tensor, weight: Tensor, eps: float, decay: Decay, state: Tensor
) -> tuple[Tensor, Tensor]:
    from longctx.kernels.lightning_decode_triton import lightning_decode
    from longctx.kernels.lightning_triton import lightning_prefill
    from longctx.kernels.norm_triton import norm_gate

    if qkv.shape[1] == 1:
        return lightning_decode(qkv[:, 0], gate[:, 0], weight, decay.slopes, state, eps)[:, None], state
    q, k, v = _split(F.silu(qkv, inplace=True), 3, state)
    mixed, squares = lightning_prefill(q, k, v, decay.slopes, state)
    return norm_gate(mixed, squares, weight, gate, eps), state


def _attend_triton(q: Tensor, k: Tensor, v: Tensor, decay: Decay, state: Tensor) -> Tensor:
    from longctx.kernels.lightning_triton import lightning_prefill

    if q.shape[1] == 1:
        return lightning_attention(q, k, v, decay, state)
    return lightning_prefill(q, k, v, decay.slopes, state)[0]


def _take_triton(k: Tensor, v: Tensor, decay: Decay, state: Tensor) -> None:
    from longctx.kernels.lightning_triton import lightning_absorb

    lightning_absorb(k, v, decay.slopes, state)


def _absorb_triton(kv: Tensor, decay: Decay, state: Tensor) -> None:
    from longctx.kernels.lightning_triton import lightning_absorb

    k, v = _split(F.silu(kv, inplace=True), 2, state)
    lightning_absorb(k, v, decay.slopes, state)


def _split(projected: Tensor, parts: int, state: Tensor) -> tuple[Tensor, ...]:
    """View (B, T, parts * H * D) as `parts` tensors (B, T, H, D)."""
    return projected.view(*projected.shape[:2], parts, *state.shape[1:3]).unbind(2)


TORCH = LightningMix(False, _mix, _absorb)
TRITON = LightningMix(True, _mix_triton, _absorb_triton, _attend_triton, _take_triton)
DIFFERENTIABLE = LightningMix(False, _mix_differentiable, _absorb)


def _trial(draw: Callable[..., Tensor], heads: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    row, single = heads * width, torch.float32
    weight, ours = draw(row, dtype=single), draw(1, heads, width, width, dtype=single)
    decay, theirs = decay_tables((0.1,) * heads, ours.device), ours.clone()
    for tokens in (70, 1):  # more than a chunk; a decode step
        qkv, gate = draw(1, tokens, 3 * row), draw(1, tokens, row)
        active, opened, raw = F.silu(qkv.float()), gate.float().sigmoid(), qkv[..., row:].contiguous()
        found, _ = TRITON.mix(qkv, gate, weight, 1e-5, decay, ours)
        right, _ = TORCH.mix(active, opened, weight, 1e-5, decay, theirs)
        yield found, right
        TRITON.absorb(raw, decay, ours)
        TORCH.absorb(active[..., row:], decay, theirs)
        yield ours, theirs
