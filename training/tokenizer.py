"""Train the byte-level BPE tokenizer: digits stand alone, `<|end|>` is id 0."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from training import haystack
from training.facts import FAMILIES, FactMaker
from training.haystack import Prose
from training.words import Words

END = "<|end|>"


def samples(prose: Prose, seed: int, megabytes: float) -> Iterator[str]:
    """Yield prose for the most part, then code, logs and facts."""
    rng = Random(seed)
    size = 20_000
    for _ in range(max(1, int(megabytes * 1e6 / size))):
        text = prose.stretch(rng, size)
        yield text
        words = Words(rng, text)
        maker = FactMaker(rng, words, junk=lambda r: str(r.random()), junk_share=0)
        yield "".join(haystack.code_pieces(rng, words, 1500))
        yield "".join(haystack.log_pieces(rng, words, 500))
        for _ in range(12):
            fact = maker.make(rng.choice(list(FAMILIES)))
            yield f"{fact.statement}\n\nQuestion: {rng.choice(fact.questions)}\nAnswer: {fact.value}\n"


def train(texts: Iterator[str], entries: int) -> Tokenizer:
    """Learn the merges; the same texts give the same tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and the small file that other tools expect beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10_485_760,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
