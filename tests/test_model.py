"""The decoder against the equations, against transformers, and against itself in pieces."""

from typing import Any

import pytest
import torch
from checkpoints import hf_config, original_config, random_model
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import naive_logits

from bench.random_model import random_tensors
from longctx.models.decoder import Decoder
from longctx.models.state import State

CONFIGS: dict[str, dict[str, Any]] = {
    "hf": hf_config(),
    "hf-softmax-first-and-last": hf_config(layers="SLS"),
    "hf-lightning-last": hf_config(layers="SLL", num_local_experts=1, num_experts_per_tok=1),
    "hf-one-layer": hf_config(layers="L"),
    "hf-tied-no-positions": hf_config(
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "linear", "factor": 1e12, "rope_theta": 10000.0},
    ),
    "original": original_config(),
    "original-pre-norm": original_config(postnorm=False, num_attention_heads=4, num_key_value_heads=1),
    "original-m1": original_config(model_type="minimax_m1", layers="LS", rotary_dim=20),
}


def run(model: Decoder, tokens: torch.Tensor, cuts: list[int]) -> tuple[torch.Tensor, State]:
    """Return logits (T, V) and the state after feeding tokens (T,) in pieces."""
    state = model.new_state()
    with torch.inference_mode():
        hidden = [model(piece[None], state) for piece in tokens.split(cuts)]
        return model.logits(torch.cat(hidden, 1)[0]), state


def assert_same_state(one: State, other: State) -> None:
    assert one.position == other.position
    ours, theirs = one.tensors(), other.tensors()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_follow_the_equations(name: str) -> None:
    """If this fails the model computes another function than the one its weights were trained for."""
    model = random_model(CONFIGS[name])
    tokens = torch.randint(0, 400, (75,), generator=torch.Generator().manual_seed(1))
    logits, _ = run(model, tokens, [75])
    expected = naive_logits(CONFIGS[name], random_tensors(model.config), tokens)
    torch.testing.assert_close(logits.double(), expected, rtol=0, atol=5e-4)


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, 150), min_size=1, max_size=8), name=st.sampled_from(sorted(CONFIGS)))
def test_any_chunking_gives_the_same_logits_and_state(cuts: list[int], name: str) -> None:
    """If this fails the answer about a book depends on the chunk size."""
    model = random_model(CONFIGS[name])
    tokens = torch.randint(0, 400, (sum(cuts),), generator=torch.Generator().manual_seed(2))
    whole, state = run(model, tokens, [len(tokens)])
    pieces, other = run(model, tokens, cuts)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-3)
    assert_same_state(other, state)


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 150), min_size=1, max_size=6), name=st.sampled_from(sorted(CONFIGS)))
def test_reading_leaves_the_state_of_a_full_forward(cuts: list[int], name: str) -> None:
    """If this fails skipping unneeded work changes what the model remembers."""
    model = random_model(CONFIGS[name])
    tokens = torch.randint(0, 400, (sum(cuts),), generator=torch.Generator().manual_seed(3))
    _, expected = run(model, tokens, [len(tokens)])
    state = model.new_state()
    with torch.inference_mode():
        for piece in tokens.split(cuts):
            model.absorb(piece[None], state)
    assert_same_state(state, expected)


@settings(max_examples=10)
@given(before=st.integers(1, 600), after=st.integers(1, 40), name=st.sampled_from(sorted(CONFIGS)))
def test_forks_continue_alone_and_exactly(before: int, after: int, name: str) -> None:
    """If this fails asking one question changes the answer to the next."""
    model = random_model(CONFIGS[name])
    tokens = torch.randint(0, 400, (before + after,), generator=torch.Generator().manual_seed(4))
    expected, _ = run(model, tokens, [before, after])
    with torch.inference_mode():
        state = model.new_state()
        model.absorb(tokens[None, :before], state)
        first, second = state.fork(), state.fork()
        model.absorb(torch.full((1, 300), 7), first)  # an unrelated question
        model.absorb(torch.full((1, 5), 9), state)  # and the parent reads on
        logits = model.logits(model(tokens[None, before:], second))[0]
    torch.testing.assert_close(logits, expected[before:], rtol=0, atol=1e-3)
    assert (first.position, second.position, state.position) == (before + 300, before + after, before + 5)


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_weights_give_the_same_logits_and_states(name: str) -> None:
    """If this fails the fast layout of the weights, which all commands use, changes answers."""
    tokens = torch.randint(0, 400, (90,), generator=torch.Generator().manual_seed(7))
    expected, expected_state = run(random_model(CONFIGS[name]), tokens, [90])
    model = random_model(CONFIGS[name])
    model.convert("packed")
    logits, state = run(model, tokens, [90])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-3)
    assert_same_state(state, expected_state)
    read = model.new_state()
    with torch.inference_mode():
        model.absorb(tokens[None], read)
    assert_same_state(read, expected_state)


