"""Texts that you can ask from Python, again and again: what was indexed or read once is kept."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import cached_property, partial
from os import PathLike, fspath
from typing import TYPE_CHECKING, Self

from longctx.chat import Chat
from longctx.errors import InputError, ModelError, OptionError
from longctx.launch import Launch
from longctx.options import STORE, Keeping, Options
from longctx.output import Output
from longctx.progress import Progress, Usage
from longctx.sampling import Sampling
from longctx.tasks.results import Answer
from longctx.text.source import gather

if TYPE_CHECKING:
    from longctx.engine import Engine
    from longctx.quotes.index import PassageIndex
    from longctx.reading import Reading
    from longctx.store.folder import Folder
    from longctx.tasks.ask import Opening
    from longctx.tasks.conversation import Conversation
    from longctx.tasks.parts import Finder
    from longctx.text.source import Corpus, Document, Skipped

ROOM = 1024  # tokens that memory is planned for after the text: a question and its answer


def read(
    source: str | PathLike[str],
    *more: str | PathLike[str],
    model: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quant: str = "auto",
    threads: int | None = None,
    progress: Callable[[Progress], object] | None = None,
    store: str | PathLike[str] | bool = True,
) -> "Book":
    """Find the texts in files and folders ("-" is standard input), to ask about them.

    Nothing is read by a model before a question needs it.

    Args:
        source, more: files and folders.
        model: a folder, a short name or a hub name, as of `--model`; None is the bundled model, whatever
            LONGCTX_MODEL or your configuration file say.
        device, dtype, quant, threads: as the options of these names.
        progress: is called with the progress of finding, indexing and reading.
        store: the folder in which readings and indexes are kept and found again. True is the command's own
            (LONGCTX_STORE, or your data folder), with what took more than a second; False keeps nothing.

    Raises:
        InputError: when something is missing or cannot be read, or there is no text in it.
    """
    corpus = gather([fspath(one) for one in (source, *more)], show=progress)
    options = Options(
        as_json=False,
        output=None,
        quiet=True,
        verbose=False,
        model=model,
        device=device,
        dtype=dtype,
        quant=quant,
        threads=threads,
        chunk=None,
    )
    launch = Launch(options)
    where = os.environ.get(STORE) if isinstance(store, bool) else fspath(store)
    keeping = Keeping(where or None, no_store=store is False)
    return Book(corpus, launch, progress, store=keeping.place(corpus, launch.notes.append))


class Book:
    """Texts to ask about. Close it, or use it as a context manager, to free memory and temporary files.

    It is not safe to ask from several threads at once.
    """

    def __init__(
        self,
        corpus: "Corpus",
        launch: Launch,
        progress: Callable[[Progress], object] | None = None,
        out: Output | None = None,
        store: "Folder | None" = None,
    ) -> None:
        self.corpus, self._launch, self._progress, self._store = corpus, launch, progress, store
        self._out = out or Output(None, as_json=False, quiet=True, verbose=False)
        self._index: PassageIndex | None = None
        self._reading: Reading | None = None
        self._closed = False
        self._spent = Usage()  # on what is not kept

    @property
    def documents(self) -> list["Document"]:
        """The texts, in the order in which they are read."""
        return list(self.corpus.documents)

    @property
    def skipped(self) -> list["Skipped"]:
        """What was not read, and why."""
        return list(self.corpus.skipped)

    @property
    def notes(self) -> list[str]:
        """What the command would say on stderr: of the inputs, and of how the model is used."""
        return [*self.corpus.notes, *self._launch.notes]

    @property
    def usage(self) -> Usage:
        """What reading, asking and summarizing have cost so far."""
        total = Usage()
        total.add(self._spent)
        if self._reading is not None:
            total.add(self._reading.usage)
        return total

    def ask(
        self,
        question: str,
        *,
        passages: int = 3,
        deep: bool = False,
        sampling: Sampling | None = None,
        system: str | None = None,
    ) -> Answer:
        """Answer a question, with passages to check the answer against.

        Args:
            passages: how many to quote.
            deep: let the bundled model read the text whatever the question.
            sampling, system: for a model that writes: how, and what it is told before all else.

        Raises:
            InputError: for an empty question.
            DoesNotFitError: when the text and the model need more memory than there is.
            ModelError: when the model cannot be downloaded or its files are damaged.
        """
        from longctx.tasks import ask as task
        from longctx.tasks.lookup import cannot_write

        self._check_open()
        if not question.strip():
            raise InputError("the question is empty; ask something")
        if not cannot_write(self._launch.config):
            return self._generate(question, passages, sampling or Sampling(max_tokens=ROOM), system)
        if self.corpus.bytes > task.INDEXED:
            events = task.consult(
                self.corpus,
                question,
                passages_wanted=passages,
                load=lambda: self._finder,
                deep=deep,
                store=self._store,
            )
            answer = self._last(events)
            self._spent.add(answer.usage)
        else:
            copied = partial(self._copied, question)
            events = task.consult_index(
                self.corpus, self._filled, question, passages_wanted=passages, copied=copied, deep=deep
            )
            answer = self._last(events)
        answer.usage = self.usage
        return answer

    def summarize(
        self, words: int = 300, *, sampling: Sampling | None = None, system: str | None = None
    ) -> Answer:
        """Say what the texts hold in about so many words: quoted sentences, or what a model writes.

        A model that writes reads the texts for this anew.

        Raises:
            InputError: when there is nothing to tell of them.
            DoesNotFitError, ModelError: as of `ask`.
        """
        from longctx.tasks import summarize as task
        from longctx.tasks.extract import extract
        from longctx.tasks.lookup import cannot_write

        self._check_open()
        if words < 1:
            raise OptionError(f"words={words}: ask for one word at least")
        if cannot_write(self._launch.config):
            return self._last(extract(self.corpus, words=words))
        chat, how = Chat(system=system), sampling or Sampling(max_tokens=ROOM)
        engine = self._engine
        events = task.summarize(
            engine, self.corpus, words=words, sampling=how, chunk=self._launch.chunk, chat=chat
        )
        answer = self._last(events)
        self._spent.add(answer.usage)
        answer.usage = self.usage
        return answer

    def conversation(self, sampling: Sampling | None = None, chat: Chat | None = None) -> "Conversation":
        """Begin a conversation about the texts, with a model that writes; it reads them now.

        Raises:
            ModelError: when the model copies only: ask it question by question.
            OptionError: when the prompt template names the question before the texts.
            DoesNotFitError: as of `ask`.
        """
        from longctx.tasks.conversation import Conversation
        from longctx.tasks.lookup import cannot_write
        from longctx.tasks.many import read_before

        self._check_open()
        if cannot_write(self._launch.config):
            raise ModelError("the bundled model holds no conversation; ask it question by question")
        chat, how = chat or Chat(), sampling or Sampling(max_tokens=ROOM)
        opening = self._opening(chat)
        reading = self._read_after(read_before(opening), how)
        reading.index = self._filled
        return Conversation(reading, self.corpus.documents, opening, how, chat)

    def ask_all(
        self,
        questions: Sequence[str],
        *,
        passages: int = 3,
        deep: bool = False,
        sampling: Sampling | None = None,
        chat: Chat | None = None,
    ) -> Iterator[Answer]:
        """Answer many questions off one reading; yield the answers in the order of the questions.

        A model that writes works on several answers at a time, which costs little more than one.

        Args:
            passages, deep, sampling: as of `ask`.
            chat: how a model that writes is spoken to.

        Raises:
            OptionError: when the prompt template names the question before the texts.
            InputError, DoesNotFitError, ModelError: as of `ask`.
        """
        from longctx.tasks import many, quoted
        from longctx.tasks.lookup import cannot_write

        self._check_open()
        if not all(question.strip() for question in questions):
            raise InputError("a question is empty; ask something")
        if cannot_write(self._launch.config):
            yield from (self.ask(question, passages=passages, deep=deep) for question in questions)
            return
        chat, how = chat or Chat(), sampling or Sampling(max_tokens=ROOM)
        opening = self._opening(chat)
        longest = max((len(opening(question).after) for question in questions), default=0)
        reading = self._read_after(many.read_before(opening), how, longest)
        answers = many.write_all(reading, questions, opening, how, chat)
        for question, answer in zip(questions, answers, strict=True):
            answer.quotations = quoted.check(answer.text, self.corpus.documents, question)
            answer.evidence = self._filled.search(question, passages)
            answer.usage = self.usage
            yield answer

    def close(self) -> None:
        """Free what was read, and remove temporary files. Closing twice does no harm."""
        self._closed = True
        self._reading = None
        for loaded in ("_engine", "_finder"):
            self.__dict__.pop(loaded, None)
        if self._index is not None:
            self._index.__exit__()
            self._index = None
        self.corpus.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.corpus.bytes:,} bytes"
        return f"<Book of {len(self.corpus.documents)} documents, {state}>"

    @cached_property
    def _engine(self) -> "Engine":
        return self._launch.engine(self._out, self.corpus, ROOM)

    @cached_property
    def _finder(self) -> "Finder":
        from longctx.tasks.parts import load

        return load(self._launch, self._out, self.corpus, ROOM)

    @property
    def _filled(self) -> "PassageIndex":
        """The index of all passages, made on first use."""
        from longctx.quotes.index import PassageIndex
        from longctx.tasks.ask import index_of

        if self._index is None:
            index = self._tell(_returned(index_of(self.corpus, self._store)))
            assert isinstance(index, PassageIndex)
            self._index = index
        return self._index

    def _copied(self, question: str) -> "Generator[Progress, None, Answer]":
        """Let a model that copies answer, from what it reads on the first question if all of it fits."""
        from longctx.tasks import ask

        model = self._finder
        if not model.in_one_piece:
            answer = yield from ask.in_parts(model, self.corpus, self._filled, question, store=self._store)
            self._spent.add(answer.usage)
            return answer
        if self._reading is None:
            reading = ask.finder(self.corpus, self._filled, model.engine, model.chunk, self._store)
            yield from reading.read()
            self._reading = reading
        return ask.copy(self._reading, question)

    def _generate(self, question: str, passages: int, sampling: Sampling, system: str | None) -> Answer:
        """Let a model write, from what it has read up to the question."""
        from longctx.tasks import quoted
        from longctx.tasks.ask import write

        chat = Chat(system=system)
        prompt = self._opening(chat)(question)
        reading = self._read_after(prompt.before, sampling, len(prompt.after))
        answer = self._last(_returned(write(reading.fork(), prompt, sampling, chat)))
        answer.quotations = quoted.check(answer.text, self.corpus.documents, question)
        answer.evidence = self._filled.search(question, passages)
        answer.usage = self.usage
        return answer

    def _opening(self, chat: Chat) -> "Opening":
        """Return what makes the prompt around the texts of a question."""
        from longctx.tasks import ask

        return ask.opening(self._engine, chat)

    def _read_after(self, before: Sequence[int], sampling: Sampling, asked: int = 0) -> "Reading":
        """Read everything after the beginning of a prompt, unless that is what was kept; keep it.

        Args:
            asked: the tokens of the prompt's end.
        """
        from longctx.tasks.ask import whole_reading
        from longctx.tasks.frame import notes

        engine, launch = self._engine, self._launch
        if (room := len(before) + asked + sampling.max_tokens) > ROOM:
            launch.plan(self.corpus, room).check()
        if self._reading is not None and list(self._reading.before) == list(before):
            return self._reading
        said = notes(engine.tokenizer, engine.folder, sampling)
        launch.say(self._out, *(note for note in said if note not in launch.notes))
        if self._reading is not None:
            self._spent.add(self._reading.usage)
            self._reading = None
        reading = whole_reading(engine, self.corpus, before, launch.chunk, self._index, self._store)
        self._tell(reading.read())
        self._reading = reading
        return reading

    def _tell(self, events: Iterable[object]) -> object:
        """Report the progress among a task's events; return the last of them."""
        event = None
        for event in events:
            if self._progress and isinstance(event, Progress):
                self._progress(event)
        return event

    def _last(self, events: Iterable[object]) -> Answer:
        """Return the answer that comes last of a task's events."""
        answer = self._tell(events)
        assert isinstance(answer, Answer)
        return answer

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this book is closed; read it again")


def _returned(events: Generator[object, None, object]) -> Generator[object, None, None]:
    """Yield what a task yields, then what it returns."""
    answer = yield from events
    yield answer
