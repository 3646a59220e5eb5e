"""Ring-mini's shape with its experts in memory of the host, and room on the GPU for a part of them.

    python -m bench.gpu.offload

The same weights run twice: all on the device, and then under a budget. Answers must be equal to the bit;
speed is compared with what the bus allows, if nothing but experts that are not held had to move.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from bench.full_shape import built, published
from bench.gpu.report import Table, run
from bench.gpu.shapes import BF16, NARROW
from bench.gpu.timing import HERE, Timing
from longctx.machine import gib
from longctx.models.decoder import Decoder
from longctx.models.lane import Lane
from longctx.models.offload import ExpertCache
from longctx.models.weight import Form
from longctx.models.weights import put_aside
from longctx.plan import expert_bytes
from longctx.rates import bus_rate

LAYERS = 8  # of the published ones, some of each kind
CHUNK, CHUNKS, WRITTEN = 16384, 3, 48
SHARES = (0.3, 0.6)  # of the experts that there is room for
FORMS: tuple[Form, ...] = ("int4", "plain")


@dataclass(frozen=True)
class Found:
    """What a model answered, and the seconds of a chunk read and of a token written.

    Attributes:
        states: of its memory after reading.
        logits: after each token written, (N, V).
    """

    states: list[Tensor]
    logits: Tensor
    reading: float
    writing: float

    def equal(self, other: Found) -> bool:
        """Tell whether all numbers are the same to the bit."""
        states = zip(self.states, other.states, strict=True)
        return torch.equal(self.logits, other.logits) and all(torch.equal(a, b) for a, b in states)


def answers(model: Decoder) -> Found:
    """Read chunks, then write greedily; without a captured step, which a budget does not allow."""
    chunk, written = HERE.size(CHUNK, 40), HERE.size(WRITTEN, 3)
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(model.config.vocab_size, (CHUNKS, 1, chunk), generator=random).to(HERE.device)
    state, logits = model.new_state(), []
    model.absorb(tokens[0], state.fork())  # compiles, tunes, and fills what there is room for
    HERE.wait()
    began = perf_counter()
    for part in tokens:
        model.absorb(part, state)
    HERE.wait()
    reading = (perf_counter() - began) / CHUNKS
    states = [tensor.clone() for memory in state.layers for tensor in memory.tensors().values()]
    token = tokens[0, :, :1]
    began = perf_counter()
    for _ in range(written):
        logits.append(model.logits(model(token, state)[0, -1]))
        token = logits[-1].argmax().view(1, 1)
    HERE.wait()
    return Found(states, torch.stack(logits), reading, (perf_counter() - began) / written)


def under_budgets(table: Table, raw: dict[str, Any], form: Form) -> int:
    """Compare a form of the model with itself, all on the device and under each budget.

    Returns:
        Under how many of these it answers otherwise.
    """
    differ = 0
    title = f"experts in the host, {'bf16' if form == 'plain' else form}"
    for share in SHARES:
        model = built(raw, form, HERE.device, BF16)
        whole = answers(model)
        sizes = expert_bytes(model.config, BF16, form)
        budget = max(int(sizes["experts"] * share), sizes["layer_experts"])
        cache = ExpertCache(budget, Lane(HERE.device), at_once=True)
        put_aside(model, cache, form)
        HERE.forget()
        found = answers(model)
        away, bus = 1 - budget / sizes["experts"], bus_rate(HERE.device)
        hits = cache.hits / (cache.hits + cache.misses)
        name = f"{title}, {share:.0%} on the GPU"
        table.note(f"{name}: peak {gib(HERE.peak())} of it {gib(budget)} for experts; {hits:.0%} were there")
        differ += not found.equal(whole)
        for what, seconds, beside, moved in (
            ("prefill", found.reading, whole.reading, sizes["experts"]),
            ("decode", found.writing, whole.writing, sizes["used_experts"]),
        ):
            least = max(moved * away / bus, beside)  # experts move while others are computed
            peers: dict[str, Timing | None] = {"all on the GPU": Timing(beside, beside, 1)}
            tokens = HERE.size(CHUNK, 40) if what == "prefill" else 1
            table.line(
                f"{name}, {what}", Timing(seconds, seconds, 1), tokens=tokens, least=least, peers=peers
            )
            if what == "prefill" and form == "int4":
                table.value(f"experts in the host, prefill, share of the bound, {share:.0%}", least / seconds)
        del model, whole, found, cache
        HERE.forget()
    return differ


def tables(table: Table, args: argparse.Namespace) -> None:
    """Measure each form."""
    raw = published("ring-mini", HERE.size(LAYERS, 5))
    raw |= {key: value for key, value in NARROW.items() if key in raw and HERE.rehearsal}
    differ = 0
    for form in FORMS[: 1 if args.quick else None]:
        differ += under_budgets(table, raw, form)
        table.value("experts in the host, answers that differ", differ)


if __name__ == "__main__":
    sys.exit(run("offload", __doc__, tables))
