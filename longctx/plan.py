"""What a run will need, known before anything loads: tokens, bytes per component, and time."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from longctx.errors import DoesNotFitError
from longctx.machine import available_memory, gib
from longctx.text.source import Corpus
from longctx.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

    from longctx.models.config import ModelConfig

COUNTED_WHOLE = 1 << 20  # bytes of text up to which tokens are counted; beyond it, estimated from samples
SAMPLE = 1 << 16
BYTES_PER_TOKEN = 4  # of a text that no tokenizer has counted; large vocabularies need more, for prose
PROGRAM = 350 << 20  # torch and Python themselves, resident
CALIBRATION_LIMIT = 4 << 30  # bytes of one layer of each kind, beyond which no time is estimated


@dataclass(frozen=True)
class Plan:
    """Needs of one reading.

    Attributes:
        tokens: of the text and the answer; `exact` when they were counted, not estimated.
        weights, state, kv, workspace: bytes on the device.
        available: bytes the device can still give.
        seconds: of reading, from a short calibration; None when the model is too large to calibrate.
    """

    tokens: int
    exact: bool
    weights: int
    state: int
    kv: int
    workspace: int
    available: int
    seconds: float | None

    @property
    def needed(self) -> int:
        """Return the bytes needed in all."""
        return self.weights + self.state + self.kv + self.workspace

    def check(self) -> None:
        """Raise DoesNotFitError, with the numbers, when the run needs more than there is."""
        if self.needed > self.available:
            raise DoesNotFitError(
                f"needs {gib(self.needed)} but {gib(self.available)} are free: weights {gib(self.weights)}, "
                f"state {gib(self.state)}, KV cache {gib(self.kv)} for {self.tokens:,} tokens, "
                f"workspace {gib(self.workspace)}; take a smaller model or less text"
            )


def make_plan(
    config: "ModelConfig",
    tokens: int,
    *,
    exact: bool,
    device: "torch.device",
    dtype: "torch.dtype",
    chunk: int,
    calibrate: bool,
) -> Plan:
    """Plan a reading of `tokens` tokens in chunks of `chunk`, without loading any weight."""
    import torch

    seconds = read_seconds(config, tokens, device, dtype, chunk) if calibrate else None
    weights = weight_bytes(config, dtype)
    while_loading = 0
    if dtype == torch.int8:  # which is for weights alone, and only once they are loaded
        dtype = torch.float32
        while_loading = PROGRAM + weight_bytes(config, dtype) - weights
    return Plan(
        tokens=tokens,
        exact=exact,
        weights=weights,
        state=4 * config.state_numbers,
        kv=dtype.itemsize * config.kv_numbers_per_token * tokens,
        workspace=max(
            (_cpu_workspace if device.type == "cpu" else _gpu_workspace)(config, min(chunk, tokens), dtype),
            while_loading,
        ),
        available=_available(device),
        seconds=seconds,
    )


def weight_bytes(config: "ModelConfig", dtype: "torch.dtype") -> int:
    """Return the bytes of all weights once loaded, and rounded where dtype is int8."""
    import torch

    from longctx.kernels.quantized import Int8Matrix
    from longctx.models.decoder import HybridModel

    int8 = dtype == torch.int8
    with torch.device("meta"):
        model = HybridModel(config, torch.float32 if int8 else dtype)
    size = sum(parameter.nbytes for parameter in model.parameters())
    for module in model.quantizable() if int8 else ():
        *stack, rows, columns = module.weight.shape
        size += math.prod(stack) * Int8Matrix.nbytes(rows, columns) - module.weight.nbytes
    return size


def count_tokens(tokenizer: Tokenizer, corpus: Corpus) -> tuple[int, bool]:
    """Return the number of tokens in the corpus, and whether it is exact; large texts are sampled."""
    if corpus.bytes <= COUNTED_WHOLE:
        return sum(len(tokenizer.encode("".join(d.blocks()))) for d in corpus.documents), True
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
    return round(tokens * corpus.bytes / max(size, 1)), False


def guess_tokens(corpus: Corpus) -> int:
    """Return about how many tokens the corpus has, for a model whose tokenizer is not here."""
    return -(-corpus.bytes // BYTES_PER_TOKEN)


def read_seconds(
    config: "ModelConfig", tokens: int, device: "torch.device", dtype: "torch.dtype", chunk: int
) -> float | None:
    """Estimate the seconds of a reading from one random layer of each kind, timed on one chunk.

    Costs per chunk: each layer's time is the same for all its kind, attention grows with the keys before
    it, and the last layer only takes keys and values.
    """
    import torch

    from longctx.models.decoder import HybridModel, rotary_angles
    from longctx.models.state import KVState

    kinds = sorted({layer.mixer for layer in config.layers})
    one_each = tuple(next(layer for layer in config.layers if layer.mixer == kind) for kind in kinds)
    # A chunk meets every expert, but each token works for top_k of them: as many as there are work the same.
    sample = dataclasses.replace(
        config, layers=one_each, vocab_size=1, n_experts=min(config.n_experts, 2 * config.n_experts_per_token)
    )
    if weight_bytes(sample, dtype) > min(CALIBRATION_LIMIT, _available(device) // 2):
        return None
    with torch.device(device), torch.inference_mode():
        int8 = dtype == torch.int8
        dtype = torch.float32 if int8 else dtype
        model = HybridModel(sample, dtype)
        for parameter in model.parameters():
            parameter.normal_(std=parameter.shape[-1] ** -0.5)
        if int8:
            model.pack(int8=True)
        length = min(chunk, max(tokens, 1))
        x = torch.randn(1, length, config.hidden_size).to(dtype)
        angles = rotary_angles(config.rope, 0, length, device)
        state = model.new_state()
        by_kind = {}
        for kind, layer, layer_state in zip(kinds, model.layers, state.layers, strict=True):
            if isinstance(layer_state, KVState):
                without = _best(lambda ly=layer, st=layer_state: ly(x, st.fork(), angles), device)  # type: ignore[misc]  # mypy cannot type bound defaults
                for _ in range(4):
                    layer.absorb(x, layer_state, angles)  # type: ignore[operator]  # a Layer
                with_keys = _best(lambda ly=layer, st=layer_state: ly(x, st.fork(), angles), device)  # type: ignore[misc]  # as above
                per_key = max(0.0, with_keys - without) / layer_state.length
            else:
                without = _best(lambda ly=layer, st=layer_state: ly(x, st, angles), device)  # type: ignore[misc]  # as above
                per_key = 0.0
            by_kind[kind] = (without, per_key)
    chunks = max(1, tokens / length)
    return sum(chunks * (by_kind[s.mixer][0] + by_kind[s.mixer][1] * tokens / 2) for s in config.layers[:-1])


def _best(run: Callable[[], object], device: "torch.device") -> float:
    """Return the seconds of the fastest of three runs, after one to warm up."""
    import torch

    times = []
    for _ in range(4):
        started = perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter() - started)
    return min(times[1:])


def _cpu_workspace(config: "ModelConfig", chunk: int, dtype: "torch.dtype") -> int:
    """Return the bytes of the program and of a chunk's activations: the widest moments of a layer."""
    width = config.n_heads * config.head_dim
    mixer = 2 * config.hidden_size + 6 * width
    experts = 3 * config.hidden_size + 4 * config.intermediate_size * config.n_experts_per_token
    return PROGRAM + 4 * chunk * max(mixer, experts) + dtype.itemsize * chunk * config.hidden_size


def _gpu_workspace(config: "ModelConfig", chunk: int, dtype: "torch.dtype") -> int:
    """Return the bytes of a chunk's activations on a GPU, and of the decode step's own states.

    At its widest a layer holds its input and that normed, and: lightning: projections, raw and activated,
    and a result; softmax: queries in two layouts, keys and values for every head, a sum in float32 and a
    part of it; experts: rows sorted by expert, their inner halves, and results.
    """
    width, size = config.n_heads * config.head_dim, dtype.itemsize
    moved = config.n_experts_per_token if config.n_experts > 1 else 0
    lightning = 7 * width * size
    softmax = (5 * size + 4) * width
    experts = (2 * moved * config.hidden_size + 2 * max(moved, 1) * config.intermediate_size) * size
    return (
        chunk * (2 * config.hidden_size * size + max(lightning, softmax, experts)) + 4 * config.state_numbers
    )


def _available(device: "torch.device") -> int:
    import torch

    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
