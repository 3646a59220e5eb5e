"""The MiniMax family: MiniMax-Text-01, MiniMax-M1, the text part of MiniMax-VL-01, and the -hf conversions.

Names and rules: the authors' modeling_minimax_text_01.py and modeling_minimax_m1.py (MiniMax-AI on the
Hugging Face hub) for the original format, transformers' models/minimax for the -hf format.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from longctx.errors import ModelError
from longctx.models.config import ExpertsSpec, GatedSpec, LayerSpec, LightningSpec, ModelConfig, SoftmaxSpec
from longctx.models.families.common import (
    alibi_slopes,
    layer_targets,
    outer_targets,
    rope,
    stop_ids,
    stored_dtype,
)
from longctx.models.target import Target

if TYPE_CHECKING:
    from torch import Tensor

LIGHTNING_NORM_EPS = 1e-6  # the class default of the authors' code; rms_norm_eps is not passed to it
END_OF_SENTENCE = 200020  # the published configurations name no end token
PUBLISHED_VOCABULARY = 200064

# Decays are recomputed from the formula; the router of one expert chooses nothing.
_DECAYS = r"\.self_attn\.(slope_rate|query_decay|key_decay|diagonal_decay)$"
IGNORED = rf"{_DECAYS}|block_sparse_moe\.gate\.weight$|rotary_emb\.inv_freq$"


def translate(raw: Mapping[str, Any]) -> ModelConfig:
    """Turn a parsed config.json into a ModelConfig.

    Raises:
        ModelError: for a setting of uncertain meaning; a guess would give wrong answers.
    """
    raw = raw.get("text_config") or raw
    _refuse_unknown(raw)
    original = "attn_type_list" in raw
    inner, count = int(raw["intermediate_size"]), int(raw["num_local_experts"])
    # Nothing is routed to one expert: it is a dense MLP.
    mlp = GatedSpec(inner) if count == 1 else ExpertsSpec(inner, count, int(raw["num_experts_per_tok"]))
    return ModelConfig(
        family="minimax",
        vocab_size=int(raw["vocab_size"]),
        hidden_size=int(raw["hidden_size"]),
        norm_eps=float(raw.get("rms_norm_eps", 1e-5)),
        post_norm=bool(raw.get("postnorm", False)) if original else True,
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        layers=tuple(
            LayerSpec(mixer, mlp, *_residuals(raw, original, mixer)) for mixer in _mixers(raw, original)
        ),
        stop_ids=stop_ids(raw) or ((END_OF_SENTENCE,) if raw["vocab_size"] == PUBLISHED_VOCABULARY else ()),
        stored_dtype=stored_dtype(raw),
    )


def original_slopes(heads: int, layer: int, n_layers: int) -> tuple[float, ...]:
    """Return the decay rates of the authors' code: ALiBi slopes times a factor that falls with depth."""
    return alibi_slopes(heads, 1 - layer / (n_layers - 1) + 1e-5 if n_layers > 1 else 1 + 1e-5)


def hf_slopes(heads: int, layer: int, n_layers: int) -> tuple[float, ...]:
    """Return the decay rates of transformers' MiniMax."""
    factor = 1 - layer / (n_layers - 1 + 1e-5) + 1e-5
    return tuple(2.0 ** (-8.0 * (h + 1) / heads) * factor for h in range(heads))


def weight_map(config: ModelConfig) -> list[Target]:
    """Return what each weight is made of; the sources are exactly what must be in the files."""
    targets = outer_targets(config)
    for index, layer in enumerate(config.layers):
        theirs, ours = f"model.layers.{index}", f"layers.{index}"
        if isinstance(layer.mixer, LightningSpec):
            split = _by_kind(layer.mixer)
            targets.append(Target(f"{ours}.mixer.qkv", (f"{theirs}.self_attn.qkv_proj.weight",), join=split))
            parts = {"gate": "output_gate", "norm": "norm", "out": "out_proj"}
        else:
            parts = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "o_proj"}
        targets += layer_targets(
            index, {f"mixer.{our}": f"self_attn.{their}" for our, their in parts.items()}
        )
        targets += _experts(f"{theirs}.block_sparse_moe", f"{ours}.mlp", layer.feedforward)
    return targets


def _experts(theirs: str, ours: str, spec: ExpertsSpec | GatedSpec) -> list[Target]:
    if isinstance(spec, GatedSpec):
        names = {"gate": "w1", "up": "w3", "down": "w2"}
        return [Target(f"{ours}.{our}", (f"{theirs}.experts.0.{w}.weight",)) for our, w in names.items()]
    return [Target(f"{ours}.router", (f"{theirs}.gate.weight",))] + [
        Target(f"{ours}.{w}", (f"{theirs}.experts.{e}.{w}.weight",), member=e)
        for w in ("w1", "w2", "w3")
        for e in range(spec.n_experts)
    ]


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
    slopes, positions = original_slopes if original else hf_slopes, rope(raw, head_dim, ("default", "linear"))
    last = max((i for i, kind in enumerate(kinds) if names[kind] == "softmax"), default=-1)
    pointers = tuple(int(h) for h in raw.get("pointer_heads", ()))
    return [
        LightningSpec(
            heads, heads, head_dim, slopes(heads, i, len(kinds)), LIGHTNING_NORM_EPS, activated="qkv"
        )
        if names[kind] == "lightning"
        else SoftmaxSpec(heads, kv_heads, head_dim, positions, pointers if i == last else ())
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


def _refuse_unknown(raw: Mapping[str, Any]) -> None:
    shared = raw.get("shared_intermediate_size") or 0
    if any(shared) if isinstance(shared, list) else shared:
        raise ModelError("config.json: shared experts are not supported: implementations of them disagree")
    if raw.get("hidden_act", "silu") != "silu":
        raise ModelError(f"config.json: hidden_act {raw['hidden_act']!r} is not supported (only silu)")
    if raw.get("sliding_window") is not None:
        raise ModelError("config.json: sliding_window is not supported for MiniMax models")
