"""The launches of production: each public wrapper at the shapes, dtypes and options of the families.

The tensors are uninitialised and nothing is computed, so large ones cost no memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from bench.compiled import Case

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
SHORT = {BF16: "bf16", FP16: "fp16", FP32: "fp32"}


@dataclass(frozen=True)
class Family:
    """What a lightning layer of a family asks of its kernels.

    Attributes:
        rotary: channels of a head that lightning layers rotate; 0 for none.
        groups: head groups of the norm on the layer's output.
    """

    name: str
    heads: int
    kv_heads: int
    dim: int
    hidden: int
    swish: bool = True
    head_norm: bool = False
    rotary: int = 0
    groups: int = 1

    def prologue(self, *rows: int) -> dict[str, Any]:
        """Return the options of the lightning kernels' prologue; `rows` is the shape of cos and sin."""
        norm = SimpleNamespace(q=torch.empty(self.dim), k=torch.empty(self.dim), eps=1e-6)
        angles = (torch.empty(*rows, self.rotary // 2), torch.empty(*rows, self.rotary // 2))
        return {
            "swish": self.swish,
            "head_norm": norm if self.head_norm else None,
            "rope": angles if self.rotary else None,
        }

    @property
    def scale(self) -> float:
        """Return what queries are multiplied with: MiniMax alone has no scale."""
        return self.dim**-0.5 if self.head_norm else 1.0


MINIMAX = Family("MiniMax-Text-01", heads=64, kv_heads=8, dim=128, hidden=6144)
RING = Family(*("Ring-mini", 16, 4, 128, 2048), swish=False, head_norm=True, rotary=64, groups=4)
SALA = Family("MiniCPM-SALA", 32, 2, 128, 4096, swish=False, head_norm=True, rotary=128)
BUNDLED = Family("bundled", 4, 2, 32, 128)
HEAD_64 = Family("head 64", 8, 2, 64, 512)
HEAD_256 = Family("head 256", 8, 2, 256, 2048)


def packed(family: Family, tokens: int, dtype: torch.dtype, parts: int = 3) -> tuple[Tensor, ...]:
    """Return q, k, v (or k, v) as views of one projection, (1, T, H, D) each."""
    projected = torch.empty(1, tokens, parts * family.heads * family.dim, dtype=dtype)
    return projected.view(1, tokens, parts, family.heads, family.dim).unbind(2)


def state_of(family: Family) -> Tensor:
    """Return an uninitialised lightning state."""
    return torch.empty(1, family.heads, family.dim, family.dim)


def prefill(family: Family, tokens: int, dtype: torch.dtype) -> None:
    """Call what a lightning layer runs over a chunk: attention, then norm and gate."""
    from longctx.kernels.lightning_triton import lightning_prefill, norm_gate

    q, k, v = packed(family, tokens, dtype)
    options = family.prologue(tokens)
    mixed, squares = lightning_prefill(
        q, k, v, torch.empty(family.heads), state_of(family), scale=family.scale, **options
    )
    width = family.heads * family.dim
    gate = torch.empty(1, tokens, width, dtype=dtype)
    norm_gate(mixed, squares, torch.empty(width), gate, 1e-6, family.groups)


def absorb(family: Family, tokens: int, dtype: torch.dtype) -> None:
    """Call what the last layer runs when it is a lightning layer."""
    from longctx.kernels.lightning_triton import lightning_absorb

    k, v = packed(family, tokens, dtype, parts=2)
    lightning_absorb(k, v, torch.empty(family.heads), state_of(family), **family.prologue(tokens))


def varlen(family: Family, lengths: tuple[int, ...], dtype: torch.dtype) -> None:
    """Call prefill on several texts in one."""
    from longctx.kernels.lightning_triton import lightning_prefill

    q, k, v = packed(family, sum(lengths), dtype)
    ends = torch.tensor((0, *lengths)).cumsum(0).int()
    state = torch.empty(len(lengths), family.heads, family.dim, family.dim)
    options = family.prologue(sum(lengths))
    lightning_prefill(q, k, v, torch.empty(family.heads), state, cu_seqlens=ends, **options)


def decode(family: Family, branches: int, dtype: torch.dtype) -> None:
    """Call what a lightning layer runs for one token of each branch."""
    from longctx.kernels.lightning_decode_triton import lightning_decode

    width = family.heads * family.dim
    lightning_decode(
        torch.empty(branches, 3 * width, dtype=dtype),
        torch.empty(branches, width, dtype=dtype),
        torch.empty(width),
        torch.empty(family.heads),
        torch.empty(branches, family.heads, family.dim, family.dim),
        1e-6,
        slots=torch.arange(branches),
        scale=family.scale,
        groups=family.groups,
        **family.prologue(branches),
    )


def softmax_decode(family: Family, branches: int, dtype: torch.dtype) -> None:
    """Call what models/device_log.py runs for one token of each branch: append, attend, point."""
    from longctx.kernels.attention_triton import append_token, attention_decode, attention_pointer, page_table

    splits = max(1, min(128, 264 // (branches * family.kv_heads)))
    page = torch.empty(1, family.kv_heads, 1024, family.dim, dtype=dtype)
    q = torch.empty(branches, family.heads, family.dim, dtype=dtype)
    table = page_table([[(page, page)]] * branches, 1024).to(q.device)
    counts = torch.ones(branches, dtype=torch.int32)
    k = torch.empty(branches, family.kv_heads, family.dim, dtype=dtype)
    cos, sin = torch.empty(2, branches, family.dim // 4)
    append_token(q, k, torch.empty_like(k), cos, sin, table, counts)
    _, lse = attention_decode(q, table, counts, n_kv_heads=family.kv_heads, splits=splits)
    if family is BUNDLED:
        heads = torch.zeros(2, dtype=torch.int32)
        attention_pointer(q, table, counts, lse, heads, n_kv_heads=family.kv_heads, splits=splits)


def merge(family: Family, tokens: int, dtype: torch.dtype) -> None:
    """Call what a softmax layer runs in prefill to add a page's result."""
    from longctx.kernels.attention_triton import merge_partials

    shape = (1, family.kv_heads, family.heads // family.kv_heads * tokens)
    out = torch.empty(*shape, family.dim)
    merge_partials(out, torch.empty(shape), torch.empty(*shape, family.dim, dtype=dtype), torch.empty(shape))


def experts(tokens: int, hidden: int, inner: int, top_k: int, dtype: torch.dtype) -> None:
    """Call a mixture of experts for a few tokens; there are fewer experts than in the model."""
    from longctx.kernels.moe_triton import moe_decode

    n = 2 * top_k
    up, gate = torch.empty(2, n, inner, hidden, dtype=dtype)
    down = torch.empty(n, hidden, inner, dtype=dtype)
    chosen = torch.zeros(tokens, top_k, dtype=torch.int64)
    moe_decode(torch.empty(tokens, hidden, dtype=dtype), chosen, torch.empty(tokens, top_k), up, gate, down)


def combine(tokens: int, hidden: int, top_k: int, dtype: torch.dtype) -> None:
    """Call the weighted sum over each token's experts that ends a mixture in prefill."""
    from longctx.kernels.moe_triton import moe_combine

    position = torch.zeros(tokens, top_k, dtype=torch.int64)
    moe_combine(torch.empty(tokens * top_k, hidden, dtype=dtype), position, torch.empty(tokens, top_k))


def decode_in_two(family: Family, branches: int, dtype: torch.dtype) -> None:
    """Call the decode step in its other form, a second kernel for the norm."""
    from longctx.kernels import lightning_decode_triton as kernels

    usual, kernels.ONE_KERNEL = kernels.ONE_KERNEL, not kernels.ONE_KERNEL
    try:
        decode(family, branches, dtype)
    finally:
        kernels.ONE_KERNEL = usual


def norm(width: int, tokens: int, dtype: torch.dtype) -> None:
    """Call the norm before each half of a layer."""
    from longctx.kernels.norm_triton import rms_norm

    rms_norm(torch.empty(1, tokens, width, dtype=dtype), torch.empty(width), 1e-6)


def _case(
    wgmma: bool, title: str, call: Callable[..., object], *arguments: object, rare: bool = False
) -> Case:
    return Case(title, lambda: call(*arguments), wgmma, rare)


def _by_family() -> list[Case]:
    cases = []
    for family in (MINIMAX, RING, SALA):
        rare = family is SALA
        cases += [
            _case(True, f"{family.name} prefill 16k bf16", prefill, family, 16384, BF16, rare=rare),
            _case(False, f"{family.name} decode bf16", decode, family, 1, BF16, rare=rare),
            _case(False, f"{family.name} softmax decode bf16", softmax_decode, family, 1, BF16, rare=rare),
            _case(False, f"{family.name} merge bf16", merge, family, 16384, BF16, rare=rare),
            _case(False, f"{family.name} norm bf16", norm, family.hidden, 16384, BF16, rare=rare),
        ]
    for dtype in (BF16, FP32):
        name = f"bundled {SHORT[dtype]}"
        cases += [
            _case(False, f"{name} prefill 8k", prefill, BUNDLED, 8192, dtype),
            _case(False, f"{name} absorb 8k", absorb, BUNDLED, 8192, dtype),
            _case(False, f"{name} decode", decode, BUNDLED, 1, dtype),
            _case(False, f"{name} softmax decode", softmax_decode, BUNDLED, 1, dtype),
            _case(False, f"{name} norm", norm, BUNDLED.hidden, 8192, dtype),
        ]
    return cases


CASES = [
    *_by_family(),
    # A length that nothing divides, several texts in one call, several branches.
    _case(True, "MiniMax-Text-01 prefill 5001 bf16", prefill, MINIMAX, 5001, BF16),
    _case(True, "Ring-mini absorb 16k bf16", absorb, RING, 16384, BF16),
    _case(True, "MiniMax-Text-01 varlen bf16", varlen, MINIMAX, (4096, 0, 777), BF16, rare=True),
    _case(False, "MiniMax-Text-01 decode of 4 branches bf16", decode, MINIMAX, 4, BF16, rare=True),
    _case(False, "MiniMax-Text-01 decode in two kernels bf16", decode_in_two, MINIMAX, 1, BF16, rare=True),
    _case(True, "MiniMax-Text-01 prefill 4k fp16", prefill, MINIMAX, 4096, FP16, rare=True),
    _case(False, "MiniMax-Text-01 prefill 4k fp32", prefill, MINIMAX, 4096, FP32),
    _case(True, "head 64 prefill 4k bf16", prefill, HEAD_64, 4096, BF16),
    _case(False, "head 64 prefill 4k fp32", prefill, HEAD_64, 4096, FP32, rare=True),
    _case(True, "head 256 prefill 4k bf16", prefill, HEAD_256, 4096, BF16, rare=True),
    _case(False, "head 256 prefill 4k fp32", prefill, HEAD_256, 4096, FP32, rare=True),
    _case(False, "head 256 decode bf16", decode, HEAD_256, 1, BF16, rare=True),
    _case(False, "Ring-mini experts, 1 token bf16", experts, 1, 2048, 512, 8, BF16),
    _case(False, "Ring-mini experts, 16 tokens bf16", experts, 16, 2048, 512, 8, BF16, rare=True),
    _case(False, "Ring-mini experts, sum of 16k tokens bf16", combine, 16384, 2048, 8, BF16),
    _case(False, "MiniMax-Text-01 experts, 1 token bf16", experts, 1, 6144, 9216, 2, BF16, rare=True),
    _case(False, "experts, 3 tokens fp32", experts, 3, 512, 1024, 2, FP32, rare=True),
]
