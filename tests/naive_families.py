"""The decoders of more families written once more, in float64, straight from their equations.

They share no code with the models under test: they read checkpoint tensors by their checkpoint names.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def norm(x: Tensor, weight: Tensor | float = 1.0, eps: float = 1e-6) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def turned(x: Tensor, frequencies: list[float], interleaved: bool = False, scale: float = 1.0) -> Tensor:
    """Turn (T, H, D) by position: channels i and i + n, or 2i and 2i + 1."""
    x, n = x.clone(), len(frequencies)
    for t in range(len(x)):
        for i, f in enumerate(frequencies):
            one, two = (2 * i, 2 * i + 1) if interleaved else (i, i + n)
            a, b = x[t, :, one].clone(), x[t, :, two].clone()
            x[t, :, one] = scale * (a * math.cos(t * f) - b * math.sin(t * f))
            x[t, :, two] = scale * (b * math.cos(t * f) + a * math.sin(t * f))
    return x


def plain(theta: float, width: int) -> list[float]:
    return [theta ** (-2 * i / width) for i in range(width // 2)]


def slopes(heads: int) -> list[float]:
    below = 2 ** math.floor(math.log2(heads))
    more = [2 ** (-8 * (h + 1) / (2 * below)) for h in range(0, 2 * below, 2)]
    return [2 ** (-8 * (h + 1) / below) for h in range(below)] + more[: heads - below]


def recurrence(q: Tensor, k: Tensor, v: Tensor, rates: list[float]) -> Tensor:
    """Return (T, H Dv) of (T, H, D): S = exp(-s) S + k^T v, o = q S; heads of k and v are shared."""
    out = torch.zeros(len(q), q.shape[1], v.shape[2], dtype=torch.float64)
    for h, rate in enumerate(rates):
        state, shared = torch.zeros(q.shape[2], v.shape[2], dtype=torch.float64), h * k.shape[1] // q.shape[1]
        for t in range(len(q)):
            state = math.exp(-rate) * state + torch.outer(k[t, shared], v[t, shared])
            out[t, h] = q[t, h] @ state
    return out.flatten(1)


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float, seen: Tensor | None = None) -> Tensor:
    """Return (T, H Dv) of causal softmax attention; seen (Hkv, T, T) says what else is hidden."""
    out = torch.zeros(len(q), q.shape[1], v.shape[2], dtype=torch.float64)
    for h in range(q.shape[1]):
        shared = h * k.shape[1] // q.shape[1]
        for t in range(len(q)):
            scores = k[: t + 1, shared] @ q[t, h] * scale
            if seen is not None:
                scores = scores.masked_fill(~seen[shared, t, : t + 1], -math.inf)
            out[t, h] = scores.softmax(0) @ v[: t + 1, shared]
    return out.flatten(1)


def swiglu(w: Weights, p: str, x: Tensor) -> Tensor:
    return (F.silu(x @ w[f"{p}.gate_proj.weight"].T) * (x @ w[f"{p}.up_proj.weight"].T)) @ w[
        f"{p}.down_proj.weight"
    ].T


def naive_family(raw: dict[str, Any], weights: Weights, tokens: Tensor) -> Tensor:
    """Return logits (T, V) float64."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    mixers = {"transnormer": _transnormer, "llama": _llama, "hypenet": _hypenet, "minicpm_sala": _sala}
    kind = raw["model_type"]
    if kind == "transnormer":
        return _transnormer_logits(raw, w, tokens)
    mixer, eps = mixers.get(kind, _bailing), raw["rms_norm_eps"]
    branch = raw["scale_depth"] / math.sqrt(raw["num_hidden_layers"]) if kind == "minicpm_sala" else 1.0
    embedding = w.get("model.embed_tokens.weight", w.get("model.word_embeddings.weight"))
    assert embedding is not None
    x = embedding[tokens] * raw.get("scale_emb", 1)
    for i in range(raw["num_hidden_layers"]):
        p = f"model.layers.{i}"
        x = x + branch * mixer(raw, w, p, i, norm(x, w[f"{p}.input_layernorm.weight"], eps))
        h = norm(x, w[f"{p}.post_attention_layernorm.weight"], eps)
        x = x + branch * (
            _experts(raw, w, f"{p}.mlp", h) if f"{p}.mlp.gate.weight" in w else swiglu(w, f"{p}.mlp", h)
        )
    x = norm(x, w["model.norm.weight"], eps)
    if kind == "minicpm_sala":
        x = x / (raw["hidden_size"] / raw["dim_model_base"])
    logits: Tensor = x @ w.get("lm_head.weight", embedding).T
    return logits


