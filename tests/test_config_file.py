"""What is read out of a checkpoint's config.json before anything is built: limits, ends, lengths."""

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import hf_config, original_config
from test_families import CONFIGS

from longctx.errors import ModelError
from longctx.models import config_file
from longctx.models.config import ExpertsSpec, GatedSpec
from longctx.models.config_file import (
    LARGEST_NUMBER,
    LARGEST_SIZE,
    MOST_COUNTED,
    MOST_ENTRIES,
    check_numbers,
    ignored_tensors,
    read_config,
    translate,
)

HERE = Path("config.json")


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ("rope_theta", LARGEST_NUMBER),
        ("hidden_size", LARGEST_SIZE),
        ("q_lora_rank", LARGEST_SIZE),
        ("num_hidden_layers", MOST_COUNTED),
        ("num_experts", MOST_COUNTED),
        ("n_group", MOST_COUNTED),
        ("head_dim", LARGEST_SIZE),
        ("expert_intermediate_size", LARGEST_SIZE),
    ],
)
def test_the_largest_numbers_are_taken_and_one_more_is_not(key: str, most: int) -> None:
    """If this fails a published model is refused, or a hostile one fills the memory before it is."""
    for make in (lambda n: n, str, lambda n: [0, n], lambda n: {key: [{key: n}]}, lambda n: -n):
        check_numbers({key: make(most)}, HERE)
        with pytest.raises(ModelError, match=f"config.json: {key} is .* beyond any model"):
            check_numbers({key: make(most + 1)}, HERE)


def test_what_is_no_number_is_left_to_its_reader() -> None:
    """If this fails a name or a switch in a configuration is taken for a size, or nan gets through."""
    check_numbers(
        {"hidden_act": "silu", "use_cache": True, "sliding_window": None, "layers": ["a"] * 9}, HERE
    )
    check_numbers({"layer_types": [0] * MOST_ENTRIES}, HERE)
    for bad in (float("nan"), "nan", 10**400, 10**250, "9" * 201, "9" * 9000):
        with pytest.raises(ModelError, match="beyond any model"):
            check_numbers({"num_heads": bad}, HERE)
    with pytest.raises(ModelError, match=f"layer_types has {MOST_ENTRIES + 1:,} entries"):
        check_numbers({"layer_types": ["a"] * (MOST_ENTRIES + 1)}, HERE)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 3},
        {"num_experts_per_tok": 5},
        {"num_experts_per_tok": 0},
        {"num_local_experts": 0},
        {"intermediate_size": 0},
        {"vocab_size": 0},
        {"pointer_heads": [4]},
        {"pointer_heads": [-1]},
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(changes: dict[str, Any]) -> None:
    """If this fails a damaged configuration ends in a traceback of torch, or in a model of noise."""
    with pytest.raises(ModelError, match=r"do not fit each other|names no head|config\.json"):
        translate(hf_config(**changes), HERE)


def test_sizes_at_the_edge_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a model is refused in which each token goes through every expert, or with one head."""
    translate(hf_config(num_experts_per_tok=4, pointer_heads=[0, 3]), HERE)
    translate(
        hf_config(num_attention_heads=1, num_key_value_heads=1, num_local_experts=1, num_experts_per_tok=1),
        HERE,
    )
    ones = {"hidden_size": 1, "intermediate_size": 1, "vocab_size": 1, "layers": "S", "head_dim": 2}
    translate(hf_config(num_attention_heads=1, num_key_value_heads=1, **ones), HERE)
    monkeypatch.setattr(config_file, "MOST_EXPERTS", 12)
    monkeypatch.setattr(config_file, "LARGEST_SIZE", 400)
    translate(hf_config(), HERE)  # three layers of four experts, and 400 tokens
    for changes in ({"layers": "LLSS"}, {"vocab_size": 401}):
        with pytest.raises(ModelError, match=r"do not fit each other|beyond any model"):
            translate(hf_config(**changes), HERE)


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"num_experts_per_tok": 8, "topk_group": 1}, False),  # more than the chosen groups have
        ({"n_group": 3}, False),
        ({"n_group": 4, "topk_group": 4}, True),
    ],
)
def test_groups_of_experts_have_room_for_those_chosen(changes: dict[str, int], right: bool) -> None:
    """If this fails a router is asked for more experts than there are, deep within the first question."""
    raw = {**CONFIGS["bailing"], **changes}
    if right:
        translate(raw, HERE)
    else:
        with pytest.raises(ModelError, match="do not fit each other"):
            translate(raw, HERE)


def test_the_released_hypenet_is_known_by_its_layers() -> None:
    """If this fails the published HypeNet is of an unknown kind, or somebody else's `hybrid` is run."""
    raw = {**CONFIGS["hypenet"], "model_type": "hybrid", "architectures": ["HybridForCausalLM"]}
    assert translate(raw, HERE).family == "hypenet"
    for other in ({**raw, "architectures": ["Other"]}, {k: v for k, v in raw.items() if k != "mixer_types"}):
        with pytest.raises(ModelError, match="unknown architecture 'hybrid'; families that run: minimax"):
            translate(other, HERE)


