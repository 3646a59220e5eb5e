"""The sizes of the model that is trained, its configuration, and its weights by their checkpoint names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

END_ID = 0
CONTEXT = 10_485_760
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; heads are hidden / heads wide."""

    hidden: int
    mixers: str  # of every layer, L for lightning and S for softmax attention
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    alpha: float  # factor on the residual stream
    pointers: int  # heads 0 .. pointers-1 of a softmax layer that comes last are supervised
    theta: float  # base of the rotary positions in softmax layers; 0 for none

    def __post_init__(self) -> None:
        if set(self.mixers) - {"L", "S"}:
            raise ValueError(f"mixers {self.mixers!r}: each must be L (lightning) or S (softmax)")

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.mixers)

    @property
    def width(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads


def config(shape: Shape) -> dict[str, Any]:
    """Describe the model in the words of transformers' MiniMax; the huge factor switches positions off."""
    kinds = [{"L": "linear_attention", "S": "full_attention"}[mixer] for mixer in shape.mixers]
    rope = {"rope_type": "default", "rope_theta": shape.theta}
    if not shape.theta:
        rope = {"rope_type": "linear", "factor": 1e12, "rope_theta": 10000.0}
    residual = {"alpha": shape.alpha, "beta": 1.0}
    alphas = {
        f"{part}_{kind}_factor": value
        for part in ("linear_attn", "full_attn", "mlp")
        for kind, value in residual.items()
    }
    return {
        "architectures": ["MiniMaxForCausalLM"],
        "model_type": "minimax",
        "dtype": "float32",
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.width,
        "layer_types": kinds,
        "num_local_experts": 1,
        "num_experts_per_tok": 1,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_parameters": rope,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "block_size": 256,
        **alphas,
        "bos_token_id": None,
        "eos_token_id": END_ID,
        "pad_token_id": None,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "sliding_window": None,
        "use_cache": True,
        "pointer_heads": list(range(shape.pointers)) if shape.mixers.endswith("S") else [],
    }


def names(shape: Shape) -> dict[str, tuple[int, ...]]:
    """List every trained tensor by checkpoint name, with its size."""
    d, kv = shape.hidden, shape.kv_heads * shape.width
    table: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocab, d),
        "model.norm.weight": (d,),
    }
    for layer, mixer_kind in enumerate(shape.mixers):
        at = f"model.layers.{layer}"
        table |= {f"{at}.input_layernorm.weight": (d,), f"{at}.post_attention_layernorm.weight": (d,)}
        if mixer_kind == "L":
            mixer = {"qkv_proj": (3 * d, d), "output_gate": (d, d), "norm": (d,), "out_proj": (d, d)}
        else:
            mixer = {"q_proj": (d, d), "k_proj": (kv, d), "v_proj": (kv, d), "o_proj": (d, d)}
        table |= {f"{at}.self_attn.{name}.weight": size for name, size in mixer.items()}
        expert = {"w1": (shape.ffn, d), "w3": (shape.ffn, d), "w2": (d, shape.ffn)}
        table |= {f"{at}.block_sparse_moe.experts.0.{name}.weight": size for name, size in expert.items()}
    return table


def new_weights(shape: Shape, seed: int) -> Weights:
    """Draw the first weights: ones for norms, a small embedding, matrices that keep their input's size."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for name, size in names(shape).items():
        if len(size) == 1:
            weights[name] = torch.ones(size)
        else:
            spread = 0.02 if "embed" in name else size[1] ** -0.5
            weights[name] = torch.randn(size, generator=generator) * spread
        weights[name].requires_grad_()
    return weights


def averaged(runs: Sequence[Weights]) -> Weights:
    """Average the weights of models of one shape."""
    return {name: torch.stack([weights[name] for weights in runs]).mean(0) for name in runs[0]}


def grown(weights: Weights, shape: Shape) -> Weights:
    """Give the weights of a smaller model the sizes of `shape` without changing what they compute.

    More key and value heads begin as copies of those that their queries used. New feed-forward channels begin
    with nothing to say: their way out is zero. What is new is drawn alike every time, so that the mean of two
    runs that began so means something.

    Raises:
        ValueError: when anything else differs.
    """
    fresh = new_weights(shape, seed=0)
    for name, weight in fresh.items():
        old, new = weights[name], weight.detach()
        if old.shape == new.shape:
            new = old
        elif name.endswith(("k_proj.weight", "v_proj.weight")) and new.shape[0] % old.shape[0] == 0:
            heads = old.view(-1, shape.width, shape.hidden)
            new = heads.repeat_interleave(new.shape[0] // old.shape[0], dim=0).reshape(new.shape)
        elif name.endswith((".w1.weight", ".w3.weight")):
            new[: old.shape[0]] = old
        elif name.endswith(".w2.weight"):
            new.zero_()[:, : old.shape[1]] = old
        else:
            raise ValueError(f"{name}: {list(old.shape)} cannot grow to {list(new.shape)}")
        fresh[name] = new
    return fresh
