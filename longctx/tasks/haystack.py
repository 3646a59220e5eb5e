"""Texts with a hidden fact: sentences of books up to a token count, and a needle at some depth.

The needle's words and its question follow NVIDIA/RULER (scripts/data/synthetic/constants.py); the haystack
is not RULER's, so results are RULER-style, not RULER.
"""

import lzma
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import accumulate, pairwise
from random import Random
from typing import Literal

from longctx.errors import InputError
from longctx.tasks.frame import PROMPTS
from longctx.text.source import Corpus
from longctx.tokens.tokenizer import Tokenizer

Kind = Literal["number", "word", "uuid"]
NEEDLE = "One of the special magic {kind}s for {key} is: {value}."
QUESTION = "What is the special magic {kind} for {key} mentioned in the provided text?"
LARGEST_HAYSTACK = 256 << 20
_SENTENCE_END = re.compile(r"""(?<=[.!?])(["'”’)\]]*)\s+(?=["'“‘(\[]*[A-Z0-9])""")


@dataclass(frozen=True)
class Haystack:
    """Sentences of the source text in order, their token counts, and the text's digest."""

    name: str
    digest: str
    sentences: list[str]
    costs: list[int]


@dataclass(frozen=True)
class Sample:
    """One text with one fact in it.

    Attributes:
        before, after: the text around the needle; the whole text is before + needle + after.
        repeated: how often the source text was used to reach the length.
    """

    before: str
    needle: str
    after: str
    question: str
    expected: str
    repeated: int


def load_haystack(tokenizer: Tokenizer, corpus: Corpus | None) -> Haystack:
    """Return the user's texts, or the two novels that come with longctx, cut into sentences."""
    if corpus is None:
        name, text = (
            "War and Peace; Moby Dick",
            lzma.decompress((PROMPTS / "haystack.txt.xz").read_bytes()).decode(),
        )
    else:
        if corpus.bytes > LARGEST_HAYSTACK:
            raise InputError(f"haystack: larger than {LARGEST_HAYSTACK >> 20} MiB; name fewer files")
        name = "; ".join(document.name for document in corpus.documents)
        text = "\n\n".join("".join(document.blocks()) for document in corpus.documents)
    sentences = [
        sentence
        for paragraph in re.split(r"\n\s*\n|(?<=[.!?\"”])\n", text.replace("\r\n", "\n").replace("\r", "\n"))
        for sentence in _sentences(" ".join(paragraph.split()))
    ]
    if not sentences:
        raise InputError("haystack: there is no text in it; name files with text")
    costs = [len(tokens) for tokens in tokenizer.encode_batch(sentences)]
    return Haystack(name, sha256(text.encode()).hexdigest(), sentences, costs)


def hidden(kind: Kind, key: str, value: str) -> tuple[str, str]:
    """Return a sentence that states a fact, and the question about it."""
    return NEEDLE.format(kind=kind, key=key, value=value), QUESTION.format(kind=kind, key=key)


def make_sample(
    haystack: Haystack, tokenizer: Tokenizer, length: int, depth: float, kind: Kind, sample: int, seed: int
) -> Sample:
    """Return a text of about `length` tokens (never more) with a needle `depth` percent into it.

    The arguments determine the text; each sample starts at another sentence of the haystack.

    Raises:
        InputError: when the needle does not fit.
    """
    label = f"{seed}|{kind}|{length}|{float(depth)}|{sample}"
    random = Random(int(sha256(label.encode()).hexdigest(), 16))
    start = random.randrange(len(haystack.sentences))
    key = _name(random)
    value = _value(kind, random)
    needle, question = hidden(kind, key, value)
    needle += " "
    budget = length - len(tokenizer.encode(needle))
    chosen: list[int] = []
    while (cost := haystack.costs[(at := (start + len(chosen)) % len(haystack.sentences))]) <= budget:
        budget -= cost
        chosen.append(at)
    if not chosen:
        raise InputError("too short for a needle, a sentence and an answer; take a longer --length")
    split = _nearest([haystack.costs[at] for at in chosen], depth)
    sentences = [haystack.sentences[at] for at in chosen]
    return Sample(
        before="".join(sentences[:split]),
        needle=needle,
        after="".join(sentences[split:]),
        question=question,
        expected=value,
        repeated=-(-len(chosen) // len(haystack.sentences)),
    )


def _sentences(paragraph: str) -> list[str]:
    """Cut a paragraph after each sentence; a sentence keeps one space, the last one a blank line."""
    if not paragraph:
        return []
    ends = [match.end() for match in _SENTENCE_END.finditer(paragraph)]
    parts = [paragraph[a:b].strip() for a, b in pairwise([0, *ends, len(paragraph)])]
    return [f"{part} " for part in parts[:-1] if part] + [f"{parts[-1]}\n\n"]


def _nearest(costs: Sequence[int], depth: float) -> int:
    """Return the sentence boundary (0 to len) whose running token count is nearest to depth percent."""
    totals = list(accumulate(costs, initial=0))
    return min(range(len(totals)), key=lambda at: abs(totals[at] - totals[-1] * depth / 100))


def _value(kind: Kind, random: Random) -> str:
    if kind == "number":
        return str(random.randrange(1_000_000, 10_000_000))
    return _name(random) if kind == "word" else str(uuid.UUID(int=random.getrandbits(128), version=4))


def _name(random: Random) -> str:
    return "-".join(random.choice(_words(file)) for file in ("adjectives.txt", "nouns.txt"))


@cache
def _words(file: str) -> list[str]:
    return (PROMPTS / file).read_text(encoding="utf-8").split()
