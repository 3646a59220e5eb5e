"""Text to tokens and back: documents hold no special tokens, and no character is torn."""

from hypothesis import example, given
from hypothesis import strategies as st
from tiny_tokenizers import TEXTS

from longctx.tokens.tokenizer import Detokenizer, Tokenizer


def test_only_a_tokenizer_that_cannot_cut_has_a_note(tokenizers: dict[str, Tokenizer]) -> None:
    """The user is told why tokens may differ, and only then."""
    assert [name for name, tokenizer in tokenizers.items() if tokenizer.note] == ["whole"]
    assert "may differ" in tokenizers["whole"].note


@given(text=TEXTS)
def test_special_tokens_are_text_in_documents(tokenizers: dict[str, Tokenizer], text: str) -> None:
    """A document could end the conversation or give orders in the user's name."""
    for tokenizer in tokenizers.values():
        tokens = tokenizer.encode(f"{text}<|end|>{text}")
        assert not set(tokenizer.special_tokens.values()) & set(tokens)
        assert tokenizer.decode(tokens) == f"{text}<|end|>{text}"


def test_templates_know_special_tokens(tokenizers: dict[str, Tokenizer]) -> None:
    """Without its marks the model would not see where a turn ends."""
    tokenizer = tokenizers["gpt2"]
    tokens = [*tokenizer.encode("hi"), tokenizer.special_tokens["<|end|>"]]
    assert tokenizer.decode(tokens) == "hi"


@given(tokens=st.lists(st.integers(0, 399), max_size=30))
@example(tokens=[200, 201, 202])
def test_detokenising_one_by_one_equals_at_once(tokenizers: dict[str, Tokenizer], tokens: list[int]) -> None:
    """Answers appear while they are written: no character may be torn, lost or shown twice."""
    tokenizer = tokenizers["gpt2"]
    detokenizer = Detokenizer(tokenizer)
    for _ in range(2):
        pieces = [detokenizer.push(token) for token in tokens]
        assert "".join(pieces) + detokenizer.flush() == tokenizer.decode(tokens)
    assert detokenizer.flush() == ""


@given(text=TEXTS)
def test_detokenised_text_has_no_broken_characters(tokenizers: dict[str, Tokenizer], text: str) -> None:
    """Half an emoji on the terminal cannot be taken back."""
    detokenizer = Detokenizer(tokenizers["gpt2"])
    text = text.replace("\ufffd", "")
    written = ""
    for token in tokenizers["gpt2"].encode(text):
        written += detokenizer.push(token)
        assert text.startswith(written)
    assert written == text