def _heads(x: Tensor, weight: Tensor, dim: int) -> Tensor:
    return (x @ weight.T).view(len(x), -1, dim)


def _qkv(w: Weights, p: str, x: Tensor, dim: int) -> list[Tensor]:
    return [_heads(x, w[f"{p}.self_attn.{name}_proj.weight"], dim) for name in "qkv"]


def _transnormer(raw: dict[str, Any], w: Weights, p: str, i: int, x: Tensor) -> Tensor:
    width, heads = raw["decoder_embed_dim"], raw["decoder_attention_heads"]
    q, k, v, u = (x @ w[f"{p}.token_mixer.qkvu_proj.weight"].T).split(width, dim=-1)
    act = F.silu if raw["linear_act_fun"] in ("silu", "swish") else (lambda y: y)
    q, k, v = (y.view(len(x), heads, -1) for y in (act(q), act(k), v))
    if raw["linear_use_lrpe_list"][i]:
        theta = w[f"{p}.token_mixer.lrpe.theta"][:, 0]
        at = torch.arange(len(x), dtype=torch.float64)[:, None, None] * theta
        q, k = (torch.cat((y * at.cos(), y * at.sin()), -1) for y in (q, k))
    factor = 1 - i / (raw["decoder_layers"] - 1) + 1e-5
    mixed = recurrence(q, k, v, [s * factor for s in slopes(heads)])
    out: Tensor = (norm(mixed) * u) @ w[f"{p}.token_mixer.out_proj.weight"].T
    return out


def _transnormer_logits(raw: dict[str, Any], w: Weights, tokens: Tensor) -> Tensor:
    scale = 1 if raw["no_scale_embedding"] else math.sqrt(raw["decoder_embed_dim"])
    x = w["model.embed_tokens.weight"][tokens] * scale
    for i in range(raw["decoder_layers"]):
        p = f"model.layers.{i}"
        x = x + _transnormer(raw, w, p, i, norm(x))
        l1, l2, l3 = (w[f"{p}.channel_mixer.l{n}.weight"] for n in (1, 2, 3))
        x = x + ((norm(x) @ l1.T) * (norm(x) @ l2.T)) @ l3.T
    return norm(x) @ w["lm_head.weight"].T


def _llama(raw: dict[str, Any], w: Weights, p: str, i: int, x: Tensor) -> Tensor:
    dim = raw["hidden_size"] // raw["num_attention_heads"]
    q, k, v = _qkv(w, p, x, dim)
    q, k = (turned(y, plain(raw["rope_theta"], dim)) for y in (q, k))
    return attention(q, k, v, dim**-0.5) @ w[f"{p}.self_attn.o_proj.weight"].T


def _lightning(raw: dict[str, Any], w: Weights, p: str, x: Tensor) -> Tensor:
    a, dim = f"{p}.self_attn", raw["lightning_head_dim"]
    q, k, v = _qkv(w, p, x, dim)
    q, k = (norm(y, w[f"{a}.{n}_norm.weight"], raw["rms_norm_eps"]) for y, n in ((q, "q"), (k, "k")))
    q, k = (turned(y, plain(raw["rope_theta"], dim)) for y in (q, k))
    mixed = norm(
        recurrence(q * dim**-0.5, k, v, slopes(q.shape[1])), w[f"{a}.o_norm.weight"], raw["rms_norm_eps"]
    )
    return (mixed * torch.sigmoid(x @ w[f"{a}.z_proj.weight"].T)) @ w[f"{a}.o_proj.weight"].T


