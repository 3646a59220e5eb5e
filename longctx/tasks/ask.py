"""`ask`: one reading, one question, an answer, and always the passages it can be checked against.

A capable model writes the answer from its state. A retriever model (one with pointer heads) copies a fact
out of the text; what it copies is shown only when it really stands where its attention points.
"""

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter

from longctx.engine import Engine, Pointer, Session, start_of
from longctx.quotes.passages import MOST_CHARACTERS, PassageIndex, passages
from longctx.quotes.prose import common_words, within_bracket
from longctx.sampling import Sampling
from longctx.tasks.prompt import Prompt, build_prompt, header, read_template
from longctx.tasks.questions import asks_for_all, names, one_by_one
from longctx.tasks.results import Answer, Part, Progress, Text, Usage, read_text
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Corpus
from longctx.text.span import LINE_END, Quote, Span, line_around
from longctx.tokens.stream import TokenStream

NOT_FOUND = "not found"
LONGEST_FACT = 64  # tokens of an answer that a retriever model copies
CLOSER = 3  # passages that are read again, each alone, where no answer was found
MOST_ANSWERS = 20  # to a question that asks for all of them
# Of the pointer's attention. The bundled model gave 60 needles of 16k tokens 0.79 or more. Of 250 questions
# about an encyclopedia, which it cannot answer, 24 are shown an answer within these limits, 12 of them a
# wrong one (python -m bench.answers).
LEAST_MASS = 0.5
CERTAIN_MASS = 0.9
SHARED = 0.5  # of the question's words must stand around an answer that is less than certain
SHARED_IN_DOUBT, LEAST_MASS_IN_DOUBT = 0.75, 0.3  # when the model said "not found" but looked at a place
AROUND = 200  # bytes on each side of a found answer that are looked at for words of the question
_WORD = re.compile(r"\w+")
_OF_NEEDLES = {"mentioned", "provided", "special", "text"}  # what questions about needles say besides


def ask(
    engine: Engine,
    corpus: Corpus,
    question: str,
    *,
    passages_wanted: int,
    sampling: Sampling,
    chunk: int,
    template: str | None = None,
) -> Iterator[Progress | Text | Answer]:
    """Read all documents and answer the question.

    Yields:
        Progress while reading, Text while a capable model writes, and the Answer last.
    """
    retriever = bool(engine.model.config.pointer_heads)
    prompt_file = read_template(template, "lookup.md" if retriever else "ask.md")
    prompt = build_prompt(engine.tokenizer, engine.folder, prompt_file, question=question)
    usage = Usage()
    with PassageIndex() as index:
        for document in corpus.documents:
            yield Progress(f"indexing {document.name}", 0, corpus.bytes, 0)
            for passage in passages(document):
                index.add(passage)
        evidence = index.search(question, passages_wanted)
        stream = TokenStream(engine.tokenizer, corpus.documents, chunk, header(corpus))
        session = engine.session()
        yield from read_text(session, prompt.before, stream, corpus.bytes, usage)
        started = perf_counter()
        if retriever:
            prompts = {
                key: (one, build_prompt(engine.tokenizer, engine.folder, prompt_file, question=one))
                for key, one in one_by_one(question).items()
            }
            answer = look_up_several(session, stream, prompts, usage, index)
        else:
            answer = yield from _write(session, prompt, sampling, usage)
    usage.write_seconds = perf_counter() - started
    answer.evidence, answer.usage = evidence, usage
    yield answer


def _write(
    session: Session, prompt: Prompt, sampling: Sampling, usage: Usage
) -> Generator[Text, None, Answer]:
    text, finish = "", None
    for piece in session.generate(prompt.after, sampling):
        usage.tokens_written += piece.token is not None
        text, finish = text + piece.text, piece.finish
        yield Text(piece.text)
    return Answer("generated", text.strip(), finish=finish)


def look_up(session: Session, stream: TokenStream, prompt: Prompt, question: str, usage: Usage) -> Answer:
    """Let a retriever model copy the answer, and check it against the source.

    The answer counts as found only when the text stands, word for word, at the place the pointer heads
    attended to, their attention there is not scattered, and the words around speak of the question: with
    every name in it, and one word more where the attention leaves no doubt, half of its words otherwise.
    """
    text, pointers, torn = _copied(session, stream, prompt, usage)
    if not text:
        return Answer("not found", "")
    pointer = pointers[0]
    place = stream.locate(pointer.position - len(prompt.before))
    share, least = (0.0 if pointer.mass >= CERTAIN_MASS else SHARED), LEAST_MASS
    if torn:
        share, least = SHARED_IN_DOUBT, LEAST_MASS_IN_DOUBT
    checked = _check(place, text, question, share) if place else None
    if checked is None or pointer.mass < least:
        return Answer("not found", "", confidence=pointer.mass)
    text, source = checked
    return Answer("found", text, source=source, confidence=pointer.mass)


