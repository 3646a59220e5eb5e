"""Published models at their full size on a GPU, with random weights: reading, writing after it, memory.

    python -m bench.gpu.shapes ring-mini

Weights are drawn on the device, in bfloat16 or rounded as the loader rounds. Lengths go from short to long,
so that a time limit loses the longest only.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

import torch

from bench.full_shape import built, measured, published
from bench.gpu.report import Table, run
from bench.gpu.timing import HERE, Timing
from bench.laptop_ours import matrices, read_floor
from longctx.machine import gib
from longctx.models.decoder import Decoder
from longctx.models.weight import Form
from longctx.plan import Plan, make_plan

BF16 = torch.bfloat16
CHUNK = 16384
LENGTHS = {"4k": 4096, "32k": 32768, "128k": 131072}
WRITTEN = 96
# A model and the forms that it is measured in.
FORMS: dict[str, tuple[Form, ...]] = {
    "ring-mini": ("int4",),
    "hypenet-2b": ("plain", "int4"),
    "sala": ("plain",),
}
# Of a rehearsal: the same layers, narrow.
NARROW = {
    **{"hidden_size": 64, "intermediate_size": 64, "vocab_size": 512, "num_experts": 16},
    **{"moe_intermediate_size": 32, "head_dim": 16, "lightning_head_dim": 16, "dim_model_base": 32},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "lightning_nh": 4, "lightning_nkv": 4},
}
LAYERS = {"ring-mini": 5, "hypenet-2b": 3, "sala": 2}  # of a rehearsal: some of each kind


def configuration(name: str) -> dict[str, Any]:
    """Return the configuration of a model, in a rehearsal a narrow one of few layers."""
    if not HERE.rehearsal:
        return published(name)
    raw = published(name, LAYERS[name])
    if sparse := raw.get("sparse_config"):
        raw["sparse_config"] = sparse | {"dense_len": 16}
    return raw | {key: value for key, value in NARROW.items() if key in raw}


def shape(table: Table, args: argparse.Namespace, name: str) -> None:
    """Measure a model in each of its forms."""
    for form in FORMS[name]:
        title = f"{name} {'bf16' if form == 'plain' else form}"
        table.guard(f"{title} stopped", partial(one, table, title, name, form, quick=args.quick))
        HERE.forget()


def one(table: Table, title: str, name: str, form: Form, *, quick: bool) -> None:
    """Read texts of each length, write after them, and compare the peak memory with the plan."""
    HERE.forget()
    model = built(configuration(name), form, HERE.device, BF16)
    chunk, written = HERE.size(CHUNK, 8), HERE.size(WRITTEN, 2)
    table.note(f"{title}: {gib(HERE.peak())} while it was built")
    HERE.forget()
    measured(model, chunk, 8, chunk)  # compiles and tunes
    for word, length in list(LENGTHS.items())[: 1 if quick else None]:
        tokens = HERE.size(length, 20)
        found = measured(model, tokens, written, chunk)
        plan = make_plan(model.config, tokens + written, HERE.device, BF16, chunk, form, exact=True)
        seconds, step = tokens / found["read_tokens_per_second"], 1 / found["written_tokens_per_second"]
        floors = floor_of_reading(table, model, plan, tokens, chunk), floor_of_step(table, model, plan, found)
        reading, writing = (Timing(each, each, 1) for each in (seconds, step))
        table.line(f"{title} prefill {word}", reading, tokens=tokens, least=floors[0])
        table.line(f"{title} decode after {word}", writing, tokens=1, least=floors[1])
        table.value(f"{title} prefill {word}", tokens / seconds)
        table.value(f"{title} decode after {word}", 1 / step)
        table.note(f"{title} {word}: peak {gib(HERE.peak())}, planned {gib(plan.needed)}")
        table.value(f"peak memory over plan, {title} {word}", HERE.peak() / plan.needed)
        HERE.forget()  # a new peak for the next length


def floor_of_reading(table: Table, model: Decoder, plan: Plan, tokens: int, chunk: int) -> float:
    """Return the least seconds: arithmetic, dense attention counted; or all weights once per chunk."""
    rates = dict.fromkeys(("int8", "float32"), table.ceilings.rate)  # products of bfloat16, all of them
    weights = -(-tokens // chunk) * plan.weights / table.ceilings.bandwidth
    return max(read_floor(model, plan.form, tokens, rates), weights)


def floor_of_step(table: Table, model: Decoder, plan: Plan, found: dict[str, float]) -> float:
    """Return the least seconds of a token: active weights, states in and out, keys and values."""
    read = matrices(model, plan.form)["bytes"] + found["state_bytes"] + plan.state
    return read / table.ceilings.bandwidth


def main() -> int:
    """Measure the model that the first argument names."""
    name, *rest = sys.argv[1:] or [""]
    if name not in FORMS:
        sys.exit(f"bench.gpu.shapes: name a model: {', '.join(FORMS)}")
    return run(name, __doc__, partial(shape, name=name), rest)


if __name__ == "__main__":
    sys.exit(main())
