"""What `doctor` checks of a model that writes: its weights, and that all ways of computing agree.

This is how real weights show what could not be run when longctx was written; nothing here is a benchmark.
"""

import lzma
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import longctx
from longctx.checkpoint import read_json
from longctx.errors import LongctxError
from longctx.launch import Launch
from longctx.machine import gib, resident_memory
from longctx.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from longctx.engine import Engine
    from longctx.output import Output

NOVEL = Path(longctx.__file__).parent / "prompts" / "haystack.txt.xz"
COMPARED = 256  # tokens whose logits are compared; a large vocabulary has 600 KB of them per token
TIMED = 2048  # tokens read for the rates
WRITTEN = 32
CHUNKS = (7, 64)
# Mean KL divergence, in nats, that two ways of computing may differ by. By rounded weights, few tokens at
# once are multiplied otherwise than many.
SAME, BOUNDS = 1e-5, {"bfloat16": 0.01, "float16": 0.01, "int8": 0.1, "int4": 0.5, "int4-all": 1.0}


@dataclass(frozen=True)
class Check:
    """A line of `doctor`; `numbers` are for programs."""

    name: str
    ok: bool
    value: str
    numbers: dict[str, Any] = field(default_factory=dict)


def examine(launch: Launch, out: "Output") -> Iterator[Check]:
    """Yield the checks of a model, one after the other as they are done.

    Raises:
        LongctxError: when the model cannot be loaded.
    """
    plan = launch.plan(TIMED + WRITTEN, 0)
    started = perf_counter()
    engine = launch.engine(out, TIMED, WRITTEN)
    seconds, model = perf_counter() - started, engine.model
    name = f"{launch.options.model or 'bundled'}, {launch.config.family}, {launch.device}, {plan.kind}"
    # The loader has compared every name and shape with the configuration.
    yield Check("model", True, f"{name}: names and shapes are right, loaded in {seconds:.1f} s")
    text = lzma.decompress(NOVEL.read_bytes()).decode()[: 16 * TIMED]
    ids = launch.tokenizer.encode(text)[:TIMED]
    yield _speed(engine, ids, plan.needed)
    ids = ids[: COMPARED + 1]
    whole = log_probs(engine, ids, len(ids))
    lost = perplexity(whole, ids)
    limit = model.config.vocab_size / 4
    meant = (
        "as a model of this language"
        if lost < limit
        else "no better than chance: weights or tokenizer are wrong"
    )
    yield Check(
        "perplexity",
        lost < limit,
        f"{lost:.2f} on {len(ids) - 1} tokens of a novel, {meant}",
        {"perplexity": lost},
    )
    bound = BOUNDS.get(plan.kind, SAME)
    for chunk in CHUNKS:
        yield _agree(
            f"chunks of {chunk}", whole, log_probs(engine, ids, chunk), bound, "with the text in one piece"
        )
    kind, device = plan.kind, launch.device.type
    del engine, model
    if plan.rounded:
        yield _beside(launch, out, ids, whole, f"{kind} weights", bound, quant="none", dtype="auto")
    if device == "cuda":
        bound = max(bound, BOUNDS["bfloat16"])
        yield _beside(launch, out, ids, whole, "GPU", bound, quant="none", dtype="float32", device="cpu")
    if launch.config.family == "bailing":
        yield _decay_rules(launch, out, ids, lost)


def log_probs(engine: "Engine", ids: list[int], chunk: int) -> "Tensor":
    """Return the logarithm of the probability of every token after each of `ids`: (T, V) float32."""
    import torch

    tokens, state = torch.tensor([ids], device=engine.device), engine.model.new_state()
    with torch.inference_mode():
        parts = [engine.model(tokens[:, at : at + chunk], state)[0] for at in range(0, len(ids), chunk)]
        return torch.cat([engine.model.logits(part).log_softmax(-1).cpu() for part in parts])


def perplexity(found: "Tensor", ids: list[int]) -> float:
    """Return exp of the mean surprise at each of `ids` but the first."""
    import torch

    return math.exp(-float(found[:-1].gather(1, torch.tensor(ids[1:])[:, None]).mean()))


def _speed(engine: "Engine", ids: list[int], planned: int) -> Check:
    import torch

    session = engine.session()
    started = perf_counter()
    session.read(ids)
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)
    reading, started = len(ids) / (perf_counter() - started), perf_counter()
    written = sum(
        piece.token is not None for piece in session.generate(ids[-1:], Sampling(max_tokens=WRITTEN))
    )
    writing = written / (perf_counter() - started)
    on_cpu = engine.device.type == "cpu"
    held = resident_memory() if on_cpu else torch.cuda.max_memory_allocated(engine.device)
    cache = engine.model.experts
    asked = cache.hits + cache.misses if cache else 0
    found = f"; {cache.hits / asked:.0%} of experts were at hand" if cache and asked else ""
    return Check(
        "speed",
        True,
        f"reads {reading:,.0f} tokens/s and writes {writing:,.1f} after {len(ids):,}; "
        f"holds {gib(held)}, the plan said {gib(planned)}{found}",
        {"read_rate": reading, "write_rate": writing, "bytes": held, "planned_bytes": planned},
    )


def _agree(name: str, wanted: "Tensor", found: "Tensor", bound: float, beside: str) -> Check:
    """Compare two predictions of the same tokens."""
    kl = float((wanted.exp() * (wanted - found)).sum(-1).mean())
    same = float((wanted.argmax(-1) == found.argmax(-1)).float().mean())
    value = f"KL {max(kl, 0):.2g} nats, first choice the same for {same:.1%}, compared {beside}"
    return Check(name, kl < bound, value, {"kl": kl, "top1": same, "bound": bound})


def _beside(
    launch: Launch, out: "Output", ids: list[int], found: "Tensor", name: str, bound: float, **options: str
) -> Check:
    """Compare with another way of computing, where there is room for it."""
    other = Launch(replace(launch.options, **options))  # type: ignore[arg-type]  # texts all of them
    try:
        wanted = log_probs(other.engine(out, len(ids), 0), ids, len(ids))
    except LongctxError as error:
        return Check(name, True, f"not compared: {error}")
    at = f"with {other.plan(len(ids), 0).kind} on the {'CPU' if other.device.type == 'cpu' else 'GPU'}"
    return _agree(name, wanted, found, bound, at)


def _decay_rules(launch: Launch, out: "Output", ids: list[int], own: float) -> Check:
    """Compare both readings of how fast Bailing's layers forget, by how well they predict."""
    from longctx.engine import Engine
    from longctx.models.config_file import translate

    raw = read_json(launch.folder / "config.json")
    rule = "engine" if raw.get("longctx_decay_rule") == "hf" else "hf"
    config = translate({**raw, "longctx_decay_rule": rule}, launch.folder)
    plan = launch.plan(len(ids), 0)
    engine = Engine.of(launch.folder, config, launch.tokenizer, launch.device, launch.dtype, plan.form)
    other = perplexity(log_probs(engine, ids, len(ids)), ids)
    used = "hf" if rule == "engine" else "engine"
    value = f"perplexity {own:.2f} by the rule in use ({used}), {other:.2f} by the other ({rule})"
    if own > other:
        value += f'; put "longctx_decay_rule": "{rule}" into config.json, and please report it'
    return Check("decay rule", own <= other, value, {used: own, rule: other})
