"""Families against their equations, and against themselves in pieces; what each of them refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import random_model
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_families import naive_family

from bench.random_model import random_tensors
from longctx.errors import ModelError
from longctx.models.config_file import translate
from longctx.models.decoder import MIXERS, Decoder
from longctx.models.mixers.latent import Latent
from longctx.models.state import State

HERE = Path("config.json")
TRANSNORMER: dict[str, Any] = {
    "model_type": "transnormer",
    **{
        "decoder_embed_dim": 48,
        "decoder_layers": 3,
        "decoder_attention_heads": 6,
        "hidden_dim": 48,
        "glu_dim": -1,
    },
    **{
        "linear_act_fun": "swish",
        "linear_use_lrpe_list": [1, 0, 1],
        "no_scale_embedding": False,
        "bias": False,
    },
    **{"vocab_size": 90, "norm_type": "simplermsnorm", "eos_token_id": 2},
}
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    **{"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2, "num_hidden_layers": 3},
    **{"intermediate_size": 40, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True},
    **{"vocab_size": 90, "eos_token_id": [2, 5]},
}
HYPENET: dict[str, Any] = {
    "model_type": "hypenet",
    **{
        "hidden_size": 40,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 8,
        "num_hidden_layers": 4,
    },
    **{"lightning_nh": 6, "lightning_nkv": 3, "lightning_head_dim": 8, "lightning_scale": "1/sqrt(d)"},
    **{"lightning_use_rope": True, "lightning_use_qk_norm": True, "lightning_use_output_norm": True},
    **{"lightning_use_output_gate": True, "attn_use_rope": False, "attn_use_output_gate": True},
    **{
        "attn_logits_scaling": "hype 500",
        "mixer_types": ["attn", "lightning-attn", "lightning_attn", "attn"],
    },
    **{"intermediate_size": 40, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "vocab_size": 90, "eos_token_id": 2},
}
SALA: dict[str, Any] = {
    "model_type": "minicpm_sala",
    **{
        "hidden_size": 40,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_hidden_layers": 3,
    },
    **{"lightning_nh": 4, "lightning_nkv": 4, "lightning_head_dim": 8, "lightning_scale": "1/sqrt(d)"},
    **{"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 10, "attn_use_rope": False, "qk_norm": True},
    **{
        "mixer_types": ["minicpm4", "lightning-attn", "minicpm4"],
        "intermediate_size": 40,
        "rms_norm_eps": 1e-6,
    },
    **{"rope_theta": 10000.0, "vocab_size": 90, "eos_token_id": 2},
    "sparse_config": {
        **{"kernel_size": 4, "kernel_stride": 2, "init_blocks": 1, "block_size": 8, "window_size": 8},
        **{"topk": 2, "dense_len": 40, "use_nope": False},
    },
}
BAILING: dict[str, Any] = {
    "model_type": "bailing_moe_linear",
    "architectures": ["BailingMoeLinearV2ForCausalLM"],
    **{
        "hidden_size": 32,
        "head_dim": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 4,
    },
    **{"layer_group_size": 2, "group_norm_size": 2, "intermediate_size": 40, "moe_intermediate_size": 8},
    **{"num_experts": 8, "num_experts_per_tok": 3, "n_group": 4, "topk_group": 2, "num_shared_experts": 1},
    **{
        "first_k_dense_replace": 1,
        "routed_scaling_factor": 2.5,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1e-6,
    },
    **{"rope_theta": 1e5, "vocab_size": 90, "eos_token_id": 2, "score_function": "sigmoid"},
}
LATENT = BAILING | {
    "model_type": "bailing_hybrid",
    "architectures": ["BailingMoeV2_5ForCausalLM"],
    **{"q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8},
    "rope_interleave": True,
}
CONFIGS = {
    "transnormer": TRANSNORMER,
    "llama": LLAMA,
    "hypenet": HYPENET,
    "hypenet-plain": HYPENET | {"attn_logits_scaling": None, "mixer_types": ["lightning-attn", "attn"] * 2},
    "sala": SALA,
    "bailing": BAILING,
    "bailing-latent": LATENT,
}


def run(model: Decoder, tokens: torch.Tensor, cuts: list[int]) -> tuple[torch.Tensor, State]:
    state = model.new_state()
    with torch.inference_mode():
        hidden = [model(piece[None], state) for piece in tokens.split(cuts)]
        return model.logits(torch.cat(hidden, 1)[0]), state


def some_tokens(count: int) -> torch.Tensor:
    return torch.randint(0, 90, (count,), generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("length", [30, 62])  # around where SALA begins to choose
def test_logits_follow_the_equations(name: str, length: int) -> None:
    """If this fails a family computes another function than the one its weights were trained for."""
    model = random_model(CONFIGS[name])
    tokens = some_tokens(length)
    expected = naive_family(CONFIGS[name], random_tensors(model.config), tokens)
    logits, _ = run(model, tokens, [length])
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=5e-4)


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    name=st.sampled_from(sorted(CONFIGS)),
    form=st.sampled_from(["plain", "packed"]),
)
def test_any_chunking_gives_the_same_logits_and_state(cuts: list[int], name: str, form: Any) -> None:
    """If this fails the answer about a text depends on the chunk size."""
    raw = CONFIGS[name]
    if name == "sala":  # a call that ends before dense_len is dense by definition, another is not
        raw = raw | {"sparse_config": raw["sparse_config"] | {"dense_len": 0}}
    model = random_model(raw)
    model.convert(form)
    tokens = some_tokens(sum(cuts))
    whole, state = run(model, tokens, [len(tokens)])
    pieces, other = run(model, tokens, cuts)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-3)
    read = model.new_state()
    with torch.inference_mode():
        for piece in tokens.split(cuts):
            model.absorb(piece[None], read)
    for name_, tensor in state.tensors().items():
        torch.testing.assert_close(other.tensors()[name_], tensor, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(read.tensors()[name_], tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kept", [41, 300])  # less than a page of the log, and more
def test_a_state_that_was_kept_goes_on_alike(name: str, kept: int) -> None:
    """If this fails a text that was read before is answered otherwise than when it is read anew."""
    model, tokens = random_model(CONFIGS[name]), some_tokens(kept + 30)
    state, again = model.new_state(), model.new_state()
    with torch.inference_mode():
        model.absorb(tokens[None, :kept], state)
        logs = state.appended(dict.fromkeys(state.rows(), 0))
        pieces = {log: [torch.cat(rows, dim=-2)] for log, rows in logs.items() if rows}
        again.adopt(kept, {key: x.clone() for key, x in state.constants().items()}, pieces)
        assert again.rows() == state.rows()
        expected = model(tokens[None, kept:], state)
        assert torch.equal(model(tokens[None, kept:], again), expected)


def test_keys_formed_for_a_chunk_are_those_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails Ling 2.5 reads a text otherwise in large chunks, which form keys, than in small ones."""
    model, tokens, formed = random_model(LATENT), some_tokens(195), Latent._formed
    large: list[Any] = []

    def counted(*args: Any) -> torch.Tensor:
        large.append(args)
        return formed(*args)

    monkeypatch.setattr(Latent, "_formed", counted)
    small, _ = run(model, tokens, [15] * 13)
    assert not large
    pieces, _ = run(model, tokens, [95, 40, 60])  # pages that are cut, and pages that are not
    assert large
    torch.testing.assert_close(pieces, small, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["hypenet", "bailing"])  # the interpreter is slow
