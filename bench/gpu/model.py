"""Whole models on a GPU: reading and writing by length, streaming, memory, and transformers beside us.

    python -m bench.gpu.model

The Ring-mini shape: 20 layers of which 4, 9, 14 and 19 are softmax, hidden 2048, 16 heads x 128, 4 KV heads,
256 experts x 512 of which a token takes 8, vocabulary 157,184; random bf16 weights (33 GB), MiniMax format.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from bench.gpu import roofline
from bench.gpu.report import Table, run
from bench.gpu.timing import HERE, Timing, interleave, relative_error
from bench.random_model import Shape, write_checkpoint
from longctx.engine import Engine, Session
from longctx.hub import BUNDLED
from longctx.machine import gib
from longctx.models.config import ModelConfig
from longctx.models.config_file import read_config
from longctx.models.decoder import Decoder
from longctx.models.families.minimax import translate
from longctx.models.weights import load_model
from longctx.plan import make_plan
from longctx.tokens.tokenizer import Tokenizer

BF16 = torch.bfloat16
CHUNK = 16384
RING_SHAPE = Shape(
    **{"layers": 20, "softmax": 4, "hidden": 2048, "heads": 16, "kv_heads": 4, "head_dim": 128, "ffn": 512},
    **{"experts": 256, "taken": 8, "vocab": 157184, "chunk": roofline.CHUNK},
    alpha=1.0,
)
TINY_SHAPE = Shape(  # of a rehearsal
    **{"layers": 2, "hidden": 64, "heads": 2, "kv_heads": 1, "head_dim": 32, "ffn": 32},
    **{"experts": 4, "taken": 2, "vocab": 4096},
    alpha=1.0,
)
ROPE = {"rope_type": "default", "rope_theta": 600000.0, "partial_rotary_factor": 0.5}
RING, TINY = (shape.config() | {"rope_parameters": ROPE} for shape in (RING_SHAPE, TINY_SHAPE))
# Beside transformers: dense, so that its loop over experts does not decide the comparison.
PEER = Shape(layers=8, hidden=2048, heads=16, kv_heads=4, head_dim=128, ffn=5632, vocab=8192)
TINY_PEER = Shape(layers=2, hidden=64, heads=2, kv_heads=1, head_dim=32, ffn=64, vocab=512)


def random_engine(config: ModelConfig) -> Engine:
    """Return an engine of random bf16 weights on the device, with the bundled tokenizer for its first ids."""
    with HERE.device:
        model = Decoder(config, BF16)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.fill_(1)
            else:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    model.requires_grad_(False).eval().use()
    return Engine(model, Tokenizer.load(BUNDLED, 4096), BUNDLED)


def random_ids(tokens: int, vocabulary: int) -> list[int]:
    """Return random token ids, in a rehearsal a few."""
    tokens = HERE.size(tokens, 70)
    ids: list[int] = torch.randint(vocabulary, (tokens,), generator=torch.Generator().manual_seed(0)).tolist()
    return ids


def read(session: Session, ids: Sequence[int], chunk: int) -> float:
    """Read ids in chunks; return the seconds until the device is done."""
    HERE.wait()
    began = perf_counter()
    for start in range(0, len(ids), chunk):
        session.read(ids[start : start + chunk])
    HERE.wait()
    return perf_counter() - began


def write(session: Session, tokens: int = 96) -> float:
    """Write greedily as the product does; return the seconds of one token after a warm-up."""
    from longctx.sampling import Sampling

    tokens, warm_up = HERE.size(tokens, 2), HERE.size(8, 1)
    pieces = session.generate([1], Sampling(max_tokens=tokens + warm_up))
    for _ in range(warm_up):
        next(pieces)
    HERE.wait()
    began = perf_counter()
    written = sum(piece.token is not None for piece in pieces)
    HERE.wait()
    return (perf_counter() - began) / written


def reading(
    table: Table, engine: Engine, tokens: int, chunks: Sequence[int], repeats: int
) -> dict[int, float]:
    """Time a reading in chunks of each size, in turn; return the best seconds by size."""
    ids = random_ids(tokens, engine.model.config.vocab_size)
    seconds: dict[int, list[float]] = {chunk: [] for chunk in chunks}
    for _ in range(repeats):
        for chunk in chunks:
            seconds[chunk].append(read(engine.session(), ids, chunk))
    for chunk, times in seconds.items():
        timing = Timing(sorted(times)[len(times) // 2], min(times), len(times))
        floor = RING_SHAPE.read_seconds(tokens, chunk, table.ceilings)
        table.line(f"Ring-mini shape prefill {tokens} in {chunk}", timing, tokens=tokens, least=floor)
    return {chunk: min(times) for chunk, times in seconds.items()}


def writing(table: Table, engine: Engine, session: Session, title: str) -> float:
    """Time decoding with the graph and without it; return seconds per token with it."""
    work = RING_SHAPE.decode(session.position)
    step = engine.step
    graphed = write(session.fork())
    mode = "with the CUDA graph" if step is not None else "WITHOUT a CUDA graph: its kernels do not run here"
    table.line(f"{title}, {mode}", Timing(graphed, graphed, 1), tokens=1, least=work)
    if step is not None:
        engine.step = None
        eager = write(session.fork(), tokens=32)
        engine.step = step
        table.line(f"{title}, launch by launch", Timing(eager, eager, 1), tokens=1, least=work)
    return graphed


def ring(table: Table, args: argparse.Namespace) -> None:
    """Measure the Ring-mini shape: short to long, so that a time limit loses the longest only."""
    config = translate(TINY if HERE.rehearsal else RING)
    engine = random_engine(config)
    read(engine.session(), random_ids(CHUNK, config.vocab_size), CHUNK)  # compiles and tunes
    reading(table, engine, 4096, (4096,), 3)
    session = engine.session()
    read(session, random_ids(4096, config.vocab_size), 4096)
    table.value("Ring-mini shape decode after 4k", 1 / writing(table, engine, session, "decode after 4k"))
    if args.quick:
        return
    best = reading(table, engine, 131072, (CHUNK, 131072), 3)
    table.value("Ring-mini shape prefill 128k", 131072 / best[CHUNK])
    table.value("streamed in 16k chunks over one pass at 128k", best[131072] / best[CHUNK])
    HERE.forget()
    tokens, session = 1 << 20, engine.session()
    seconds = read(session, random_ids(tokens, config.vocab_size), CHUNK)
    floor = RING_SHAPE.read_seconds(tokens, CHUNK, table.ceilings)
    table.line("Ring-mini shape prefill 1M in 16384", Timing(seconds, seconds, 1), tokens=tokens, least=floor)
    table.value("Ring-mini shape prefill 1M", tokens / seconds)
    beside_plan(table, "Ring-mini shape 1M", engine, tokens, CHUNK, HERE.peak())
    table.value("Ring-mini shape decode after 1M", 1 / writing(table, engine, session, "decode after 1M"))


def beside_plan(table: Table, name: str, engine: Engine, tokens: int, chunk: int, peak: int) -> None:
    """Compare the peak memory of a reading, in bytes, with what is planned for it."""
    config, kind = engine.model.config, engine.model.dtype
    plan = make_plan(config, tokens, engine.device, kind, chunk, "plain", exact=True)
    parts = f"weights {gib(plan.weights)}, KV {gib(plan.kv)}, workspace {gib(plan.workspace)}"
    table.note(f"{name}: peak {gib(peak)}, planned {gib(plan.needed)} ({parts})")
    table.value(f"peak memory over plan, {name}", peak / plan.needed)
    table.value(f"peak memory over plan, {name}, at least", peak / plan.needed)


def beside_transformers(table: Table) -> None:
    """Compare reading with transformers' MiniMax on the same weights and the same work: all outputs."""
    import transformers

    shape = TINY_PEER if HERE.rehearsal else PEER
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder, shape)
        ours = load_model(folder, read_config(folder), HERE.device, BF16)
        theirs: Any = transformers.MiniMaxForCausalLM.from_pretrained(folder, dtype=BF16)
    theirs = theirs.to(HERE.device).eval()
    for tokens in (1024, 4096, 16384):
        ids = torch.tensor([random_ids(tokens, shape.vocab)], device=HERE.device)

        def us(ids: Tensor = ids) -> Tensor:
            hidden = ours(ids, ours.new_state())
            return ours.logits(hidden[:, -1])

        def them(ids: Tensor = ids) -> Tensor:
            logits: Tensor = theirs(ids, use_cache=False, logits_to_keep=1).logits[:, -1]
            return logits

        table.note(f"logits at {tokens} differ from transformers' by {relative_error(us(), them()):.1e}")
        timings = interleave({"us": us, "them": them}, cold=False)
        floor = shape.forward_flops(tokens) / table.ceilings.rate
        title = f"470M dense hybrid, all outputs, {tokens}"
        table.line(title, timings["us"], tokens=tokens, least=floor, peers={"transformers": timings["them"]})
        if tokens == 4096:
            table.value("prefill 4k over transformers", timings["them"].median / timings["us"].median)


def tables(table: Table, args: argparse.Namespace) -> None:
    """Measure everything; what fails does not take the rest with it."""
    ours = partial(ring, args=args)
    for name, part in (("Ring-mini shape", ours), ("transformers", beside_transformers)):
        table.guard(f"{name} stopped", partial(part, table))
        HERE.forget()


if __name__ == "__main__":
    sys.exit(run("model", __doc__, tables))
