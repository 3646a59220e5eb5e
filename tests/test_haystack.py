"""The texts that retrieval proofs are made on."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.errors import InputError
from longctx.tasks.haystack import Haystack, Kind, load_haystack, make_sample
from longctx.tasks.niah import depths_of
from longctx.tasks.results import wilson
from longctx.text.source import Corpus, gather
from longctx.tokens.tokenizer import Tokenizer

LENGTH = 3000


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return Tokenizer.load(checkpoint, 400)


@pytest.fixture(scope="module")
def haystack(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Haystack:
    path = tmp_path_factory.mktemp("hay") / "hay.txt"
    sentences = [f"On day {n} the captain wrote {n % 7} lines. Nobody read them!" for n in range(400)]
    path.write_text("\n\n".join(sentences))
    with gather([str(path)]) as corpus:
        return load_haystack(tokenizer, corpus)


@settings(max_examples=30)
@given(depth=st.floats(0, 100), number=st.integers(0, 5), kind=st.sampled_from(["number", "word", "uuid"]))
def test_a_sample_has_its_length_its_depth_and_one_needle(
    tokenizer: Tokenizer, haystack: Haystack, depth: float, number: int, kind: Kind
) -> None:
    """If this fails a retrieval proof is about another length, depth or fact than it says."""
    sample = make_sample(haystack, tokenizer, LENGTH, depth, kind, number, seed=7)
    text = sample.before + sample.needle + sample.after
    tokens = len(tokenizer.encode(text))
    assert 0.97 * LENGTH < tokens <= LENGTH
    assert text.count(sample.expected) == 1
    assert sample.needle.count(sample.expected) == 1
    at = len(tokenizer.encode(sample.before)) / (tokens - len(tokenizer.encode(sample.needle)))
    assert abs(100 * at - depth) < 2
    assert sample.expected not in sample.question
    again = make_sample(haystack, tokenizer, LENGTH, depth, kind, number, seed=7)
    assert again == sample
    assert make_sample(haystack, tokenizer, LENGTH, depth, kind, number, seed=8) != sample


def test_a_repeated_haystack_is_said_to_be_repeated(tokenizer: Tokenizer, haystack: Haystack) -> None:
    """If this fails a proof at 10M tokens hides that the text repeats."""
    assert make_sample(haystack, tokenizer, LENGTH, 50, "number", 0, 0).repeated == 1
    once = sum(haystack.costs)
    assert make_sample(haystack, tokenizer, 3 * once, 50, "number", 0, 0).repeated == 3


def test_the_default_haystack_is_two_whole_novels(tokenizer: Tokenizer) -> None:
    """If this fails `longctx niah` has no text, or a damaged one."""
    hay = load_haystack(tokenizer, None)
    text = "".join(hay.sentences)
    assert len(text) > 4_000_000
    assert "Call me Ishmael." in text
    assert "Napoleon" in text
    assert len(hay.sentences) > 30_000


def test_too_short_and_empty_are_refused(tokenizer: Tokenizer, haystack: Haystack) -> None:
    """If this fails a proof of nothing reports success."""
    with pytest.raises(InputError, match="too short"):
        make_sample(haystack, tokenizer, 20, 50, "number", 0, 0)
    with pytest.raises(InputError, match="no text"):
        load_haystack(tokenizer, Corpus())


def test_depths_cover_the_text() -> None:
    """If this fails the ends of a text are never tested."""
    assert depths_of(1) == [50.0]
    assert depths_of(5) == [0.0, 25.0, 50.0, 75.0, 100.0]


@given(of=st.integers(1, 500), data=st.data())
def test_intervals_hold_the_share_and_stay_in_range(of: int, data: st.DataObject) -> None:
    """If this fails a table claims more certainty than its trials give."""
    right = data.draw(st.integers(0, of))
    low, high = wilson(right, of)
    assert 0 <= low <= right / of + 1e-9
    assert right / of - 1e-9 <= high <= 1
    assert high - low > 0
