"""`summarize`: a capable model writes from its state; a retriever model cannot, so sentences are chosen."""

from collections.abc import Iterator
from time import perf_counter

from longctx.engine import Engine
from longctx.errors import InputError
from longctx.quotes.extract import summarize_extractive
from longctx.sampling import Sampling
from longctx.tasks.prompt import build_prompt, header, read_template
from longctx.tasks.results import Answer, Progress, Text, Usage, read_text
from longctx.text.source import Corpus
from longctx.tokens.stream import TokenStream

WORDS_PER_SENTENCE = 25


def summarize(
    engine: Engine, corpus: Corpus, *, words: int, sampling: Sampling, chunk: int, template: str | None = None
) -> Iterator[Progress | Text | Answer]:
    """Read all documents and write a summary of about `words` words.

    Yields:
        Progress while reading, Text while writing, and the Answer last.
    """
    usage = Usage()
    prompt = build_prompt(
        engine.tokenizer, engine.folder, read_template(template, "summarize.md"), words=words
    )
    stream = TokenStream(engine.tokenizer, corpus.documents, chunk, header(corpus))
    session = engine.session()
    yield from read_text(session, prompt.before, stream, corpus.bytes, usage)
    started, text, finish = perf_counter(), "", None
    for piece in session.generate(prompt.after, sampling):
        usage.tokens_written += piece.token is not None
        text, finish = text + piece.text, piece.finish
        yield Text(piece.text)
    usage.write_seconds = perf_counter() - started
    yield Answer("generated", text.strip(), finish=finish, usage=usage)


def extract(corpus: Corpus, *, words: int) -> Iterator[Progress | Answer]:
    """Choose about `words` words of sentences that carry the text, section by section, in order.

    Raises:
        InputError: when the text has no sentences.
    """
    yield Progress("choosing sentences", 0, corpus.bytes, 0)
    excerpts = summarize_extractive(corpus.documents, max(1, round(words / WORDS_PER_SENTENCE)))
    if not excerpts:
        raise InputError("there are no sentences in the text; a summary cannot be chosen from it")
    lines = []
    for excerpt in excerpts:
        lines += [excerpt.title] * bool(excerpt.title)
        lines += [f"{' '.join(s.text.split())} [{s.span}]" for s in excerpt.sentences]
        lines.append("")
    evidence = [sentence for excerpt in excerpts for sentence in excerpt.sentences]
    yield Answer("extracted", "\n".join(lines).strip(), evidence=evidence)
