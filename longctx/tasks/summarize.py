"""`summarize`: a model writes it or, if it cannot, sentences are chosen from the text."""

from collections.abc import Generator, Iterator
from dataclasses import replace

from longctx.chat import Chat
from longctx.engine import Engine
from longctx.progress import Progress
from longctx.quotes.outline import Section, outline
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.store.folder import Folder
from longctx.tasks import quoted
from longctx.tasks.ask import write
from longctx.tasks.frame import read_template
from longctx.tasks.prompt import Prompt, build_prompt, header
from longctx.tasks.results import Answer, Text, Thought, Written
from longctx.text.source import Corpus, Document

LONG = (
    100_000  # bytes, about 25,000 tokens: longer texts are summarised section by section while they are read
)
SECTIONS = 24  # at most
SECTION_WORDS = 80
WHOLE = "The whole"

Events = Iterator[Progress | Text | Thought | Answer]


def summarize(
    engine: Engine,
    corpus: Corpus,
    *,
    words: int,
    sampling: Sampling,
    chunk: int,
    chat: Chat,
    store: Folder | None = None,
) -> Events:
    """Read all documents and write a summary of about `words` words; of a long text, of each section first.

    Args:
        store: where the reading is kept and found again.

    Yields:
        Progress while reading, Text and Thought while writing, and the Answer last.
    """
    filled = read_template(chat.template, "summarize.md")
    prompt = build_prompt(engine.tokenizer, engine.folder, filled, chat, words=words)
    sections = outline(corpus.documents, SECTIONS) if corpus.bytes > LONG else []
    parts = [_parts(section) for section in sections] if len(sections) > 1 else [corpus.documents]
    every = [part for section in parts for part in section]
    reading = Reading(engine, every, prompt.before, chunk, header(corpus), store=store)
    written: list[Written] = []
    if len(sections) > 1:
        read = 0
        for number, section in enumerate(sections, 1):
            name = section.title or f"part {number} of {len(sections)}"
            read += len(section.spans)
            yield from reading.read(f"reading {name}", read)
            yield Text(f"## {name}\n\n")
            text = yield from _section(reading, name, sampling, chat)
            written.append(Written(name, text))
            yield Text("\n\n")
        yield Text(f"## {WHOLE}\n\n")
    else:
        yield from reading.read()
    answer = yield from write(reading, prompt, sampling, chat)
    answer.sections = written
    said = "\n\n".join([*(one.text for one in written), answer.text])
    answer.quotations = quoted.check(said, corpus.documents)
    yield answer


def _parts(section: Section) -> list[Document]:
    return [span.alone() for span in section.spans]


def _section(
    reading: Reading, name: str, sampling: Sampling, chat: Chat
) -> Generator[Text | Thought, None, str]:
    """Write about what was read last, in a fork that is dropped, so that the reading stays as it is."""
    template, engine = read_template(None, "section.md"), reading.engine
    prompt: Prompt = build_prompt(
        engine.tokenizer, engine.folder, template, chat, title=name, words=SECTION_WORDS
    )
    short = replace(sampling, max_tokens=min(sampling.max_tokens, 4 * SECTION_WORDS))
    answer = yield from write(reading.fork(), prompt, short, chat)
    return answer.text
