"""The decode step in fixed memory answers as the model's own forward does, whatever happens between steps."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from checkpoints import VOCABULARY, hf_config, original_config, random_model, write_checkpoint

from longctx.engine import Engine
from longctx.known import FOLDER
from longctx.models import kv_log
from longctx.models.decoder import Decoder
from longctx.models.state import State
from longctx.models.step import DecodeStep
from longctx.models.weight import Form
from longctx.sampling import Sampling

pytest.importorskip("triton")


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the Triton kernels, on small pages so that a short text has several."""
    from longctx.kernels import rounded_triton

    monkeypatch.setenv("LONGCTX_KERNELS", "triton")
    monkeypatch.setattr(rounded_triton, "ROWS", 32)  # of a program
    monkeypatch.setattr(kv_log, "FIRST_PAGE", 4)
    monkeypatch.setattr(kv_log, "LAST_PAGE", 8)


# Published models, narrow: a lightning and a softmax layer.
NARROW = {
    **{"hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 32, "vocab_size": 100},
    **{"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "num_hidden_layers": 2},
    **{"lightning_nh": 2, "lightning_nkv": 1, "lightning_head_dim": 16, "group_norm_size": 2},
    **{"layer_group_size": 2, "mixer_types": ["lightning-attn", "attn"]},
    **{"num_experts": 4, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1},
}
TRANSNORMER = {
    **{"model_type": "transnormer", "norm_type": "simplermsnorm", "linear_act_fun": "swish", "bias": False},
    **{"decoder_embed_dim": 32, "decoder_attention_heads": 2, "decoder_layers": 2, "hidden_dim": 32},
    **{"linear_use_lrpe_list": [1, 0], "no_scale_embedding": False, "glu_dim": -1, "vocab_size": 100},
}


def model_of(kind: str, dtype: torch.dtype = torch.float32, form: Form = "plain") -> Decoder:
    """Return a narrow model: the interpreter's time goes by the number of programs that a kernel launches."""
    if (FOLDER / kind).exists():
        raw = json.loads((FOLDER / kind / "config.json").read_text())
        raw |= {key: value for key, value in NARROW.items() if key in raw}
        if form == "plain":
            raw |= {"first_k_dense_replace": 2}  # experts take the interpreter seconds
        return random_model(raw, dtype=dtype, form=form)
    narrow = {"hidden_size": 16, "intermediate_size": 8, "layers": "LS"}
    plain = narrow | {"num_local_experts": 1, "num_experts_per_tok": 1}
    if kind == "transnormer":
        return random_model(TRANSNORMER)
    if kind == "original":
        return random_model(original_config(head_dim=16, **plain))
    return random_model(hf_config(**(narrow if kind == "experts" else plain)))


def read(model: Decoder, tokens: list[int]) -> State:
    state = model.new_state()
    with torch.inference_mode():
        model.absorb(torch.tensor([tokens]), state)
    return state


@contextmanager
def by_torch(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let torch's versions of everything run a model."""
    with monkeypatch.context() as patch:
        patch.setenv("LONGCTX_KERNELS", "torch")
        model.use()
        yield
    model.use()


def forward(model: Decoder, token: int, state: State, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Return the logits of the model's own forward with the torch versions of everything."""
    with by_torch(model, monkeypatch), torch.inference_mode():
        return model.logits(model(torch.tensor([[token]]), state)[:, -1])[0]


@pytest.mark.parametrize("kind", ["experts", "original", "ring-mini", "hypenet-2b"])
def test_steps_equal_forwards_over_page_ends(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a GPU writes another answer than a CPU as soon as the text fills a page."""
    model = model_of(kind)
    step = DecodeStep(model)
    ours, theirs = read(model, list(range(3, 14))), read(model, list(range(3, 14)))
    for token in range(20, 22):  # the second of them opens a page
        expected = forward(model, token, theirs, monkeypatch)
        torch.testing.assert_close(step.run([token], [ours])[0], expected, rtol=2e-4, atol=2e-4)
    assert ours.position == theirs.position == 13


@pytest.mark.parametrize(("kind", "form"), [("ring-mini", "int4"), ("hypenet-2b", "int8")])
def test_steps_with_rounded_weights_equal_forwards(
    kind: str, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails --quant changes what a GPU answers after the first token of an answer."""
    model = model_of(kind, torch.float16, form)
    step = DecodeStep(model)
    ours, theirs = read(model, list(range(3, 14))), read(model, list(range(3, 14)))
    for token in (20, 21):
        expected = forward(model, token, theirs, monkeypatch)
        torch.testing.assert_close(step.run([token], [ours])[0], expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", ["hf", "ring-mini", "hypenet-2b"])
def test_readings_take_turns_without_touching_each_other(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails two answers written in turns, or a fork in the middle of one, mix their memories."""
    model = model_of(kind)
    step = DecodeStep(model)
    first, second = read(model, [5, 6, 7]), read(model, [50, 60])
    truth = {id(first): first.fork(), id(second): second.fork()}
    for token, state in [(8, first), (70, second), (9, first), (80, second)]:
        expected = forward(model, token, truth[id(state)], monkeypatch)
        torch.testing.assert_close(step.run([token], [state])[0], expected, rtol=2e-4, atol=2e-4)
    branch, kept = second.fork(), second.fork()
    step.run([90], [branch])
    with torch.inference_mode():
        model.absorb(torch.tensor([[91, 92, 93]]), second)  # more text in the middle of an answer
        model.absorb(torch.tensor([[91, 92, 93]]), kept)
    expected = forward(model, 94, kept, monkeypatch)
    torch.testing.assert_close(step.run([94], [second])[0], expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("kind", ["original", "ring-mini", "hypenet-2b", "transnormer"])
def test_branches_of_one_batch_stand_at_different_places(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails many questions asked of one reading at once get each other's answers."""
    model = model_of(kind)
    step = DecodeStep(model, batch=3)
    ours = [read(model, list(range(1, n))) for n in (3, 9, 20)]
    theirs = [state.fork() for state in ours]
    for tokens in ([31, 32, 33], [41, 42, 43]):
        logits = step.run(tokens, ours)
        for row, token, state in zip(logits, tokens, theirs, strict=True):
            expected = forward(model, token, state, monkeypatch)
            torch.testing.assert_close(row, expected, rtol=2e-4, atol=2e-4)


def test_an_answer_is_the_same_with_and_without_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails --device changes what an answer says, or where it claims to stand."""
    config = hf_config(layers="LS", pointer_heads=[0, 1])
    engine = Engine.load(write_checkpoint(tmp_path / "model", config), "cpu", "float32")
    text = engine.tokenizer.encode("Nobody in the village knew why the river had changed its course.")
    session = engine.session()
    session.read(text)

    def answer() -> list[tuple[int | None, int | None]]:
        pieces = session.fork().generate(engine.tokenizer.encode(" Why?"), Sampling(max_tokens=4))
        return [(p.token, p.pointer.position if p.pointer else None) for p in pieces]

    by_kernels = answer()
    assert engine.step is not None
    engine.step = None
    with by_torch(engine.model, monkeypatch):
        assert answer() == by_kernels
    assert sum(token is not None for token, _ in by_kernels) == 4


@pytest.mark.parametrize("kind", ["experts", "original"])
def test_reading_in_chunks_by_kernels_equals_torch(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a GPU remembers another text than a CPU, or its memory depends on --chunk."""
    model = model_of(kind)
    tokens = torch.randint(VOCABULARY, (1, 90), generator=torch.Generator().manual_seed(1))
    ours = model.new_state()
    with torch.inference_mode():
        outputs = [model(part, ours) for part in tokens.split([70, 1, 19], dim=1)]
    theirs = model.new_state()
    with by_torch(model, monkeypatch), torch.inference_mode():
        expected = model(tokens, theirs)
    torch.testing.assert_close(torch.cat(outputs, dim=1), expected, rtol=1e-4, atol=1e-4)
    right = theirs.tensors()
    for name, tensor in ours.tensors().items():
        torch.testing.assert_close(tensor, right[name], rtol=1e-4, atol=1e-4)
