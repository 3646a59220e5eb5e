"""Published models at their full shape with random weights: speed, and peak memory beside the plan.

    python -m bench.full_shape ring-mini --quant int4 --read 4096 --write 100 --out RESULT.json

Speed and memory do not depend on the values of the weights, so nothing is downloaded: matrices are drawn in
bfloat16 and rounded by the loader's own code, one after the other. Of a layer's experts only the first few
are made so; the others are copies of them, each in memory of its own.
"""

# ruff: noqa: E402  # torch reads the environment when it is imported
from __future__ import annotations

import argparse
import copy
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from longctx.machine import gib, prepare_cpu, usable_threads

prepare_cpu()  # before torch is imported

import torch

from bench.measure import peak_bytes
from bench.report import machine
from longctx.engine import pick_forms
from longctx.models.config_file import translate
from longctx.models.decoder import Decoder
from longctx.models.weight import Form, Weight
from longctx.models.weights import assemble, targets_of
from longctx.plan import make_plan

CPU = torch.device("cpu")
DISTINCT = 8  # experts of a layer
NOISE = 1 << 24  # random numbers that all matrices are cut from
RING_MINI: dict[str, Any] = {
    "model_type": "bailing_moe_linear",
    "architectures": ["BailingMoeLinearV2ForCausalLM"],
    **{"num_hidden_layers": 20, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 4},
    **{"head_dim": 128, "layer_group_size": 5, "group_norm_size": 4, "intermediate_size": 5120},
    **{"num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512, "n_group": 8},
    **{"topk_group": 4, "num_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5},
    **{"partial_rotary_factor": 0.5, "rope_theta": 600000.0, "rms_norm_eps": 1e-6, "vocab_size": 157184},
    **{"score_function": "sigmoid", "tie_word_embeddings": False, "torch_dtype": "bfloat16"},
}
SOFTMAX = (2, 3, 6, 8, 9, 21, 25)
HYPENET_2B: dict[str, Any] = {
    "model_type": "hypenet",
    **{"num_hidden_layers": 28, "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 8},
    **{"head_dim": 128, "intermediate_size": 6144, "vocab_size": 151936, "tie_word_embeddings": True},
    **{"lightning_nh": 16, "lightning_nkv": 16, "lightning_head_dim": 128, "lightning_use_rope": True},
    **{"lightning_use_qk_norm": True, "lightning_use_output_norm": True, "attn_use_output_gate": True},
    **{"lightning_use_output_gate": True, "attn_use_rope": False, "attn_logits_scaling": "hype 500"},
    **{"rope_theta": 1e6, "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16"},
    "mixer_types": ["attn" if layer in SOFTMAX else "lightning-attn" for layer in range(28)],
}
SHAPES = {"ring-mini": RING_MINI, "hypenet-2b": HYPENET_2B}


def built(raw: dict[str, Any], form: Form) -> Decoder:
    """Return a model of random weights in a form."""
    config = translate(raw, Path("config.json"))
    with torch.device("meta"):
        model = Decoder(config, torch.float32, form)
    targets = targets_of(model)
    shapes: dict[str, tuple[int, ...]] = {}
    for target in targets:
        weight = model.get_submodule(target.weight)
        assert isinstance(weight, Weight)
        shapes |= target.shapes(weight.shape)
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(NOISE, generator=random).bfloat16()

    def stored(name: str) -> torch.Tensor:
        shape = shapes[name]
        if len(shape) == 1:
            return torch.ones(shape)
        size = torch.Size(shape).numel()
        start = int(torch.randint(NOISE - min(size, NOISE - 1), (), generator=random))
        drawn = noise[start : start + size] if size < NOISE else noise.repeat(-(-size // NOISE))[:size]
        made: torch.Tensor = drawn.view(shape) * shape[-1] ** -0.5
        return made

    distinct = [target for target in targets if (target.member or 0) < DISTINCT]
    model = assemble(model, distinct, stored, CPU, form)
    for target in targets:
        weight = model.get_submodule(target.weight)
        if isinstance(weight, Weight) and target.member is not None and target.member >= DISTINCT:
            weight.packed.append(copy.deepcopy(weight.packed[target.member % DISTINCT]))
    return model


@torch.inference_mode()
def measured(model: Decoder, read: int, write: int, chunk: int) -> dict[str, float]:
    """Read random tokens in chunks, then write greedily; return tokens per second."""
    tokens = torch.randint(model.config.vocab_size, (1, read), generator=torch.Generator().manual_seed(0))
    state = model.new_state()
    began = time.perf_counter()
    for part in tokens.split(chunk, dim=1):
        model.absorb(part, state)
    reading = time.perf_counter() - began
    token, began = tokens[:, -1:], time.perf_counter()
    for _ in range(write):
        token = model.logits(model(token, state)[:, -1]).argmax(-1, keepdim=True)
    writing = time.perf_counter() - began
    return {
        "read": read,
        "read_tokens_per_second": read / reading,
        "written": write,
        "written_tokens_per_second": write / writing,
        "state_bytes": state.nbytes,
    }


def main() -> None:
    """Build, measure, print and write one result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--quant", choices=["int8", "int4"], default="int4")
    parser.add_argument("--read", type=int, nargs="+", default=[4096])
    parser.add_argument("--write", type=int, default=100)
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=usable_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    form = next(pick_forms(args.quant, "auto", CPU, torch.float32))
    began = time.perf_counter()
    model = built(SHAPES[args.shape], form)
    loading = time.perf_counter() - began
    print(f"built in {loading:.0f} s, peak {gib(peak_bytes())}", flush=True)
    plan = make_plan(
        model.config, max(args.read) + args.write, CPU, torch.float32, args.chunk, form, exact=True
    )
    runs = []
    for tokens in args.read:
        runs.append(measured(model, tokens, args.write, args.chunk) | {"peak_bytes": peak_bytes()})
        print(json.dumps(runs[-1]), flush=True)
    result = {
        "shape": args.shape,
        "quant": args.quant,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "threads": args.threads,
        "chunk": args.chunk,
        "load_seconds": loading,
        "planned": {"weights": plan.weights, "needed": plan.needed, "forms": plan.forms},
        "runs": runs,
    }
    print(f"planned {gib(plan.needed)}, of it weights {gib(plan.weights)}; peak {gib(peak_bytes())}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