def test_kernels_for_gpus_give_the_same_logits_and_state(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a family answers otherwise on a GPU than on a CPU."""
    pytest.importorskip("triton")
    # The kernels are made for heads of 16 channels and more.
    changed = {"head_dim": 16, "lightning_head_dim": 16, "num_hidden_layers": 2, "layer_group_size": 2}
    changed |= {"num_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2}
    changed |= {"num_attention_heads": 2, "num_key_value_heads": 1, "lightning_nh": 2, "lightning_nkv": 1}
    raw = {key: changed.get(key, value) for key, value in CONFIGS[name].items()}
    raw |= {"mixer_types": ["lightning-attn", "attn"]} if "mixer_types" in raw else {}
    tokens = some_tokens(20)
    expected, state = run(random_model(raw), tokens, [20])
    monkeypatch.setenv("LONGCTX_KERNELS", "triton")
    logits, other = run(random_model(raw), tokens, [18, 2])
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
    for key, tensor in state.tensors().items():
        torch.testing.assert_close(other.tensors()[key], tensor, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_memory_is_what_a_plan_says(name: str) -> None:
    """If this fails a plan promises room that a long text does not have."""
    model = random_model(CONFIGS[name])
    for tokens in (32, 64):
        state = model.new_state()
        with torch.inference_mode():
            model.absorb(some_tokens(tokens)[None], state)
        planned = [
            MIXERS[type(x.mixer)].memory_bytes(x.mixer, tokens, lambda width: 4 * width)
            for x in model.config.layers
        ]
        assert state.nbytes == sum(planned)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 79), name=st.sampled_from(sorted(CONFIGS)))
def test_forks_and_restored_states_continue_exactly(cut: int, name: str) -> None:
    """If this fails a question changes what was read, or a kept reading answers otherwise."""
    model, tokens = random_model(CONFIGS[name]), some_tokens(80)
    state, restored = model.new_state(), model.new_state()
    with torch.inference_mode():
        model.absorb(tokens[None, :cut], state)
        fork = state.fork()
        restored.restore(state.position, {key: x.clone() for key, x in state.tensors().items()})
        model(tokens[None, :20], fork)
        expected = model(tokens[None, cut:], state)
        torch.testing.assert_close(model(tokens[None, cut:], restored), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("raw", "changes", "message"),
    [
        (TRANSNORMER, {"gate_dim": 16}, "gate_dim"),
        (TRANSNORMER, {"linear_act_fun": "1+elu"}, "linear_act_fun"),
        (TRANSNORMER, {"linear_use_lrpe_list": [1]}, "linear_use_lrpe_list"),
        (LLAMA, {"attention_bias": True}, "attention_bias"),
        (LLAMA, {"rope_scaling": {"rope_type": "longrope"}}, "longrope"),
        (LLAMA, {"architectures": ["LlamaForSequenceClassification"]}, "not a language model"),
        (LLAMA, {"sliding_window": 4096}, "sliding"),
        (HYPENET, {"mixer_types": ["attn", "mamba2", "attn", "attn"]}, "mixer_types"),
        (HYPENET, {"lightning_use_short_conv": True}, "lightning_use_short_conv"),
        (HYPENET, {"attn_use_rope": True}, "attn_use_rope"),
        (HYPENET, {"attn_logits_scaling": "hype 1"}, "attn_logits_scaling"),
        (HYPENET, {"lightning_use_output_gate": False}, "lightning_use_output_gate"),
        (SALA, {"qk_norm": False}, "qk_norm"),
        (SALA, {"sparse_config": SALA["sparse_config"] | {"kernel_size": 6}}, "sparse_config"),
        (SALA, {"sparse_config": SALA["sparse_config"] | {"topk": 1}}, "topk"),
        (BAILING, {"architectures": ["BailingMoeV3ForCausalLM"]}, "KDA"),
        (BAILING, {"short_conv_kernel_size": 4}, "KDA"),
        (BAILING, {"score_function": "softmax"}, "score_function"),
        (BAILING, {"topk_group": 1, "num_experts_per_tok": 3}, "sizes do not fit"),
        (LATENT, {"rope_interleave": False}, "rope_interleave"),
        ({"model_type": "kimi_linear"}, {}, "kimi_linear learns its decay \\(KDA\\)"),
        ({"model_type": "qwen3_next"}, {}, "qwen3_next learns its decay \\(gated delta rule\\)"),
        ({"model_type": "minimax_m2"}, {}, "minimax_m2 has softmax attention in every layer"),
    ],
)
def test_settings_of_uncertain_meaning_are_refused(
    raw: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """If this fails a model runs under a guess and answers wrongly without a word."""
    with pytest.raises(ModelError, match=message) as caught:
        translate(raw | changes, HERE)
    assert "\n" not in str(caught.value)


def test_llama_stops_at_every_token_that_ends_an_answer() -> None:
    """If this fails an answer runs on into the next turn of a conversation."""
    assert translate(LLAMA, HERE).stop_ids == (2, 5)
