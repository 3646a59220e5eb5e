"""Tokens that are guessed from where a model looks: they make an answer sooner, never another one."""

from pathlib import Path

import pytest
import torch
from checkpoints import hf_config, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.engine import Engine, Session
from longctx.hub import BUNDLED
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.text.source import gather
from longctx.writing import Piece

LONGEST = 24


@pytest.fixture(scope="module")
def pointing(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    config = hf_config(layers="LSLS", pointer_heads=[0, 1])
    return Engine.load(write_checkpoint(tmp_path_factory.mktemp("pointing"), config), "cpu")


@pytest.fixture(scope="module")
def bundled() -> Engine:
    return Engine.load(BUNDLED, "cpu")


def told(pieces: list[Piece]) -> list[object]:
    """Return all that pieces say but how much attention a place got, which rounding changes."""
    return [(p.text, p.token, p.pointer and p.pointer.position, p.finish) for p in pieces]


def guessed(
    session: Session, prompt: list[int], how: Sampling, right: list[int], good: list[int]
) -> list[Piece]:
    """Write with guesses of which the first so many are right, and the others wrong."""
    pieces: list[Piece] = []
    turns = iter(good * LONGEST)

    def source(position: int, count: int) -> list[int]:
        written = [p.token for p in pieces if p.token is not None]
        following = right[len(written) : len(written) + next(turns)]
        return [*right[len(written) - 1 : len(written)], *following, 7, 7, 7][:count]

    for piece in session.generate(prompt, how, source):
        pieces += [piece]
    return pieces


@given(
    prompt=st.lists(st.integers(1, 399), min_size=1, max_size=9),
    good=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    longest=st.integers(1, LONGEST),
    temperature=st.sampled_from([0.0, 0.7]),
)
@settings(max_examples=25)
def test_guesses_change_nothing(
    pointing: Engine, prompt: list[int], good: list[int], longest: int, temperature: float
) -> None:
    """If this fails a guess gets into an answer, or into what the model remembers of it."""
    how = Sampling(max_tokens=longest, temperature=temperature, stop=("qu",))
    plain, quick = pointing.session(), pointing.session()
    expected = list(plain.generate(prompt, how))
    right = [p.token for p in expected if p.token is not None]
    found = guessed(quick, prompt, how, right, good)
    assert told(found) == told(expected)
    masses = [[p.pointer.mass for p in pieces if p.pointer] for pieces in (found, expected)]
    assert masses[0] == pytest.approx(masses[1], rel=1e-3)
    assert quick.position == plain.position
    ours, theirs = quick.state.tensors(), plain.state.tensors()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-4)


@given(
    number=st.from_regex(r"[0-9]{2,9}|[a-z]{3,8}-[a-z]{3,8}( [A-Z][a-z]{2,9}){0,5}", fullmatch=True),
    before=st.integers(0, 40),
)
@settings(max_examples=15)
def test_a_copied_answer_is_the_same_in_fewer_steps(
    bundled: Engine, tmp_path_factory: pytest.TempPathFactory, number: str, before: int
) -> None:
    """If this fails each token of an answer costs a pass over all that was read, or the answer changes."""
    path: Path = tmp_path_factory.mktemp("text") / "text.txt"
    fact = f"One of the special magic numbers for quiet-lantern is: {number}. Nobody knew why.\n"
    path.write_text("The river had changed its course.\n" * before + fact + "It rained again.\n" * 30)
    ask = "\n\nQuestion: What is the special magic number for quiet-lantern?\nAnswer:"
    prompt, how = bundled.tokenizer.encode(ask), Sampling(max_tokens=32, stop=("\n",))
    with gather([str(path)], None, lambda _: None) as corpus:
        reading = Reading(bundled, corpus.documents, [], 2048)
        for _ in reading.read():
            pass
        expected = list(reading.fork().session.generate(prompt, how))
        passes: list[int] = []
        hook = bundled.model.register_forward_hook(lambda *_: passes.append(1))
        try:
            found = list(reading.fork().generate(prompt, how))
        finally:
            hook.remove()
    assert told(found) == told(expected)
    written = [p.token for p in expected if p.token is not None]
    if number.isdigit() and len(written) > 3:
        assert len(passes) < len(written)
