"""The MiniMax family: MiniMax-Text-01, MiniMax-M1, the text part of MiniMax-VL-01, and the -hf conversions.

Names and rules: the authors' modeling_minimax_text_01.py and modeling_minimax_m1.py (MiniMax-AI on the
Hugging Face hub) for the original format, transformers' models/minimax for the -hf format.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from longctx.errors import ModelError
from longctx.models.config import LayerSpec, ModelConfig, RopeSpec

LIGHTNING_NORM_EPS = 1e-6  # the class default of the authors' code; rms_norm_eps is not passed to it
END_OF_SENTENCE = 200020  # the published configurations name no end token
PUBLISHED_VOCABULARY = 200064

# Saved by transformers and recomputed here from the formula.
IGNORED = r"\.self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$|rotary_emb\.inv_freq$"

# Checkpoint name -> (our parameter, the view of it that has the checkpoint tensor's layout).
Target = tuple[str, Callable[[Tensor], Tensor]]


def translate(raw: Mapping[str, Any]) -> ModelConfig:
    """Turn a parsed config.json into a ModelConfig.

    Raises:
        ModelError: for a setting whose meaning is not certain; guessing would give wrong answers.
    """
    raw = raw.get("text_config") or raw
    original = "attn_type_list" in raw
    mixers = _mixers(raw, original)
    _refuse_unknown(raw)
    heads = int(raw["num_attention_heads"])
    head_dim = int(raw.get("head_dim") or raw["hidden_size"] // heads)
    slopes = original_slopes if original else hf_slopes
    alpha_beta = _alpha_beta_original if original else _alpha_beta_hf
    layers = []
    for index, mixer in enumerate(mixers):
        mixer_alpha, mixer_beta = alpha_beta(raw, "linear" if mixer == "lightning" else "full")
        mlp_alpha, mlp_beta = alpha_beta(raw, "mlp")
        decay = slopes(heads, index, len(mixers)) if mixer == "lightning" else ()
        layers.append(LayerSpec(mixer, decay, mixer_alpha, mixer_beta, mlp_alpha, mlp_beta))  # type: ignore[arg-type]  # mixer is one of the two literals
    return ModelConfig(
        vocab_size=int(raw["vocab_size"]),
        hidden_size=int(raw["hidden_size"]),
        n_heads=heads,
        n_kv_heads=int(raw.get("num_key_value_heads") or heads),
        head_dim=head_dim,
        intermediate_size=int(raw["intermediate_size"]),
        n_experts=int(raw["num_local_experts"]),
        n_experts_per_token=int(raw["num_experts_per_tok"]),
        norm_eps=float(raw.get("rms_norm_eps", 1e-5)),
        lightning_norm_eps=LIGHTNING_NORM_EPS,
        post_norm=bool(raw.get("postnorm", False)) if original else True,
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        rope=_rope(raw, head_dim),
        layers=tuple(layers),
        stop_ids=_stop_ids(raw),
        pointer_heads=tuple(int(h) for h in raw.get("pointer_heads", ())),
        stored_dtype=str(raw.get("dtype") or raw.get("torch_dtype") or "bfloat16"),
    )


def original_slopes(heads: int, layer: int, n_layers: int) -> tuple[float, ...]:
    """Return the decay rates of the authors' code: ALiBi slopes times a factor that falls with depth."""

    def power_of_two(n: int) -> list[float]:
        return [2.0 ** (-8.0 * (h + 1) / n) for h in range(n)]

    below = 2 ** math.floor(math.log2(heads))
    base = power_of_two(below)
    if below != heads:
        base += power_of_two(2 * below)[0::2][: heads - below]
    factor = 1 - layer / (n_layers - 1) + 1e-5 if n_layers > 1 else 1 + 1e-5
    return tuple(slope * factor for slope in base)


def hf_slopes(heads: int, layer: int, n_layers: int) -> tuple[float, ...]:
    """Return the decay rates of transformers' MiniMax."""
    factor = 1 - layer / (n_layers - 1 + 1e-5) + 1e-5
    return tuple(2.0 ** (-8.0 * (h + 1) / heads) * factor for h in range(heads))


