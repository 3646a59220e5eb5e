"""A small bidirectional encoder (BERT's layers) that points at the words of an answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Sizes:
    """Sizes of the encoder; those of MiniLM-L6 by default."""

    vocabulary: int = 30522
    positions: int = 512
    hidden: int = 384
    inner: int = 1536
    layers: int = 6
    heads: int = 12
    epsilon: float = 1e-12


class Layer(nn.Module):
    """Attention to all tokens and a feed-forward part, each added and then normed."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = nn.Linear(sizes.hidden, 3 * sizes.hidden)
        self.out = nn.Linear(sizes.hidden, sizes.hidden)
        self.norm = nn.LayerNorm(sizes.hidden, sizes.epsilon)
        self.up = nn.Linear(sizes.hidden, sizes.inner)
        self.down = nn.Linear(sizes.inner, sizes.hidden)
        self.last_norm = nn.LayerNorm(sizes.hidden, sizes.epsilon)

    def forward(self, x: Tensor, mask: Tensor | None, kept: Tensor | None = None) -> Tensor:
        """Return (B, T, hidden) of the same; `mask` (B, 1, 1, T) is true where a token may be seen.

        `kept` (B, 1, hidden), in training alone, drops features of what is added.
        """
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q * (d // self.heads) ** -0.5) @ k.transpose(2, 3)
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e4)
        mixed = torch.softmax(scores, -1, dtype=scores.dtype) @ v
        added = self.out(mixed.transpose(1, 2).reshape(b, t, d))
        x = self.norm(x + (added if kept is None else added * kept))
        added = self.down(F.gelu(self.up(x)))
        normed: Tensor = self.last_norm(x + (added if kept is None else added * kept))
        return normed


class Encoder(nn.Module):
    """Embeddings, layers, and two scores for each token: that an answer starts or ends there."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.sizes = sizes
        self.words = nn.Embedding(sizes.vocabulary, sizes.hidden)
        self.places = nn.Embedding(sizes.positions, sizes.hidden)
        self.parts = nn.Embedding(2, sizes.hidden)
        self.norm = nn.LayerNorm(sizes.hidden, sizes.epsilon)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.span = nn.Linear(sizes.hidden, 2)

    def read(self, ids: Tensor, parts: Tensor, mask: Tensor | None, drop: float = 0.0) -> Tensor:
        """Return the last layer (B, T, hidden).

        Args:
            ids, parts: (B, T) tokens, and 0 for the question, 1 for the passage.
            mask: (B, T), true for tokens that are no padding; None if none is.
            drop: share of the features dropped, in training alone.
        """
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.words(ids) + self.places(places) + self.parts(parts))
        seen = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            kept = None
            if drop:
                kept = (torch.rand(len(ids), 1, x.shape[2]) >= drop).to(x.dtype) / (1 - drop)
            x = layer(x, seen, kept)
        last: Tensor = x
        return last

    def forward(self, ids: Tensor, parts: Tensor, mask: Tensor | None, drop: float = 0.0) -> Tensor:
        """Return scores (B, 2, T) of starts and ends; those of the first token stand for no answer."""
        scores: Tensor = self.span(self.read(ids, parts, mask, drop)).transpose(1, 2)
        return scores


def from_bert(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a checkpoint of BERT's form (`span` is left out: it has none)."""
    found = {
        "words.weight": tensors["embeddings.word_embeddings.weight"],
        "places.weight": tensors["embeddings.position_embeddings.weight"],
        "parts.weight": tensors["embeddings.token_type_embeddings.weight"],
        "norm.weight": tensors["embeddings.LayerNorm.weight"],
        "norm.bias": tensors["embeddings.LayerNorm.bias"],
    }
    names = {
        "out": "attention.output.dense",
        "norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "last_norm": "output.LayerNorm",
    }
    count = len({name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")})
    for i in range(count):
        at = f"encoder.layer.{i}."
        for kind in ("weight", "bias"):
            qkv = [tensors[f"{at}attention.self.{one}.{kind}"] for one in ("query", "key", "value")]
            found[f"layers.{i}.qkv.{kind}"] = torch.cat(qkv)
            for ours, theirs in names.items():
                found[f"layers.{i}.{ours}.{kind}"] = tensors[f"{at}{theirs}.{kind}"]
    return found


def rounded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round matrices to 8 bits, each row with a scale of its own (`NAME.scale`); the rest stays float32."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and min(tensor.shape) > 2:
            scale = tensor.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
            found[name] = (tensor / scale).round().to(torch.int8)
            found[f"{name}.scale"] = scale
        else:
            found[name] = tensor.float()
    return found


def load_rounded(path: Path) -> Encoder:
    """Load an encoder whose matrices were rounded, in float32."""
    stored = load_file(path)
    encoder = Encoder()
    encoder.load_state_dict(
        {
            name: tensor.float() * stored[f"{name}.scale"] if tensor.dtype == torch.int8 else tensor
            for name, tensor in stored.items()
            if not name.endswith(".scale")
        }
    )
    return encoder