def test_batches_equal_their_rows() -> None:
    """If this fails questions branched together off one text answer each other."""
    model = random_model(hf_config())
    tokens = torch.randint(0, 400, (3, 90), generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        state = model.new_state(3)
        batch = torch.cat([model(tokens[:, :80], state), model(tokens[:, 80:81], state)], 1)
        for row in range(3):
            alone, _ = run(model, tokens[row, :81], [81])
            torch.testing.assert_close(model.logits(batch[row]), alone, rtol=0, atol=1e-3)


def test_the_pointer_is_the_token_that_its_heads_attend_to_most() -> None:
    """If this fails a citation points at the wrong place of the text."""
    nowhere = {"rope_type": "linear", "factor": 1e12, "rope_theta": 10000.0}
    model = random_model(hf_config(layers="S", pointer_heads=[1, 2], rope_parameters=nowhere))
    tokens = torch.randint(0, 400, (1, 400), generator=torch.Generator().manual_seed(8))
    w = random_tensors(model.config)
    state = model.new_state()
    with torch.inference_mode():
        model.absorb(tokens[:, :-1], state)
        assert state.pointed is None  # nobody asked yet
        model(tokens[:, -1:], state)
    x = w["model.embed_tokens.weight"][tokens[0]].double()
    x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w["model.layers.0.input_layernorm.weight"]
    q, k = (x @ w[f"model.layers.0.self_attn.{n}_proj.weight"].double().T for n in "qk")
    q, k = q[-1].view(4, 1, 16), k.view(-1, 2, 16).transpose(0, 1).repeat_interleave(2, dim=0)
    mean = torch.softmax((q @ k.transpose(1, 2))[:, 0] / 4, dim=-1)[[1, 2]].mean(0)
    assert state.pointed is not None
    position, mass = state.pointed
    assert position.item() == mean.argmax()
    assert mass.item() == pytest.approx(mean.max().item(), rel=1e-4)


def one_or_two(pieces: list[torch.Tensor]) -> list[torch.Tensor]:
    """Join what a file would hold together."""
    return [torch.cat(pieces[:-1], dim=2), pieces[-1]] if len(pieces) > 2 else pieces


@settings(max_examples=10)
@given(cut=st.integers(1, 599), name=st.sampled_from(sorted(CONFIGS)))
def test_a_restored_state_continues_exactly(cut: int, name: str) -> None:
    """If this fails a reading that was kept answers otherwise than one that never stopped."""
    model = random_model(CONFIGS[name])
    tokens = torch.randint(0, 400, (1, 600), generator=torch.Generator().manual_seed(9))
    before, after = model.new_state(), model.new_state()
    with torch.inference_mode():
        model.absorb(tokens[:, :cut], before)
        after.restore(before.position, {name: x.clone() for name, x in before.tensors().items()})
        kept, middle = model.new_state(), model.new_state()
        model.absorb(tokens[:, : (cut + 1) // 2], middle)
        first, rows = middle.appended(dict.fromkeys(middle.rows(), 0)), middle.rows()
        if cut > 1:
            model.absorb(tokens[:, (cut + 1) // 2 : cut], middle)
        logs = {name: [*pieces, *middle.appended(rows)[name]] for name, pieces in first.items()}
        kept.adopt(middle.position, middle.constants(), {name: one_or_two(x) for name, x in logs.items()})
        assert all(torch.equal(x, kept.tensors()[name]) for name, x in middle.tensors().items())
        assert torch.equal(model(tokens[:, cut:], kept), model(tokens[:, cut:], middle))
        assert torch.equal(model(tokens[:, cut:], after), model(tokens[:, cut:], before))
    assert kept.position == after.position == before.position == 600


def test_memory_grows_by_the_kv_cache_alone() -> None:
    """If this fails the memory that `plan` promises is wrong for long texts."""
    model = random_model(hf_config())
    state = model.new_state()
    with torch.inference_mode():
        model.absorb(torch.zeros(1, 1000, dtype=torch.int64), state)
        first = state.nbytes
        model.absorb(torch.zeros(1, 500, dtype=torch.int64), state)
    state_numbers, kv_numbers = 2 * 4 * 16 * 16, 2 * 2 * 16  # two lightning layers, one softmax layer
    assert first == 4 * (state_numbers + 1000 * kv_numbers)
    assert state.nbytes - first == 4 * 500 * kv_numbers


def test_padding_rows_of_the_embedding_are_found() -> None:
    """If this fails a model can answer with tokens that decode to nothing."""
    model = random_model(hf_config())
    with torch.no_grad():
        model.embed.weight[390:] = 0
    assert model.unused_ids().tolist() == list(range(390, 400))


def test_one_forward_of_transformers_agrees() -> None:
    """If this fails checkpoints of the hub give other answers here than elsewhere."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = hf_config(layers="LLLSLLLS", num_local_experts=6)
    model = random_model(config)
    theirs = transformers.MiniMaxForCausalLM(transformers.MiniMaxConfig(**config)).eval()
    missing = theirs.load_state_dict(_transformers_names(random_tensors(model.config)), strict=False)
    assert not [name for name in missing.missing_keys if "slope" not in name and "decay" not in name]
    tokens = torch.randint(0, 400, (300,), generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        expected = theirs(tokens[None], use_cache=False).logits[0]
    logits, _ = run(model, tokens, [100, 200])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-3)


def _transformers_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors under the names of transformers' modules (its files use other names)."""
    renamed: dict[str, torch.Tensor] = {}
    experts: dict[str, dict[tuple[int, str], torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if ".experts." in name:
            layer, rest = name.split(".block_sparse_moe.experts.")
            e, letter, _ = rest.split(".")
            experts.setdefault(layer, {})[int(e), letter] = tensor
        else:
            renamed[name.replace("block_sparse_moe", "mlp")] = tensor
    for layer, parts in experts.items():
        count = 1 + max(e for e, _ in parts)
        gate_up = [torch.cat((parts[e, "w1"], parts[e, "w3"])) for e in range(count)]
        renamed[f"{layer}.mlp.experts.gate_up_proj"] = torch.stack(gate_up)
        renamed[f"{layer}.mlp.experts.down_proj"] = torch.stack([parts[e, "w2"] for e in range(count)])
    return renamed
