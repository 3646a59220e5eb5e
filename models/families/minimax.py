"""The MiniMax family: MiniMax-Text-01, MiniMax-M1, the text part of MiniMax-VL-01, and the -hf conversions.

Names and rules: the authors' modeling_minimax_text_01.py and modeling_minimax_m1.py (MiniMax-AI on the
Hugging Face hub) for the original format, transformers' models/minimax for the -hf format.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from longctx.errors import ModelError
from longctx.models.config import ExpertsSpec, LayerSpec, LightningSpec, ModelConfig, RopeSpec, SoftmaxSpec
from longctx.models.target import Target

if TYPE_CHECKING:
    from torch import Tensor

LIGHTNING_NORM_EPS = 1e-6  # the class default of the authors' code; rms_norm_eps is not passed to it
END_OF_SENTENCE = 200020  # the published configurations name no end token
PUBLISHED_VOCABULARY = 200064

# Saved by transformers and recomputed here from the formula.
IGNORED = r"\.self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$|rotary_emb\.inv_freq$"


def translate(raw: Mapping[str, Any]) -> ModelConfig:
    """Turn a parsed config.json into a ModelConfig.

    Raises:
        ModelError: for a setting of uncertain meaning; a guess would give wrong answers.
    """
    raw = raw.get("text_config") or raw
    _refuse_unknown(raw)
    original = "attn_type_list" in raw
    experts = ExpertsSpec(
        int(raw["intermediate_size"]), int(raw["num_local_experts"]), int(raw["num_experts_per_tok"])
    )
    return ModelConfig(
        family="minimax",
        vocab_size=int(raw["vocab_size"]),
        hidden_size=int(raw["hidden_size"]),
        norm_eps=float(raw.get("rms_norm_eps", 1e-5)),
        post_norm=bool(raw.get("postnorm", False)) if original else True,
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        layers=tuple(
            LayerSpec(mixer, experts, *_residuals(raw, original, mixer)) for mixer in _mixers(raw, original)
        ),
        stop_ids=_stop_ids(raw),
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


def weight_map(config: ModelConfig) -> list[Target]:
    """Return the sources of each weight: exactly the tensors that the files must hold."""
    targets = [
        Target("embed", ("model.embed_tokens.weight",)),
        Target("norm", ("model.norm.weight",)),
    ]
    if not config.tied_embeddings:
        targets.append(Target("head", ("lm_head.weight",)))
    for index, layer in enumerate(config.layers):
        theirs, ours = f"model.layers.{index}", f"layers.{index}"
        names = {"mixer_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
        if isinstance(layer.mixer, LightningSpec):
            split = _by_kind(layer.mixer)
            targets.append(Target(f"{ours}.mixer.qkv", (f"{theirs}.self_attn.qkv_proj.weight",), join=split))
            names |= {"mixer.gate": "self_attn.output_gate", "mixer.norm": "self_attn.norm"}
            names |= {"mixer.out": "self_attn.out_proj"}
        else:
            names |= {f"mixer.{x}": f"self_attn.{x}_proj" for x in "qkv"} | {"mixer.out": "self_attn.o_proj"}
        names["mlp.router"] = "block_sparse_moe.gate"
        targets += [Target(f"{ours}.{our}", (f"{theirs}.{their}.weight",)) for our, their in names.items()]
        experts: ExpertsSpec = layer.feedforward  # type: ignore[assignment]  # as translated
        targets += [
            Target(f"{ours}.mlp.{w}", (f"{theirs}.block_sparse_moe.experts.{e}.{w}.weight",), member=e)
            for w in ("w1", "w2", "w3")
            for e in range(experts.n_experts)
        ]
    return targets


def _by_kind(spec: LightningSpec) -> "Callable[[Sequence[Tensor]], Tensor]":
    """Put the checkpoint's rows (head, q/k/v, channel) in our order (q/k/v, head, channel)."""

    def split(sources: "Sequence[Tensor]") -> "Tensor":
        rows = sources[0].view(spec.n_heads, 3, spec.head_dim, -1)
        return rows.transpose(0, 1).reshape(sources[0].shape)

    return split


def _mixers(raw: Mapping[str, Any], original: bool) -> list[LightningSpec | SoftmaxSpec]:
    key = "attn_type_list" if original else "layer_types"
    kinds, count = raw.get(key), raw["num_hidden_layers"]
    names = {0: "lightning", 1: "softmax", "linear_attention": "lightning", "full_attention": "softmax"}
    if not isinstance(kinds, list) or len(kinds) != count or any(k not in names for k in kinds):
        raise ModelError(f"config.json: {key} must list the kind of each of the {count} layers")
    heads = int(raw["num_attention_heads"])
    kv_heads = int(raw.get("num_key_value_heads") or heads)
    head_dim = int(raw.get("head_dim") or raw["hidden_size"] // heads)
    slopes, rope = original_slopes if original else hf_slopes, _rope(raw, head_dim)
    last = max((i for i, kind in enumerate(kinds) if names[kind] == "softmax"), default=-1)
    pointers = tuple(int(h) for h in raw.get("pointer_heads", ()))
    return [
        LightningSpec(heads, head_dim, slopes(heads, i, len(kinds)), LIGHTNING_NORM_EPS)
        if names[kind] == "lightning"
        else SoftmaxSpec(heads, kv_heads, head_dim, rope, pointers if i == last else ())
        for i, kind in enumerate(kinds)
    ]


def _residuals(raw: Mapping[str, Any], original: bool, mixer: LightningSpec | SoftmaxSpec) -> list[float]:
    """Return alpha and beta of both residuals of a layer."""
    kind = "linear" if isinstance(mixer, LightningSpec) else "full"
    if original:
        keys = [f"layernorm_{part}_{x}" for part in (f"{kind}_attention", "mlp") for x in ("alpha", "beta")]
    else:
        keys = [f"{part}_{x}_factor" for part in (f"{kind}_attn", "mlp") for x in ("alpha", "beta")]
    return [float(raw.get(key, 1)) for key in keys]


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
