"""Everything for models that copy, from the prompt to checking the answer.

Such a model has pointer heads: it answers with words of the text and shows where they stand. An answer
counts only if its words really stand there, and the verifier finds it likely enough.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from longctx.engine import Engine
from longctx.models.config import ModelConfig
from longctx.quotes.passages import MOST_CHARACTERS
from longctx.quotes.prose import common_words, within_bracket
from longctx.quotes.second_look import Look
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.tasks.prompt import Prompt
from longctx.tasks.questions import asks_for_all, one_by_one
from longctx.tasks.results import Answer, Part
from longctx.tasks.verifier import Copied, probability, threshold
from longctx.text.document import Document
from longctx.text.offsets import byte_after, line_ends
from longctx.text.span import LINE_END, Quote, Span, line_around
from longctx.writing import Pointer

NOT_FOUND = "not found"
LONGEST_FACT = 64  # tokens of a copied answer
CLOSER = 3  # passages to reread, each alone, if no answer was found
MOST_ANSWERS = 20  # to a question that asks for all answers
AROUND = 200  # bytes on each side of an answer to search for the question's words
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Proposal:
    """Words that the model copied, and that stand where it looked.

    Attributes:
        text: the words as they are shown. source: their line.
        position, tokens: where the session read them.
        copied: what is known about them.
    """

    text: str
    source: Quote
    position: int
    tokens: int
    copied: Copied

    @cached_property
    def probability(self) -> float:
        """How likely it is that this answers the question."""
        return probability(self.copied)

    @property
    def counts(self) -> bool:
        """Whether it is likely enough to be shown, and stands near each number of the question."""
        near = set(_NUMBER.findall(f"{self.copied.before}{self.text}{self.copied.after}"))
        missing = (
            set() if asks_for_all(self.copied.question) else set(_NUMBER.findall(self.copied.question)) - near
        )
        return not missing and self.probability >= threshold()


def template(engine: Engine) -> str:
    """Return the name of the model's prompt template for questions."""
    return "lookup.md" if engine.copies_facts else "ask.md"


def cannot_write(config: ModelConfig) -> bool:
    """Tell whether a model can only copy; its summaries are then chosen from the text."""
    return config.copies_facts


def answer(reading: Reading, question: str, prompt: Callable[[str], Prompt]) -> Answer | None:
    """Let a model that copies look up an answer for each key of a question, or all answers if asked for.

    None for a model that writes.

    Args:
        prompt: makes the prompt of a question.
    """
    if not reading.engine.copies_facts:
        return None
    parts: list[Part] = []
    for key, one in one_by_one(question).items():
        after = prompt(one).after
        found = answers(reading, one, after) or closer(reading, one, after)
        parts += [replace(part, key=key) for part in found] or [Part(key, "", None, None)]
    return told(parts)


def answers(reading: Reading, question: str, prompt: Sequence[int]) -> list[Part]:
    """Return the answer to a question for one key, or all answers if asked for."""
    if asks_for_all(question):
        return list(look_up_all(reading, question, prompt))
    return _as_part(look_up(reading, question, prompt))


def closer(reading: Reading, question: str, prompt: Sequence[int]) -> list[Part]:
    """Return the answer in a passage that the index finds; nothing if all answers were asked for."""
    if reading.index is None or asks_for_all(question):
        return []
    return _as_part(look_closer(reading, reading.index.search(question, CLOSER), question, prompt))


def _as_part(found: Answer | None) -> list[Part]:
    return [Part("", found.text, found.source, found.confidence)] if found and found.source else []


def told(parts: list[Part]) -> Answer:
    """Return the answers to a question, one for each key at least; what was not found has no source."""
    right = [part for part in parts if part.source]
    if not right:
        return Answer("not found", "", by="model", parts=parts if len(parts) > 1 else [])
    lines = [f"{part.key}: {part.text or NOT_FOUND}" if part.key else part.text for part in parts]
    text, first = "\n".join(lines), right[0]
    return Answer("found", text, source=first.source, by="model", confidence=first.confidence, parts=parts)


def short_answer(reading: Reading, prompt: Sequence[int]) -> tuple[str, list[Pointer] | None]:
    """Ask for one fact; return the answer and its tokens' pointers (None if the model writes)."""
    if reading.engine.copies_facts:
        return _copy(reading, prompt)
    return "".join(piece.text for piece in reading.generate(prompt, Sampling(max_tokens=128))), None


def look_up(reading: Reading, question: str, prompt: Sequence[int]) -> Answer:
    """Let the model copy one answer; it counts as found if it is likely to answer the question."""
    found = propose(reading, question, prompt)
    if found is None:
        return Answer("not found", "")
    if not found.counts:
        return Answer("not found", "", confidence=found.probability)
    return Answer("found", found.text, source=found.source, confidence=found.probability)


def look_closer(
    reading: Reading, likely: Iterable[Quote], question: str, prompt: Sequence[int]
) -> Answer | None:
    """Read each passage alone and ask again: in a short text, a small model errs less."""
    for found in propose_closer(reading, likely, question, prompt):
        if found.counts:
            return Answer("found", found.text, source=found.source, confidence=found.probability)
    return None


def look_up_all(reading: Reading, question: str, prompt: Sequence[int]) -> Iterator[Part]:
    """Yield answers one by one, asking again without those already found, until none is left."""
    known: set[str] = set()
    while len(known) < MOST_ANSWERS:
        found = propose(reading, question, prompt)
        if found is None or found.text in known or not found.counts:
            return
        known.add(found.text)
        yield Part("", found.text, found.source, found.probability)
        reading = reading.without(found.position, found.position + found.tokens)


