"""Random GGUF files of full-softmax models as large as ours: Ling-mini-2.0 and Qwen3-1.7B, for llama.cpp.

Speed does not depend on the values of weights, so blocks are random bits with a scale that keeps activations
of ordinary size. All matrices have the same type, like those of `llama-quantize --pure`. There is no
vocabulary: token ids go in and logits come out. Imports no torch: llama.cpp may live in another environment.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

POOL = 16 << 20  # random bytes that all matrices are cut from
SPREAD = {Kind.Q4_0: 4.61, Kind.Q8_0: 73.9}  # standard deviation of a random level


@dataclass(frozen=True)
class Twin:
    """A full-softmax model; `experts` 0 means a dense one.

    Attributes:
        dense_layers: leading layers without experts.
        expert_size: inner width of an expert, and of the one that all tokens share.
        rope_channels: of a head.
        fused: queries, keys and values are one matrix.
        tied: the embedding is the head too.
    """

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    vocab: int
    rope_base: float
    rope_channels: int
    context: int
    fused: bool
    tied: bool
    experts: int = 0
    top_k: int = 0
    groups: int = 0
    top_groups: int = 0
    expert_size: int = 0
    dense_layers: int = 0


LING_MINI = Twin(
    architecture="bailingmoe2",
    layers=20,
    hidden=2048,
    heads=16,
    kv_heads=4,
    head_dim=128,
    inner=5120,
    vocab=157184,
    rope_base=600000.0,
    rope_channels=64,
    context=32768,
    fused=True,
    tied=False,
    experts=256,
    top_k=8,
    groups=8,
    top_groups=4,
    expert_size=512,
    dense_layers=1,
)
QWEN3 = Twin(
    architecture="qwen3",
    layers=28,
    hidden=2048,
    heads=16,
    kv_heads=8,
    head_dim=128,
    inner=6144,
    vocab=151936,
    rope_base=1e6,
    rope_channels=128,
    context=40960,
    fused=False,
    tied=True,
)
TWINS = {"ling-mini": LING_MINI, "qwen3-1.7b": QWEN3}


def file_bytes(twin: Twin, kind: Kind) -> int:
    """Return the bytes of the tensors in a file."""
    return sum(_nbytes(shape, kind if _quantized(name, shape) else Kind.F32) for name, shape in tensors(twin))


def tensors(twin: Twin) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the shape of each tensor, (out, in) or (experts, out, in)."""
    width, narrow = twin.heads * twin.head_dim, twin.kv_heads * twin.head_dim
    yield "token_embd.weight", (twin.vocab, twin.hidden)
    yield "output_norm.weight", (twin.hidden,)
    if not twin.tied:
        yield "output.weight", (twin.vocab, twin.hidden)
    for layer in range(twin.layers):
        sparse = bool(twin.experts) and layer >= twin.dense_layers
        parts = _attention(twin, width, narrow) | (_experts(twin) if sparse else _dense(twin))
        for name, shape in parts.items():
            yield f"blk.{layer}.{name}", shape