def weight_map(config: ModelConfig) -> dict[str, Target]:
    """Return where each tensor of a checkpoint goes; the key set is exactly what must be in the file."""

    def whole(name: str) -> Target:
        return name, lambda p: p

    targets = {
        "model.embed_tokens.weight": whole("embed.weight"),
        "model.norm.weight": whole("norm.weight"),
    }
    if not config.tied_embeddings:
        targets["lm_head.weight"] = whole("head.weight")
    for index, layer in enumerate(config.layers):
        theirs, ours = f"model.layers.{index}", f"layers.{index}"
        targets[f"{theirs}.input_layernorm.weight"] = whole(f"{ours}.mixer_norm.weight")
        targets[f"{theirs}.post_attention_layernorm.weight"] = whole(f"{ours}.mlp_norm.weight")
        if layer.mixer == "lightning":
            targets[f"{theirs}.self_attn.qkv_proj.weight"] = (
                f"{ours}.mixer.qkv.weight",
                lambda p: _by_head(p, config),
            )
            for theirs_name, our_name in (("output_gate", "gate"), ("norm", "norm"), ("out_proj", "out")):
                targets[f"{theirs}.self_attn.{theirs_name}.weight"] = whole(f"{ours}.mixer.{our_name}.weight")
        else:
            for letter, our_name in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "out")):
                targets[f"{theirs}.self_attn.{letter}_proj.weight"] = whole(f"{ours}.mixer.{our_name}.weight")
        targets |= _expert_targets(f"{theirs}.block_sparse_moe", f"{ours}.experts", config)
    return targets


def _expert_targets(theirs: str, ours: str, config: ModelConfig) -> dict[str, Target]:
    targets: dict[str, Target] = {f"{theirs}.gate.weight": (f"{ours}.router.weight", lambda p: p)}
    for e in range(config.n_experts):
        for name in ("w1", "w2", "w3"):
            targets[f"{theirs}.experts.{e}.{name}.weight"] = (f"{ours}.{name}.weight", lambda p, e=e: p[e])  # type: ignore[misc]  # mypy cannot type a bound default
    return targets


def _by_head(parameter: Tensor, config: ModelConfig) -> Tensor:
    """View our rows (q/k/v, head, channel) in the checkpoint's order (head, q/k/v, channel)."""
    return parameter.view(3, config.n_heads, config.head_dim, -1).transpose(0, 1)


def _mixers(raw: Mapping[str, Any], original: bool) -> list[str]:
    key = "attn_type_list" if original else "layer_types"
    names = {0: "lightning", 1: "softmax", "linear_attention": "lightning", "full_attention": "softmax"}
    kinds = raw.get(key)
    if (
        not isinstance(kinds, list)
        or len(kinds) != raw["num_hidden_layers"]
        or any(k not in names for k in kinds)
    ):
        raise ModelError(
            f"config.json: {key} must list the kind of each of the {raw['num_hidden_layers']} layers"
        )
    return [names[k] for k in kinds]


def _alpha_beta_original(raw: Mapping[str, Any], part: str) -> tuple[float, float]:
    prefix = "layernorm_mlp" if part == "mlp" else f"layernorm_{part}_attention"
    return float(raw.get(f"{prefix}_alpha", 1)), float(raw.get(f"{prefix}_beta", 1))


def _alpha_beta_hf(raw: Mapping[str, Any], part: str) -> tuple[float, float]:
    prefix = "mlp" if part == "mlp" else f"{part}_attn"
    return float(raw.get(f"{prefix}_alpha_factor", 1)), float(raw.get(f"{prefix}_beta_factor", 1))


def _rope(raw: Mapping[str, Any], head_dim: int) -> RopeSpec:
    parameters = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in ("default", "linear"):
        raise ModelError(f"config.json: rope_type {kind!r} is not known for MiniMax models")
    theta = parameters.get("rope_theta", raw.get("rope_theta", 10000.0))
    fraction = parameters.get("partial_rotary_factor", raw.get("partial_rotary_factor", 1.0))
    rotary_dim = int(raw.get("rotary_dim") or head_dim * fraction)
    if rotary_dim % 2 or not 0 < rotary_dim <= head_dim:
        raise ModelError(f"config.json: rotary_dim {rotary_dim} must be even and at most head_dim {head_dim}")
    return RopeSpec(
        float(theta), rotary_dim, float(parameters.get("factor", 1.0)) if kind == "linear" else 1.0
    )


def _stop_ids(raw: Mapping[str, Any]) -> tuple[int, ...]:
    ids = raw.get("eos_token_id")
    if ids is None:
        return (END_OF_SENTENCE,) if raw["vocab_size"] == PUBLISHED_VOCABULARY else ()
    return tuple(ids) if isinstance(ids, list) else (int(ids),)


def _refuse_unknown(raw: Mapping[str, Any]) -> None:
    shared = raw.get("shared_intermediate_size") or 0
    if any(shared) if isinstance(shared, list) else shared:
        raise ModelError("config.json: shared experts are not supported: implementations of them disagree")
    if raw.get("hidden_act", "silu") != "silu":
        raise ModelError(f"config.json: hidden_act {raw['hidden_act']!r} is not supported (only silu)")
    if raw.get("sliding_window") is not None:
        raise ModelError("config.json: sliding_window is not supported for MiniMax models")
    if raw.get("quantization_config"):
        raise ModelError("config.json: quantised checkpoints are not supported; use the bfloat16 release")
