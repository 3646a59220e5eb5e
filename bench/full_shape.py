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
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from longctx.machine import gib, prepare_cpu, usable_threads

prepare_cpu()  # before torch is imported

import torch

from bench.measure import peak_bytes
from bench.report import machine
from longctx.engine import pick_dtype, pick_forms
from longctx.kernels.select import HALVES
from longctx.known import FOLDER
from longctx.models.config_file import read_config, translate
from longctx.models.decoder import Decoder
from longctx.models.mixers.memory import StepError
from longctx.models.shards import write_shard
from longctx.models.state import State
from longctx.models.step import DecodeStep
from longctx.models.target import Target
from longctx.models.weight import Form, Weight
from longctx.models.weights import assemble, load_model, targets_of
from longctx.plan import make_plan

CPU = torch.device("cpu")
DISTINCT = 8  # experts of a layer
NOISE = 1 << 24  # random numbers that all matrices are cut from
SHARD = 4 << 30  # bytes of a file of a checkpoint
LOADED = 150e6  # bytes of a checkpoint that a core rounds in a second, to say how long it will take
FROM = "write a checkpoint into this folder, unless there is one, and load it; delete it yourself"
SHAPES = ("ring-mini", "hypenet-2b", "sala")  # of models/known
Shape = tuple[int, ...]


def published(name: str, layers: int | None = None) -> dict[str, Any]:
    """Return the published configuration of a known model, or of its first layers."""
    raw: dict[str, Any] = json.loads((FOLDER / name / "config.json").read_text(encoding="utf-8"))
    if not layers:
        return raw
    mixers = {"mixer_types": raw["mixer_types"][:layers]} if "mixer_types" in raw else {}
    return {**raw, "num_hidden_layers": layers, **mixers}


class Drawn:
    """The tensors of a checkpoint, drawn on a device when asked for, in bfloat16; vectors are ones."""

    def __init__(self, shapes: dict[str, Shape], device: torch.device = CPU):
        self.shapes, self._random = shapes, torch.Generator().manual_seed(0)
        self._noise = torch.randn(NOISE, generator=self._random).bfloat16().to(device)

    def __call__(self, name: str) -> torch.Tensor:
        """Return a tensor, the only memory that this takes."""
        shape = self.shapes[name]
        if len(shape) == 1:
            return self._noise.new_ones(shape)
        made = self._noise.new_empty(shape)
        for part in made.view(-1).split(NOISE):
            start = int(torch.randint(NOISE - len(part) + 1, (), generator=self._random))
            torch.mul(self._noise[start : start + len(part)], shape[-1] ** -0.5, out=part)
        return made


def sketch(
    raw: dict[str, Any], form: Form, dtype: torch.dtype = torch.float32
) -> tuple[Decoder, list[Target], dict[str, Shape]]:
    """Return a model without weights, what they are made of, and the shapes of a checkpoint's tensors."""
    with torch.device("meta"):
        model = Decoder(translate(raw, Path("config.json")), dtype, form)
    targets, shapes = targets_of(model), dict[str, Shape]()
    for target in targets:
        weight = model.get_submodule(target.weight)
        assert isinstance(weight, Weight)
        shapes |= target.shapes(weight.shape)
    return model, targets, shapes


def built(
    raw: dict[str, Any], form: Form, device: torch.device = CPU, dtype: torch.dtype = torch.float32
) -> Decoder:
    """Return a model of random weights in a form, made where it will run."""
    model, targets, shapes = sketch(raw, form, dtype)
    # Where numbers have 16 bits, a stack is one tensor, whose members are drawn one by one.
    few = len(targets) if dtype in HALVES else DISTINCT
    drawn = [target for target in targets if (target.member or 0) < few]
    model = assemble(model, drawn, Drawn(shapes, device), device, form)
    for target in targets:
        weight = model.get_submodule(target.weight)
        if isinstance(weight, Weight) and target.member is not None and target.member >= few:
            weight.packed.append(copy.deepcopy(weight.packed[target.member % few]))
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


