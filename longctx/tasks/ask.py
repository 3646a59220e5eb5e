"""`ask`: one reading, one question, an answer, and always passages to check it against."""

from collections.abc import Generator, Iterator, Sequence

from longctx.engine import Engine
from longctx.progress import Progress
from longctx.quotes.passages import PassageIndex, passages
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.tasks import lookup
from longctx.tasks.prompt import Prompt, build_prompt, header, read_template
from longctx.tasks.results import Answer, Text
from longctx.text.source import Corpus


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
        Progress while reading, Text while a model writes, and the Answer last.
    """
    prompt_file = read_template(template, lookup.template(engine))

    def prompt(asked: str) -> Prompt:
        return build_prompt(engine.tokenizer, engine.folder, prompt_file, question=asked)

    with PassageIndex() as index:
        for document in corpus.documents:
            yield Progress(f"indexing {document.name}", 0, corpus.bytes, 0)
            for passage in passages(document):
                index.add(passage)
        evidence = index.search(question, passages_wanted)
        reading = Reading(engine, corpus.documents, prompt(question).before, chunk, header(corpus), index)
        yield from reading.read()
        answer = lookup.answer(reading, question, prompt)
        if answer is None:
            answer = yield from write(reading, prompt(question).after, sampling)
    answer.evidence, answer.usage = evidence, reading.usage
    yield answer


def write(reading: Reading, prompt: Sequence[int], sampling: Sampling) -> Generator[Text, None, Answer]:
    """Let a model write an answer from what it has read."""
    text, finish = "", None
    for piece in reading.generate(prompt, sampling):
        text, finish = text + piece.text, piece.finish
        yield Text(piece.text)
    return Answer("generated", text.strip(), finish=finish, usage=reading.usage)
