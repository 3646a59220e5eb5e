"""Everything for models that copy, from the prompt to checking the answer.

Such a model has pointer heads: it answers with words of the text and shows where they stand. An answer
counts only if its words really stand there and the words around them fit the question.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from longctx.engine import Engine
from longctx.models.config import ModelConfig
from longctx.quotes.passages import MOST_CHARACTERS
from longctx.quotes.prose import common_words, within_bracket
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.tasks.prompt import Prompt
from longctx.tasks.questions import asks_for_all, names, one_by_one
from longctx.tasks.results import Answer, Part
from longctx.text.offsets import byte_after, line_ends
from longctx.text.span import LINE_END, Quote, Span, line_around
from longctx.writing import Pointer

NOT_FOUND = "not found"
LONGEST_FACT = 64  # tokens of a copied answer
CLOSER = 3  # passages to reread, each alone, if no answer was found
MOST_ANSWERS = 20  # to a question that asks for all answers
# Of the pointer's attention. The bundled model gave 60 needles of 16k tokens 0.79 or more. Of 250 questions
# about an encyclopedia, which it cannot answer, 24 are shown an answer within these limits, 12 of them a
# wrong one (python -m bench.answers).
LEAST_MASS = 0.5
CERTAIN_MASS = 0.9
SHARED = 0.5  # share of the question's words around a less than certain answer
SHARED_IN_DOUBT, LEAST_MASS_IN_DOUBT = 0.75, 0.3  # if the model said "not found" but pointed at a place
AROUND = 200  # bytes on each side of an answer to search for the question's words
_WORD = re.compile(r"\w+")
_OF_NEEDLES = {"mentioned", "provided", "special", "text"}  # filler of questions about needles


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
        return Answer("not found", "", parts=parts if len(parts) > 1 else [])
    lines = [f"{part.key}: {part.text or NOT_FOUND}" if part.key else part.text for part in parts]
    text, first = "\n".join(lines), right[0]
    return Answer("found", text, source=first.source, by="model", confidence=first.confidence, parts=parts)


def short_answer(reading: Reading, prompt: Sequence[int]) -> tuple[str, list[Pointer] | None]:
    """Ask for one fact; return the answer and its tokens' pointers (None if the model writes)."""
    if reading.engine.copies_facts:
        return _copy(reading, prompt)
    return "".join(piece.text for piece in reading.generate(prompt, Sampling(max_tokens=128))), None


def look_up(reading: Reading, question: str, prompt: Sequence[int]) -> Answer:
    """Let the model copy one answer, and check it against the source.

    The answer counts as found only if it stands word for word where the pointer heads look, their attention
    is not scattered, and the words around it include every name in the question, and one of its other
    words if the attention is certain, or half of them otherwise.
    """
    text, pointers, torn = _copied(reading, prompt)
    if not text:
        return Answer("not found", "")
    pointer = pointers[0]
    share, least = (0.0 if pointer.mass >= CERTAIN_MASS else SHARED), LEAST_MASS
    if torn:
        share, least = SHARED_IN_DOUBT, LEAST_MASS_IN_DOUBT
    checked = _check(reading.locate(pointer.position), text, question, share)
    if checked is None or pointer.mass < least:
        return Answer("not found", "", confidence=pointer.mass)
    text, source = checked
    return Answer("found", text, source=source, confidence=pointer.mass)


def look_closer(
    reading: Reading, likely: Iterable[Quote], question: str, prompt: Sequence[int]
) -> Answer | None:
    """Read each passage alone and ask again: in a short text, a small model errs less."""
    for passage in likely:
        span = passage.span
        part = replace(span.document, start=span.byte_start, end=span.byte_end)
        alone = Reading(reading.engine, [part], reading.before, MOST_CHARACTERS)
        for _ in alone.read():
            pass
        found = look_up(alone, question, prompt)
        reading.usage.tokens_written += alone.usage.tokens_written
        reading.usage.write_seconds += alone.usage.read_seconds + alone.usage.write_seconds
        if found.source:
            line = found.source.span.first_line + span.first_line - 1
            whole = replace(found.source.span, document=span.document, first_line=line, last_line=line)
            found.source = line_around(whole)
            return found
    return None


def look_up_all(reading: Reading, question: str, prompt: Sequence[int]) -> Iterator[Part]:
    """Yield answers one by one, asking again without those already found, until none is left.

    The first token's attention is divided among all answers, and may be half of a short answer's. So
    attention is judged over the whole answer, by the limits for an answer in doubt.
    """
    known: set[str] = set()
    while len(known) < MOST_ANSWERS:
        text, pointers, torn = _copied(reading, prompt)
        if not text or text in known:
            return
        pointer = start_of(pointers)
        place = reading.locate(pointer.position)
        checked = _check(place, text, question, SHARED_IN_DOUBT if torn else SHARED)
        if checked is None or pointer.mass < LEAST_MASS_IN_DOUBT:
            return
        known.add(text)
        yield Part("", *checked, pointer.mass)
        reading = reading.without(pointer.position, pointer.position + len(pointers))


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


def _check(place: Span | None, text: str, question: str, share: float) -> tuple[str, Quote] | None:
    """Return the answer and its line if `text` stands there and its surroundings fit the question.

    They fit if they hold a word of it, at least this share of its words, and all its names. The rest of a
    definition, such as `(path):` after `def read`, means nothing alone: its line is the answer. An answer
    inside a bracket ends where that closes.
    """
    if place is None:
        return None
    document = place.document
    first = max(document.start, place.byte_start - AROUND)
    last = min(document.end, place.byte_end + len(text.encode()) + AROUND)
    around = replace(place, byte_start=first, byte_end=last).text()
    start = len(replace(place, byte_start=first, byte_end=place.byte_start).text())
    # The token may begin with the space before the answer, or the answer inside it.
    at = around.find(text, max(0, start - 2))
    if not 0 <= at <= start + 2:
        return None
    asked = {w.lower() for w in _WORD.findall(question)} - common_words() - _OF_NEEDLES
    near = {w.lower() for w in _WORD.findall(around.replace("_", " ")) + _WORD.findall(around)}
    if not asked & near or len(asked & near) < share * len(asked):
        return None
    if any(name.lower() not in around.lower() for name in names(question)):
        return None
    before = LINE_END.split(around[:at])[-1]
    text = within_bracket(before, text)
    byte = byte_after(document, first, around[:at])
    line = place.first_line + line_ends(around, at) - line_ends(around, start)
    quote = line_around(Span(document, byte, byte_after(document, byte, text), line, line))
    if text[0] in "(:" and _WORD.match(around, at - 1):
        text = quote.text.strip()
    return text, quote
