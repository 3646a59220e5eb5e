"""Mixtures of experts on a GPU: a few tokens (decode) and whole chunks (prefill).

python -m bench.gpu.moe
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.gpu import roofline
from bench.gpu.report import Table, run
from bench.gpu.timing import HERE, in_graph, measure, relative_error
from longctx.kernels.moe import choose_mixture, gated_mlp, route
from longctx.kernels.select import Site

BF16 = torch.bfloat16
SHAPES = {
    "Ring-mini": {"hidden": 2048, "inner": 512, "top_k": 8, "n_experts": 256},
    "MiniMax-Text-01": {"hidden": 6144, "inner": 9216, "top_k": 2, "n_experts": 32},
}
SMALL = {"hidden": 16, "inner": 8, "top_k": 2, "n_experts": 4}  # of a rehearsal


def weights(hidden: int, inner: int, n_experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return w1, w3 (E, F, D) and w2 (E, D, F), scaled to keep the size of their input."""
    up, gate = (torch.empty(n_experts, inner, hidden, device=HERE.device, dtype=BF16) for _ in range(2))
    down = torch.empty(n_experts, hidden, inner, device=HERE.device, dtype=BF16)
    for matrix in (up, gate, down):
        matrix.normal_(std=matrix.shape[-1] ** -0.5)
    return up, gate, down


def one_by_one(x: Tensor, chosen: Tensor, shares: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    """Run each token through its experts with plain products: the truth and the peer of the decode kernel."""
    rows = []
    for t, experts in enumerate(chosen.tolist()):
        parts = [gated_mlp(x[t : t + 1], w1[e], w3[e], w2[e]).float() for e in experts]
        rows.append((torch.cat(parts) * shares[t, :, None]).sum(0))
    return torch.stack(rows).to(x.dtype)


def few(
    table: Table, name: str, shape: dict[str, int], tokens: int, stack: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Time the decode kernel on random choices, different ones in turn so that the L2 does not help."""
    from longctx.kernels.moe_triton import moe_decode

    top_k = shape["top_k"]
    x = torch.randn(tokens, shape["hidden"], device=HERE.device, dtype=BF16)
    picks = [
        torch.stack([torch.randperm(shape["n_experts"])[:top_k] for _ in range(tokens)]).to(HERE.device)
        for _ in range(HERE.size(16, 2))
    ]
    shares = torch.softmax(torch.randn(tokens, top_k, device=HERE.device), dim=-1)
    jobs = [partial(moe_decode, x, chosen, shares, *stack) for chosen in picks]
    plain = partial(one_by_one, x, picks[0], shares, *stack)
    work = roofline.experts(tokens, shape["hidden"], shape["inner"], top_k, shape["n_experts"])
    title = f"experts {name}, {tokens} tokens"
    table.note(f"{title}: differs from torch by {relative_error(jobs[0](), plain()):.1e}")
    alone = measure(jobs[0])
    table.line(title, alone, tokens=tokens, least=work, peers={"torch": measure(plain)})
    graphed = table.attempt(f"{title}, in a graph", lambda: in_graph(jobs), tokens=tokens, least=work)
    if (name, tokens) == ("Ring-mini", 1):
        best = graphed or alone
        table.value(
            "experts, 1 token, share of the copy bandwidth", work.seconds(table.ceilings) / best.median
        )


def many(
    table: Table, name: str, shape: dict[str, int], tokens: int, stack: tuple[Tensor, Tensor, Tensor]
) -> None:
    """Time what a layer runs over a chunk, router included."""
    x = torch.randn(HERE.size(tokens, 5), shape["hidden"], device=HERE.device, dtype=BF16)
    router = torch.randn(shape["n_experts"], shape["hidden"], device=HERE.device) * shape["hidden"] ** -0.5
    work = roofline.experts(tokens, shape["hidden"], shape["inner"], shape["top_k"], shape["n_experts"])
    mixture = choose_mixture(Site(x.device, BF16), shape["hidden"], shape["inner"], shape["n_experts"])
    timing = measure(lambda: mixture(x, *route(F.linear(x.float(), router), shape["top_k"]), *stack))
    table.line(f"experts {name}, {tokens} tokens, routed", timing, tokens=tokens, least=work)


def tables(table: Table, args: argparse.Namespace) -> None:
    """Measure everything."""
    small = args.quick or HERE.rehearsal
    for name in ("Ring-mini",) if HERE.rehearsal else SHAPES:
        shape = {each: HERE.size(size, SMALL[each]) for each, size in SHAPES[name].items()}
        stack = weights(shape["hidden"], shape["inner"], shape["n_experts"])
        for tokens in (1,) if small else (1, 4, 16):
            few(table, name, shape, tokens, stack)
        for tokens in (1, 512) if small else (1, 512, 4096, 16384):
            many(table, name, shape, tokens, stack)
        del stack
        HERE.forget()


if __name__ == "__main__":
    sys.exit(run("moe", __doc__, tables))