def _hypenet(raw: dict[str, Any], w: Weights, p: str, i: int, x: Tensor) -> Tensor:
    if raw["mixer_types"][i] != "attn":
        return _lightning(raw, w, p, x)
    a, dim = f"{p}.self_attn", raw["head_dim"]
    q, k, v = _qkv(w, p, x, dim)
    q, k = (norm(y, w[f"{a}.{n}_norm.weight"], raw["rms_norm_eps"]) for y, n in ((q, "q"), (k, "k")))
    if raw["attn_logits_scaling"]:
        base = float(raw["attn_logits_scaling"].split()[1])
        at = torch.arange(len(x), dtype=torch.float64)[:, None, None]
        q = q * torch.log(at + base) / math.log(base)
    mixed = attention(q, k, v, dim**-0.5) * torch.sigmoid(x @ w[f"{a}.o_gate.weight"].T)
    return mixed @ w[f"{a}.o_proj.weight"].T


def _sala(raw: dict[str, Any], w: Weights, p: str, i: int, x: Tensor) -> Tensor:
    if raw["mixer_types"][i] != "minicpm4":
        return _lightning(raw, w, p, x)
    a, dim = f"{p}.self_attn", raw["head_dim"]
    q, k, v = _qkv(w, p, x, dim)
    seen = _blocks(raw["sparse_config"], q, k) if len(x) >= raw["sparse_config"]["dense_len"] else None
    mixed = attention(q, k, v, dim**-0.5, seen) * torch.sigmoid(x @ w[f"{a}.o_gate.weight"].T)
    return mixed @ w[f"{a}.o_proj.weight"].T


def _blocks(sparse: dict[str, Any], q: Tensor, k: Tensor) -> Tensor:
    """Return what each KV head and query sees of the tokens, (Hkv, T, T) bool, window by window."""
    size, hop, block = sparse["kernel_size"], sparse["kernel_stride"], sparse["block_size"]
    length, groups = len(q), q.shape[1] // k.shape[1]
    seen = torch.zeros(k.shape[1], length, length, dtype=torch.bool)
    for g in range(k.shape[1]):
        short = [k[j : j + size, g].mean(0) for j in range(0, length - size + 1, hop)]
        long = [k[j : j + 4 * size, g].mean(0) for j in range(0, length - 4 * size + 1, 4 * hop)]
        for t in range(length):
            worth = [0.0] * len(short)
            near = [m for j, m in enumerate(long) if 4 * hop * j + 4 * size - 1 <= t]
            for h in range(g * groups, (g + 1) * groups) if near else ():
                total = torch.stack([m @ q[t, h] for m in near]).mul(q.shape[2] ** -0.5).logsumexp(0)
                for j, m in enumerate(short):
                    if hop * j + size - 1 <= t:
                        worth[j] += float(torch.exp(m @ q[t, h] * q.shape[2] ** -0.5 - total))
            own, scores = t // block, {}
            for b in range(own + 1):
                inside = [
                    worth[j]
                    for j in range(len(short))
                    if hop * j < (b + 1) * block and hop * j + size > b * block
                ]
                forced = b < sparse["init_blocks"] or b >= own - sparse["window_size"] // block
                scores[b] = math.inf if forced else max(inside, default=0.0)
            count = sparse["topk"] + sparse["window_size"] // block
            for b in sorted(scores, key=lambda b: (-scores[b], b))[:count]:
                seen[g, t, b * block : (b + 1) * block] = True
    return seen


