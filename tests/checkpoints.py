"""Small random checkpoints and tokenizers that tests write for themselves."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from bench.random_model import random_tensors
from longctx.known import FOLDER
from longctx.models.config_file import translate
from longctx.models.decoder import Decoder
from longctx.models.weight import Form
from longctx.models.weights import assemble, targets_of

SENTENCES = [
    "The keeper of the lighthouse wrote down every ship that passed in the year 1847.",
    "def area(width, height):\n    return width * height\n",
    "Nobody in the village knew why the river had changed its course that spring.",
    "One of the special magic numbers for quiet-lantern is: 4031775.",
]
VOCABULARY = 400


def hf_config(**changes: Any) -> dict[str, Any]:
    """Return an -hf configuration: two lightning layers, one softmax layer, 64 wide, four experts."""
    layers = changes.pop("layers", "LLS")
    kinds = {"L": "linear_attention", "S": "full_attention"}
    return {
        "architectures": ["MiniMaxForCausalLM"],
        "model_type": "minimax",
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "num_hidden_layers": len(layers),
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 32,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "layer_types": [kinds[letter] for letter in layers],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "linear_attn_alpha_factor": 1.7,
        "linear_attn_beta_factor": 0.9,
        "full_attn_alpha_factor": 1.5,
        "full_attn_beta_factor": 1.1,
        "mlp_alpha_factor": 1.3,
        "mlp_beta_factor": 0.8,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "max_position_embeddings": 65536,
        "bos_token_id": None,
        "eos_token_id": 0,
        **changes,
    }


def original_config(**changes: Any) -> dict[str, Any]:
    """Return a configuration as the original MiniMax repositories spell it, with partial rotary."""
    layers = changes.pop("layers", "LLSL")
    return {
        "architectures": ["MiniMaxText01ForCausalLM"],
        "model_type": "minimax_text_01",
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "num_hidden_layers": len(layers),
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 20,
        "intermediate_size": 24,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "attn_type_list": [{"L": 0, "S": 1}[letter] for letter in layers],
        "rope_theta": 10000000,
        "rotary_dim": 8,
        "layernorm_linear_attention_alpha": 3.1,
        "layernorm_linear_attention_beta": 0.9,
        "layernorm_full_attention_alpha": 3.5565588200778455,
        "layernorm_full_attention_beta": 1.0,
        "layernorm_mlp_alpha": 2.2,
        "layernorm_mlp_beta": 1.1,
        "postnorm": True,
        "shared_intermediate_size": 0,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "sliding_window": None,
        "bos_token_id": None,
        "eos_token_id": None,
        **changes,
    }


def published_config() -> dict[str, Any]:
    """Return the configuration of MiniMax-Text-01 and MiniMax-M1 (456B parameters)."""
    published: dict[str, Any] = json.loads((FOLDER / "minimax" / "config.json").read_text())
    return published


def random_model(
    config: dict[str, Any], seed: int = 0, dtype: torch.dtype = torch.float32, form: Form = "plain"
) -> Decoder:
    """Return the model that `write_checkpoint` writes."""
    specification = translate(config, Path("config.json"))
    tensors = random_tensors(specification, seed)
    with torch.device("meta"):
        model = Decoder(specification, dtype, form)
    return assemble(model, targets_of(model), tensors.__getitem__, torch.device("cpu"), form)


def write_checkpoint(folder: Path, config: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """Write config.json, model.safetensors and tokenizer.json of a random model; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = config or hf_config()
    (folder / "config.json").write_text(json.dumps(config))
    tensors = random_tensors(translate(config, folder), seed)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "tokenizer.json").write_text(tokenizer_json())
    return folder


@cache
def tokenizer_json() -> str:
    """Return a byte-level BPE tokenizer of VOCABULARY entries; `<|end|>` is token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    return str(tokenizer.to_str())
