"""The launches of production: each public wrapper at the shapes, dtypes and options of the families.

The tensors are uninitialised and nothing is computed, so large ones cost no memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.compiled import Case
from bench.gpu.model import RING as RING_CONFIG
from longctx import hub, known
from longctx.kernels.rounded import Bits, RoundedMatrix
from longctx.models.config import ExpertsSpec, ModelConfig, SoftmaxSpec
from longctx.models.config_file import read_config
from longctx.models.families.minimax import translate
from longctx.models.step import MOST_PAGES

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
SHORT = {BF16: "bf16", FP16: "fp16", FP32: "fp32"}


@dataclass(frozen=True)
class Family:
    """The sizes that a model's layers give to their kernels.

    Attributes:
        rotary: channels of a head that softmax layers rotate.
        pointers: heads of the last softmax layer that point.
    """

    name: str
    heads: int
    kv_heads: int
    dim: int
    hidden: int
    rotary: int
    pointers: int = 0
    inner: int = 0
    top_k: int = 0


def of(name: str, config: ModelConfig) -> Family:
    """Return the sizes in a configuration."""
    softmax = [layer.mixer for layer in config.layers if isinstance(layer.mixer, SoftmaxSpec)][-1]
    experts = [layer.feedforward for layer in config.layers if isinstance(layer.feedforward, ExpertsSpec)]
    heads = softmax.n_heads, softmax.n_kv_heads, softmax.head_dim
    pointers = len(softmax.pointer_heads)
    inner, top_k = (experts[-1].intermediate_size, experts[-1].top_k) if experts else (0, 0)
    rotary = 2 * len(softmax.rope.frequencies) if softmax.rope else 0
    return Family(name, *heads, config.hidden_size, rotary, pointers, inner, top_k)


MINIMAX = of("MiniMax-Text-01", read_config(known.FOLDER / "minimax"))
RING = of("Ring-mini", translate(RING_CONFIG))
BUNDLED = of("bundled", read_config(hub.BUNDLED))
HEAD_64 = Family("head 64", 8, 2, 64, 512, rotary=64)
HEAD_256 = Family("head 256", 8, 2, 256, 2048, rotary=256)
SMALL = Family("small", 8, 2, 64, 512, rotary=64, inner=1024, top_k=2)


def packed(family: Family, tokens: int, dtype: torch.dtype, parts: int = 3) -> tuple[Tensor, ...]:
    """Return q, k, v (or k, v) as views of one projection, (1, T, H, D) each."""
    projected = torch.empty(1, tokens, parts * family.heads * family.dim, dtype=dtype)
    return projected.view(1, tokens, parts, family.heads, family.dim).unbind(2)


def state_of(family: Family) -> Tensor:
    """Return an uninitialised lightning state."""
    return torch.empty(1, family.heads, family.dim, family.dim)


def prefill(family: Family, tokens: int, dtype: torch.dtype) -> None:
    """Call what a lightning layer runs over a chunk: attention, then norm and gate."""
    from longctx.kernels.lightning_triton import lightning_prefill
    from longctx.kernels.norm_triton import norm_gate

    q, k, v = packed(family, tokens, dtype)
    mixed, squares = lightning_prefill(q, k, v, torch.empty(family.heads), state_of(family))
    width = family.heads * family.dim
    norm_gate(mixed, squares, torch.empty(width), torch.empty(1, tokens, width, dtype=dtype), 1e-6)


def absorb(family: Family, tokens: int, dtype: torch.dtype) -> None:
    """Call what the last layer runs when it is a lightning layer."""
    from longctx.kernels.lightning_triton import lightning_absorb

    k, v = packed(family, tokens, dtype, parts=2)
    lightning_absorb(k, v, torch.empty(family.heads), state_of(family))


def decode(family: Family, branches: int, dtype: torch.dtype) -> None:
    """Call what a lightning layer runs for one token of each branch."""
    from longctx.kernels.lightning_decode_triton import lightning_decode

    width = family.heads * family.dim
    qkv, gate = torch.empty(branches, 3 * width, dtype=dtype), torch.empty(branches, width, dtype=dtype)
    state = torch.empty(branches, family.heads, family.dim, family.dim)
    lightning_decode(qkv, gate, torch.empty(width), torch.empty(family.heads), state, 1e-6)


def softmax_decode(family: Family, branches: int, dtype: torch.dtype) -> None:
    """Call what a softmax layer runs for one token of each branch: append, attend, point."""
    from longctx.kernels.attention_triton import attention_decode, attention_pointer, default_splits
    from longctx.kernels.pages_triton import append_token, page_table

    page = torch.empty(1, family.kv_heads, 1024, family.dim, dtype=dtype)
    q = torch.empty(branches, family.heads, family.dim, dtype=dtype)
    splits = default_splits(q.device, branches, family.kv_heads)
    table = page_table([[(page, page)]] * branches, MOST_PAGES).to(q.device)
    counts = torch.ones(branches, dtype=torch.int32)
    k = torch.empty(branches, family.kv_heads, family.dim, dtype=dtype)
    cos, sin = torch.empty(2, branches, family.rotary // 2)
    append_token(q, k, torch.empty_like(k), cos, sin, table, counts)
    _, lse = attention_decode(q, table, counts, n_kv_heads=family.kv_heads, splits=splits)
    if family.pointers:
        heads = torch.arange(family.pointers, dtype=torch.int32)
        attention_pointer(q, table, counts, lse, heads, n_kv_heads=family.kv_heads, splits=splits)


def merge(family: Family, tokens: int, dtype: torch.dtype) -> None:
    """Call what a softmax layer runs in prefill to add a page's result."""
    from longctx.kernels.attention_merge_triton import merge_partials

    shape = (1, family.kv_heads, family.heads // family.kv_heads * tokens)
    out = torch.empty(*shape, family.dim)
    merge_partials(out, torch.empty(shape), torch.empty(*shape, family.dim, dtype=dtype), torch.empty(shape))


def experts(family: Family, tokens: int, dtype: torch.dtype) -> None:
    """Call a mixture of experts for a few tokens; there are fewer experts than in the model."""
    from longctx.kernels.moe_triton import moe_decode

    hidden, inner, top_k = family.hidden, family.inner, family.top_k
    n = 2 * top_k
    up, gate = torch.empty(2, n, inner, hidden, dtype=dtype)
    down = torch.empty(n, hidden, inner, dtype=dtype)
    chosen = torch.zeros(tokens, top_k, dtype=torch.int64)
    moe_decode(torch.empty(tokens, hidden, dtype=dtype), chosen, torch.empty(tokens, top_k), up, gate, down)


def rounded(*shape: int, bits: Bits) -> RoundedMatrix:
    """Return an uninitialised matrix or stack of few bits."""
    return RoundedMatrix.empty(*shape, bits=bits, device=torch.get_default_device())


def rounded_linear(rows: int, columns: int, bits: Bits) -> None:
    """Call what multiplies one token by a matrix of few bits, and what widens the matrix for many."""
    from longctx.kernels.rounded_triton import rounded_linear, widen

    weight = rounded(rows, columns, bits=bits)
    rounded_linear(torch.empty(1, columns, dtype=BF16), weight)
    widen(weight, BF16)


def rounded_experts(family: Family, bits: Bits) -> None:
    """Call a mixture of experts of few bits for one token."""
    from longctx.kernels.rounded_triton import moe_decode

    up, down = (family.inner, family.hidden), (family.hidden, family.inner)
    w1, w3, w2 = (rounded(2 * family.top_k, *shape, bits=bits) for shape in (up, up, down))
    chosen = torch.zeros(1, family.top_k, dtype=torch.int64)
    moe_decode(torch.empty(1, family.hidden, dtype=BF16), chosen, torch.empty(1, family.top_k), w1, w3, w2)


def grouped(family: Family, tokens: int, bits: Bits) -> None:
    """Call the product of rows with experts of few bits, for so many rows of each of 16 experts."""
    from longctx.kernels.rounded_triton import grouped_product

    ends = torch.arange(tokens, 17 * tokens, tokens, dtype=torch.int32)
    rows = torch.empty(16 * tokens, family.hidden, dtype=BF16)
    grouped_product(rows, rounded(16, family.inner, family.hidden, bits=bits), ends)


def combine(family: Family, tokens: int, dtype: torch.dtype) -> None:
    """Call the weighted sum over each token's experts that ends a mixture in prefill."""
    from longctx.kernels.moe_triton import moe_combine

    position = torch.zeros(tokens, family.top_k, dtype=torch.int64)
    results = torch.empty(tokens * family.top_k, family.hidden, dtype=dtype)
    moe_combine(results, position, torch.empty(tokens, family.top_k))


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
    for family in (MINIMAX, RING):
        cases += [
            _case(True, f"{family.name} prefill 16k bf16", prefill, family, 16384, BF16),
            _case(False, f"{family.name} decode bf16", decode, family, 1, BF16),
            _case(False, f"{family.name} softmax decode bf16", softmax_decode, family, 1, BF16),
            _case(False, f"{family.name} merge bf16", merge, family, 16384, BF16),
            _case(False, f"{family.name} norm bf16", norm, family.hidden, 16384, BF16),
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
    # A length that nothing divides, several branches, other widths of heads.
    _case(True, "MiniMax-Text-01 prefill 5001 bf16", prefill, MINIMAX, 5001, BF16),
    _case(True, "Ring-mini absorb 16k bf16", absorb, RING, 16384, BF16),
    _case(False, "MiniMax-Text-01 decode of 4 branches bf16", decode, MINIMAX, 4, BF16, rare=True),
    _case(True, "MiniMax-Text-01 prefill 4k fp16", prefill, MINIMAX, 4096, FP16, rare=True),
    _case(False, "MiniMax-Text-01 prefill 4k fp32", prefill, MINIMAX, 4096, FP32),
    _case(True, "head 64 prefill 4k bf16", prefill, HEAD_64, 4096, BF16),
    _case(False, "head 64 prefill 4k fp32", prefill, HEAD_64, 4096, FP32, rare=True),
    _case(True, "head 256 prefill 4k bf16", prefill, HEAD_256, 4096, BF16, rare=True),
    _case(False, "head 256 prefill 4k fp32", prefill, HEAD_256, 4096, FP32, rare=True),
    _case(False, "head 256 decode bf16", decode, HEAD_256, 1, BF16, rare=True),
    _case(False, "Ring-mini experts, 1 token bf16", experts, RING, 1, BF16),
    _case(False, "Ring-mini experts, 16 tokens bf16", experts, RING, 16, BF16, rare=True),
    _case(False, "Ring-mini head int8", rounded_linear, 157184, 2048, 8),
    _case(False, "HypeNet-2B feed-forward int4", rounded_linear, 2048, 6144, 4),
    _case(False, "Ring-mini experts, 1 token int4", rounded_experts, RING, 4),
    _case(False, "Ring-mini experts, 1 token int8", rounded_experts, RING, 8, rare=True),
    _case(True, "Ring-mini experts, 512 rows each int4", grouped, RING, 512, 4),
    _case(True, "Ring-mini experts, 512 rows each int8", grouped, RING, 512, 8, rare=True),
    _case(True, "Ring-mini experts, 40 rows each int4", grouped, RING, 40, 4, rare=True),
    _case(True, "Ring-mini experts, 10 rows each int4", grouped, RING, 10, 4, rare=True),
    _case(False, "Ring-mini experts, sum of 16k tokens bf16", combine, RING, 16384, BF16),
    _case(False, "MiniMax-Text-01 experts, 1 token bf16", experts, MINIMAX, 1, BF16, rare=True),
    _case(False, "experts, 3 tokens fp32", experts, SMALL, 3, FP32, rare=True),
]
