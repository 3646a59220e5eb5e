"""Choosing tokens, and ending answers at stop strings."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import ModelError
from longctx.sampling import Sampling, StopStrings, pick


def draws(logits: list[float], how: Sampling, count: int = 200) -> set[int]:
    random = torch.Generator().manual_seed(how.seed)
    return {pick(torch.tensor(logits), [], how, random) for _ in range(count)}


def test_greedy_takes_the_likeliest() -> None:
    """If this fails two runs of the same question give different answers."""
    assert draws([0.0, 3.0, 2.9], Sampling()) == {1}


def test_temperature_lets_less_likely_tokens_through() -> None:
    """If this fails --temperature does nothing."""
    assert draws([0.0, 0.1, 0.2], Sampling(temperature=1.0)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        (Sampling(temperature=1.0, top_p=0.5), {3}),
        (Sampling(temperature=1.0, top_p=0.9), {2, 3}),
        (Sampling(temperature=1.0, min_p=0.3), {2, 3}),
        (Sampling(temperature=1.0, top_p=0.0), {3}),
    ],
)
def test_unlikely_tokens_are_cut(how: Sampling, kept: set[int]) -> None:
    """If this fails sampled answers wander off into noise. Probabilities are 0.02, 0.08, 0.3, 0.6."""
    assert draws(torch.tensor([0.02, 0.08, 0.3, 0.6]).log().tolist(), how) == kept


def shares(logits: list[float], written: list[int], how: Sampling) -> list[float]:
    """Return the weight that each token has in a draw, in plain numbers."""
    values = [
        (x / how.repetition_penalty if x > 0 else x * how.repetition_penalty) if at in written else x
        for at, x in enumerate(logits)
    ]
    weights = [math.exp(x / how.temperature) for x in values]
    found = [x / sum(weights) for x in weights]
    found = [x if x >= how.min_p * max(found) else 0.0 for x in found]
    before = 0.0
    kept = [0.0] * len(found)
    for at in sorted(range(len(found)), key=lambda at: -found[at]):
        if not any(kept) or before < how.top_p * sum(found):
            kept[at] = found[at]
        before += found[at]
    return kept


@given(
    logits=st.lists(st.integers(-30, 30), min_size=1, max_size=12, unique=True),
    written=st.lists(st.integers(0, 11), max_size=4),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    top_p=st.sampled_from([0.0, 0.37, 0.83, 1.0]),
    min_p=st.sampled_from([0.0, 0.013, 0.29, 1.0]),
    penalty=st.sampled_from([1.0, 1.7, 0.6]),
    seed=st.integers(0, 99),
)
def test_tokens_are_drawn_by_their_shares(
    logits: list[int],
    written: list[int],
    temperature: float,
    top_p: float,
    min_p: float,
    penalty: float,
    seed: int,
) -> None:
    """If this fails answers are drawn from other tokens than --top-p and --min-p let through."""
    numbers, written = [x / 10 for x in logits], [x for x in written if x < len(logits)]
    how = Sampling(temperature=temperature, top_p=top_p, min_p=min_p, repetition_penalty=penalty)
    expected = torch.tensor(shares(numbers, written, how))
    wanted = torch.multinomial(expected, 1, generator=torch.Generator().manual_seed(seed))
    found = pick(torch.tensor(numbers), written, how, torch.Generator().manual_seed(seed))
    assert found == int(wanted)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_repetition_penalty_lowers_what_was_written(sign: float) -> None:
    """If this fails an answer can repeat one sentence for ever."""
    logits = torch.tensor([1.0, 0.9]) if sign > 0 else torch.tensor([-0.9, -1.0])
    random = torch.Generator()
    assert pick(logits.clone(), [0], Sampling(repetition_penalty=1.0), random) == 0
    assert pick(logits.clone(), [0], Sampling(repetition_penalty=1.5), random) == 1


def test_the_same_seed_gives_the_same_answer() -> None:
    """If this fails --seed does not make a run repeatable."""
    how = Sampling(temperature=1.0, seed=3)
    runs = []
    for _ in range(2):
        random = torch.Generator().manual_seed(how.seed)
        runs.append([pick(torch.zeros(50), [], how, random) for _ in range(20)])
    assert runs[0] == runs[1]


def test_a_model_of_broken_weights_is_refused() -> None:
    """If this fails it writes rubbish, or ends in a traceback where a token is drawn."""
    for temperature in (0.0, 1.0):
        with pytest.raises(ModelError, match="damaged"):
            draws([0.0, float("nan")], Sampling(temperature=temperature), 1)


def test_text_without_stop_strings_is_shown_at_once() -> None:
    """If this fails an answer lags a letter behind while it is written."""
    assert StopStrings([]).push("noon") == ("noon", False)
    assert StopStrings(["\n"]).push("noon") == ("noon", False)


@given(st.text("abcd", max_size=30), st.lists(st.text("abcd", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_cut_the_same_however_the_text_arrives(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    """If this fails part of a stop string is shown, or text after it."""
    ends = [(at + len(s), at) for s in stop if (at := text.find(s)) >= 0]
    expected = text[: min(ends)[1]] if ends else text
    stops, shown, rest = StopStrings(stop), "", text
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        piece, done = stops.push(rest[:size])
        shown, rest = shown + piece, rest[size:]
        # What was shown may never have to be taken back.
        assert expected.startswith(shown)
        if done:
            break
    else:
        shown += stops.flush()
    assert shown == expected
