"""The whole decoder written once more, token by token in float64, straight from the equations.

Shares no code with the model under test: it reads checkpoint tensors by their checkpoint names.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def naive_logits(config: dict[str, Any], weights: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Return logits (T, V) float64 of tokens (T,)."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    original = "attn_type_list" in config
    eps = config["rms_norm_eps"]
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}"
        linear = (
            config["attn_type_list"][layer] == 0 if original else "linear" in config["layer_types"][layer]
        )
        n1 = _norm(x, w[f"{p}.input_layernorm.weight"], eps)
        mixed = (_lightning if linear else _softmax)(config, w, f"{p}.self_attn", n1, layer)
        alpha, beta = _factors(config, "linear" if linear else "full")
        pre = config.get("postnorm") is False
        h = alpha * (x if pre else n1) + beta * mixed
        n2 = _norm(h, w[f"{p}.post_attention_layernorm.weight"], eps)
        alpha, beta = _factors(config, "mlp")
        x = alpha * (h if pre else n2) + beta * _experts(config, w, f"{p}.block_sparse_moe", n2)
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return _norm(x, w["model.norm.weight"], eps) @ head.T


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)


def _factors(config: dict[str, Any], part: str) -> tuple[float, float]:
    if "attn_type_list" in config:
        name = "layernorm_mlp" if part == "mlp" else f"layernorm_{part}_attention"
        return config[f"{name}_alpha"], config[f"{name}_beta"]
    name = "mlp" if part == "mlp" else f"{part}_attn"
    return config[f"{name}_alpha_factor"], config[f"{name}_beta_factor"]


def _slope(config: dict[str, Any], head: int, layer: int) -> float:
    n: int
    layers: int
    n, layers = config["num_attention_heads"], config["num_hidden_layers"]
    if "attn_type_list" not in config:
        return 2 ** (-8 * (head + 1) / n) * (1 - layer / (layers - 1 + 1e-5) + 1e-5)
    below = 1 << (n.bit_length() - 1)
    base = (
        2 ** (-8 * (head + 1) / below) if head < below else 2 ** (-8 * (2 * (head - below) + 1) / (2 * below))
    )
    return base * (1 - layer / (layers - 1) + 1e-5)


def _lightning(config: dict[str, Any], w: dict[str, Tensor], p: str, x: Tensor, layer: int) -> Tensor:
    heads, dim = config["num_attention_heads"], config["head_dim"]
    qkv = F.silu(x @ w[f"{p}.qkv_proj.weight"].T).view(-1, heads, 3, dim)
    outputs = torch.zeros(len(x), heads, dim, dtype=torch.float64)
    for head in range(heads):
        keep, state = math.exp(-_slope(config, head, layer)), torch.zeros(dim, dim, dtype=torch.float64)
        for t in range(len(x)):
            q, k, v = qkv[t, head]
            state = keep * state + torch.outer(k, v)
            outputs[t, head] = q @ state
    normed = _norm(outputs.flatten(1), w[f"{p}.norm.weight"], 1e-6)
    return (torch.sigmoid(x @ w[f"{p}.output_gate.weight"].T) * normed) @ w[f"{p}.out_proj.weight"].T


def _softmax(config: dict[str, Any], w: dict[str, Tensor], p: str, x: Tensor, layer: int) -> Tensor:
    heads, kv_heads, dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    q = _rotate(config, (x @ w[f"{p}.q_proj.weight"].T).view(-1, heads, dim))
    k = _rotate(config, (x @ w[f"{p}.k_proj.weight"].T).view(-1, kv_heads, dim))
    v = (x @ w[f"{p}.v_proj.weight"].T).view(-1, kv_heads, dim)
    outputs = torch.zeros_like(q)
    for head in range(heads):
        kv_head = head * kv_heads // heads
        for t in range(len(x)):
            scores = k[: t + 1, kv_head] @ q[t, head] / math.sqrt(dim)
            outputs[t, head] = torch.softmax(scores, 0) @ v[: t + 1, kv_head]
    return outputs.flatten(1) @ w[f"{p}.o_proj.weight"].T


def _rotate(config: dict[str, Any], x: Tensor) -> Tensor:
    rope = config.get("rope_parameters", {})
    theta = rope.get("rope_theta", config.get("rope_theta"))
    turned = config.get("rotary_dim", config["head_dim"])
    x = x.clone()
    for t in range(len(x)):
        for i in range(turned // 2):
            angle = t / rope.get("factor", 1.0) * theta ** (-2 * i / turned)
            a, b = x[t, :, i].clone(), x[t, :, i + turned // 2].clone()
            x[t, :, i] = a * math.cos(angle) - b * math.sin(angle)
            x[t, :, i + turned // 2] = b * math.cos(angle) + a * math.sin(angle)
    return x


def _experts(config: dict[str, Any], w: dict[str, Tensor], p: str, x: Tensor) -> Tensor:
    result = torch.zeros_like(x)
    router = w.get(f"{p}.gate.weight", torch.zeros(1, x.shape[1], dtype=torch.float64))  # of one expert, none
    for t, row in enumerate(x):
        probabilities = torch.softmax(router @ row, 0)
        best = probabilities.topk(config["num_experts_per_tok"])
        for share, e in zip(best.values / best.values.sum(), best.indices.tolist(), strict=True):
            inner = F.silu(w[f"{p}.experts.{e}.w1.weight"] @ row) * (w[f"{p}.experts.{e}.w3.weight"] @ row)
            result[t] += share * (w[f"{p}.experts.{e}.w2.weight"] @ inner)
    return result