def propose(
    reading: Reading, question: str, prompt: Sequence[int], passage: Quote | None = None
) -> Proposal | None:
    """Let the model copy an answer; None if it refuses, or what it wrote does not stand where it looked.

    Args:
        passage: all that was read, if it was a passage alone.
    """
    text, pointers, refused = _copied(reading, prompt)
    if not text:
        return None
    best = start_of(pointers)
    for position in dict.fromkeys((best.position, pointers[0].position)):
        place = reading.locate(position)
        if place and (standing := _standing(place, text)):
            break
    else:
        return None
    before, text, after, quote = standing
    on_line = [p.mass for number, p in enumerate(pointers) if p.position - number == position]
    document = passage.span.document if passage else place.document
    copied = Copied(
        question,
        before,
        text,
        after,
        first=pointers[0].mass,
        mean=sum(on_line) / len(pointers),
        straight=len(on_line) / len(pointers),
        refused=refused,
        alone=passage is not None,
        look=_look(reading, question, document),
    )
    if text[0] in "(:" and _WORD.match(before, len(before) - 1):
        text = quote.text.strip()  # the rest of a definition, `(path):` after `def read`, means nothing alone
    return Proposal(text, quote, position, len(pointers), copied)


def propose_closer(
    reading: Reading, likely: Iterable[Quote], question: str, prompt: Sequence[int]
) -> Iterator[Proposal]:
    """Read each passage alone and yield what is copied out of it, with its place in the whole text."""
    for passage in likely:
        span = passage.span
        alone = Reading(reading.engine, [span.alone()], reading.before, MOST_CHARACTERS, index=reading.index)
        for _ in alone.read():
            pass
        found = propose(alone, question, prompt, passage)
        reading.usage.tokens_written += alone.usage.tokens_written
        reading.usage.write_seconds += alone.usage.read_seconds + alone.usage.write_seconds
        if found:
            yield replace(found, source=line_around(found.source.within(span.document).span))


def _look(reading: Reading, question: str, document: Document) -> Look:
    """Return the question's words and their rarity; all are as rare where no passages are indexed."""
    if reading.index:
        return reading.index.look(question, document)
    asked = {word.lower(): 1.0 for word in _WORD.findall(question) if word.lower() not in common_words()}
    return Look.at(question, asked, lambda words: {word: word.lower() for word in words})


def start_of(pointers: Sequence[Pointer]) -> Pointer:
    """Return where an answer was copied from: its first token, and its tokens' mean attention there.

    Each token's pointer votes for where the answer would begin, weighted by attention: if two values begin
    alike, the first pointer may be on the wrong one.
    """
    votes: dict[int, float] = {}
    for number, pointer in enumerate(pointers):
        start = pointer.position - number
        votes[start] = votes.get(start, 0.0) + pointer.mass
    best = max(votes, key=lambda start: votes[start])
    return Pointer(best, votes[best] / len(pointers))


def _copied(reading: Reading, prompt: Sequence[int]) -> tuple[str, list[Pointer], bool]:
    """Return what the model copies, its pointers, and whether it was torn between that and refusing.

    A model that says "not found" but points into the text may be right about the place: the answer then
    begins with the token there. The text is empty if there is nothing.
    """
    text, pointers = _copy(reading.fork(), prompt)
    if text != NOT_FOUND or not pointers:
        return text if pointers else "", pointers, False
    place = reading.locate(pointers[0].position)
    if place is None:
        return "", pointers, False
    first = reading.engine.tokenizer.encode(place.text())
    text, more = _copy(reading.fork(), [*prompt, *first], first)
    return text, [pointers[0], *more], True


def _copy(reading: Reading, prompt: Sequence[int], begun: Sequence[int] = ()) -> tuple[str, list[Pointer]]:
    """Return the model's answer line and the pointer of each of its tokens.

    Args:
        begun: tokens that begin the answer; the prompt already ends with them.
    """
    pieces = list(reading.generate(prompt, Sampling(max_tokens=LONGEST_FACT, stop=("\n",))))
    written = [piece for piece in pieces if piece.token is not None]
    ended = pieces[-1].token is None and pieces[-1].finish == "stop"
    # Elsewhere the last token is the line end, or the last of an answer that was cut.
    least = 0 if begun else 1  # what was begun may be the whole answer
    count = len(written) if ended else max(least, len(written) - 1)
    pointers = [piece.pointer for piece in written[:count] if piece.pointer]
    text = reading.engine.tokenizer.decode(begun) + "".join(piece.text for piece in pieces)
    return text.strip(), pointers


def _standing(place: Span, text: str) -> tuple[str, str, str, Quote] | None:
    """Return the text around an answer, the answer between, and its line, if it stands at that place.

    An answer inside a bracket ends where that closes.
    """
    document = place.document
    first = max(document.start, place.byte_start - AROUND)
    last = min(document.end, place.byte_end + len(text.encode()) + AROUND)
    around = replace(place, byte_start=first, byte_end=last).text()
    start = len(replace(place, byte_start=first, byte_end=place.byte_start).text())
    # The token may begin with the space before the answer, or the answer inside it.
    at = around.find(text, max(0, start - 2))
    if not 0 <= at <= start + 2:
        return None
    before = around[:at]
    text = within_bracket(LINE_END.split(before)[-1], text)
    byte = byte_after(document, first, before)
    line = place.first_line + line_ends(around, at) - line_ends(around, start)
    quote = line_around(Span(document, byte, byte_after(document, byte, text), line, line))
    return before, text, around[at + len(text) :], quote
