"""Softmax attention on a GPU: prefill over pages by each of torch's kernels, and decode from the paged log.

python -m bench.gpu.attention
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

import torch
from torch import Tensor

from bench.gpu import peers, roofline
from bench.gpu.report import Table, run
from bench.gpu.timing import HERE, Timing, in_graph, interleave, measure, relative_error
from longctx.kernels.attention import choose_attention
from longctx.kernels.select import Site
from longctx.models.kv_log import KVLog

BF16 = torch.bfloat16
FAMILIES = {"MiniMax-Text-01": (64, 8, 128), "Ring-mini": (16, 4, 128), "MiniCPM-SALA": (32, 2, 128)}


def sizes(name: str) -> tuple[int, int, int]:
    """Return heads, KV heads and channels of a family."""
    heads, kv_heads, dim = FAMILIES[name]
    return HERE.size(heads, 4), HERE.size(kv_heads, 2), HERE.size(dim, 32)


def log(keys: int, kv_heads: int, dim: int) -> KVLog:
    """Return a log of random keys and values, in pages as a reading makes them."""
    keys = HERE.size(keys, 90)
    state = KVLog(1, kv_heads, dim, BF16, HERE.device)
    for start in range(0, keys, 16384):
        size = min(16384, keys - start)
        state.append(*torch.randn(2, 1, kv_heads, size, dim, device=HERE.device, dtype=BF16))
    return state


def prefill(table: Table, name: str, tokens: int, keys: int) -> None:
    """Time a chunk of queries against itself and earlier keys, as a layer runs it."""
    heads, kv_heads, dim = sizes(name)
    fed = HERE.size(tokens, 40)
    q = torch.randn(1, heads, fed, dim, device=HERE.device, dtype=BF16)
    k, v = torch.randn(2, 1, kv_heads, fed, dim, device=HERE.device, dtype=BF16)
    pages = log(keys, kv_heads, dim).pages() if keys else []
    work = roofline.attention_prefill(tokens, heads, kv_heads, dim)
    work += roofline.Work(2 * keys * kv_heads * dim * 2, 4 * heads * dim * tokens * keys)
    attention = choose_attention(Site(q.device, BF16), dim)
    timing = measure(lambda: attention(q, k, v, pages))
    others: dict[str, Timing | None] = {}
    if not keys:
        for backend, kind in peers.FLASHES.items():
            peer = f"sdpa {backend}"
            others[peer] = table.guard(peer, partial(measure, partial(peers.flash, q, k, v, kind)))
    table.line(
        f"attention prefill {name} {tokens} after {keys}", timing, tokens=tokens, least=work, peers=others
    )


def decode(table: Table, name: str, keys: int) -> None:
    """Time one token against the paged log, alone and in a graph, against SDPA on one contiguous cache."""
    from longctx.kernels import attention_triton as kernels
    from longctx.kernels.pages_triton import page_table

    heads, kv_heads, dim = sizes(name)
    pages = list(log(keys, kv_heads, dim).pages())
    rows = page_table([pages], len(pages)).to(HERE.device)
    counts = torch.tensor([len(pages)], dtype=torch.int32, device=HERE.device)
    q = torch.randn(1, heads, dim, device=HERE.device, dtype=BF16)
    splits = HERE.size(kernels.default_splits(q.device, 1, kv_heads), 2)
    step = partial(kernels.attention_decode, q, rows, counts, n_kv_heads=kv_heads, splits=splits)
    k, v = (torch.cat([page[i] for page in pages], dim=2) for i in range(2))
    contiguous = partial(_sdpa_decode, q[:, :, None], k, v)
    table.note(
        f"{name}, {keys} keys: differs from SDPA by {relative_error(step()[0], contiguous()[:, :, 0]):.1e}"
    )
    timings = interleave({"ours": step, "sdpa": contiguous})
    work = roofline.attention_decode(keys, heads, kv_heads, dim)
    title = f"attention decode {name} after {keys}"
    table.line(title, timings["ours"], tokens=1, least=work, peers={"sdpa": timings["sdpa"]})
    table.attempt(f"{title}, in a graph", lambda: in_graph([step], rounds=10), tokens=1, least=work)
    if (name, keys) == ("Ring-mini", 1 << 20):
        share = work.seconds(table.ceilings) / timings["ours"].median
        table.value("attention decode, share of the copy bandwidth at 1M keys", share)


def candidates(table: Table) -> None:
    """Time each of the kernels that prefill may choose from, so that the order can be settled."""
    from longctx.kernels import attention as module

    for name in ("Ring-mini",) if HERE.rehearsal else FAMILIES:
        heads, kv_heads, dim = sizes(name)
        rows, keys = heads // kv_heads * HERE.size(8192, 40), HERE.size(16384, 70)
        q = torch.randn(1, kv_heads, rows, dim, device=HERE.device, dtype=BF16)
        k, v = torch.randn(2, 1, kv_heads, keys, dim, device=HERE.device, dtype=BF16)
        work = roofline.Work(0, 4 * heads * dim * 8192 * 16384)
        for candidate in module.FUSED:
            title = f"page {name} 8192 x 16384, {candidate.__name__}"
            page = partial(candidate, q, k, v, False)
            table.attempt(title, partial(measure, page), tokens=8192, least=work)


def _sdpa_decode(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def tables(table: Table, args: argparse.Namespace) -> None:
    """Measure everything."""
    lengths = (1 << 20,) if HERE.rehearsal else (4096,) if args.quick else (4096, 131072, 1 << 20)
    names = ("Ring-mini",) if HERE.rehearsal else tuple(FAMILIES)
    for name in names:
        for keys in lengths:
            if (name, keys) != ("MiniMax-Text-01", 1 << 20):
                decode(table, name, keys)
    for name in names:
        prefill(table, name, 4096 if args.quick else 16384, 0)
    prefill(table, "Ring-mini", 16384, 65536)
    candidates(table)


if __name__ == "__main__":
    sys.exit(run("attention", __doc__, tables))
