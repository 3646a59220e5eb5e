"""Reading a GGUF of llama.cpp back into a checkpoint; real weights: python -m bench.real_model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

gguf = pytest.importorskip("gguf", reason="of the dependency group bench")

from checkpoints import tokenizer_json  # noqa: E402

from bench.random_model import random_tensors  # noqa: E402
from bench.smollm2 import INNER, OUTER, convert  # noqa: E402
from longctx.models.config_file import translate  # noqa: E402
from longctx.tokens.tokenizer import Tokenizer  # noqa: E402

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
}
CHAT = "{% for m in messages %}{{ m.content }}{% endfor %}"


def as_neighbours(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """What llama.cpp's converter does to queries and keys (LlamaModel.permute)."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def write_gguf(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors of a checkpoint, a tokenizer and settings under the names of llama.cpp."""
    theirs = {ours: name for name, ours in {**OUTER, **INNER}.items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100000.0)
    trained = json.loads(tokenizer_json())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(list(trained["vocab"]))
    writer.add_token_types([3] + [1] * (len(trained["vocab"]) - 1))
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in trained["merges"]]
    )
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_chat_template(CHAT)
    for name, tensor in tensors.items():
        parts = name.removesuffix(".weight").split(".")
        if parts[1] == "layers":
            known = theirs[".".join(parts[3:])]
            heads = {"attn_q": 4, "attn_k": 2}.get(known)
            values = as_neighbours(tensor, heads) if heads else tensor
            writer.add_tensor(f"blk.{parts[2]}.{known}.weight", values.contiguous().numpy())
        else:
            writer.add_tensor(f"{theirs['.'.join(parts)]}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_becomes_the_checkpoint_it_was_made_of(tmp_path: Path) -> None:
    """If this fails the real weights answer nonsense, for rows of queries and keys are in disorder."""
    tensors = random_tensors(translate(CONFIG, tmp_path), 0)
    write_gguf(tmp_path / "tiny.gguf", tensors)
    folder = convert(tmp_path / "tiny.gguf", tmp_path / "model")
    found = load_file(folder / "model.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    config = json.loads((folder / "config.json").read_text())
    assert {key: config[key] for key in CONFIG} == CONFIG
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 0
    assert json.loads((folder / "tokenizer_config.json").read_text())["chat_template"] == CHAT
    tokenizer = Tokenizer.load(folder, 400)
    assert tokenizer.boundaries is not None
    assert tokenizer.special_tokens == {"<|end|>": 0}
    text = "The keeper wrote 1847 ships; naïve!\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert all(len(tokenizer.encode(digits)) == len(digits) for digits in ("1", "18", "1847"))