def write(path: Path, twin: Twin, kind: Kind) -> None:
    """Write a file, one tensor in memory at a time."""
    writer = gguf.GGUFWriter(path, twin.architecture)
    _add_metadata(writer, twin, kind)
    listed = list(tensors(twin))
    for name, shape in listed:
        raw = kind if _quantized(name, shape) else Kind.F32
        stored = (*shape[:-1], _nbytes(shape[-1:], raw)) if raw == kind else shape  # rows as bytes
        dtype = np.dtype(np.uint8 if raw == kind else np.float32)
        writer.add_tensor_info(name, stored, dtype, _nbytes(shape, raw), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(0)
    pool = random.integers(0, 256, POOL, dtype=np.uint8)
    for name, shape in listed:
        if _quantized(name, shape):
            writer.write_tensor_data(_blocks(shape, kind, pool, random))
        else:
            writer.write_tensor_data(_plain(name, shape, random))
    writer.close()


def _attention(twin: Twin, width: int, narrow: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors around the attention of a layer; `width` is of queries, `narrow` of keys."""
    hidden = twin.hidden
    rows = {"attn_q.weight": width, "attn_k.weight": narrow, "attn_v.weight": narrow}
    if twin.fused:
        rows = {"attn_qkv.weight": width + 2 * narrow}
    norms = {
        "attn_norm.weight": hidden,
        "attn_q_norm.weight": twin.head_dim,
        "attn_k_norm.weight": twin.head_dim,
    }
    return (
        {name: (out, hidden) for name, out in rows.items()}
        | {"attn_output.weight": (hidden, width)}
        | {name: (size,) for name, size in norms.items()}
    )


def _dense(twin: Twin) -> dict[str, tuple[int, ...]]:
    hidden, inner = twin.hidden, twin.inner
    return {
        "ffn_norm.weight": (hidden,),
        "ffn_gate.weight": (inner, hidden),
        "ffn_up.weight": (inner, hidden),
        "ffn_down.weight": (hidden, inner),
    }


def _experts(twin: Twin) -> dict[str, tuple[int, ...]]:
    hidden, size, n = twin.hidden, twin.expert_size, twin.experts
    return {
        "ffn_norm.weight": (hidden,),
        "ffn_gate_inp.weight": (n, hidden),
        "exp_probs_b.bias": (n,),
        "ffn_gate_exps.weight": (n, size, hidden),
        "ffn_up_exps.weight": (n, size, hidden),
        "ffn_down_exps.weight": (n, hidden, size),
        "ffn_gate_shexp.weight": (size, hidden),
        "ffn_up_shexp.weight": (size, hidden),
        "ffn_down_shexp.weight": (hidden, size),
    }


def _quantized(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and "gate_inp" not in name  # llama.cpp keeps routers in float32 too


def _nbytes(shape: tuple[int, ...], kind: Kind) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return int(int(np.prod(shape)) // block * size)


def _blocks(
    shape: tuple[int, ...], kind: Kind, pool: NDArray[np.uint8], random: np.random.Generator
) -> NDArray[np.uint8]:
    """Return random blocks as rows of bytes: a scale of 16 bits, then levels."""
    _, size = gguf.GGML_QUANT_SIZES[kind]
    total = _nbytes(shape, kind)
    start = int(random.integers(0, min(POOL, total)))
    blocks = np.resize(np.roll(pool, -start), total).reshape(-1, size)
    scale = np.array([shape[-1] ** -0.5 / SPREAD[kind]], dtype=np.float16)
    blocks[:, :2] = scale.view(np.uint8)
    return blocks.reshape(*shape[:-1], -1)


def _plain(name: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    if "norm" in name:
        return np.ones(shape, dtype=np.float32)
    if name.endswith("bias"):
        return np.zeros(shape, dtype=np.float32)
    drawn: NDArray[np.float32] = random.standard_normal(shape, dtype=np.float32)
    return drawn * np.float32(shape[-1] ** -0.5)


def _add_metadata(writer: gguf.GGUFWriter, twin: Twin, kind: Kind) -> None:
    files = {Kind.Q4_0: gguf.LlamaFileType.MOSTLY_Q4_0, Kind.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0}
    writer.add_file_type(files[kind])
    writer.add_context_length(twin.context)
    writer.add_embedding_length(twin.hidden)
    writer.add_block_count(twin.layers)
    writer.add_feed_forward_length(twin.inner)
    writer.add_head_count(twin.heads)
    writer.add_head_count_kv(twin.kv_heads)
    writer.add_key_length(twin.head_dim)
    writer.add_value_length(twin.head_dim)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(twin.rope_base)
    writer.add_rope_dimension_count(twin.rope_channels)
    writer.add_vocab_size(twin.vocab)
    writer.add_tokenizer_model("no_vocab")
    if not twin.experts:
        return
    writer.add_expert_count(twin.experts)
    writer.add_expert_used_count(twin.top_k)
    writer.add_expert_group_count(twin.groups)
    writer.add_expert_group_used_count(twin.top_groups)
    writer.add_expert_shared_count(1)
    writer.add_expert_feed_forward_length(twin.expert_size)
    writer.add_expert_shared_feed_forward_length(twin.expert_size)
    writer.add_leading_dense_block_count(twin.dense_layers)
    writer.add_expert_weights_scale(2.5)
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)


def main() -> None:
    """Print the bytes of a file as JSON, and write it if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("twin", choices=TWINS)
    parser.add_argument("kind", choices=[kind.name for kind in SPREAD])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.out:
        write(args.out, TWINS[args.twin], Kind[args.kind])
    print(json.dumps({"bytes": file_bytes(TWINS[args.twin], Kind[args.kind])}))


if __name__ == "__main__":
    main()
