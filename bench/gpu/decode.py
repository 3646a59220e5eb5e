"""Lightning decode on a GPU: one token through one layer, alone, back to back and in a CUDA graph.

python -m bench.gpu.decode
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bench.gpu import peers, roofline
from bench.gpu.report import Table, run
from bench.gpu.timing import HERE, back_to_back, in_graph, measure
from longctx.models.families.minimax import original_slopes

DIM = 128
LAYERS = (
    16  # different states, so that they come from memory as between the layers of a model, not from the L2
)


def steps(heads: int, branches: int) -> list[Callable[[], Tensor]]:
    """Return the decode step of several layers."""
    from longctx.kernels.lightning_decode_triton import lightning_decode

    heads, dim = HERE.size(heads, 2), HERE.size(DIM, 32)
    width = heads * dim
    slopes = torch.tensor(original_slopes(heads, 40, 80), device=HERE.device)
    weight = torch.ones(width, device=HERE.device)
    qkv = torch.randn(branches, 3 * width, device=HERE.device, dtype=torch.bfloat16)
    gate = torch.randn(branches, width, device=HERE.device, dtype=torch.bfloat16)
    states = torch.randn(HERE.size(LAYERS, 2), branches, heads, dim, dim, device=HERE.device)
    return [partial(lightning_decode, qkv, gate, weight, slopes, state, 1e-6) for state in states]


def recurrence(core: peers.Core, heads: int) -> Callable[[], object]:
    """Return a peer's step: the recurrence alone, without SiLU, norm and gate."""
    heads, dim = HERE.size(heads, 2), HERE.size(DIM, 32)
    q, k, v = torch.randn(3, 1, 1, heads, dim, device=HERE.device, dtype=torch.bfloat16)
    slopes = torch.tensor(original_slopes(heads, 40, 80), device=HERE.device)
    return partial(core, q, k, v, slopes, torch.randn(1, heads, dim, dim, device=HERE.device))


def tables(table: Table, args: argparse.Namespace) -> None:
    """Measure everything."""
    for heads, branches in ((64, 1),) if args.quick else ((64, 1), (16, 1), (32, 1), (64, 4)):
        jobs = steps(heads, branches)
        work = roofline.lightning_decode(heads, DIM, branches)
        title = f"lightning decode {heads}x128, {branches} branches"
        fla = (
            table.guard("fla", partial(measure, recurrence(peers.fla_recurrent, heads)))
            if branches == 1
            else None
        )
        plain = measure(recurrence(peers.torch_chunks, heads)) if branches == 1 else None
        alone, in_row = measure(jobs[0]), back_to_back(jobs)
        with_peers = {"fla recurrence": fla, "torch recurrence": plain}
        table.line(f"{title}, alone", alone, tokens=branches, least=work, peers=with_peers)
        table.line(f"{title}, launched in a row", in_row, tokens=branches, least=work)
        graphed = table.attempt(f"{title}, in a graph", partial(in_graph, jobs), tokens=branches, least=work)
        if (heads, branches) == (64, 1):
            table.value("lightning decode step 64x128 alone", alone.median * 1e6)
            table.value("lightning decode step 64x128 in a graph", graphed.median * 1e6 if graphed else None)


if __name__ == "__main__":
    sys.exit(run("decode", __doc__, tables))
