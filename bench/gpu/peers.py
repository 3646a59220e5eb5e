"""Other implementations on the same inputs: flash-linear-attention, torch's flash attention, plain torch."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.gpu.timing import relative_error
from longctx.kernels.lightning import decay_tables, lightning_attention

Core = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _fla(name: str) -> Core:
    """Return a function of fla, which is a peer and no dependency, with a log decay of -slope per head.

    From version 0.5 on the package calls itself fla-core; its decay takes the place of MiniMax's slope when
    it is given as `g_gamma`, and its scale of 1/sqrt(D) must be switched off. ImportError without it.
    """

    def core(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        function = getattr(import_module("fla.ops.simple_gla"), name)
        given = {"g_gamma": -slopes, "scale": 1.0, "initial_state": state, "output_final_state": True}
        out, after = function(q, k, v, **given)
        return out, after

    return core


fla_chunk = _fla("chunk_simple_gla")
fla_recurrent = _fla("fused_recurrent_simple_gla")  # which is what it offers for decoding


def torch_chunks(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run our plain torch version; the state is changed in place."""
    decay = decay_tables(tuple(slopes.tolist()), q.device)
    return lightning_attention(q, k, v, decay, state), state


def flash(q: Tensor, k: Tensor, v: Tensor, backend: SDPBackend = SDPBackend.FLASH_ATTENTION) -> Tensor:
    """Run torch's causal attention, (B, H, T, D); fewer key heads than query heads are allowed."""
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=k.shape[1] < q.shape[1])


FLASHES = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


def fitting(
    core: Core, reference: tuple[Tensor, Tensor], inputs: tuple[Tensor, Tensor, Tensor, Tensor], state: Tensor
) -> float:
    """Return how far a peer's outputs and state are from the truth: a peer that differs is no peer."""
    out, after = core(*inputs, state.clone())
    return max(map(relative_error, (out, after), reference))
