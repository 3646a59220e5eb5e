"""`ask`: one reading, one question, an answer, and always the passages it can be checked against.

A capable model writes the answer from its state. A retriever model (one with pointer heads) copies a fact
out of the text; what it copies is shown only when it really stands where its attention points.
"""

import re
from collections.abc import Generator, Iterator
from time import perf_counter

from longctx.engine import Engine, Pointer, Session
from longctx.passages import PassageIndex, passages
from longctx.sampling import Sampling
from longctx.source import Corpus
from longctx.tasks.prompt import Prompt, build_prompt, header, read_template
from longctx.tasks.results import Answer, Evidence, Progress, Text, Usage, read_text
from longctx.tokens import Place, TokenStream

NOT_FOUND = "not found"
LONGEST_FACT = 64  # tokens of an answer that a retriever model copies
# Of the pointer's attention. The bundled model gave 60 needles of 16k tokens 0.8 or more. Of 250 questions
# about an encyclopedia, which it cannot answer, it answered 19 with at least 0.5, 13 of them wrongly; to ask
# for words of the question around the uncertain ones left 10, 5 of them wrong (python -m bench.answers).
LEAST_MASS = 0.5
CERTAIN_MASS = 0.9
SHARED = 0.5  # of the question's words must stand around an answer that is less than certain
AROUND = 200  # bytes on each side of a found answer that are looked at for words of the question
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    [
        "a",
        "about",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "by",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "in",
        "is",
        "it",
        "its",
        "mentioned",
        "of",
        "on",
        "or",
        "provided",
        "special",
        "text",
        "that",
        "the",
        "their",
        "there",
        "they",
        "this",
        "to",
        "was",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "whose",
        "why",
        "will",
        "with",
        "you",
        "your",
    ]
)


def ask(
    engine: Engine,
    corpus: Corpus,
    question: str,
    *,
    passages_wanted: int,
    how: Sampling,
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
        evidence = [Evidence.of(r.passage, r.score) for r in index.search(question, passages_wanted)]
    stream = TokenStream(engine.tokenizer, corpus.documents, chunk, header(corpus))
    session = engine.session()
    yield from read_text(session, prompt.before, stream, corpus.bytes, usage)
    started = perf_counter()
    if retriever:
        answer = look_up(session, stream, prompt, question, usage)
    else:
        answer = yield from _write(session, prompt, how, usage)
    usage.write_seconds = perf_counter() - started
    answer.evidence, answer.usage = evidence, usage
    yield answer


def _write(session: Session, prompt: Prompt, how: Sampling, usage: Usage) -> Generator[Text, None, Answer]:
    text, finish = "", None
    for piece in session.generate(prompt.after, how):
        usage.tokens_written += piece.token is not None
        text, finish = text + piece.text, piece.finish
        yield Text(piece.text)
    return Answer("generated", text.strip(), finish=finish)


def look_up(session: Session, stream: TokenStream, prompt: Prompt, question: str, usage: Usage) -> Answer:
    """Let a retriever model copy the answer, and check it against the source.

    The answer counts as found only when the text stands, word for word, at the place the pointer heads
    attended to, their attention there is not scattered, and the words around speak of the question: with
    one word of it where the attention leaves no doubt, with half of them otherwise.
    """
    text, pointer = copy_fact(session.fork(), prompt.after, usage)
    if text == NOT_FOUND or not text or pointer is None:
        return Answer("not found", "")
    place = stream.locate(pointer.position - len(prompt.before))
    share = 0.0 if pointer.mass >= CERTAIN_MASS else SHARED
    source = _check(place, text, question, share) if place else None
    if source is None or pointer.mass < LEAST_MASS:
        return Answer("not found", "", confidence=pointer.mass)
    return Answer("found", text, source=source, confidence=pointer.mass)


def copy_fact(session: Session, prompt: list[int], usage: Usage) -> tuple[str, Pointer | None]:
    """Return the model's answer line and where it pointed when it wrote the first token of it."""
    pieces = list(session.generate(prompt, Sampling(max_tokens=LONGEST_FACT, stop=("\n",))))
    usage.tokens_written += sum(piece.token is not None for piece in pieces)
    return "".join(piece.text for piece in pieces).strip(), pieces[0].pointer


def _check(place: Place, text: str, question: str, share: float) -> Evidence | None:
    """Return the place as evidence when `text` stands there and its surroundings speak of the question.

    They do when they hold a word of it, and at least this share of its words.
    """
    document = place.document
    first = max(document.start, place.byte_start - AROUND)
    around = _read(place, first, min(document.end, place.byte_end + len(text.encode()) + AROUND))
    start = _read(place, first, place.byte_start)
    at = around.find(text, max(0, len(start) - 2))
    if not 0 <= at <= len(start) + 2:
        return None
    asked = {w.lower() for w in _WORD.findall(question)} - _COMMON
    near = {w.lower() for w in _WORD.findall(around.replace("_", " ")) + _WORD.findall(around)}
    if not asked & near or len(asked & near) < share * len(asked):
        return None
    line_start = max(around.rfind("\n", 0, at), around.rfind("\r", 0, at)) + 1
    line_end = min((n for c in "\r\n" if (n := around.find(c, at)) >= 0), default=len(around))
    quote = around[line_start:line_end].strip("\ufffd")
    # The token may begin with the space before the answer, or the answer inside it.
    shift = len(around[len(start) : at].encode(document.encoding))
    shift -= len(around[at : len(start)].encode(document.encoding))
    byte = place.byte_start + shift
    length = len(text.encode(document.encoding))
    return Evidence(document.name, place.line, place.line, byte, byte + length, quote)


def _read(place: Place, start: int, end: int) -> str:
    with place.document.path.open("rb") as file:
        file.seek(start)
        return file.read(end - start).decode(place.document.encoding, "replace")
