"""A second, closer look at the best rows of a passage index: how near each other a question's words stand."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from longctx.quotes.kinds import Kind, asked_kind, is_of_kind
from longctx.quotes.prose import with_pairs
from longctx.quotes.stems import cut_foreign

ROWS = 60  # the best ones are looked at
NEAR, BESIDE = 30, 10  # words of a window; words from it to the kind of thing that is asked for
PHRASES_WEIGHT = NEAR_WEIGHT = KIND_WEIGHT = 0.5

# As the index divides text; marks are parts of words.
WORD = re.compile(r"(?:[^\W_][\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0d7f]*)+")
_ENDS = re.compile(r"(?:^|[.!?:;][\"'”’)]*\s+|\n\s*\n?|[\"“])$")


@dataclass(frozen=True)
class Look:
    """A question's words as they are looked for in rows.

    Attributes:
        rarity: the idf of each telling word, by the form that `forms` gives it.
        forms: brings words to a common form.
        kind: what is asked for, if the question says.
    """

    rarity: Mapping[str, float]
    forms: Callable[[Iterable[str]], Mapping[str, str]]
    kind: Kind | None

    @classmethod
    def at(
        cls, question: str, rarity: Mapping[str, float], forms: Callable[[Iterable[str]], Mapping[str, str]]
    ) -> "Look":
        """Return what to look for."""
        return cls(rarity, forms, asked_kind(question))

    @property
    def total(self) -> float:
        """The rarity of all the question's words together."""
        return sum(self.rarity.values())

    def closeness(self, text: str) -> float:
        """Score a row by its best window: 0 to NEAR_WEIGHT + KIND_WEIGHT."""
        if not self.total:
            return 0.0
        found = list(WORD.finditer(text))
        forms = self.forms(one[0] for one in found)
        hits = [(at, form) for at, one in enumerate(found) if (form := forms[one[0]]) in self.rarity]
        near = kind = self._best(hits)
        if self.kind:
            places = [
                at
                for at, one in enumerate(found)
                if forms[one[0]] not in self.rarity and self._is_kind(text, one)
            ]
            kind = self._best(hits, places)
        return (NEAR_WEIGHT * near + KIND_WEIGHT * kind) / self.total

    def held(self, text: str) -> frozenset[str]:
        """Return the question's words, in their common form, that a text holds."""
        forms = self.forms(one[0] for one in WORD.finditer(with_pairs(cut_foreign(text))))
        return frozenset(forms.values()) & self.rarity.keys()

    def share(self, words: Iterable[str]) -> float:
        """Return the share of the question's rarity that these words of it have."""
        return sum(self.rarity[word] for word in words) / self.total if self.total else 0.0

    def has_kind(self, text: str) -> bool:
        """Tell whether a text has a word of the kind that is asked for, and not the question's own."""
        found = list(WORD.finditer(text))
        forms = self.forms(one[0] for one in found)
        return self.kind is not None and any(
            forms[one[0]] not in self.rarity and self._is_kind(text, one) for one in found
        )

    def _is_kind(self, text: str, word: re.Match[str]) -> bool:
        assert self.kind
        begins = self.kind == "name" and bool(_ENDS.search(text[max(0, word.start() - 6) : word.start()]))
        return is_of_kind(self.kind, word[0], begins=begins)

    def _best(self, hits: list[tuple[int, str]], beside: list[int] | None = None) -> float:
        """Return the largest rarity of different words in a window (that lies beside one of the places)."""
        best, first = 0.0, 0
        for last, (at, _) in enumerate(hits):
            while at - hits[first][0] >= NEAR:
                first += 1
            window = hits[first : last + 1]
            low, high = window[0][0] - BESIDE, at + BESIDE
            if beside is None or any(low <= place <= high for place in beside):
                best = max(best, sum(self.rarity[form] for form in {form for _, form in window}))
        return best
