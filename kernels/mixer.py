"""A lightning layer from its input to the gate, by the kernels that serve the device.

A kernel reads the raw projections and applies the activations itself; torch wants them applied by the
matrix product before it, where they cost nothing. So a projection comes as a function that takes the
activation, and whoever runs here asks for the form it needs.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from longctx.kernels import differentiable
from longctx.kernels.lightning import Decay, lightning_absorb, lightning_attention
from longctx.kernels.linear import Activation
from longctx.kernels.norm import rms_norm
from longctx.kernels.select import attempt, serves

Projection = Callable[[Tensor, Activation], Tensor]


def lightning_mixer(
    x: Tensor, qkv: Projection, gate: Projection, weight: Tensor, eps: float, decay: Decay, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return norm(lightning_attention(SiLU(qkv(x)))) * sigmoid(gate(x)), and the state past x.

    Args:
        x: (B, T, hidden).
        qkv: projects x to (B, T, 3 H D): q of all heads, then k, then v.
        gate: projects x to (B, T, H D).
        weight, eps: of the norm over all heads, (H D) float32.
        decay, state: as in `lightning_attention`, with Dk = Dv = D.

    Returns:
        (B, T, H D) in x's dtype, and the state: the tensor given, changed in place, or a new one where
        gradients go through it.
    """
    if x.requires_grad:
        return _differentiable(x, qkv, gate, weight, eps, decay, state)
    tokens, (heads, width) = x.shape[1], state.shape[1:3]
    done = None
    if tokens == 1 and serves("lightning_decode", x, width, 1):
        done = _decode(qkv(x, "none"), gate(x, "none"), weight, eps, decay, state)
    elif serves("lightning_prefill", x, width, tokens):
        done = _prefill(qkv(x, "none"), lambda: gate(x, "none"), weight, eps, decay, state)
    if done is not None:
        return done, state
    q, k, v = _split(qkv(x, "swish"), 3, heads)
    mixed = lightning_attention(q, k, v, decay, state)
    return gate(x, "sigmoid").mul_(rms_norm(mixed.flatten(2), weight, eps)), state


def absorb(x: Tensor, kv: Projection, decay: Decay, state: Tensor) -> None:
    """Move the state past x (B, T, hidden) and form no output; kv projects to k, then v, (B, T, 2 H D)."""
    heads, width = state.shape[1:3]
    if serves("lightning_absorb", x, width, x.shape[1]):
        from longctx.kernels import lightning_triton

        k, v = _split(kv(x, "none"), 2, heads)
        slopes = decay.slopes
        if attempt(
            "lightning_absorb", lambda: lightning_triton.lightning_absorb(k, v, slopes, state, swish=True), x
        ):
            return
    k, v = _split(kv(x, "swish"), 2, heads)
    lightning_absorb(k, v, decay, state)


def _differentiable(
    x: Tensor, qkv: Projection, gate: Projection, weight: Tensor, eps: float, decay: Decay, state: Tensor
) -> tuple[Tensor, Tensor]:
    q, k, v = _split(qkv(x, "swish"), 3, state.shape[1])
    tables = decay.within, decay.query, decay.key
    mixed, state = differentiable.lightning_attention(q, k, v, decay.slopes, tables, state)
    return gate(x, "sigmoid") * rms_norm(mixed.flatten(2), weight, eps), state


def _decode(
    qkv: Tensor, gate: Tensor, weight: Tensor, eps: float, decay: Decay, state: Tensor
) -> Tensor | None:
    from longctx.kernels.lightning_decode_triton import lightning_decode

    run = attempt(
        "lightning_decode",
        lambda: lightning_decode(qkv[:, 0], gate[:, 0], weight, decay.slopes, state, eps),
        qkv,
    )
    return run.value[:, None] if run else None


def _prefill(
    qkv: Tensor, gate: Callable[[], Tensor], weight: Tensor, eps: float, decay: Decay, state: Tensor
) -> Tensor | None:
    from longctx.kernels.lightning_triton import lightning_prefill, norm_gate

    q, k, v = _split(qkv, 3, state.shape[1])
    run = attempt(
        "lightning_prefill", lambda: lightning_prefill(q, k, v, decay.slopes, state, swish=True), qkv
    )
    if run is None:
        return None
    mixed, squares = run.value
    raw = gate()
    # The state has moved on: from here there is no way back to the torch version of all of it.
    if serves("norm_gate", mixed, mixed.shape[-1], mixed.shape[1]):
        normed = attempt("norm_gate", lambda: norm_gate(mixed, squares, weight, raw, eps), qkv)
        if normed:
            return normed.value
    return torch.sigmoid(raw).mul_(rms_norm(mixed.flatten(2), weight, eps))


def _split(projected: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """View (B, T, parts * H * D) as `parts` tensors (B, T, H, D)."""
    return projected.view(*projected.shape[:2], parts, heads, -1).unbind(2)
