"""The base with low-rank updates on all its matrices, for training only.

Plain torch, not the layers of models/: a training step here is one pass over many short prompts, without
memories or states, in bfloat16, and the wide head runs at answer positions only. A test holds its numbers
to those of models/.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

# Matrices that read the same input are one product.
TOGETHER = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
RANK, ALPHA = 16, 32.0
NORMS = ("input_layernorm", "post_attention_layernorm")


@dataclass(frozen=True)
class Sizes:
    """What the base's config.json says, and the rank and alpha of the updates."""

    layers: int
    heads: int
    kv_heads: int
    theta: float
    eps: float
    rank: int
    alpha: float

    @classmethod
    def of(cls, config: dict[str, int | float], rank: int, alpha: float) -> "Sizes":
        """Take the sizes from a config.json."""
        layers, heads, groups = (
            int(config[f"num_{name}"]) for name in ("hidden_layers", "attention_heads", "key_value_heads")
        )
        return cls(layers, heads, groups, config["rope_theta"], config["rms_norm_eps"], rank, alpha)


class Network(nn.Module):
    """Runs right-padded prompts (B, T) to the logits of chosen positions.

    Its parameters are the updates alone, float32, by their PEFT names with `/` for `.`; the base is frozen.

    Args:
        base: a checkpoint's tensors; they are kept in `dtype`.
        seed: of the first A; B starts at zero, so that training starts from the base.
    """

    def __init__(self, base: dict[str, Tensor], sizes: Sizes, dtype: torch.dtype, seed: int = 0) -> None:
        super().__init__()
        self.sizes, self.dtype = sizes, dtype
        self.embedding = base["model.embed_tokens.weight"].to(dtype)
        self.head = base.get("lm_head.weight", base["model.embed_tokens.weight"]).to(dtype)
        self.norm = base["model.norm.weight"].float()
        self.layer = layer  # with gradients, whose shapes are few, a compiled one may stand here
        random = torch.Generator().manual_seed(seed)
        self.updates = nn.ParameterDict()
        self.layers: list[tuple[Tensor, ...]] = []
        for i in range(sizes.layers):
            at = f"model.layers.{i}."
            norms = [base[f"{at}{name}.weight"].float() for name in NORMS]
            groups = [[base[f"{at}{name}.weight"] for name in group] for group in TOGETHER]
            self.layers.append((*norms, *(torch.cat(group).to(dtype) for group in groups)))
            for group, weights in zip(TOGETHER, groups, strict=True):
                for name, weight in zip(group, weights, strict=True):
                    rows, columns = weight.shape
                    a = torch.randn(sizes.rank, columns, generator=random) * columns**-0.5
                    self.updates[key(f"{at}{name}.lora_A.weight")] = nn.Parameter(a)
                    self.updates[key(f"{at}{name}.lora_B.weight")] = nn.Parameter(
                        torch.zeros(rows, sizes.rank)
                    )

    def low_rank(self, i: int) -> list[Tensor]:
        """Return A (n r, in) and B (out, n r) of the four products of layer i, B scaled and in blocks."""
        scale, parts = self.sizes.alpha / self.sizes.rank, list[Tensor]()
        for group in TOGETHER:
            names = [key(f"model.layers.{i}.{name}.lora_") for name in group]
            b = torch.block_diag(*(self.updates[f"{name}B/weight"] for name in names))
            parts += [torch.cat([self.updates[f"{name}A/weight"] for name in names]), b * scale]
        return [part.to(self.dtype) for part in parts]

    def forward(self, ids: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Return float32 logits (M, vocab) at `ids[rows, positions]`, of what comes next.

        Padding on the right needs no mask: no token sees what comes after it.
        """
        x = F.embedding(ids, self.embedding)
        angles = rotary(ids.shape[1], self.embedding.shape[1] // self.sizes.heads, self.sizes.theta)
        cos, sin = (each.to(self.dtype) for each in angles)
        heads = self.sizes.heads, self.sizes.kv_heads
        run = self.layer if torch.is_grad_enabled() else layer
        for i, weights in enumerate(self.layers):
            x = run(x, cos, sin, heads, self.sizes.eps, *weights, *self.low_rank(i))
        x = rms_norm(x[rows, positions], self.norm, self.sizes.eps)
        return F.linear(x, self.head).float()

    def take(self, updates: dict[str, Tensor]) -> None:
        """Take updates by their PEFT names, of any type."""
        with torch.no_grad():
            for name, weight in self.updates.items():
                weight.copy_(updates[name.replace("/", ".")])

    def named(self) -> dict[str, Tensor]:
        """Return the updates by their PEFT names."""
        return {name.replace("/", "."): weight.detach() for name, weight in self.updates.items()}


def key(name: str) -> str:
    """Return a name that torch allows for a parameter."""
    return name.replace(".", "/")


def layer(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    heads: tuple[int, int],
    eps: float,
    first: Tensor,
    second: Tensor,
    qkv: Tensor,
    out: Tensor,
    gate_up: Tensor,
    down: Tensor,
    *low: Tensor,
) -> Tensor:
    """Return the layer's output (B, T, hidden); `low` are A and B of its four products."""
    b, t, hidden = x.shape
    d = hidden // heads[0]
    mixed = adapted(rms_norm(x, first, eps), qkv, low[0], low[1]).view(b, t, -1, d).transpose(1, 2)
    q, k, v = mixed.split([heads[0], heads[1], heads[1]], dim=1)
    each = heads[0] // heads[1]
    k, v = rotated(k, cos, sin).repeat_interleave(each, 1), v.repeat_interleave(each, 1)
    y = F.scaled_dot_product_attention(rotated(q, cos, sin), k, v, is_causal=True)
    x = x + adapted(y.transpose(1, 2).reshape(b, t, hidden), out, low[2], low[3])
    gate, up = adapted(rms_norm(x, second, eps), gate_up, low[4], low[5]).chunk(2, dim=-1)
    return x + adapted(F.silu(gate) * up, down, low[6], low[7])


def adapted(x: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return x (..., in) through the frozen weight and its update."""
    return F.linear(x, weight) + F.linear(F.linear(x, a), b)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Normalise in float32, return x's type."""
    wide = x.float()
    return (wide * (wide.square().mean(-1, keepdim=True) + eps).rsqrt() * weight).to(x.dtype)


def rotary(length: int, size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Return cos and sin (length, size / 2) of the positions."""
    rates = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), rates)
    return angles.cos().float(), angles.sin().float()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the halves of x (B, H, T, D) against each other."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)


def opened(base: Path) -> Network:
    """Return the base in a folder, in bfloat16, with updates that change nothing yet."""
    config = json.loads((base / "config.json").read_text())
    return Network(load_base(base), Sizes.of(config, RANK, ALPHA), torch.bfloat16)


def load_base(folder: Path) -> dict[str, Tensor]:
    """Read the base's tensors."""
    return load_file(folder / "model.safetensors")