def loaded(
    folder: Path, raw: dict[str, Any], form: Form, device: torch.device, dtype: torch.dtype
) -> Decoder:
    """Load a checkpoint with the loader of the commands; it is written before, unless it is there."""
    if not (folder / "config.json").exists():
        write_checkpoint(folder, raw)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(f"loading {gib(size)}: about {size / LOADED:.0f} s", flush=True)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak from here on
    return load_model(folder, read_config(folder), device, dtype, form)


def writer(model: Decoder) -> Callable[[int, State], torch.Tensor]:
    """Return what moves a state past a token, as the commands do: in one captured step, where that runs.

    It returns the logits, (V,).
    """
    try:
        step = DecodeStep(model)
    except StepError:
        return lambda token, state: model.logits(model(_ids([token], model), state)[0, -1])
    return lambda token, state: step.run([token], [state])[0]


def _ids(tokens: Sequence[int], model: Decoder) -> torch.Tensor:
    return torch.tensor([tokens], device=model.device)


@torch.inference_mode()
def measured(model: Decoder, read: int, write: int, chunk: int) -> dict[str, float]:
    """Read random tokens in chunks, then write greedily; return tokens per second."""
    tokens = torch.randint(model.config.vocab_size, (1, read), generator=torch.Generator().manual_seed(0))
    following, state = writer(model), model.new_state()
    token = int(following(0, state.fork()).argmax())  # waits for whatever came before
    began = time.perf_counter()
    for part in tokens.to(model.device).split(chunk, dim=1):
        model.absorb(part, state)
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    reading = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(write):
        token = int(following(token, state).argmax())
    writing = time.perf_counter() - began
    return {
        "read": read,
        "read_tokens_per_second": read / reading,
        "written": write,
        "written_tokens_per_second": write / writing,
        "state_bytes": state.nbytes,
    }


def peak(device: torch.device) -> int:
    """Return the most bytes held so far: by this process, or by tensors on a GPU."""
    return peak_bytes() if device.type == "cpu" else torch.cuda.max_memory_allocated(device)


def main() -> None:
    """Build, measure, print and write one result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--quant", choices=["none", "int8", "int4", "int4-all"], default="int4")
    parser.add_argument("--device", type=torch.device, default=CPU, help="cpu, cuda or cuda:N")
    parser.add_argument("--read", type=int, nargs="+", default=[4096])
    parser.add_argument("--write", type=int, default=100)
    parser.add_argument("--chunk", type=int, default=2048)
    parser.add_argument("--layers", type=int, help="only so many of the layers")
    parser.add_argument("--from-checkpoint", type=Path, metavar="FOLDER", help=FROM)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=usable_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    where = args.device, pick_dtype("auto", args.device)
    form = next(pick_forms(args.quant, "auto", *where))
    began = time.perf_counter()
    raw, folder = published(args.shape, args.layers), args.from_checkpoint
    model = loaded(folder, raw, form, *where) if folder else built(raw, form, *where)
    loading = time.perf_counter() - began
    print(f"built in {loading:.0f} s, peak {gib(peak(args.device))}", flush=True)
    plan = make_plan(model.config, max(args.read) + args.write, *where, args.chunk, form, exact=True)
    runs = []
    for tokens in args.read:
        run = measured(model, tokens, args.write, args.chunk)
        runs.append(run | {"peak_bytes": peak(args.device)})
        print(json.dumps(runs[-1]), flush=True)
    result = {
        "shape": args.shape,
        "quant": args.quant,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "device": torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else "cpu",
        "threads": args.threads,
        "chunk": args.chunk,
        "load_seconds": loading,
        "planned": {"weights": plan.weights, "needed": plan.needed, "forms": plan.forms},
        "runs": runs,
    }
    print(f"planned {gib(plan.needed)}, of it weights {gib(plan.weights)}; peak {gib(peak(args.device))}")
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
