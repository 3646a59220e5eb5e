"""Llama: softmax attention alone, the row that every comparison has; SmolLM2 is of this family.

Names and rules: transformers' models/llama.
"""

from collections.abc import Mapping
from typing import Any

from longctx.errors import ModelError
from longctx.models.config import GatedSpec, LayerSpec, ModelConfig, SoftmaxSpec
from longctx.models.families.common import (
    GATED,
    layer_targets,
    outer_targets,
    require,
    rope,
    stop_ids,
    stored_dtype,
)
from longctx.models.target import Target

IGNORED = r"rotary_emb\.inv_freq$"
SOFTMAX = {"mixer.q": "q_proj", "mixer.k": "k_proj", "mixer.v": "v_proj", "mixer.out": "o_proj"}


def translate(raw: Mapping[str, Any]) -> ModelConfig:
    """Turn a parsed config.json into a ModelConfig.

    Raises:
        ModelError: for a setting whose meaning is not certain.
    """
    require(raw, hidden_act="silu", attention_bias=False, mlp_bias=False, rope_interleaved=False)
    if raw.get("sliding_window") is not None:
        raise ModelError("config.json: sliding windows are not supported for Llama models")
    if raw.get("architectures", ["LlamaForCausalLM"]) != ["LlamaForCausalLM"]:
        raise ModelError(f"config.json: {raw['architectures']} is not a language model (LlamaForCausalLM)")
    hidden, heads = int(raw["hidden_size"]), int(raw["num_attention_heads"])
    head_dim = int(raw.get("head_dim") or hidden // heads)
    positions = rope(raw, head_dim)
    if 2 * len(positions.frequencies) != head_dim:
        raise ModelError("config.json: partial_rotary_factor is not supported for Llama models")
    mixer = SoftmaxSpec(heads, int(raw.get("num_key_value_heads") or heads), head_dim, positions)
    layer = LayerSpec(mixer, GatedSpec(int(raw["intermediate_size"])))
    return ModelConfig(
        family="llama",
        vocab_size=int(raw["vocab_size"]),
        hidden_size=hidden,
        norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
        post_norm=False,
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        layers=(layer,) * int(raw["num_hidden_layers"]),
        stop_ids=stop_ids({"eos_token_id": 2, **raw}),
        stored_dtype=stored_dtype(raw),
    )


def weight_map(config: ModelConfig) -> list[Target]:
    """Return what each weight is made of."""
    names = {ours: f"self_attn.{theirs}" for ours, theirs in SOFTMAX.items()} | GATED
    layers = (layer_targets(index, names) for index in range(len(config.layers)))
    return [*outer_targets(config), *(target for layer in layers for target in layer)]
