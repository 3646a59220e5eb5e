"""Text to hide facts in: prose and program text from disk, invented noise, code-like text and log lines.

A haystack is a list of pieces; facts may stand between any two. Knows nothing of tokens.
"""

import json
import lzma
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from random import Random

from training.words import LISTS, PHRASES, Words, clock

_SENTENCE_END = re.compile(r'(?<=[.!?])["”’\')]*\s+|(?<=[。！？])')
OTHER, CODE = "other", "code"  # folders of works in other languages, and of program text


class Prose:
    """Works kept in memory; hands out stretches that begin at a sentence.

    Args:
        texts: the works.
        other: works in other languages, which serve as haystacks only.
        code: program text.
    """

    def __init__(self, texts: list[str], other: "Prose | None" = None, code: "Prose | None" = None) -> None:
        if not any(len(text) > 200 for text in texts):
            raise ValueError("no prose: every text given is shorter than 200 characters")
        self.texts = [text for text in texts if len(text) > 200]
        self.weights = [len(text) for text in self.texts]
        self.other = other
        self.code = code

    @classmethod
    def load(cls, folder: Path, shards: int | None = None) -> "Prose":
        """Read *.jsonl.xz (rows with a `text`), *.txt and *.py; folders `other` and `code` may be missing."""
        files = [*sorted(folder.glob("*.txt")), *sorted(folder.glob("*.py"))]
        texts = [path.read_text(encoding="utf-8") for path in files]
        for path in sorted(folder.glob("*.jsonl.xz"))[:shards]:
            with lzma.open(path, "rt", encoding="utf-8") as rows:
                texts += [json.loads(row)["text"] for row in rows]
        parts = [folder / name for name in (OTHER, CODE)]
        other, code = (cls.load(part) if part.is_dir() else None for part in parts)
        return cls(texts, other, code)

    def stretch(self, rng: Random, characters: int) -> str:
        """Take about so many characters from one work, or several in a row when it is too short."""
        text = rng.choices(self.texts, self.weights)[0]
        start = rng.randrange(max(1, len(text) - characters))
        found = _SENTENCE_END.search(text, start, start + 2000)
        begin = found.end() if found else start
        taken = text[begin : begin + characters]
        return (
            taken
            if len(taken) >= characters * 0.6
            else taken + "\n\n" + self.stretch(rng, characters - len(taken))
        )


def prose_ends(text: str) -> list[int]:
    """Return where sentences end, with the space behind them."""
    return [found.end() for found in _SENTENCE_END.finditer(text)]


def prose_pieces(rng: Random, text: str) -> list[str]:
    """Split prose at sentence ends, in one of the layouts in which books come."""
    layout = rng.random()
    if layout < 0.4:
        text = " ".join(text.split())
    elif layout < 0.6:
        width = rng.randint(60, 80)
        text = "\n\n".join(textwrap.fill(part, width) for part in text.split("\n\n"))
    ends = prose_ends(text)
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True) if b > a]


def noise_pieces(rng: Random, characters: int) -> list[str]:
    """Repeat one paragraph of short sentences, as synthetic benchmarks do."""
    paragraph = rng.choice(PHRASES["noise"])
    joint = rng.choice([" ", "\n"])
    return [paragraph + joint] * (characters // (len(paragraph) + 1) + 1)


def code_pieces(rng: Random, words: Words, characters: int) -> list[str]:
    """Write lines that look like program text."""

    def line() -> str:
        a, b, c = (words.noun() + rng.choice(["", "", "_" + words.noun()]) for _ in range(3))
        return rng.choice(PHRASES["code_lines"]).format(a=a, b=b, c=c, A=a.capitalize(), B=b.capitalize())

    return _written(line, characters)


def log_pieces(rng: Random, words: Words, characters: int) -> list[str]:
    """Write lines that look like a server's log."""
    day = f"{rng.randint(2001, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"

    def line() -> str:
        form = rng.choice(PHRASES["log_lines"])
        return form.format(t=f"{day} {clock(rng)}", a=words.noun(), n=rng.randrange(2000))

    return _written(line, characters)


def _written(line: Callable[[], str], characters: int) -> list[str]:
    """Write lines until there are so many characters."""
    lines: list[str] = []
    while characters > 0:
        lines.append(line() + "\n")
        characters -= len(lines[-1])
    return lines


def lines(rng: Random, code: Prose, characters: int) -> list[str]:
    """Take whole lines of program text."""
    return code.stretch(rng, characters).splitlines(keepends=True)[1:]


def pieces(rng: Random, prose: Prose, words: Words, characters: int, foreign: float = 0.0) -> list[str]:
    """Draw a haystack: mostly prose, sometimes noise, code, a log or another language."""
    if prose.other and rng.random() < foreign:
        return prose_pieces(rng, prose.other.stretch(rng, characters))
    kind = rng.random()
    if kind < 0.72:
        return prose_pieces(rng, prose.stretch(rng, characters))
    if kind < 0.80:
        return noise_pieces(rng, characters)
    if kind < 0.90:
        return code_pieces(rng, words, characters)
    if kind < 0.95:
        return log_pieces(rng, words, characters)
    listed = LISTS["nouns"][:]
    rng.shuffle(listed)
    return [f"{i + 1}. {noun} {words.phrase()}\n" for i, noun in enumerate(listed)] * (characters // 4000 + 1)
