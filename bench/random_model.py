"""A hybrid of random weights that longctx, transformers and llama.cpp all express, and its work per token.

Speed does not depend on the values of the weights, so nothing has to be downloaded to compare engines.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from longctx.models.config import ModelConfig
from longctx.models.config_file import translate, weight_map
from longctx.models.decoder import Decoder

ALPHA = 3.5565588200778455  # the residual factor of MiniMax-Text-01
ROPE_THETA = 10_000_000.0
# The three engines disagree about the epsilon of the lightning output norm: two always take 1e-6,
# llama.cpp takes rms_norm_eps. Making that 1e-6 as well lets all three compute one function.
NORM_EPS = 1e-6
CORE_CHUNK = 64  # the lightning chunk that the work is counted with


@dataclass(frozen=True)
class Shape:
    """The tiny hybrid: seven lightning layers, then one softmax layer; about 31 M parameters."""

    layers: int = 8
    hidden: int = 512
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 1024
    vocab: int = 8192
    context: int = 131072

    @property
    def lightning_layers(self) -> int:
        """How many layers are lightning: all but the last."""
        return self.layers - 1

    @property
    def width(self) -> int:
        """Channels of all query heads together."""
        return self.heads * self.head_dim

    @property
    def body(self) -> int:
        """Parameters that every token is multiplied with, without embedding and head."""
        lightning = self.hidden * self.width * 5
        softmax = self.hidden * self.width * 2 + self.hidden * self.kv_heads * self.head_dim * 2
        mlp = 3 * self.hidden * self.ffn
        return self.lightning_layers * lightning + softmax + self.layers * mlp

    @property
    def parameters(self) -> int:
        """All parameters but the few of norms and routers."""
        return self.body + 2 * self.vocab * self.hidden

    def forward_flops(self, tokens: int) -> float:
        """Work of a full forward pass over `tokens`, logits of the last one only."""
        core = self.heads * (4 * CORE_CHUNK * self.head_dim + 4 * self.head_dim**2) * self.lightning_layers
        softmax = 4 * self.width * tokens / 2
        return tokens * (2 * self.body + core + softmax) + 2 * self.vocab * self.hidden

    def read_flops(self, tokens: int) -> float:
        """Work needed for the state and the last token's logits: of the last layer only K and V."""
        last = 2 * self.hidden * self.width + 3 * self.hidden * self.ffn
        core = self.heads * (4 * CORE_CHUNK * self.head_dim + 4 * self.head_dim**2) * self.lightning_layers
        one_query = 2 * last + 4 * self.width * tokens + 2 * self.vocab * self.hidden
        return tokens * (2 * (self.body - last) + core) + one_query

    def decode_bytes(self, tokens: int) -> float:
        """Float32 bytes that one decoded token must move after `tokens`: weights, state in and out, KV."""
        weights = (self.body + self.vocab * self.hidden) * 4
        state = 2 * self.lightning_layers * self.heads * self.head_dim**2 * 4
        return weights + state + tokens * 2 * self.kv_heads * self.head_dim * 4

    def config(self) -> dict[str, object]:
        """Return config.json of the `minimax` model type."""
        kinds = ["linear_attention"] * self.lightning_layers + ["full_attention"]
        factors = {
            f"{part}_{name}_factor": value
            for part in ("full_attn", "linear_attn", "mlp")
            for name, value in (("alpha", ALPHA), ("beta", 1.0))
        }
        return {
            "architectures": ["MiniMaxForCausalLM"],
            "model_type": "minimax",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "num_local_experts": 1,
            "num_experts_per_tok": 1,
            "layer_types": kinds,
            "block_size": 256,
            "rms_norm_eps": NORM_EPS,
            "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
            "max_position_embeddings": self.context,
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": None,
            "dtype": "float32",
            **factors,
        }


def random_tensors(config: ModelConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint: normal, scaled by 1/sqrt(fan-in), and norms near one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        model = Decoder(config)
    tensors = {}
    for target in weight_map(config):
        for name, shape in target.shapes(model.get_submodule(target.weight).shape).items():  # type: ignore[arg-type]  # a Weight
            noise = torch.randn(shape, generator=generator)
            tensors[name] = noise * shape[-1] ** -0.5 if len(shape) > 1 else 1 + 0.1 * noise
    return tensors


def write_checkpoint(folder: Path, shape: Shape) -> dict[str, Tensor]:
    """Write config.json and model.safetensors into `folder`; return the tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(shape.config(), indent=2), encoding="utf-8")
    tensors = random_tensors(translate(shape.config(), folder))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return tensors
