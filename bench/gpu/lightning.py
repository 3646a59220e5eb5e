"""Lightning prefill on a GPU: by length and heads, against its roofline, fla, flash attention and torch.

python -m bench.gpu.lightning
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from itertools import pairwise

import torch
from lightning_reference import lightning_attention_reference
from torch import Tensor

from bench.gpu import peers, roofline
from bench.gpu.report import Table, run
from bench.gpu.timing import HERE, interleave, measure
from longctx.kernels.lightning import decay_tables
from longctx.kernels.mixer import choose_lightning
from longctx.kernels.select import Site
from longctx.models.families.minimax import original_slopes

LENGTHS = (512, 1024, 1536, 4096, 16384, 65536)
HEADS = {64: "64x128", 16: "16x128"}
DIM = 128
AGREES = 2e-2  # relative error of bf16 outputs, beyond which a peer computes something else


def inputs(
    tokens: int, heads: int, dtype: torch.dtype = torch.bfloat16, dim: int = DIM
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return q, k, v (1, T, H, D) as views of one projection, and slopes of a middle layer."""
    tokens, heads, dim = HERE.size(tokens, 40), HERE.size(heads, 2), HERE.size(dim, 32)
    packed = torch.randn(1, tokens, 3, heads, dim, device=HERE.device, dtype=dtype)
    slopes = torch.tensor(original_slopes(heads, 40, 80), device=HERE.device)
    q, k, v = packed.unbind(2)
    return q, k, v, slopes


def state(heads: int, dim: int = DIM) -> Tensor:
    """Return a random state."""
    heads, dim = HERE.size(heads, 2), HERE.size(dim, 32)
    return torch.randn(1, heads, dim, dim, device=HERE.device)


def ours(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Run our kernel; the state is changed in place."""
    from longctx.kernels.lightning_triton import lightning_prefill

    return lightning_prefill(q, k, v, slopes, before)[0], before


def check(table: Table) -> None:
    """Compare outputs and state with the float64 recurrence."""
    given, before = inputs(777, 64), state(64)
    truth = lightning_attention_reference(*given, before)
    table.value("lightning prefill, error against float64", peers.fitting(ours, truth, given, before))


def by_length(table: Table, heads: int, lengths: tuple[int, ...]) -> dict[int, float]:
    """Time all lengths; return how many times faster than flash attention each is."""
    over_flash = {}
    for tokens in lengths:
        given, before = inputs(tokens, heads), state(heads)
        by_head = (x.transpose(1, 2).contiguous() for x in given[:3])
        flash = partial(peers.flash, next(by_head), next(by_head), next(by_head))
        timings = interleave({"ours": partial(ours, *given, before), "flash": flash})
        plain = measure(partial(peers.torch_chunks, *given, before)) if tokens == 16384 else None
        table.line(
            f"lightning prefill {HEADS[heads]} {tokens}",
            timings["ours"],
            tokens=tokens,
            least=roofline.lightning_prefill(tokens, heads, DIM),
            peers={"flash": timings["flash"], "torch": plain},
        )
        if tokens == 16384:
            table.value(f"lightning prefill {HEADS[heads]} 16k", timings["ours"].median * 1e3)
        over_flash[tokens] = timings["flash"].median / timings["ours"].median
    return over_flash


def beside_fla(table: Table) -> None:
    """Time fla's chunk kernels on the same inputs, once it is known that they compute the same.

    Last of all, because fla tries dozens of configurations at its first call.
    """
    given, before = inputs(777, 64), state(64)
    error = peers.fitting(peers.fla_chunk, lightning_attention_reference(*given, before), given, before)
    table.note(f"fla agrees with the recurrence within {error:.1e}")
    if error > AGREES:
        return
    for tokens in (4096, 16384):
        given, before = inputs(tokens, 64), state(64)
        q, k, v, slopes = given
        # Its kernels want contiguous inputs; copying them is not counted.
        theirs = partial(peers.fla_chunk, q.contiguous(), k.contiguous(), v.contiguous(), slopes, before)
        timings = interleave({"ours": partial(ours, *given, before), "fla": theirs})
        table.line(
            f"lightning prefill 64x128 {tokens}, beside fla",
            timings["ours"],
            tokens=tokens,
            least=roofline.lightning_prefill(tokens, 64, DIM),
            peers={"fla": timings["fla"]},
        )
        if tokens == 16384:
            ratio = timings["fla"].median / timings["ours"].median
            table.value("lightning prefill 64x128 16k over fla", ratio)


def crossover(over: dict[int, float]) -> float:
    """Return the length from which the ratio is at least 1, on a line between the lengths in log scale."""
    lengths = sorted(over)
    if over[lengths[0]] >= 1:
        return lengths[0]
    for low, high in pairwise(lengths):
        if over[low] < 1 <= over[high]:
            share = (1 - over[low]) / (over[high] - over[low])
            return float(low * (high / low) ** share)
    return float("inf")


def layer(table: Table, heads: int, tokens: int) -> None:
    """Time the whole of what a layer adds to its matrix products: SiLU, attention, norm and gate."""
    before, bf16 = state(heads), torch.bfloat16
    decay = decay_tables(original_slopes(before.shape[1], 40, 80), HERE.device)
    fed, width = HERE.size(tokens, 40), before.shape[1] * before.shape[2]
    qkv = torch.randn(1, fed, 3 * width, device=HERE.device, dtype=bf16)
    gate, kv = torch.randn_like(qkv[..., :width]), qkv[..., width:].contiguous()
    weight = torch.ones(width, device=HERE.device)
    chosen = choose_lightning(Site(HERE.device, bf16), *before.shape[1:3])
    whole = partial(chosen.mix, qkv, gate, weight, 1e-6, decay, before)

    core = roofline.lightning_prefill(tokens, heads, DIM)
    more = roofline.Work(3 * tokens * heads * DIM * 2, 0)
    table.line(
        f"SiLU, prefill, norm, gate {HEADS[heads]} {tokens}", measure(whole), tokens=tokens, least=core + more
    )
    absorbing = partial(chosen.absorb, kv, decay, before)
    half = roofline.Work(2 * tokens * heads * DIM * 2, core.flops / 2)
    table.line(f"absorb {HEADS[heads]} {tokens}", measure(absorbing), tokens=tokens, least=half)


def other_dtypes(table: Table) -> None:
    """Time what is not bf16 with heads of 128."""
    for dtype, dim, name in (
        (torch.float16, 128, "fp16"),
        (torch.float32, 128, "fp32"),
        (torch.bfloat16, 64, "bf16 d64"),
    ):
        given, before = inputs(16384, 16, dtype, dim), state(16, dim)
        least = roofline.lightning_prefill(16384, 16, dim, given[0].itemsize)
        table.line(
            f"lightning prefill 16 heads 16384 {name}",
            measure(partial(ours, *given, before)),
            tokens=16384,
            least=least,
        )


def tables(table: Table, args: argparse.Namespace) -> None:
    """Measure everything."""
    check(table)
    over = by_length(table, 64, LENGTHS[:2] if args.quick else LENGTHS)
    table.value("tokens from which lightning beats flash attention", crossover(over))
    if 65536 in over:
        table.value("lightning over flash attention at 64k", over[65536])
    by_length(table, 16, (16384,))
    for heads in HEADS:
        layer(table, heads, 16384)
    other_dtypes(table)
    table.guard("fla", partial(beside_fla, table))


if __name__ == "__main__":
    sys.exit(run("lightning", __doc__, tables))
