"""What a run will need, before anything loads: tokens, bytes per component, and time."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING

from longctx.errors import DoesNotFitError
from longctx.machine import available_memory, gib
from longctx.progress import Progress
from longctx.rates import BUS, DISK, best
from longctx.text.source import Corpus
from longctx.tokens.stream import heading
from longctx.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

    from longctx.models.config import LayerSpec, ModelConfig
    from longctx.models.decoder import Decoder, Layer
    from longctx.models.mixers.memory import Memory
    from longctx.models.weight import Form

COUNTED_WHOLE = 1 << 20  # bytes; tokens of a longer text are estimated from samples
SAMPLE = 1 << 16
HEADINGS = 1000  # that are counted; of more documents, some
ROOM = 0.8  # of the memory that is left is for experts, where not all of them fit
BYTES_PER_TOKEN = 4  # without a tokenizer; prose with a large vocabulary has more
PROGRAM = 350 << 20  # torch and Python themselves, resident
CALIBRATION_LIMIT = 4 << 30  # bytes of one layer of each kind; beyond, no time is estimated
CALIBRATION_WORK = 1 << 35  # products of one run: less than a second, where the chunk would take minutes
CALIBRATION_SECONDS = 0.5  # of one layer's runs; where one takes longer, it is timed once
TIMING = "timing a layer of each kind"
GROWN = 2  # chunks that a layer keeps, to time it once more behind them


@dataclass(frozen=True)
class Plan:
    """What one reading needs.

    Attributes:
        tokens: of the text and the answer; `exact` when they were counted, not estimated.
        form: that the weights are kept in; `kind` is its name for people.
        weights, state, kv, workspace: bytes on the device.
        forms: bytes of the weights in each form that there is.
        available: bytes the device can still give.
        experts, layer_experts: bytes of all experts, and of a layer's, within `weights`.
        used_experts: bytes of the experts that one token goes through.
        chunk: tokens that are read at once; `gpu`: where they are.
        kept: bytes of experts that are kept on the device, where it has no room for all; None: all are.
        host: bytes of experts in the memory of a GPU's host, from where they come; 0: from the disk.
        rate: bytes per second at which they come.
        seconds: of reading, from a short calibration; None when the model is too large to calibrate.
        kv_least: bytes of keys and values that are always on the device: those at work.
        kv_rounded: they are kept in 8 bits. kv_pages: so many are chosen to be attended to; None: all.
        kv_bounds: bytes of the bounds by which they are chosen, which stay on the device.
        kv_budget: bytes of them that may be there; None: all. kv_host: in the memory of a GPU's host.
    """

    tokens: int
    exact: bool
    form: "Form"
    kind: str
    weights: int
    state: int
    kv: int
    workspace: int
    available: int
    forms: dict[str, int]
    experts: int = 0
    layer_experts: int = 0
    used_experts: int = 0
    chunk: int = 0
    gpu: bool = False
    kept: int | None = None
    host: int = 0
    rate: float = DISK
    seconds: float | None = None
    kv_least: int = 0
    kv_rounded: bool = False
    kv_pages: int | None = None
    kv_bounds: int = 0
    kv_budget: int | None = None
    kv_host: int = 0

    @property
    def kv_here(self) -> int:
        """Return the bytes of keys and values on the device."""
        return self.kv if self.kv_budget is None else min(self.kv, self.kv_budget)

    @property
    def kv_on_disk(self) -> int:
        """Return the bytes of keys and values in a file."""
        return max(0, self.kv - self.kv_here - self.kv_host)

    @property
    def kv_room(self) -> int:
        """Return the bytes that are left for keys and values, in whole MiB; 0 if too few to work with."""
        room = (self.available - self.needed + self.kv_here) >> 20 << 20
        return room if room >= self.kv_least else 0

    @property
    def needed(self) -> int:
        """Return the bytes needed in all."""
        away = 0 if self.kept is None else self.experts - self.kept
        return self.weights - away + self.state + self.kv_here + self.kv_bounds + self.workspace

    @property
    def fits(self) -> bool:
        """Tell whether there is as much memory as needed."""
        return self.needed <= self.available

    @property
    def least(self) -> int:
        """Return the bytes needed when of all experts only as many as a layer has are on the device."""
        return self.needed - self.experts + self.layer_experts + self._copied

    def with_experts_away(self, host: int = 0, bus: float = BUS) -> "Plan":
        """Return the plan of keeping only as many experts on the device as there is room for.

        Args:
            host: bytes that the host of a GPU can still give.
            bus: bytes per second from there to the GPU.
        """
        room = self.available - self.least + self.layer_experts
        if not self.experts or room < self.layer_experts:
            return self
        kept, there = max(self.layer_experts, int(room * ROOM)), self.gpu and self.experts <= host * ROOM
        changed = replace(self, kept=kept, workspace=self.workspace + self._copied)
        return replace(changed, host=self.experts, rate=bus) if there else changed

    @property
    def _copied(self) -> int:
        """Return the bytes of the matrices that are brought together for a product of plain experts."""
        return self.layer_experts // 3 if self.gpu and not self.rounded else 0

    @property
    def away_seconds(self) -> tuple[float, float]:
        """Return the seconds in which experts come, for a token written at worst and for a chunk read."""
        away = 1 - (self.experts if self.kept is None else self.kept) / max(self.experts, 1)
        return self.used_experts * away / self.rate, self.experts * away / self.rate

    @property
    def rounded(self) -> bool:
        """Tell whether weights lose digits."""
        return _is_rounded(self.form)

    def check(self, advice: str = "") -> None:
        """Raise DoesNotFitError, with the numbers and more advice, when the run needs more than there is."""
        if not self.fits:
            raise DoesNotFitError(
                f"needs {gib(self.needed)} but {gib(self.available)} are free: weights {gib(self.weights)} "
                f"({self.kind}), "
                f"state {gib(self.state)}, KV cache {gib(self.kv)} for {self.tokens:,} tokens, "
                f"workspace {gib(self.workspace)}; take a smaller model or less text{advice}"
            )


def default_chunk(config: "ModelConfig", device: str) -> int:
    """Return the tokens to read at once: enough for full matrix speed, few enough for the caches.

    Experts get more on a CPU: each is brought into eight bits once for all its tokens of a chunk.
    """
    if device != "cpu":
        return 16384
    return 4096 if config.has_experts else 2048


def make_plan(
    config: "ModelConfig",
    tokens: int,
    device: "torch.device",
    dtype: "torch.dtype",
    chunk: int,
    form: "Form",
    *,
    exact: bool,
    kv_rounded: bool = False,
    kv_pages: int | None = None,
) -> Plan:
    """Plan a reading of `tokens` tokens in chunks of `chunk`, without loading any weight."""
    from longctx.models.decoder import FEEDFORWARDS, MIXERS

    cpu, size = device.type == "cpu", dtype.itemsize
    mixers = {(MIXERS[type(layer.mixer)], layer.mixer) for layer in config.layers}
    inner = {(FEEDFORWARDS[type(layer.feedforward)], layer.feedforward) for layer in config.layers}
    at_work = config.hidden_size, 4 if cpu else size, cpu
    widest = max(part.workspace_bytes(spec, *at_work) for part, spec in {*mixers, *inner})
    memory = _memory_bytes(config, tokens, device, dtype, form, kv_rounded=kv_rounded, kv_pages=kv_pages)
    # On a GPU the decode step has its own states.
    beside = PROGRAM + size * min(chunk, tokens) * config.hidden_size if cpu else memory["state"]
    weights, forms = weight_bytes(config, dtype, form), bytes_of_forms(config)
    return Plan(
        tokens=tokens,
        exact=exact,
        form=form,
        kind=form if _is_rounded(form) else str(dtype).removeprefix("torch."),
        weights=weights,
        kv_rounded=kv_rounded,
        kv_pages=kv_pages,
        workspace=min(chunk, tokens) * widest + beside,
        available=_available(device),
        forms=forms,
        chunk=chunk,
        gpu=not cpu,
        # For a GPU they are read as they were published, and rounded then.
        rate=DISK if cpu else DISK * weights / forms["bfloat16"],
        **memory,
        **expert_bytes(config, dtype, form),
    )


def _memory_bytes(
    config: "ModelConfig",
    tokens: int,
    device: "torch.device",
    dtype: "torch.dtype",
    form: "Form",
    *,
    kv_rounded: bool,
    kv_pages: int | None,
) -> dict[str, int]:
    """Return the bytes of states, of keys and values, of those always at work, and of the bounds on pages."""
    from longctx.kernels.attention import log_dtype
    from longctx.kernels.select import Site
    from longctx.models.decoder import MIXERS
    from longctx.models.kv_chosen import bound_bytes
    from longctx.models.kv_form import KVForm
    from longctx.models.kv_log import LAST_PAGE
    from longctx.models.kv_room import BUFFERS
    from longctx.models.weight import BITS

    kind = log_dtype(Site(device, dtype), form in BITS)
    row = partial(KVForm(kv_rounded).row_bytes, dtype=kind)
    mixers = [(MIXERS[type(layer.mixer)], layer.mixer) for layer in config.layers]
    state, kept = (sum(mixer.memory_bytes(spec, n, row) for mixer, spec in mixers) for n in (0, tokens))
    page = min(tokens, LAST_PAGE)
    pages = [mixer.memory_bytes(spec, page, row) - mixer.memory_bytes(spec, 0, row) for mixer, spec in mixers]
    return {
        "state": state,
        "kv": kept - state,
        "kv_bounds": 0 if kv_pages is None else sum(bound_bytes(spec, tokens, kind) for _, spec in mixers),
        "kv_least": sum(pages) + BUFFERS * max(pages, default=0),
    }


@cache
def weight_bytes(config: "ModelConfig", dtype: "torch.dtype", form: "Form" = "plain") -> int:
    """Return the bytes of all weights once loaded in a form."""
    return sum(weight.bytes_as(form) for weight in _shapes(config, dtype, _is_rounded(form)).weights())


@cache
def expert_bytes(config: "ModelConfig", dtype: "torch.dtype", form: "Form") -> dict[str, int]:
    """Return the bytes of all experts, of the most that a layer has, and of those that a token uses."""
    from longctx.models.feedforward import Experts

    layers = [layer.mlp for layer in _shapes(config, dtype, _is_rounded(form)).blocks()]
    sizes = {
        mlp: sum(weight.bytes_as(form) for weight in (mlp.w1, mlp.w3, mlp.w2))
        for mlp in layers
        if isinstance(mlp, Experts)
    }
    return {
        "experts": sum(sizes.values()),
        "layer_experts": max(sizes.values(), default=0),
        "used_experts": sum(size * mlp.spec.top_k // mlp.spec.n_experts for mlp, size in sizes.items()),
    }


@lru_cache(4)
def _shapes(config: "ModelConfig", dtype: "torch.dtype", rounded: bool) -> "Decoder":
    """Return a model without numbers, only to be looked at; which way it is rounded makes no difference."""
    import torch

    from longctx.models.decoder import Decoder

    with torch.device("meta"):
        return Decoder(config, dtype, "int8" if rounded else "plain")


def _is_rounded(form: "Form") -> bool:
    return form.startswith("int")


def bytes_of_forms(config: "ModelConfig") -> dict[str, int]:
    """Return the bytes of all weights in each form that there is."""
    import torch

    wide = torch.float32
    return {
        "float32": weight_bytes(config, wide),
        "bfloat16": weight_bytes(config, torch.bfloat16),
        "int8": weight_bytes(config, wide, "int8"),
        "int4": weight_bytes(config, wide, "int4"),
        "int4-all": weight_bytes(config, wide, "int4-all"),
    }


def count_tokens(tokenizer: Tokenizer, corpus: Corpus) -> tuple[int, bool]:
    """Return the number of tokens in the corpus, and whether it is exact; large texts are sampled.

    Where there are several documents, the heading of each counts.
    """
    tokens, exact = _headings(tokenizer, corpus)
    if corpus.bytes <= COUNTED_WHOLE:
        return tokens + sum(len(tokenizer.encode("".join(d.blocks()))) for d in corpus.documents), exact
    return tokens + _estimate(tokenizer, corpus), False


def _headings(tokenizer: Tokenizer, corpus: Corpus) -> tuple[int, bool]:
    """Return the tokens of all headings, and whether that is exact."""
    count = len(corpus.documents)
    if count < 2:
        return 0, True
    some = corpus.documents[:: -(-count // HEADINGS)]
    tokens = sum(map(len, tokenizer.encode_batch([heading(document) for document in some])))
    return tokens * count // len(some), len(some) == count


def _estimate(tokenizer: Tokenizer, corpus: Corpus) -> int:
    size = tokens = 0
    for document in corpus.documents:
        if size >= COUNTED_WHOLE:
            break
        length = document.end - document.start
        for share in (0.0, 0.5) if length > 4 * SAMPLE else (0.0,):
            # An even offset keeps two-byte encodings in step; a cut character costs one token.
            start = document.start + int(length * share) // 4 * 4
            piece = next(document.blocks(SAMPLE, start), "")
            tokens += len(tokenizer.encode(piece))
            size += min(SAMPLE, document.end - start)
    return round(tokens * corpus.bytes / max(size, 1))


def guess_tokens(corpus: Corpus) -> int:
    """Estimate the tokens of the corpus for a model whose tokenizer is not here."""
    return -(-corpus.bytes // BYTES_PER_TOKEN)


def read_seconds(
    config: "ModelConfig",
    tokens: int,
    device: "torch.device",
    dtype: "torch.dtype",
    chunk: int,
    form: "Form",
    show: Callable[[Progress], object] = lambda _: None,
) -> float | None:
    """Estimate the seconds of a reading from one random layer of each kind, timed on one chunk.

    Layers of one kind take the same time per chunk; attention grows with the keys before the chunk; the last
    layer only computes keys and values.
    """
    import torch

    from longctx.models.decoder import Decoder
    from longctx.models.rotary import Positions

    kinds = {_kind(layer): layer for layer in reversed(config.layers)}
    # A chunk may use every expert, but each token uses top_k: a few experts take as long as all.
    one_each = tuple(replace(layer, feedforward=layer.feedforward.sample()) for layer in kinds.values())
    sample = replace(config, layers=one_each, vocab_size=1)
    if weight_bytes(sample, dtype) > min(CALIBRATION_LIMIT, _available(device) // 2):
        return None
    show(Progress(TIMING, 0, len(kinds), 0, "layers"))
    with torch.device(device), torch.inference_mode():
        model = Decoder(sample, dtype)
        for parameter in model.parameters():
            parameter.normal_(std=parameter.shape[-1] ** -0.5)
        model.convert(form)
        model.use()
        most = CALIBRATION_WORK // sum(math.prod(weight.shape) for weight in model.weights())
        length = max(1, min(chunk, tokens, most))
        x = torch.randn(1, length, config.hidden_size).to(dtype)
        positions = Positions.after(0, length, device)
        costs = {}
        layers = zip(kinds, model.blocks(), model.new_state().layers, strict=True)
        for number, (kind, layer, memory) in enumerate(layers):
            show(Progress(TIMING, number, len(kinds), 0, "layers"))

            def run(layer: "Layer" = layer, memory: "Memory" = memory) -> None:
                layer(x, memory.fork(), positions)

            without, empty = best(run, device, CALIBRATION_SECONDS), memory.nbytes
            layer(x, memory, positions)
            per_key = 0.0
            if memory.nbytes > empty:
                for _ in range(1, GROWN):
                    layer(x, memory, positions)
                behind = best(run, device, CALIBRATION_SECONDS)
                per_key = max(0.0, behind - without) / (GROWN * length)
            costs[kind] = without, per_key
    chunks = max(1, tokens / length)
    each = [costs[_kind(layer)] for layer in config.layers[:-1]]
    return sum(chunks * (without + per_key * tokens / 2) for without, per_key in each)


def _kind(layer: "LayerSpec") -> tuple[type, type]:
    return type(layer.mixer), type(layer.feedforward)


def _available(device: "torch.device") -> int:
    import torch

    if device.type == "cpu":
        return available_memory()
    return torch.cuda.mem_get_info(device)[0] if torch.cuda.is_available() else 0  # a plan for elsewhere
