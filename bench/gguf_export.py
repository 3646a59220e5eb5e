"""Writes the random hybrid as a GGUF file of the `minimax-01` architecture of llama.cpp, in F32 or Q8_0.

The gguf package has no tensor list of that architecture, so names and keys are spelt out here.
There is no vocabulary: token ids go in and logits come out.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from torch import Tensor

from bench.random_model import ALPHA, NORM_EPS, ROPE_THETA, Shape

ARCHITECTURE = "minimax-01"
GLOBAL_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.output_gate": "attn_gate",
    "self_attn.norm": "attn_norm_2",
    "self_attn.out_proj": "attn_output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "block_sparse_moe.experts.0.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.0.w2": "ffn_down_exps",
    "block_sparse_moe.experts.0.w3": "ffn_up_exps",
}


def gguf_name(name: str) -> str:
    """Translate the name of a tensor in the checkpoint into its name in the GGUF file."""
    stem = name.removesuffix(".weight")
    if stem in GLOBAL_NAMES:
        return f"{GLOBAL_NAMES[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[part]}.weight"


def export(path: Path, shape: Shape, weights: dict[str, Tensor], quantized: bool) -> None:
    """Write one GGUF file; with `quantized` all matrices but the router become Q8_0."""
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    _add_metadata(writer, shape, quantized)
    for name, weight in weights.items():
        data = weight.numpy()
        if ".experts." in name:
            data = data[np.newaxis]  # all experts of a layer are one tensor, and there is one expert
        router = name.endswith("block_sparse_moe.gate.weight")
        kind = gguf.GGMLQuantizationType.F32
        if quantized and weight.ndim == 2 and not router:
            kind = gguf.GGMLQuantizationType.Q8_0
            data = gguf.quantize(data, kind)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(data), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_metadata(writer: gguf.GGUFWriter, shape: Shape, quantized: bool) -> None:
    file_type = gguf.LlamaFileType.MOSTLY_Q8_0 if quantized else gguf.LlamaFileType.ALL_F32
    writer.add_file_type(file_type)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(NORM_EPS)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_expert_count(1)
    writer.add_expert_used_count(1)
    writer.add_residual_scale(ALPHA)
    writer.add_full_attention_interval(shape.layers)
    writer.add_vocab_size(shape.vocab)
    writer.add_tokenizer_model("no_vocab")
