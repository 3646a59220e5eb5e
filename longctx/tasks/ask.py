"""`ask`: one reading, one question, an answer, and always passages to check it against."""

from collections.abc import Generator, Iterator

from longctx.chat import Chat, Thoughts
from longctx.engine import Engine
from longctx.progress import Progress
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.tasks import lookup, quick, quoted
from longctx.tasks.frame import read_template
from longctx.tasks.prompt import Prompt, build_prompt, header
from longctx.tasks.results import Answer, Text, Thought
from longctx.text.source import Corpus


def ask(
    engine: Engine,
    corpus: Corpus,
    question: str,
    *,
    passages_wanted: int,
    sampling: Sampling,
    chunk: int,
    chat: Chat,
    budget: int | None = None,
) -> Iterator[Progress | Text | Thought | Answer]:
    """Read all documents and answer the question.

    Args:
        budget: read only the passages that match the question best, of so many tokens together.

    Yields:
        Progress while reading, Text and Thought while a capable model writes, and the Answer last.
    """
    prompt_file = read_template(chat.template, lookup.template(engine))

    def prompt(asked: str) -> Prompt:
        return build_prompt(engine.tokenizer, engine.folder, prompt_file, chat, question=asked)

    with PassageIndex() as index:
        for document in corpus.documents:
            yield Progress(f"indexing {document.name}", 0, corpus.bytes, 0)
            for passage in passages(document):
                index.add(passage)
        evidence = index.search(question, passages_wanted)
        chosen = quick.choose(index, corpus, question, engine.tokenizer, budget) if budget else None
        documents, heading = (
            (chosen.documents, chosen.header) if chosen else (corpus.documents, header(corpus))
        )
        reading = Reading(engine, documents, prompt(question).before, chunk, heading, index)
        yield from reading.read()
        answer = lookup.answer(reading, question, prompt)
        if answer is None:
            answer = yield from write(reading, prompt(question), sampling, chat)
            answer.quotations = quoted.check(answer.text, corpus.documents, question)
    answer.evidence, answer.usage = evidence, reading.usage
    if chosen:
        answer.tokens_in_all, answer.estimated = chosen.tokens_in_all, not chosen.exact
        answer.passages_read = len(chosen.documents)
    yield answer


def write(
    reading: Reading, prompt: Prompt, sampling: Sampling, chat: Chat
) -> Generator[Text | Thought, None, Answer]:
    """Let a capable model write, from what it has read; what it thinks first is no part of the answer."""
    thoughts, finish = Thoughts(prompt.thinking), None
    thinking = text = ""
    for piece in reading.generate(prompt.after, sampling):
        finish = piece.finish
        thought, said = thoughts.push(piece.text, last=finish is not None)
        thinking, text = thinking + thought, text + said
        if thought and chat.think == "show":
            yield Thought(thought)
        if said:
            yield Text(said)
    return Answer("generated", text.strip(), finish=finish, thinking=thinking.strip(), usage=reading.usage)