def look_closer(
    session: Session, found: Iterable[Quote], prompt: Prompt, question: str, usage: Usage
) -> Answer | None:
    """Read one passage at a time, alone, and ask again: where little stands, a small model errs less."""
    for passage in found:
        span = passage.span
        part = replace(span.document, start=span.byte_start, end=span.byte_end)
        stream = TokenStream(session.engine.tokenizer, [part], MOST_CHARACTERS)
        alone = session.engine.session()
        for _ in read_text(alone, prompt.before, stream, part.end - part.start, Usage()):
            pass
        answer = look_up(alone, stream, prompt, question, usage)
        if answer.source:
            line = answer.source.span.first_line + span.first_line - 1
            whole = replace(answer.source.span, document=span.document, first_line=line, last_line=line)
            answer.source = line_around(whole)
            return answer
    return None


def look_up_several(
    session: Session,
    stream: TokenStream,
    prompts: dict[str, tuple[str, Prompt]],
    usage: Usage,
    index: PassageIndex,
) -> Answer:
    """Let a retriever model copy one answer for each key of a question, or all where it asks for all.

    Args:
        prompts: by key, the question for that key alone and its prompt.
        index: of the text, for a closer look at what is likeliest to hold an answer that was not found.
    """
    parts: list[Part] = []
    for key, (question, prompt) in prompts.items():
        if asks_for_all(question):
            found = list(look_up_all(session, stream, prompt, question, usage))
        else:
            one = look_up(session, stream, prompt, question, usage)
            if not one.source:
                likely = index.search(question, CLOSER)
                one = look_closer(session, likely, prompt, question, usage) or one
            found = [Part("", one.text, one.source, one.confidence)] if one.source else []
        parts += [replace(part, key=key) for part in found] or [Part(key, "", None, None)]
    right = [part for part in parts if part.source]
    if not right:
        return Answer("not found", "", parts=parts if len(parts) > 1 else [])
    lines = [f"{part.key}: {part.text or NOT_FOUND}" if part.key else part.text for part in parts]
    text, first = "\n".join(lines), right[0]
    return Answer("found", text, source=first.source, confidence=first.confidence, parts=parts)


def look_up_all(
    session: Session, stream: TokenStream, prompt: Prompt, question: str, usage: Usage
) -> Iterator[Part]:
    """Yield answer after answer, asking again without the text of those found, until none is left.

    Which of several comes first cannot be known: the first token's attention is divided among them, which
    may be half of a short answer's. So it is judged over the whole answer, and as that of one in doubt.
    """
    known: set[str] = set()
    while len(known) < MOST_ANSWERS:
        text, pointers, torn = _copied(session, stream, prompt, usage)
        if not text or text in known:
            return
        pointer = start_of(pointers)
        place = stream.locate(pointer.position - len(prompt.before))
        checked = _check(place, text, question, SHARED_IN_DOUBT if torn else SHARED) if place else None
        if checked is None or pointer.mass < LEAST_MASS_IN_DOUBT:
            return
        known.add(text)
        yield Part("", *checked, pointer.mass)
        session = session.without(pointer.position, pointer.position + len(pointers))


def _copied(
    session: Session, stream: TokenStream, prompt: Prompt, usage: Usage
) -> tuple[str, list[Pointer], bool]:
    """Return what the model copies, where it pointed, and whether it was torn between that and refusing.

    A model that says "not found" and yet looks at a place in the text may be right about the place: the
    answer is begun with the token that stands there. The text is empty when there is nothing.
    """
    text, pointers = copy_fact(session.fork(), prompt.after, usage)
    if text != NOT_FOUND or not pointers:
        return text if pointers else "", pointers, False
    place = stream.locate(pointers[0].position - len(prompt.before))
    if place is None:
        return "", pointers, False
    first = session.engine.tokenizer.encode(place.text())
    text, more = copy_fact(session.fork(), [*prompt.after, *first], usage, first)
    return text, [pointers[0], *more], True


def copy_fact(
    session: Session, prompt: list[int], usage: Usage, begun: Sequence[int] = ()
) -> tuple[str, list[Pointer]]:
    """Return the model's answer line and where it pointed when it wrote each token of it.

    Args:
        begun: tokens of the prompt's end that are the answer's beginning.
    """
    pieces = list(session.generate(prompt, Sampling(max_tokens=LONGEST_FACT, stop=("\n",))))
    written = [piece for piece in pieces if piece.token is not None]
    usage.tokens_written += len(written)
    # The last token is the line end, or the last of an answer that was cut.
    least = 0 if begun else 1  # what was begun may be the whole answer
    pointers = [piece.pointer for piece in written[: max(least, len(written) - 1)] if piece.pointer]
    text = session.engine.tokenizer.decode(begun) + "".join(piece.text for piece in pieces)
    return text.strip(), pointers


def _check(place: Span, text: str, question: str, share: float) -> tuple[str, Quote] | None:
    """Return the answer and its line when `text` stands there and its surroundings speak of the question.

    They do when they hold a word of it, at least this share of its words, and all its names. An answer that
    is the rest of a definition, as `(path):` behind `def read`, means nothing alone: its line is the answer.
    One that stands in a bracket ends where that closes.
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
