"""`ask`: one reading, one question, an answer, and always passages to check it against."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

from longctx.chat import Chat, Thoughts
from longctx.engine import Engine
from longctx.progress import Progress
from longctx.quotes import exact
from longctx.quotes.closest import closest
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.tasks import lookup, quick, quoted
from longctx.tasks.frame import read_template
from longctx.tasks.prompt import Prompt, build_prompt, header
from longctx.tasks.questions import suits_finder
from longctx.tasks.results import Answer, Part, Text, Thought
from longctx.text.source import Corpus

CONSIDERED = 3  # passages whose sentences are compared


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
    """Let a model that writes read all documents and answer the question.

    Args:
        budget: read only the passages that match the question best, of so many tokens together.

    Yields:
        Progress while reading, Text and Thought while a capable model writes, and the Answer last.
    """
    prompt_file = read_template(chat.template, lookup.template(engine))

    def prompt(asked: str) -> Prompt:
        return build_prompt(engine.tokenizer, engine.folder, prompt_file, chat, question=asked)

    with PassageIndex() as index:
        yield from fill(index, corpus)
        evidence = index.search(question, passages_wanted)
        chosen = quick.choose(index, corpus, question, engine.tokenizer, budget) if budget else None
        documents, heading = (
            (chosen.documents, chosen.header) if chosen else (corpus.documents, header(corpus))
        )
        reading = Reading(engine, documents, prompt(question).before, chunk, heading, index)
        yield from reading.read()
        answer = yield from write(reading, prompt(question), sampling, chat)
        answer.quotations = quoted.check(answer.text, corpus.documents, question)
    answer.evidence, answer.usage = evidence, reading.usage
    if chosen:
        answer.tokens_in_all, answer.estimated = chosen.tokens_in_all, not chosen.exact
        answer.passages_read = len(chosen.documents)
    yield answer


def consult(
    corpus: Corpus,
    question: str,
    *,
    passages_wanted: int,
    load: Callable[[], tuple[Engine, int]],
    deep: bool = False,
) -> Iterator[Progress | Answer]:
    """Answer without a model that writes, by what is surest: a look-up, a copied fact, the closest sentence.

    Args:
        load: gives the model that copies, and its chunk; called only for questions of a form it was made for.
        deep: let it read the text whatever the question.

    Yields:
        Progress while indexing and reading, and the Answer last.
    """
    with PassageIndex() as index:
        yield from fill(index, corpus)

        def read() -> Generator[Progress, None, Reading]:
            engine, chunk = load()
            reading = finder(corpus, index, engine, chunk)
            yield from reading.read()
            return reading

        yield from consult_index(
            corpus, index, question, passages_wanted=passages_wanted, read=read, deep=deep
        )


def consult_index(
    corpus: Corpus,
    index: PassageIndex,
    question: str,
    *,
    passages_wanted: int,
    read: Callable[[], Generator[Progress, None, Reading]],
    deep: bool = False,
) -> Iterator[Progress | Answer]:
    """Answer as `consult` does, from an index that holds the documents.

    Args:
        read: gives what a model that copies has read, which may be kept from one question to the next.
    """
    answer = _looked_up(corpus, question)
    if answer is None and (deep or suits_finder(question)):
        reading = yield from read()
        answer = _copied(reading, question)
    evidence = index.search(question, max(passages_wanted, CONSIDERED))
    near = closest(index, question, evidence[:CONSIDERED])
    answer = answer or Answer("closest" if near else "not found", "")
    answer.closest = None if answer.how == "found" else near
    answer.evidence = evidence[:passages_wanted]
    yield answer


def fill(index: PassageIndex, corpus: Corpus) -> Iterator[Progress]:
    """Add the passages of all documents to an index."""
    total = corpus.bytes  # a sum over all documents
    for document in corpus.documents:
        yield Progress(f"indexing {document.name}", 0, total, 0)
        for passage in passages(document):
            index.add(passage)


def _looked_up(corpus: Corpus, question: str) -> Answer | None:
    found = exact.look_up(question, corpus.documents)
    if not found:
        return None
    parts = [Part("", one.text, one.source, None) for one in found]
    text = "\n".join(dict.fromkeys(one.text for one in found))
    return Answer("found", text, source=found[0].source, by="look-up", parts=parts if len(parts) > 1 else [])


def finder(corpus: Corpus, index: PassageIndex, engine: Engine, chunk: int) -> Reading:
    """Return a reading of all documents, not begun, for a model that copies; its questions come after it."""
    return Reading(engine, corpus.documents, _copying(engine, "").before, chunk, header(corpus), index)


def _copying(engine: Engine, question: str) -> Prompt:
    template = read_template(None, lookup.template(engine))
    return build_prompt(engine.tokenizer, engine.folder, template, question=question)


def _copied(reading: Reading, question: str) -> Answer:
    """Let a model that copies look the answer up in what it has read."""
    answer = lookup.answer(reading, question, lambda asked: _copying(reading.engine, asked))
    assert answer is not None, "the model does not copy"
    answer.usage = replace(reading.usage)
    return answer


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
