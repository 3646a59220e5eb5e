"""Find where to cut a text so that its parts tokenise exactly like the whole; knows no documents.

A *cut* lies between two characters c and d. It is proven from the pair alone, for any text around it:

1. A pattern without look-behind, anchors and back-references reads one character after another. From the
   pattern we list every pair of character classes that one attempt (look-ahead included) can read in a row.
   If (c, d) is in none of them, an attempt begun before the cut stops there, just as it would at the end of
   the text: what it decides does not depend on anything after the cut, and no match spans it.
2. If the pattern also matches c alone, c is part of a match. That match ends at the cut, so the scan starts
   afresh there, as it would at the start of a text.

The stages of a pre-tokeniser work inside the pieces of the stage before. A stage for which only (1) holds
decides alike on both sides, so the proof goes on with the next stage until (2) holds for one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import Regex
from tokenizers.pre_tokenizers import Digits, Split

# The pattern of the library's ByteLevel stage.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

_QUANTIFIER = re.compile(r"[*+?]|\{(?=,?\d)(\d*),?\d*\}")
_ESCAPE = re.compile(
    r"\\(?:[sSdDwWhHrntfv]|[pP]\{\^?[A-Za-z_ ]+\}|x[0-7][0-9a-fA-F]|u[0-9a-fA-F]{4}|[^\w\x80-\U0010ffff])"
)
_LITERAL = re.compile(r"[^\\^$.|?*+()\[\]{}]")
_CASELESS_SET = re.compile(r"\[[A-Za-z0-9]+\]")
_LETTERS = r"[\p{L}\p{M}]"  # whatever a letter can match when case is folded
_GROUPS = {"(?:": False, "(?>": False, "(?=": True, "(?!": True, "(?i:": False}


class NotProvableError(Exception):
    """The parts of a text may not tokenise like the whole; the message says why."""


@dataclass(frozen=True)
class _Node:
    """A stretch of a pattern: can it match nothing, and which character classes may it begin and end with."""

    nullable: bool
    first: frozenset[str]
    last: frozenset[str]


_NOTHING = _Node(nullable=True, first=frozenset(), last=frozenset())


class _Pattern:
    """Reads a regular expression; `follow` holds the pairs of classes that an attempt can read in a row."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.follow: set[tuple[str, str]] = set()
        whole = self._alternatives(caseless=False)
        if self.at < len(source):
            raise self._unknown()
        if whole.nullable:
            raise NotProvableError(f"its pattern can match nothing: {source}")

    def _unknown(self) -> NotProvableError:
        return NotProvableError(
            f"its pattern has something unknown at {self.source[self.at : self.at + 12]!r}"
        )

    def _take(self, expression: re.Pattern[str]) -> str:
        found = expression.match(self.source, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found.group()

    def _next_is(self, text: str) -> bool:
        return self.source.startswith(text, self.at)

    def _alternatives(self, caseless: bool) -> _Node:
        nodes = [self._sequence(caseless)]
        while self._next_is("|"):
            self.at += 1
            nodes.append(self._sequence(caseless))
        return _Node(
            nullable=any(node.nullable for node in nodes),
            first=frozenset().union(*(node.first for node in nodes)),
            last=frozenset().union(*(node.last for node in nodes)),
        )

    def _sequence(self, caseless: bool) -> _Node:
        whole = _NOTHING
        while self.at < len(self.source) and not self._next_is("|") and not self._next_is(")"):
            node = self._repeated(caseless)
            self._join(whole, node)
            whole = _Node(
                nullable=whole.nullable and node.nullable,
                first=whole.first | node.first if whole.nullable else whole.first,
                last=whole.last | node.last if node.nullable else node.last,
            )
        return whole

    def _join(self, before: _Node, after: _Node) -> None:
        self.follow |= {(one, two) for one in before.last for two in after.first}

    def _repeated(self, caseless: bool) -> _Node:
        node = self._group(caseless) if self._next_is("(") else self._one(caseless)
        while found := _QUANTIFIER.match(self.source, self.at):
            self.at = found.end()
            if found.group() != "?":
                self._join(node, node)  # too many for a counted repetition, which only costs cuts
            if found.group() in "*?" or found[1] in ("", "0"):
                node = _Node(nullable=True, first=node.first, last=node.last)
        return node

    def _group(self, caseless: bool) -> _Node:
        opening = next((opening for opening in _GROUPS if self._next_is(opening)), "(")
        self.at += len(opening)
        if opening == "(" and self._next_is("?"):
            raise self._unknown()
        node = self._alternatives(caseless or opening == "(?i:")
        if not self._next_is(")"):
            raise self._unknown()
        self.at += 1
        # A look-ahead reads on from where it stands, then the attempt continues from the same place.
        return _Node(nullable=True, first=node.first, last=frozenset()) if _GROUPS.get(opening) else node

    def _one(self, caseless: bool) -> _Node:
        start = self.at
        if self._next_is("["):
            self._skip_set()
        elif self._next_is("."):
            self.at += 1
        elif not self._take(_ESCAPE) and not self._take(_LITERAL):
            raise self._unknown()
        text = self.source[start : self.at]
        one = frozenset({self._fold(text) if caseless else text})
        return _Node(nullable=False, first=one, last=one)

    def _skip_set(self) -> None:
        self.at += 2 if self.source.startswith("[^", self.at) else 1
        start = self.at
        while not self._next_is("]") or self.at == start:
            plain = self.at < len(self.source) and self.source[self.at] not in "[]\\"
            if self._next_is("&&") or not (plain or self._take(_ESCAPE)):
                raise self._unknown()
            self.at += plain
        self.at += 1

    def _fold(self, text: str) -> str:
        """Widen what ignores case: it may match one letter where the pattern has two, but only a letter."""
        if _CASELESS_SET.fullmatch(text):
            return r"[\p{L}\p{M}\p{N}]"
        if not text.isascii() or len(text) > 1:
            raise NotProvableError(f"its pattern ignores case in {text!r}")
        return _LETTERS if text.isalpha() else text


class _RegexStage:
    """`spans`: could one side of a pair decide about the other? `splits`: if not, does it split there?"""

    def __init__(self, source: str) -> None:
        pairs = [f"(?:{one})(?:{two})" for one, two in sorted(_Pattern(source).follow)]
        self._match = Split(Regex(source), "removed", invert=True)
        self._read_in_a_row = Split(Regex("|".join(pairs)), "removed", invert=True) if pairs else None

    def spans(self, pair: str) -> bool:
        return self._read_in_a_row is not None and bool(self._read_in_a_row.pre_tokenize_str(pair))

    def splits(self, pair: str) -> bool:
        return bool(self._match.pre_tokenize_str(pair[0]))


class _DigitStage:
    """A character is a digit or not, whatever its neighbours."""

    def __init__(self, individual: bool) -> None:
        self._digits = Digits(individual_digits=individual)

    def spans(self, pair: str) -> bool:
        return False

    def splits(self, pair: str) -> bool:
        return len(self._digits.pre_tokenize_str(pair)) > 1


_Stage = _RegexStage | _DigitStage


class Boundaries:
    """Finds cuts in a text. Raises NotProvableError for a tokenizer.json whose pre-tokeniser gives none."""

    def __init__(self, specification: Mapping[str, Any]) -> None:
        if specification.get("normalizer") is not None:
            raise NotProvableError("its normalizer may join characters across any cut")
        if specification["model"].get("dropout"):
            raise NotProvableError("its model drops merges at random")
        self._stages = _stages(_flatten(specification.get("pre_tokenizer")))
        if not self._stages:
            raise NotProvableError("it does not split text into words")
        self.between = lru_cache(1 << 16)(self._between)

    def _between(self, pair: str) -> bool:
        if pair == "\r\n":
            return False  # never split a line end, so that lines can be counted by window
        for stage in self._stages:
            if stage.spans(pair):
                return False
            if stage.splits(pair):
                return True
        return False

    def last(self, text: str, start: int, stop: int) -> int:
        """Return the last cut after `start` and not after `stop`, or 0 when there is none."""
        between = self.between
        places = range(min(stop, len(text) - 1), start, -1)
        return next((place for place in places if between(text[place - 1 : place + 1])), 0)

    def first(self, text: str, start: int) -> int:
        """Return the first cut after `start`, or 0 when there is none."""
        between = self.between
        places = range(start + 1, len(text))
        return next((place for place in places if between(text[place - 1 : place + 1])), 0)


def _flatten(stage: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if stage is None:
        return []
    if stage["type"] == "Sequence":
        return [inner for one in stage["pretokenizers"] for inner in _flatten(one)]
    return [stage]


def _stages(described: list[Mapping[str, Any]]) -> list[_Stage]:
    """Build the stages that see the text itself; those after ByteLevel see letters that stand for bytes."""
    stages: list[_Stage] = []
    rewritten = False
    for one in described:
        stage = _stage(one)
        if stage is not None and not rewritten:
            stages.append(stage)
        rewritten = rewritten or one["type"] == "ByteLevel"
    return stages


def _stage(one: Mapping[str, Any]) -> _Stage | None:
    """Build the stage that a tokenizer.json describes; None for one that splits nothing."""
    kind = one["type"]
    if kind == "Digits":
        return _DigitStage(one.get("individual_digits", False))
    if kind == "ByteLevel":
        if one.get("add_prefix_space", True):
            raise NotProvableError("it adds a space before a text")
        return _RegexStage(GPT2) if one.get("use_regex", True) else None
    if kind == "Split":
        if one["behavior"] not in ("Isolated", "Removed"):
            raise NotProvableError(f"its split is {one['behavior']}, which joins neighbours")
        pattern = one["pattern"]
        return _RegexStage(pattern["Regex"] if "Regex" in pattern else re.escape(pattern["String"]))
    raise NotProvableError(f"its pre-tokeniser {kind} is not one that is known to work piece by piece")