@pytest.mark.parametrize(("kind", "why"), [("MiniMax_M2", "softmax attention in every"), ("kimi_k2", "KDA")])
def test_models_that_sound_like_ours_are_refused_with_the_reason(kind: str, why: str) -> None:
    """If this fails nobody learns why the model with almost the same name does not run."""
    with pytest.raises(ModelError, match=f"{kind} .*{why}"):
        translate({"model_type": kind}, HERE)


@pytest.mark.parametrize(
    ("generation", "tokenizer", "ids"),
    [
        (None, None, (3,)),
        ({"eos_token_id": [5, 6]}, None, (5, 6)),
        ({"eos_token_id": 5}, None, (5,)),
        ({}, None, (3,)),
        (
            None,
            {"eos_token": "x", "added_tokens_decoder": {"8": {"content": "x"}, "9": {"content": "y"}}},
            (3, 8),
        ),
        (None, {"eos_token": {"content": "y"}, "added_tokens_decoder": {"9": "y", "3": "y"}}, (3, 9)),
        ({"eos_token_id": 5}, {"eos_token": "x", "added_tokens_decoder": None}, (5,)),
    ],
)
def test_an_answer_ends_at_the_tokens_that_the_checkpoint_names(
    generation: dict[str, Any] | None, tokenizer: dict[str, Any] | None, ids: tuple[int, ...], tmp_path: Path
) -> None:
    """If this fails answers go on after their end until --max-tokens, or stop in the middle."""
    files = {
        "config": hf_config(eos_token_id=3),
        "generation_config": generation,
        "tokenizer_config": tokenizer,
    }
    for name, content in files.items():
        if content is not None:
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert read_config(tmp_path).stop_ids == ids


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": 1000}, 1000),
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 4000),
        ({"rope_scaling": {"type": "linear", "factor": 2.5}}, 2500),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 1000),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 4000),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 500}},
            2000,
        ),
        ({"rope_parameters": {"rope_type": "linear", "factor": 4.0}}, 4000),
    ],
)
def test_the_length_that_a_model_was_trained_for(changes: dict[str, Any], length: int | None) -> None:
    """If this fails nobody is warned of a text that is longer than the model knows, or everybody is."""
    raw = {"max_position_embeddings": 1000, **changes}
    assert config_file._trained_tokens(raw) == length


def test_a_head_that_repeats_the_embedding_is_not_asked_for() -> None:
    """If this fails tied checkpoints with a head are refused, or a missing head is overlooked."""
    import re

    for tied in (True, False):
        pattern = ignored_tensors(translate(hf_config(tie_word_embeddings=tied), HERE))
        assert bool(re.search(pattern, "lm_head.weight")) is tied
        assert not re.search(pattern, "model.embed_tokens.weight")
    assert ignored_tensors(translate(original_config(), HERE))


def test_few_experts_stand_for_many_where_time_is_estimated() -> None:
    """If this fails `plan` fills the memory of the machine that it should tell about, or is off by far."""
    experts = ExpertsSpec(64, n_experts=256, top_k=8, groups=8, top_groups=4)
    assert experts.sample() == ExpertsSpec(64, n_experts=16, top_k=8, groups=1, top_groups=1)
    assert ExpertsSpec(64, n_experts=9, top_k=8).sample() == ExpertsSpec(64, n_experts=9, top_k=8)
    dense = GatedSpec(64)
    assert dense.sample() is dense


def test_what_a_model_is_for_is_known_by_its_layers() -> None:
    """If this fails a model that only copies is asked to write, or one that writes to copy."""
    assert translate(hf_config(pointer_heads=[0]), HERE).copies_facts
    assert not translate(hf_config(), HERE).copies_facts
    assert translate(hf_config(), HERE).has_experts
    assert not translate(CONFIGS["llama"], HERE).has_experts
