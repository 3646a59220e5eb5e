"""Choose sentences that cover the telling words of a text, evenly over its length. Knows no sections.

A sentence is worth the words it adds: each counts by how often the text says it and how few sentences do,
and less each time it was already said. Measured in docs/summaries.md.
"""

from collections import Counter
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace
from math import log

from longctx.quotes.candidates import Candidate
from longctx.quotes.prose import common_words, words

DAMPING = 0.25  # the exponent of the times a word was said
NAME = 1.5  # words seen capitalised inside sentences
OPENING = 1.3  # the first sentence of a paragraph
SPEECH = 0.75
TELLING = 6  # telling words below which a sentence is worth less: "Yes," said he
STRETCH = 25  # words asked for, for each of the equal stretches that sentences should come from
CROWDED = 9  # how much less a second sentence of a stretch is worth


class Coverage:
    """The sentences of one part of a text, and what each would add to those taken.

    The worth of a sentence only falls while others are taken, so the best is found by looking again at
    the top of a heap, without looking at all others.

    Args:
        candidates: in reading order.
        asked: words to choose, which the stretches follow from.
        said: how often each word was said in what was chosen, here and in other parts; `take` adds to it.
    """

    def __init__(self, candidates: Sequence[Candidate], asked: float, said: Counter[str]) -> None:
        self.candidates, self._said = candidates, said
        spoken = [words(candidate.quote.text) for candidate in candidates]
        common = common_words()
        self._telling = [{word.lower() for word in heard} - common for heard in spoken]
        having = Counter(word for telling in self._telling for word in telling)
        names = {word.lower() for heard in spoken for word in heard[1:] if word[0].isupper()}
        self._value = {
            word: log(1 + df) * log(len(candidates) / df) * (NAME if word in names else 1)
            for word, df in having.items()
        }
        self._stretches = max(1, round(asked / STRETCH))
        self._taken = [0] * self._stretches
        self._heap = [(-self._worth(number), number) for number in range(len(candidates))]
        heapify(self._heap)

    def best(self, longest: float, shortest: float = 0) -> tuple[float, int] | None:
        """Return worth and number of the best sentence of `shortest` to `longest` words; None without one."""
        passed: list[tuple[float, int]] = []
        found = None
        while self._heap and not found:
            number = self._heap[0][1]
            entry = (-self._worth(number), number)
            if entry > self._heap[0]:
                heapreplace(self._heap, entry)
            elif shortest <= self.candidates[number].length <= longest:
                found = (-entry[0], number)
            else:
                passed.append(heappop(self._heap))
        for entry in passed:
            heappush(self._heap, entry)
        return found

    def take(self, number: int) -> None:
        """Take a sentence that `best` returned."""
        self._heap = [entry for entry in self._heap if entry[1] != number]
        heapify(self._heap)
        self._taken[self._stretch(number)] += 1
        self._said.update(self._telling[number])

    def _stretch(self, number: int) -> int:
        return number * self._stretches // len(self.candidates)

    def _worth(self, number: int) -> float:
        candidate, telling = self.candidates[number], self._telling[number]
        gain = sum(map(self._gain, telling)) / max(1, candidate.length)
        gain *= (OPENING if candidate.opens else 1) * (SPEECH if candidate.speech else 1)
        return gain * min(1, len(telling) / TELLING) / (1 + CROWDED * self._taken[self._stretch(number)])

    def _gain(self, word: str) -> float:
        times = self._said[word]
        return self._value[word] * float((times + 1) ** DAMPING - times**DAMPING)
