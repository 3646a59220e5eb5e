"""Bailing's hybrid-linear models: Ring and Ling linear 2.0 (grouped heads), Ling and Ring 2.5 and 2.6 (MLA).

Names and rules: inclusionAI/Ring-V2 and Ring-V2.5; arXiv 2510.19338. Of the two rules for decays that go
round the one of the serving engines is taken, by which the models were trained; `longctx_decay_rule` "hf"
in config.json asks for the other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from longctx.errors import ModelError
from longctx.models.config import (
    ExpertsSpec,
    GatedSpec,
    LatentSpec,
    LayerSpec,
    LightningSpec,
    ModelConfig,
    RopeSpec,
    SoftmaxSpec,
)
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

if TYPE_CHECKING:
    from torch import Tensor

# Heads that predict several tokens at once lie behind the last layer: `ignored` adds their number.
IGNORED = r"slope|rotary_emb\.inv_freq$|^model\.mtp"
ARCHITECTURES = {"BailingMoeLinearV2ForCausalLM", "BailingMoeV2_5ForCausalLM"}
LIGHTNING = {
    "mixer.qkv": "attention.query_key_value",
    "mixer.q_norm": "attention.query_layernorm",
    "mixer.k_norm": "attention.key_layernorm",
    "mixer.gate": "attention.g_proj",
    "mixer.norm": "attention.g_norm",
    "mixer.out": "attention.dense",
}
SHARED = {f"mlp.shared.{name}": f"mlp.shared_experts.{name}_proj" for name in ("gate", "up", "down")}


def translate(raw: Mapping[str, Any]) -> ModelConfig:
    """Turn a parsed config.json into a ModelConfig.

    Raises:
        ModelError: for a setting whose meaning is not certain.
    """
    _refuse_unknown(raw)
    count, group = int(raw["num_hidden_layers"]), int(raw["layer_group_size"])
    heads, head_dim = int(raw["num_attention_heads"]), int(raw["head_dim"])
    eps, positions = float(raw.get("rms_norm_eps", 1e-6)), rope(raw, head_dim)
    softmax = _softmax(raw, heads, head_dim, eps, positions)
    lightning = [
        LightningSpec(
            *(heads, heads, head_dim, alibi_slopes(heads, _decay_factor(raw, index, count)), eps),
            norm_groups=int(raw["group_norm_size"]),
            activated="qkv" if raw.get("linear_silu") or raw.get("use_linear_silu") else "",
            head_norm=True,
            rope=positions,
            scale=head_dim**-0.5,
        )
        for index in range(count)
    ]
    kinds = [(i + 1) % group == 0 or i >= count // group * group for i in range(count)]
    dense, experts = GatedSpec(int(raw["intermediate_size"])), _experts(raw)
    first = int(raw.get("first_k_dense_replace", 0))
    return ModelConfig(
        family="bailing",
        vocab_size=int(raw["vocab_size"]),
        hidden_size=int(raw["hidden_size"]),
        norm_eps=eps,
        post_norm=False,
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        layers=tuple(
            LayerSpec(softmax if kind else lightning[i], dense if i < first else experts)
            for i, kind in enumerate(kinds)
        ),
        stop_ids=stop_ids(raw),
        stored_dtype=stored_dtype(raw),
    )


def weight_map(config: ModelConfig) -> list[Target]:
    """Return what each weight is made of."""
    targets = outer_targets(config, "model.word_embeddings.weight")
    for index, layer in enumerate(config.layers):
        theirs, ours = f"model.layers.{index}", f"layers.{index}"
        names: dict[str, str] = {}
        if isinstance(layer.mixer, LightningSpec):
            names = LIGHTNING
        elif isinstance(layer.mixer, LatentSpec):
            targets += _latent_targets(layer.mixer, f"{theirs}.attention", f"{ours}.mixer")
        else:
            names = {name: LIGHTNING[name] for name in ("mixer.q_norm", "mixer.k_norm", "mixer.out")}
            targets += _grouped_targets(layer.mixer, f"{theirs}.attention", f"{ours}.mixer")
        if isinstance(layer.feedforward, ExpertsSpec):
            names = names | SHARED | {"mlp.router": "mlp.gate"}
            targets.append(Target(f"{ours}.mlp.bias", (f"{theirs}.mlp.gate.expert_bias",)))
            targets += [
                Target(f"{ours}.mlp.{w}", (f"{theirs}.mlp.experts.{e}.{name}_proj.weight",), member=e)
                for w, name in (("w1", "gate"), ("w2", "down"), ("w3", "up"))
                for e in range(layer.feedforward.n_experts)
            ]
        else:
            names = names | GATED
        targets += layer_targets(index, names)
    return targets


def ignored(config: ModelConfig) -> str:
    """Return a pattern of stored tensors that are not needed."""
    return rf"{IGNORED}|^model\.layers\.{len(config.layers)}\."


def _softmax(
    raw: Mapping[str, Any], heads: int, head_dim: int, eps: float, positions: RopeSpec
) -> SoftmaxSpec | LatentSpec:
    if not raw.get("kv_lora_rank"):
        return SoftmaxSpec(heads, int(raw["num_key_value_heads"]), head_dim, positions, norm_eps=eps)
    turned = int(raw["qk_rope_head_dim"])
    return LatentSpec(
        heads,
        int(raw.get("q_lora_rank") or 0),
        int(raw["kv_lora_rank"]),
        int(raw["qk_nope_head_dim"]),
        int(raw["v_head_dim"]),
        eps,
        rope({**raw, "partial_rotary_factor": 1.0}, turned),
        (int(raw["qk_nope_head_dim"]) + turned) ** -0.5,
    )


def _experts(raw: Mapping[str, Any]) -> ExpertsSpec:
    width = int(raw["moe_intermediate_size"])
    shared = int(raw.get("moe_shared_expert_intermediate_size") or width)
    return ExpertsSpec(
        width,
        int(raw["num_experts"]),
        int(raw["num_experts_per_tok"]),
        shared_size=shared * int(raw["num_shared_experts"]),
        groups=int(raw["n_group"]),
        top_groups=int(raw["topk_group"]),
        normalised=bool(raw.get("norm_topk_prob", True)),
        scale=float(raw.get("routed_scaling_factor", 1.0)),
    )


def _decay_factor(raw: Mapping[str, Any], index: int, count: int) -> float:
    behind = index - (raw.get("longctx_decay_rule") == "hf")
    return 1 - behind / (count - 1) + 1e-5


def _grouped_targets(spec: SoftmaxSpec, theirs: str, ours: str) -> list[Target]:
    """Split rows of all queries, keys and values."""
    rows = [heads * spec.head_dim for heads in (spec.n_heads, spec.n_kv_heads, spec.n_kv_heads)]
    source, all_rows = (f"{theirs}.query_key_value.weight",), (sum(rows),)
    starts = (0, rows[0], rows[0] + rows[1])
    return [
        Target(f"{ours}.{name}", source, all_rows, _cut(start, start + count))
        for name, start, count in zip("qkv", starts, rows, strict=True)
    ]


def _latent_targets(spec: LatentSpec, theirs: str, ours: str) -> list[Target]:
    """Bring rotary channels from interleaved pairs into halves; split keys and values of the latent."""
    turned = 2 * len(spec.rope.frequencies)
    plain, width, heads, rank = spec.plain_dim, spec.value_dim, spec.n_heads, spec.kv_rank

    def queries(sources: "Sequence[Tensor]") -> "Tensor":
        return _halves(sources[0].view(heads, plain + turned, -1), plain).flatten(0, 1)

    def latent(sources: "Sequence[Tensor]") -> "Tensor":
        return _halves(sources[0][None], rank)[0]

    def keys(sources: "Sequence[Tensor]") -> "Tensor":
        return sources[0].view(heads, plain + width, rank)[:, :plain].transpose(1, 2)

    def values(sources: "Sequence[Tensor]") -> "Tensor":
        return sources[0].view(heads, plain + width, rank)[:, plain:]

    expand, all_rows = (f"{theirs}.kv_b_proj.weight",), (heads * (plain + width), rank)
    targets = [
        Target(f"{ours}.kv_a", (f"{theirs}.kv_a_proj_with_mqa.weight",), join=latent),
        Target(f"{ours}.kv_norm", (f"{theirs}.kv_a_layernorm.weight",)),
        Target(f"{ours}.k_b", expand, shape=all_rows, join=keys),
        Target(f"{ours}.v_b", expand, shape=all_rows, join=values),
        Target(f"{ours}.out", (f"{theirs}.dense.weight",)),
    ]
    if not spec.q_rank:
        return [*targets, Target(f"{ours}.q_b", (f"{theirs}.q_proj.weight",), join=queries)]
    return [
        *targets,
        Target(f"{ours}.q_a", (f"{theirs}.q_a_proj.weight",)),
        Target(f"{ours}.q_norm", (f"{theirs}.q_a_layernorm.weight",)),
        Target(f"{ours}.q_b", (f"{theirs}.q_b_proj.weight",), join=queries),
    ]


def _cut(start: int, end: int) -> "Callable[[Sequence[Tensor]], Tensor]":
    return lambda sources: sources[0][start:end]


def _halves(rows: "Tensor", start: int) -> "Tensor":
    """Put rows start.. of (H, rows, in) in another order: those of even number before those of odd number."""
    made = rows.clone()
    half = (rows.shape[1] - start) // 2
    made[:, start : start + half], made[:, start + half :] = rows[:, start::2], rows[:, start + 1 :: 2]
    return made


def _refuse_unknown(raw: Mapping[str, Any]) -> None:
    architecture = (raw.get("architectures") or ["no architecture"])[0]
    learned = [key for key in raw if "kda" in key.lower() or key == "short_conv_kernel_size"]
    if architecture not in ARCHITECTURES or learned:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ModelError(
            f"config.json: {architecture}: only {known} forget by a fixed decay; "
            "Ling-3 learns its decay (KDA), which is not supported"
        )
    require(raw, hidden_act="silu", use_qkv_bias=False, use_bias=False, use_qk_norm=True)
    require(raw, score_function="sigmoid", moe_router_enable_expert_bias=True)
    if raw.get("kv_lora_rank") and not raw.get("rope_interleave", True):
        raise ModelError("config.json: rope_interleave false is not supported: its own code fails on it")
    if (raw.get("rope_scaling") or {}).get("mscale_all_dim"):
        raise ModelError("config.json: mscale_all_dim is not supported")
