"""`summarize`: a model writes it or, if it cannot, sentences are chosen from the text."""

from collections.abc import Iterator

from longctx.chat import Chat
from longctx.engine import Engine
from longctx.errors import InputError
from longctx.progress import Progress
from longctx.quotes.extract import summarize_extractive
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.tasks import quoted
from longctx.tasks.ask import write
from longctx.tasks.frame import read_template
from longctx.tasks.prompt import build_prompt, header
from longctx.tasks.results import Answer, Text, Thought
from longctx.text.source import Corpus

WORDS_PER_SENTENCE = 25


def summarize(
    engine: Engine, corpus: Corpus, *, words: int, sampling: Sampling, chunk: int, chat: Chat
) -> Iterator[Progress | Text | Thought | Answer]:
    """Read all documents and write a summary of about `words` words.

    Yields:
        Progress while reading, Text and Thought while writing, and the Answer last.
    """
    filled = read_template(chat.template, "summarize.md")
    prompt = build_prompt(engine.tokenizer, engine.folder, filled, chat, words=words)
    reading = Reading(engine, corpus.documents, prompt.before, chunk, header(corpus))
    yield from reading.read()
    answer = yield from write(reading, prompt, sampling, chat)
    answer.quotations = quoted.check(answer.text, corpus.documents)
    yield answer


def extract(corpus: Corpus, *, words: int) -> Iterator[Progress | Text | Thought | Answer]:
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
