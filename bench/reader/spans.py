"""Answers along the words of a passage: what the reader may say stands there, or it refuses."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Encoding, Tokenizer

from bench.reader.network import Cache, Network
from training.reader.prompt import END, REFUSAL, prompt

STARTS = 5  # words of a passage from which on an answer is followed
ALIKE = 3  # of these that begin with the same token
LONGEST = 12  # tokens of an answer
AHEAD = 120  # characters that surely hold so many
# The end of a hard-wrapped line of prose; a row, an item or an indented line does not begin with a letter.
_WRAPPED = re.compile(r"(?m)^(.{60,})\n(?=[A-Za-z\"'“(])")
_WORD = re.compile(r"(?<!\w)\w|[-+.$€£#/<`]+(?=\w)")


@dataclass(frozen=True)
class Said:
    """What the reader says of one passage.

    Attributes:
        start, end: characters of the passage that its surest answer takes; both 0 where nothing can be said.
        total: log-probability of that answer and of its end. refusal: of refusing.
        first: log-probability of its first token.
        mass: log-probability of all answers followed that overlap it.
        other: of the surest answer that does not.
        tokens: of the answer.
        spans: all answers that were followed: start, end, log-probability.
    """

    start: int
    end: int
    total: float
    refusal: float
    first: float
    mass: float
    other: float
    tokens: int
    spans: list[tuple[int, int, float]]


class Reader:
    """Asks a network one question of several passages at once."""

    def __init__(self, network: Network, tokenizer: Tokenizer) -> None:
        self.network, self.tokenizer = network, tokenizer
        (self.stop,) = self.ids(END)
        self.refusal = self.ids(REFUSAL)

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text, without anything added."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def ask(self, question: str, passages: Sequence[str]) -> list[Said]:
        """Return what is said of each passage; wrapped lines are read as one."""
        passages = [_WRAPPED.sub(r"\1 ", passage) for passage in passages]
        after, cache = self.network.read([self.ids(prompt(question, passage)) for passage in passages])
        starts = [self._starts(passage, after[i]) for i, passage in enumerate(passages)]
        return self._followed(passages, starts, after, cache)

    def _starts(self, passage: str, after: torch.Tensor) -> list[tuple[int, Encoding]]:
        """Return the likeliest beginnings of an answer: where they stand, and what follows them."""
        places = [word.start() for word in _WORD.finditer(passage)]
        texts = [re.sub(r"\s", " ", passage[at : at + AHEAD]) for at in places]
        encoded = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        known: dict[tuple[int, ...], tuple[int, Encoding]] = {}
        for at, one in zip(places, encoded, strict=True):
            known.setdefault(tuple(one.ids[:LONGEST]), (at, one))
        ranked = sorted(known.values(), key=lambda pair: -float(after[pair[1].ids[0]]))
        taken, alike = list[tuple[int, Encoding]](), Counter[int]()
        for at, one in ranked:
            alike[one.ids[0]] += 1
            if alike[one.ids[0]] <= ALIKE:
                taken.append((at, one))
        return taken[:STARTS]

    def _followed(
        self,
        passages: Sequence[str],
        starts: list[list[tuple[int, Encoding]]],
        after: torch.Tensor,
        cache: Cache,
    ) -> list[Said]:
        length = max(LONGEST, len(self.refusal))
        branches = torch.zeros(len(passages), STARTS + 1, length, dtype=torch.long)
        for i, own in enumerate(starts):
            for j, ids in enumerate([self.refusal, *(one.ids[:LONGEST] for _, one in own)]):
                branches[i, j, : len(ids)] = torch.tensor(ids)
        later = self.network.follow(cache, branches)
        found = []
        for i, own in enumerate(starts):
            next_up = self.network.predict(later[i])
            told = next_up[:, :-1].gather(2, branches[i, :, 1:, None])[..., 0]  # of tokens 1 to L - 1
            steps = torch.cat([after[i][branches[i, :, 0]][:, None], told], 1).cumsum(1)
            totals = (steps + next_up[..., self.stop]).tolist()
            refusal = totals[0][len(self.refusal) - 1]
            spans = [
                (at, at + end, count, totals[j][count - 1], float(steps[j, 0]))
                for j, (at, one) in enumerate(own, 1)
                for count, end in _ends(one, passages[i][at : at + AHEAD])
            ]
            found.append(_surest(spans, refusal))
        return found


def _ends(one: Encoding, text: str) -> list[tuple[int, int]]:
    """Return where an answer may end: after how many tokens, at which character, at the end of a word."""
    ends = []
    for count, (_, end) in enumerate(one.offsets[:LONGEST], 1):
        inside = end < len(text) and text[end - 1].isalnum() and text[end].isalnum()
        if not inside and text[end - 1] not in ' \n\t,;:("':
            ends.append((count, end))
    return ends


def _surest(spans: list[tuple[int, int, int, float, float]], refusal: float) -> Said:
    if not spans:
        return Said(0, 0, -99.0, refusal, -99.0, -99.0, -99.0, 0, [])
    start, end, tokens, total, first = max(spans, key=lambda span: span[3])
    near = [one[3] for one in spans if one[0] < end and one[1] > start]
    rest = [one[3] for one in spans if not (one[0] < end and one[1] > start)]
    mass = math.log(sum(map(math.exp, near)))
    kept = [(one[0], one[1], round(one[3], 3)) for one in sorted(spans, key=lambda one: -one[3])[:12]]
    return Said(start, end, total, refusal, first, mass, max(rest, default=-99.0), tokens, kept)
