"""`ask`: one reading, one question, an answer, and always passages to check it against."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial

from longctx.chat import Chat, Thoughts
from longctx.engine import Engine
from longctx.progress import Progress
from longctx.quotes.closest import closest
from longctx.quotes.exact.logs import needs_all
from longctx.quotes.exact.look_up import look_up
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.quotes.related import widened
from longctx.quotes.scan import Cells, scan
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.store.folder import Folder
from longctx.store.passages import Shelf
from longctx.tasks import lookup, quick, quoted, reader
from longctx.tasks.frame import read_template
from longctx.tasks.parts import CLOSE, MOST_READ, Finder, read_in_parts
from longctx.tasks.prompt import Prompt, build_prompt, header
from longctx.tasks.questions import keys, one_by_one, suits_finder
from longctx.tasks.results import Answer, Part, Text, Thought
from longctx.text.source import Corpus, Document, settled_first
from longctx.text.span import Span
from longctx.text.stretches import whole

Opening = Callable[[str], Prompt]  # a question -> the prompt around the documents
CONSIDERED = 3  # passages whose sentences are compared
INDEXED = 1 << 24  # bytes that are indexed: about seven seconds
SMALL = 1 << 20  # bytes of a file that is looked at whole, for the sections that a fact stands in
STEP = 1 << 17  # bytes between two reports of progress


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
    store: Folder | None = None,
) -> Iterator[Progress | Text | Thought | Answer]:
    """Let a model that writes read all documents and answer the question.

    Args:
        budget: read only the passages that match the question best, of so many tokens together.
        store: where the reading is kept and found again; such a selection is not.

    Yields:
        Progress while reading, Text and Thought while a capable model writes, and the Answer last. To go on
        after it is to wait until all that was read is kept.
    """
    prompt = opening(engine, chat)
    with (yield from index_of(corpus, store)) as index:
        evidence = index.search(question, passages_wanted)
        chosen = quick.choose(index, corpus, question, engine.tokenizer, budget) if budget else None
        before = prompt(question).before
        if chosen:
            reading = Reading(engine, chosen.documents, before, chunk, chosen.header, index)
        else:
            reading = whole_reading(engine, corpus, before, chunk, index, store)
        yield from reading.read()
        answer = yield from write(reading, prompt(question), sampling, chat)
        with corpus.meter.stage("checking quotations", corpus.bytes):
            answer.quotations = quoted.check(answer.text, corpus.documents, question)
    answer.evidence, answer.usage = evidence, reading.usage
    if chosen:
        answer.tokens_in_all, answer.estimated = chosen.tokens_in_all, not chosen.exact
        answer.passages_read = len(chosen.documents)
    yield answer
    reading.close()


def opening(engine: Engine, chat: Chat) -> Opening:
    """Return what makes the prompt around the documents of a question."""
    template = read_template(chat.template, lookup.template(engine))
    return lambda question: build_prompt(engine.tokenizer, engine.folder, template, chat, question=question)


def ahead(engine: Engine, corpus: Corpus, chunk: int, chat: Chat, store: Folder) -> Reading:
    """Return a reading of all documents, not begun, that the next question can go on from."""
    before = opening(engine, chat)("").before
    return whole_reading(engine, corpus, before, chunk, store=store)


def consult(
    corpus: Corpus,
    question: str,
    *,
    passages_wanted: int,
    load: Callable[[], Finder],
    deep: bool = False,
    everything: bool = False,
    indexed: int = INDEXED,
    store: Folder | None = None,
) -> Iterator[Progress | Answer]:
    """Answer without a model that writes, by what is surest: a look-up, a copied fact,
    the words that the reader points at, the closest sentence.

    Args:
        load: gives the model that copies; called only for questions of a form it was made for.
        deep: let it read the text whatever the question.
        everything: let it read all of the text, however long that takes.
        indexed: bytes to index; of a longer text, only what stands around the question's words is indexed.
        store: where the index and the model's reading are kept and found again.

    Yields:
        Progress while indexing and reading, and the Answer last. To go on after it is to wait until all that
        was read is kept.
    """
    readings: list[Reading] = []
    cells = (yield from _scanned(corpus, question, indexed)) if corpus.bytes > indexed else None
    with (yield from index_of(corpus, store, cells.best(indexed) if cells else None)) as index:

        def copied() -> Generator[Progress, None, Answer]:
            yield Progress("loading the model", 0, 0, 0)
            model = load()
            if not model.in_one_piece:
                return (yield from in_parts(model, corpus, index, question, cells, everything, store))
            reading = finder(corpus, index, model.engine, model.chunk, store)
            readings.append(reading)
            yield from reading.read()
            return copy(reading, question)

        yield from consult_index(
            corpus,
            index,
            question,
            passages_wanted=passages_wanted,
            copied=copied,
            deep=deep or everything,
            facts=_where_to_look(corpus, question, cells, indexed),
        )
    for reading in readings:
        reading.close()


def in_parts(
    model: Finder,
    corpus: Corpus,
    index: PassageIndex,
    question: str,
    cells: Cells | None = None,
    everything: bool = False,
    store: Folder | None = None,
) -> Generator[Progress, None, Answer]:
    """Let a model that copies read what fits into memory at a time: what stands near the question's words.

    Args:
        cells: where those are, if that is known.
        everything: let it read all of the text.
        store: where parts are kept and found again.
    """
    if everything or model.tokens <= MOST_READ:
        cells = None
    elif cells is None:
        cells = yield from _scanned(corpus, question, INDEXED)
    asking = partial(_copying, model.engine)
    return (yield from read_in_parts(model, corpus, index, question, asking, cells, store))


def _scanned(corpus: Corpus, question: str, room: int) -> Generator[Progress, None, Cells]:
    return (yield from scan(corpus.documents, list(one_by_one(question).values()), room))


def consult_index(
    corpus: Corpus,
    index: PassageIndex,
    question: str,
    *,
    passages_wanted: int,
    copied: Callable[[], Generator[Progress, None, Answer]],
    deep: bool = False,
    facts: Sequence[Span] | None = None,
) -> Iterator[Progress | Answer]:
    """Answer as `consult` does, from an index that holds the documents.

    Args:
        copied: gives what a model that copies answers once it has read them.
        facts: where to look for facts that are stated outright, if not everywhere.
    """
    answer = _looked_up(corpus, question, facts)
    if answer is None and (deep or suits_finder(question)):
        answer = yield from copied()
    surest = None
    if answer is None or (answer.how == "not found" and not keys(question)):
        with corpus.meter.stage("reading passages", 0):
            surest = reader.surest(index, question)
        answer = (surest and surest.answer()) or answer
    evidence = index.search(question, max(passages_wanted, CONSIDERED))
    if answer is None or answer.how != "found":
        pointed_at = surest.sentence() if surest else None
        near = pointed_at or closest(index, question, evidence[:CONSIDERED])
        answer = answer or Answer("closest" if near else "not found", "")
        answer.closest = near
    answer.matched = bool(evidence)
    answer.evidence = widened(index, question, evidence, passages_wanted)[:passages_wanted]
    yield answer


def index_of(
    corpus: Corpus, store: Folder | None, spans: Sequence[Span] | None = None
) -> Generator[Progress, None, PassageIndex]:
    """Return an index of all documents, kept or made now, or one of some spans."""
    shelf = Shelf(store, corpus.documents) if store is not None and spans is None else None
    if shelf and (found := shelf.find()):
        return found
    index = PassageIndex()
    try:
        yield from fill(index, corpus, spans)
    except BaseException:
        index.__exit__()
        raise
    if shelf:
        shelf.keep(index)
    return index


def fill(index: PassageIndex, corpus: Corpus, spans: Sequence[Span] | None = None) -> Iterator[Progress]:
    """Add the passages of all documents to an index, or those of some spans."""
    spans = [whole(document) for document in corpus.documents] if spans is None else spans
    total, done = sum(span.byte_end - span.byte_start for span in spans), 0
    for span in spans:
        label, told = f"indexing {span.document.name}", span.byte_start
        yield Progress(label, done, total, 0)
        for passage in passages(span.document, span):
            index.add(passage)
            if (at := passage.span.byte_end) - told >= STEP:
                told = at
                yield Progress(label, done + at - span.byte_start, total, 0)
        done += span.byte_end - span.byte_start


def _where_to_look(corpus: Corpus, question: str, cells: Cells | None, room: int) -> list[Span] | None:
    """Return where a fact may be stated outright: in files that hold the question's words, or near those.

    Nowhere, if the words are so common that not all places can be looked at. Everywhere, if the first or
    last of something is asked for, or how many there are.
    """
    if cells is None or needs_all(question):
        return None
    near = cells.best(room, CLOSE) if cells.complete(room, CLOSE) else []
    small = [whole(one) for one in dict.fromkeys(span.document for span in near) if _size(one) <= SMALL]
    return small + [span for span in near if _size(span.document) > SMALL]


def _size(document: Document) -> int:
    return document.end - document.start


def _looked_up(corpus: Corpus, question: str, spans: Sequence[Span] | None) -> Answer | None:
    spans = [whole(document) for document in corpus.documents] if spans is None else spans
    # A span is looked at as a document of its own, and its facts are placed in the whole one.
    places = {id(part := span.alone()): (part, span.document) for span in spans}
    documents = [part for part, _ in places.values()]
    with corpus.meter.stage("looking facts up", sum(map(_size, documents))):
        found = look_up(question, documents)
    if not found:
        return None
    sources = [one.source.within(places[id(one.source.span.document)][1]) for one in found]
    parts = [Part("", one.text, source, None) for one, source in zip(found, sources, strict=True)]
    text = "\n".join(dict.fromkeys(one.text for one in found))
    return Answer("found", text, source=sources[0], by="look-up", parts=parts if len(parts) > 1 else [])


def finder(
    corpus: Corpus, index: PassageIndex, engine: Engine, chunk: int, store: Folder | None = None
) -> Reading:
    """Return a reading of all documents, not begun, for a model that copies; its questions come after it."""
    before = _copying(engine, "").before
    return whole_reading(engine, corpus, before, chunk, index, store)


def whole_reading(
    engine: Engine,
    corpus: Corpus,
    before: Sequence[int],
    chunk: int,
    index: PassageIndex | None = None,
    store: Folder | None = None,
) -> Reading:
    """Return a reading of all documents, not begun; what is changed often comes last."""
    documents = settled_first(corpus)
    return Reading(engine, documents, before, chunk, header(corpus), index, store, movable=True)


def _copying(engine: Engine, question: str) -> Prompt:
    template = read_template(None, lookup.template(engine))
    return build_prompt(engine.tokenizer, engine.folder, template, question=question)


def copy(reading: Reading, question: str) -> Answer:
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
