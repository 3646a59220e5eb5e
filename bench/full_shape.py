"""Published models at their full shape with random weights: speed, and peak memory beside the plan.

    python -m bench.full_shape ring-mini --quant int4 --read 4096 --write 100 --out RESULT.json
    python -m bench.full_shape ring-mini --from-checkpoint FOLDER   # writes 33 GB, then loads them

Speed and memory do not depend on the values of the weights, so nothing is downloaded: matrices are drawn in
bfloat16 and rounded by the loader's own code, one after the other. Of a layer's experts only the first few
are made so; the others are copies of them, each in memory of its own.
"""

# ruff: noqa: E402  # torch reads the environment when it is imported
from __future__ import annotations

import argparse
import copy
import json
import math
import shutil
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
from longctx.models.config_file import read_config, translate
from longctx.models.decoder import Decoder
from longctx.models.shards import write_shard
from longctx.models.target import Target
from longctx.models.weight import Form, Weight
from longctx.models.weights import assemble, load_model, targets_of
from longctx.plan import make_plan

CPU = torch.device("cpu")
DISTINCT = 8  # experts of a layer
NOISE = 1 << 24  # random numbers that all matrices are cut from
SHARD = 4 << 30  # bytes of a file of a checkpoint
LOADED = 150e6  # bytes of a checkpoint that a core rounds in a second, to say how long it will take
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
FROM = "write a checkpoint into this folder, unless there is one, and load it; delete it yourself"
SHAPES = {"ring-mini": RING_MINI, "hypenet-2b": HYPENET_2B}


Shape = tuple[int, ...]


def shortened(raw: dict[str, Any], layers: int | None) -> dict[str, Any]:
    """Return the configuration of the first layers of a model."""
    if not layers:
        return raw
    mixers = {"mixer_types": raw["mixer_types"][:layers]} if "mixer_types" in raw else {}
    return {**raw, "num_hidden_layers": layers, **mixers}


class Drawn:
    """The tensors of a checkpoint, drawn when they are asked for, in bfloat16; vectors are ones."""

    def __init__(self, shapes: dict[str, Shape]):
        self.shapes, self._random = shapes, torch.Generator().manual_seed(0)
        self._noise = torch.randn(NOISE, generator=self._random).bfloat16()

    def __call__(self, name: str) -> torch.Tensor:
        """Return a tensor, the only memory that this takes."""
        shape = self.shapes[name]
        if len(shape) == 1:
            return torch.ones(shape, dtype=torch.bfloat16)
        made = torch.empty(shape, dtype=torch.bfloat16)
        for part in made.view(-1).split(NOISE):
            start = int(torch.randint(NOISE - len(part) + 1, (), generator=self._random))
            torch.mul(self._noise[start : start + len(part)], shape[-1] ** -0.5, out=part)
        return made


def sketch(raw: dict[str, Any], form: Form) -> tuple[Decoder, list[Target], dict[str, Shape]]:
    """Return a model without weights, what they are made of, and the shapes of a checkpoint's tensors."""
    with torch.device("meta"):
        model = Decoder(translate(raw, Path("config.json")), torch.float32, form)
    targets, shapes = targets_of(model), dict[str, Shape]()
    for target in targets:
        weight = model.get_submodule(target.weight)
        assert isinstance(weight, Weight)
        shapes |= target.shapes(weight.shape)
    return model, targets, shapes


def built(raw: dict[str, Any], form: Form) -> Decoder:
    """Return a model of random weights in a form."""
    model, targets, shapes = sketch(raw, form)
    distinct = [target for target in targets if (target.member or 0) < DISTINCT]
    model = assemble(model, distinct, Drawn(shapes), CPU, form)
    for target in targets:
        weight = model.get_submodule(target.weight)
        if isinstance(weight, Weight) and target.member is not None and target.member >= DISTINCT:
            weight.packed.append(copy.deepcopy(weight.packed[target.member % DISTINCT]))
    return model


def write_checkpoint(folder: Path, raw: dict[str, Any]) -> None:
    """Write a checkpoint of random weights in bfloat16, shard by shard, saying how long it will take."""
    *_, shapes = sketch(raw, "plain")
    drawn, shards, size = Drawn(shapes), list[list[str]]([[]]), 0
    for name, shape in shapes.items():
        size += 2 * math.prod(shape)
        if size > SHARD * len(shards):
            shards.append([])
        shards[-1].append(name)
    files = {name: f"model-{i:05}.safetensors" for i, names in enumerate(shards) for name in names}
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < size:
        raise SystemExit(f"{folder}: {gib(size)} are to be written, and {gib(free)} are free")
    began = time.perf_counter()
    for done, names in enumerate(shards):
        kinds = {name: (torch.bfloat16, shapes[name]) for name in names}
        write_shard(folder / files[names[0]], kinds, map(drawn, names))
        left = (time.perf_counter() - began) / (done + 1) * (len(shards) - done - 1)
        print(f"wrote shard {done + 1} of {len(shards)} ({gib(size)} in all); {left:.0f} s left", flush=True)
    index = json.dumps({"weight_map": files})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")


def loaded(folder: Path, raw: dict[str, Any], form: Form) -> Decoder:
    """Load a checkpoint with the loader of the commands; it is written before, unless it is there."""
    if not (folder / "config.json").exists():
        write_checkpoint(folder, raw)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(f"loading {gib(size)}: about {size / LOADED:.0f} s", flush=True)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak from here on
    return load_model(folder, read_config(folder), form=form)


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
    parser.add_argument("--layers", type=int, help="only so many of the layers")
    parser.add_argument("--from-checkpoint", type=Path, metavar="FOLDER", help=FROM)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=usable_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    form = next(pick_forms(args.quant, "auto", CPU, torch.float32))
    began = time.perf_counter()
    raw = shortened(SHAPES[args.shape], args.layers)
    model = loaded(args.from_checkpoint, raw, form) if args.from_checkpoint else built(raw, form)
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
