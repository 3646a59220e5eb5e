"""longctx's side of `bench.laptop`: a full shape in a process of its own, its numbers as JSON on stdout.

    python -m bench.laptop_ours ring-mini --quant int4 --threads 2 --lengths 1024 4096 32768

Every length is really read. Beside each clock stands the least time that this machine could take: for
reading, operations over the measured rate of products (integers and float32 each at its own); for writing,
bytes over the measured rate of memory.
"""

# ruff: noqa: E402  # torch reads the environment when it is imported
from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from longctx.machine import ONEDNN_LIMIT, prepare_cpu, usable_threads

prepare_cpu()  # before torch is imported

import torch
from torch import Tensor

from bench.full_shape import CPU, SHAPES, built, published
from bench.laptop_math import Batch, Side
from bench.measure import CHUNK, ceilings, interleave, peak_bytes
from longctx.engine import pick_forms
from longctx.models.config import ExpertsSpec, LightningSpec, SoftmaxSpec
from longctx.models.decoder import Decoder
from longctx.models.state import State
from longctx.models.weight import Form, Weight
from longctx.plan import default_chunk

WARM_STEPS, STEPS = 4, 32
KERNEL_CHUNK = 64  # tokens that a lightning layer multiplies with each other


def rates() -> dict[str, float]:
    """Measure operations per second of float32 and 8 bit products, and bytes per second of a big read."""
    measured = ceilings()
    weight = torch.ones(2048, 2048, dtype=torch.int8)
    rows = {count: torch.ones(count, 2048, dtype=torch.int8) for count in (256, 2048)}
    jobs: dict[str, Callable[[], object]] = {
        f"int8, {count} rows": partial(torch._int_mm, x, weight.t()) for count, x in rows.items()
    }
    interleave(jobs, 1)
    timings = zip(rows, interleave(jobs, 7).values(), strict=True)
    floats = 1e9 * max(measured[name] for name in ("mm", "onednn") if name in measured)
    # Without VNNI, integers are no faster.
    integers = max(floats, *(2 * count * 2048**2 / timing.best for count, timing in timings))
    return {"float32": floats, "int8": integers, "bytes": measured["read"] * 1e9}


def matrices(model: Decoder, form: Form) -> dict[str, float]:
    """Return a token's multiplications by weights of few bits and by float32 ones, and the bytes read."""
    work = {"int8": 0.0, "float32": 0.0, "bytes": 0.0}
    for layer in model.blocks():
        spec = layer.spec.feedforward
        for module in layer.modules():
            if not isinstance(module, Weight) or len(module.shape) == 1:
                continue
            share = (
                spec.top_k / spec.n_experts if isinstance(spec, ExpertsSpec) and len(module.shape) > 2 else 1
            )
            few_bits = module.final(form) in ("int8", "int4")
            size = torch.Size(module.shape).numel()
            if layer is not model.blocks()[-1]:  # of which a reading needs the keys and values alone
                work["int8" if few_bits else "float32"] += share * size
            work["bytes"] += share * module.bytes_as(form)
    work["bytes"] += model.head.bytes_as(form)
    return work


def read_floor(model: Decoder, form: Form, tokens: int, rate: dict[str, float]) -> float:
    """Return the least seconds to read a text."""
    work = matrices(model, form)
    attention = 0.0
    for layer in model.blocks()[:-1]:
        spec = layer.spec.mixer
        if isinstance(spec, SoftmaxSpec):
            attention += 4 * spec.n_heads * spec.head_dim * tokens**2 / 2
        elif isinstance(spec, LightningSpec):
            pairs = KERNEL_CHUNK / 2 + spec.head_dim
            attention += 4 * spec.n_heads * spec.head_dim * pairs * tokens
    floats = 2 * work["float32"] * tokens + attention
    return 2 * work["int8"] * tokens / rate["int8"] + floats / rate["float32"]


def step_floor(model: Decoder, form: Form, state: State, rate: dict[str, float]) -> float:
    """Return the least seconds to write a token."""
    return (matrices(model, form)["bytes"] + state.nbytes) / rate["bytes"]


class Ours:
    """A model, and clocks around it."""

    def __init__(self, model: Decoder):
        self.model = model
        self.random = torch.Generator().manual_seed(0)

    def tokens(self, count: int) -> Tensor:
        """Return random ids (1, count)."""
        return torch.randint(self.model.config.vocab_size, (1, count), generator=self.random)

    def read(self, state: State, count: int) -> float:
        """Read tokens in chunks, the last one with its logits; return the seconds."""
        whole, rest = divmod(count - 1, size := default_chunk(self.model.config, "cpu"))
        sizes = [size] * whole + [rest] * (rest > 0)
        *chunks, last = self.tokens(count).split([*sizes, 1], dim=1)
        began = time.perf_counter()
        for chunk in chunks:
            self.model.absorb(chunk, state)
        self.model.logits(self.model(last, state)[:, -1])
        return time.perf_counter() - began

    def steps(self, state: State) -> float:
        """Return the median seconds of a token written after a state, which stays as it was."""
        state, token, seconds = state.fork(), self.tokens(1), []
        for _ in range(WARM_STEPS + STEPS):
            began = time.perf_counter()
            token = self.model.logits(self.model(token, state)[:, -1]).argmax(-1, keepdim=True)
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds[WARM_STEPS:])


@torch.inference_mode()
def measure(
    model: Decoder, form: Form, lengths: list[int], rate: dict[str, float], say: Callable[[str], None]
) -> Side:
    """Read each length from the start, as a person's text is read, and write after it."""
    side, ours = Side(), Ours(model)
    ours.read(model.new_state(), CHUNK // 4)  # pages the weights in
    for length in lengths:
        state = model.new_state()
        side.read[length] = ours.read(state, length)
        side.batches.append(Batch(0, length, side.read[length], filled=False))
        side.step[length] = ours.steps(state)
        side.read_roofline[length] = read_floor(model, form, length, rate)
        side.step_roofline[length] = step_floor(model, form, state, rate)
        say(f"  {length} tokens read in {side.read[length]:.1f} s, {1 / side.step[length]:.1f}/s written")
    side.peak = peak_bytes()
    return side


def main() -> None:
    """Build, measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--quant", choices=["int8", "int4", "int4-all"], default="int4")
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 32768])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rate = rates()
    began = time.perf_counter()
    form = next(pick_forms(args.quant, "auto", CPU, torch.float32))
    model = built(published(args.shape), form)
    loading = time.perf_counter() - began
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far was of building
    say = partial(print, file=sys.stderr, flush=True)
    side = measure(model, form, sorted(args.lengths), rate, say)
    side.load, side.notes["ceilings"] = loading, rate
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    limit = os.environ.get(ONEDNN_LIMIT, "with AMX" if tiles else "without AMX")
    side.notes["features"] = f"torch {torch.backends.cpu.get_cpu_capability()}, oneDNN {limit}"
    print(json.dumps(side.as_json()))


if __name__ == "__main__":
    main()
