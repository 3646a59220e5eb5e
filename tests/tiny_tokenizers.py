"""Byte-level tokenizers of a few hundred tokens, trained in a moment on text made here."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ("<|end|>", "<pad>")
BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
SPLITS: dict[str, Any] = {
    "gpt2": BYTE_LEVEL,
    "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTE_LEVEL]),
    "cl100k": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CL100K), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    # Nothing can be cut here, so documents are encoded in very long pieces.
    "whole": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
}
WORDS = (
    *("the", "The", "history", "don't", "I'LL", "'s", "'", "naïve", "e\u0301", "日本語", "語。", "чай", "ß"),
    *(" ", "  ", "     ", "\t", "\n", "\r", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2028", "\x85", "\0"),
    *("1", "22", "4096", "½", ",", ".", "...", "—", "🎉", "👩‍💻", *SPECIAL, "<|", "\ufffd"),
)
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=30).map("".join)


def train(split: Any, folder: Path) -> Path:
    """Train a tokenizer of 400 tokens, save it as tokenizer.json and return the folder."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = split
    backend.decoder = decoders.ByteLevel()
    prose = [f"The history of the {word} and the {word}'s {number}\n\n" for number, word in enumerate(WORDS)]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(prose * 3, trainer)
    backend.save(str(folder / "tokenizer.json"))
    return folder
