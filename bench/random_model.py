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

from bench.gpu.roofline import Ceilings, Work
from longctx.models.config import ModelConfig
from longctx.models.config_file import translate, weight_map
from longctx.models.decoder import Decoder
from training import shape as minimax

ALPHA = 3.5565588200778455  # the residual factor of MiniMax-Text-01
ROPE_THETA = 10_000_000.0
# The three engines disagree about the epsilon of the lightning output norm: two always take 1e-6,
# llama.cpp takes rms_norm_eps. Making that 1e-6 as well lets all three compute one function.
NORM_EPS = 1e-6


@dataclass(frozen=True)
class Shape:
    """The sizes of a hybrid in the MiniMax format, and the work of its tokens.

    The default is the tiny hybrid: seven lightning layers, then one softmax layer; about 31 M parameters.

    Attributes:
        softmax: softmax layers, one at the end of each of as many groups of layers.
        taken: experts that a token goes through.
        chunk: tokens of a lightning chunk, with which its work is counted.
    """

    layers: int = 8
    softmax: int = 1
    hidden: int = 512
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 1024
    experts: int = 1
    taken: int = 1
    vocab: int = 8192
    context: int = 131072
    alpha: float = ALPHA
    chunk: int = 64

    @property
    def width(self) -> int:
        """Channels of all query heads together."""
        return self.heads * self.head_dim

    @property
    def head(self) -> int:
        """Parameters of the output head."""
        return self.vocab * self.hidden

    @property
    def body(self) -> int:
        """Parameters that every token is multiplied with, without embedding and head."""
        return self.of_layers(self.taken)

    def of_layers(self, experts: int) -> int:
        """Return the parameters of all layers with `experts` each, and of the routers to all."""
        lightning = self.hidden * self.width * 5  # q, k, v, gate, out
        softmax = self.hidden * self.width * 2 + self.hidden * self.kv_heads * self.head_dim * 2
        router = self.hidden * self.experts if self.experts > 1 else 0
        rest = self.layers * (router + experts * 3 * self.hidden * self.ffn)
        return (self.layers - self.softmax) * lightning + self.softmax * softmax + rest

    def forward_flops(self, tokens: int) -> float:
        """Return the operations of a full forward pass over `tokens`, logits of the last one only."""
        attention = self.softmax * 4 * self.width * tokens / 2
        return tokens * (2 * self.body + self._core + attention) + 2 * self.head

    def read_flops(self, tokens: int) -> float:
        """Return those of the state and the last token's logits: of the last layer only K and V."""
        last = 2 * self.hidden * self.width + 3 * self.hidden * self.ffn
        one_query = 2 * last + 4 * self.width * tokens + 2 * self.head
        return tokens * (2 * (self.body - last) + self._core) + one_query

    def read_seconds(self, tokens: int, chunk: int, ceilings: Ceilings) -> float:
        """Return the least time of reading in chunks: compute, or all bf16 weights once per chunk."""
        weights = -(-tokens // chunk) * self.of_layers(self.experts) * 2
        return max(self.forward_flops(tokens) / ceilings.rate, weights / ceilings.bandwidth)

    def decode(self, keys: int, itemsize: int = 2) -> Work:
        """Return the work of one token after `keys`: active weights, head, float32 states in and out, KV."""
        state = 2 * (self.layers - self.softmax) * self.heads * self.head_dim**2 * 4
        kv = self.softmax * 2 * self.kv_heads * self.head_dim * keys
        active = self.body + self.head
        return Work((active + kv) * itemsize + state, 2 * active + self.softmax * 4 * self.width * keys)

    @property
    def _core(self) -> int:
        """Operations of all lightning layers on one token, beside their weights."""
        core = self.heads * (4 * self.chunk * self.head_dim + 4 * self.head_dim**2)
        return core * (self.layers - self.softmax)

    def config(self) -> dict[str, object]:
        """Return config.json of the `minimax` model type."""
        mixers = ("L" * (self.layers // self.softmax - 1) + "S") * self.softmax
        sizes = self.hidden, mixers, self.heads, self.kv_heads, self.ffn, self.vocab, self.alpha
        return minimax.config(minimax.Shape(*sizes, pointers=0, theta=ROPE_THETA)) | {
            "head_dim": self.head_dim,
            "num_local_experts": self.experts,
            "num_experts_per_tok": self.taken,
            "rms_norm_eps": NORM_EPS,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": False,
            "eos_token_id": None,
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
