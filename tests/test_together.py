"""Many questions off one reading: what each gets does not depend on the others."""

import pytest
import torch
from checkpoints import random_model, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from test_families import CONFIGS, some_tokens

from longctx.engine import Engine, Session
from longctx.models.step import DecodeStep
from longctx.sampling import Sampling
from longctx.together import write_together

TALE = "The otter swam along the river, and the heron watched it from the bank.\n"
QUESTIONS = [
    f"{who} {what}?" for who in ("Who", "Why", "Where") for what in ("swam", "watched it", "was the bank")
]


@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(sorted(CONFIGS)), lengths=st.lists(st.integers(1, 70), min_size=2, max_size=4))
def test_branches_of_a_batch_go_on_as_alone(name: str, lengths: list[int]) -> None:
    """If this fails questions asked together get each other's answers, in some family of models."""
    model = random_model(CONFIGS[name])
    states = []
    for length in lengths:
        states.append(model.new_state())
        with torch.inference_mode():
            model.absorb(some_tokens(length)[None], states[-1])
    alone = [state.fork() for state in states]
    step = DecodeStep(model, batch=len(lengths))
    for round_ in range(3):
        tokens = [(7 * round_ + 3 * i) % 90 for i in range(len(lengths))]
        logits = step.run(tokens, states)
        for row, token, state in zip(logits, tokens, alone, strict=True):
            with torch.inference_mode():
                expected = model.logits(model(torch.tensor([[token]]), state)[0, -1])
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=5e-4)
    for state, other in zip(states, alone, strict=True):
        assert state.position == other.position
        for key, tensor in state.tensors().items():
            torch.testing.assert_close(tensor, other.tensors()[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_branches_of_one_text_go_on_as_alone(name: str) -> None:
    """If this fails what branches share is lost, or counted twice, where it is read once for all of them."""
    model = random_model(CONFIGS[name])
    text, other = model.new_state(), model.new_state()
    with torch.inference_mode():
        model.absorb(some_tokens(900)[None], text)
        model.absorb(some_tokens(40)[None], other)
    states = [other, text.fork(), model.new_state(), text.fork(), text.fork()]
    with torch.inference_mode():
        model.absorb(some_tokens(300)[None], states[3])
    alone = [state.fork() for state in states]
    step = DecodeStep(model, batch=len(states))
    for round_ in range(2):
        tokens = [(7 * round_ + 3 * i) % 90 for i in range(len(states))]
        logits = step.run(tokens, states)
        for row, token, state in zip(logits, tokens, alone, strict=True):
            with torch.inference_mode():
                expected = model.logits(model(torch.tensor([[token]]), state)[0, -1])
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=5e-4)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    engine = Engine.load(write_checkpoint(tmp_path_factory.mktemp("together")), "cpu", "float32")
    session = engine.session()
    session.read(engine.tokenizer.encode(TALE * 5))
    return session


def answers(session: Session, questions: list[str], sampling: Sampling) -> list[str]:
    prompts = [session.engine.tokenizer.encode(question) for question in questions]
    texts = [""] * len(prompts)
    for number, piece in write_together(session, prompts, sampling):
        texts[number] += piece.text
    return texts


@pytest.mark.parametrize(
    "sampling", [Sampling(max_tokens=9), Sampling(max_tokens=5, temperature=1.0, seed=3)]
)
def test_together_is_one_by_one_in_any_order(session: Session, sampling: Sampling) -> None:
    """If this fails an answer depends on which other questions stand in the file, or on their order."""
    alone = [answers(session, [question], sampling)[0] for question in QUESTIONS * 3]
    position = session.position
    assert answers(session, QUESTIONS * 3, sampling) == alone
    assert answers(session, (QUESTIONS * 3)[::-1], sampling) == alone[::-1]
    assert session.position == position