def _bailing(raw: dict[str, Any], w: Weights, p: str, i: int, x: Tensor) -> Tensor:
    a, dim, heads, eps = f"{p}.attention", raw["head_dim"], raw["num_attention_heads"], raw["rms_norm_eps"]
    rotary = plain(raw["rope_theta"], int(dim * raw["partial_rotary_factor"]))
    if f"{a}.kv_b_proj.weight" in w:
        return _latent(raw, w, a, x)
    shared = heads if f"{a}.g_proj.weight" in w else raw["num_key_value_heads"]
    rows = _heads(x, w[f"{a}.query_key_value.weight"], dim)
    q, k, v = rows.split([heads, shared, shared], dim=1)
    q, k = norm(q, w[f"{a}.query_layernorm.weight"], eps), norm(k, w[f"{a}.key_layernorm.weight"], eps)
    q, k = turned(q, rotary), turned(k, rotary)
    if f"{a}.g_proj.weight" not in w:
        return attention(q, k, v, dim**-0.5) @ w[f"{a}.dense.weight"].T
    factor = 1 - i / (raw["num_hidden_layers"] - 1) + 1e-5
    mixed = recurrence(q * dim**-0.5, k, v, [s * factor for s in slopes(heads)])
    mixed = (
        norm(mixed.unflatten(-1, (raw["group_norm_size"], -1)), 1.0, eps).flatten(1) * w[f"{a}.g_norm.weight"]
    )
    return (mixed * torch.sigmoid(x @ w[f"{a}.g_proj.weight"].T)) @ w[f"{a}.dense.weight"].T


def _latent(raw: dict[str, Any], w: Weights, a: str, x: Tensor) -> Tensor:
    """Keys and values of all heads are formed here, as the equations have it."""
    heads, eps = raw["num_attention_heads"], raw["rms_norm_eps"]
    n, r, d = raw["qk_nope_head_dim"], raw["qk_rope_head_dim"], raw["v_head_dim"]
    inner = norm(x @ w[f"{a}.q_a_proj.weight"].T, w[f"{a}.q_a_layernorm.weight"], eps)
    q = _heads(inner, w[f"{a}.q_b_proj.weight"], n + r)
    latent, shared = (x @ w[f"{a}.kv_a_proj_with_mqa.weight"].T).split([raw["kv_lora_rank"], r], dim=-1)
    kv = _heads(norm(latent, w[f"{a}.kv_a_layernorm.weight"], eps), w[f"{a}.kv_b_proj.weight"], n + d)
    rotary = plain(raw["rope_theta"], r)
    q = torch.cat((q[..., :n], turned(q[..., n:], rotary, interleaved=True)), -1)
    key = turned(shared[:, None], rotary, interleaved=True).expand(-1, heads, -1)
    mixed = attention(q, torch.cat((kv[..., :n], key), -1), kv[..., n:], (n + r) ** -0.5)
    return mixed @ w[f"{a}.dense.weight"].T


def _experts(raw: dict[str, Any], w: Weights, p: str, x: Tensor) -> Tensor:
    result = swiglu(w, f"{p}.shared_experts", x)
    size = raw["num_experts"] // raw["n_group"]
    for t, row in enumerate(x):
        scores = torch.sigmoid(w[f"{p}.gate.weight"] @ row)
        choice = scores + w[f"{p}.gate.expert_bias"]
        worth = [float(choice[g * size : (g + 1) * size].topk(2).values.sum()) for g in range(raw["n_group"])]
        best = sorted(range(raw["n_group"]), key=lambda g: -worth[g])[: raw["topk_group"]]
        open_ = [e for e in range(raw["num_experts"]) if e // size in best]
        chosen = sorted(open_, key=lambda e: -float(choice[e]))[: raw["num_experts_per_tok"]]
        total = sum(float(scores[e]) for e in chosen) + 1e-20
        for e in chosen:
            share = float(scores[e]) / total * raw["routed_scaling_factor"]
            result[t] += share * swiglu(w, f"{p}.experts.{e}", row[None])[0]
    return result
