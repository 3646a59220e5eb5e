"""HypeNet: lightning layers with rotary positions, softmax layers without, whose queries grow with the text.

Names and rules: thunlp/hybrid-linear-attention, halo/modeling/hypenet; arXiv 2601.22156.
"""

from collections.abc import Mapping
from typing import Any

from longctx.errors import ModelError
from longctx.models.config import GatedSpec, LayerSpec, LightningSpec, ModelConfig, SoftmaxSpec
from longctx.models.families.common import (
    GATED,
    alibi_slopes,
    layer_targets,
    outer_targets,
    require,
    rope,
    stop_ids,
    stored_dtype,
)
from longctx.models.target import Target

IGNORED = r"rotary_emb\.inv_freq$"
KINDS = {"attn": "softmax", "lightning-attn": "lightning", "lightning_attn": "lightning"}
LOG_SCALE = 362.0  # of "hype" without a number
PARTS = {"mixer.q_norm": "q_norm", "mixer.k_norm": "k_norm", "mixer.out": "o_proj"}
LIGHTNING = PARTS | {"mixer.gate": "z_proj", "mixer.norm": "o_norm"}
SOFTMAX = PARTS | {"mixer.q": "q_proj", "mixer.k": "k_proj", "mixer.v": "v_proj", "mixer.gate": "o_gate"}


def translate(raw: Mapping[str, Any]) -> ModelConfig:
    """Turn a parsed config.json into a ModelConfig.

    Raises:
        ModelError: for a setting whose meaning is not certain.
    """
    _refuse_unknown(raw)
    hidden, heads, head_dim = (int(raw[key]) for key in ("hidden_size", "num_attention_heads", "head_dim"))
    eps, mlp = float(raw.get("rms_norm_eps", 1e-6)), GatedSpec(int(raw["intermediate_size"]))
    own = int(raw.get("lightning_nh") or heads)
    shared = int(raw.get("lightning_nkv") or raw["num_key_value_heads"])
    width = int(raw.get("lightning_head_dim") or head_dim)
    scales = {"1/sqrt(d)": width**-0.5, "1/d": 1 / width}
    lightning = LightningSpec(
        *(own, shared, width, alibi_slopes(own), eps),
        head_norm=True,
        rope=rope(raw, width),
        scale=scales.get(raw.get("lightning_scale", "1/sqrt(d)"), 1.0),
    )
    log_scale, scale = _scaling(raw.get("attn_logits_scaling"))
    softmax = SoftmaxSpec(
        *(heads, int(raw["num_key_value_heads"]), head_dim, None),
        norm_eps=eps,
        gated=True,
        log_scale=log_scale,
        scale=scale,
    )
    mixers = [lightning if KINDS[kind] == "lightning" else softmax for kind in raw["mixer_types"]]
    return ModelConfig(
        family="hypenet",
        vocab_size=int(raw["vocab_size"]),
        hidden_size=hidden,
        norm_eps=eps,
        post_norm=False,
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        layers=tuple(LayerSpec(mixer, mlp) for mixer in mixers),
        stop_ids=stop_ids(raw),
        stored_dtype=stored_dtype(raw),
    )


def weight_map(config: ModelConfig) -> list[Target]:
    """Return what each weight is made of."""
    return layers_targets(config, LIGHTNING, SOFTMAX)


def layers_targets(
    config: ModelConfig, lightning: Mapping[str, str], softmax: Mapping[str, str]
) -> list[Target]:
    """Return what weights are made of, for layers of two kinds whose names are given as ours -> theirs."""
    targets = outer_targets(config)
    for index, layer in enumerate(config.layers):
        spec, names = layer.mixer, softmax
        if isinstance(spec, LightningSpec):
            names = lightning
            rows = [heads * spec.head_dim for heads in (spec.n_heads, spec.n_kv_heads, spec.n_kv_heads)]
            sources = tuple(f"model.layers.{index}.self_attn.{x}_proj.weight" for x in "qkv")
            targets.append(Target(f"layers.{index}.mixer.qkv", sources, tuple(rows)))
        targets += layer_targets(index, {our: f"self_attn.{their}" for our, their in names.items()} | GATED)
    return targets


def _scaling(setting: Any) -> tuple[float | None, float]:
    """Return the a of ln(p + a) / ln(a), and the constant, that queries of softmax layers are scaled by."""
    if setting is None:
        return None, 1.0
    if not isinstance(setting, str):
        return None, float(setting)
    word, *rest = setting.split()
    base = float(rest[0]) if rest else LOG_SCALE
    if word != "hype" or len(rest) > 1 or base <= 1:
        raise ModelError(f"config.json: attn_logits_scaling {setting!r} is not supported (null, or hype A)")
    return base, 1.0


def _refuse_unknown(raw: Mapping[str, Any]) -> None:
    kinds = raw.get("mixer_types")
    if not isinstance(kinds, list) or len(kinds) != raw["num_hidden_layers"] or not {*kinds} <= {*KINDS}:
        count = raw["num_hidden_layers"]
        raise ModelError(f"config.json: mixer_types must name each of the {count} layers: {', '.join(KINDS)}")
    require(raw, hidden_act="silu", attention_bias=False, attn_sqrtd=True, lightning_use_short_conv=False)
    # What no published checkpoint has: nothing could show that it is computed as it was trained.
    missing = [key for key in NEEDED if not raw.get(key, NEEDED[key])]
    if missing or raw.get("attn_use_rope", True):
        key = [*missing, "attn_use_rope"][0]
        raise ModelError(f"config.json: {key} {raw.get(key)!r} is of no published HypeNet and not supported")
    if (raw.get("rope_scaling") or {}).get("rope_type", "default") != "default":
        raise ModelError("config.json: rope_scaling is not supported for HypeNet models")


# Setting -> what it is when absent.
NEEDED = {
    "attn_use_output_gate": False,
    "lightning_use_rope": True,
    "lightning_use_qk_norm": False,
    "lightning_use_output_norm": False,
    "lightning_use_output_gate": False,
}
