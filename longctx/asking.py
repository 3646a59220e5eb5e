"""What `ask` was given: one question, or many, and what to look for the answers in."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longctx import manners
from longctx.begin import load_writer
from longctx.chat import Chat
from longctx.errors import InputError, QuotationError
from longctx.launch import Launch
from longctx.options import Inputs, Keeping
from longctx.sampling import Sampling

if TYPE_CHECKING:
    from longctx.book import Book
    from longctx.engine import Engine
    from longctx.output import Output
    from longctx.progress import Progress
    from longctx.store.folder import Folder
    from longctx.tasks.parts import Finder
    from longctx.tasks.results import Answer, Text, Thought
    from longctx.text.source import Corpus

LARGEST = 1 << 24  # bytes of a file of questions


def questions_and_inputs(words: Inputs, more: Sequence[str], file: str | None) -> tuple[list[str], Inputs]:
    """Return the questions, and what is read for them.

    Without -Q and --questions the question is the first word, or the last where the last names no file and
    the first does, or only the last looks like a question.

    Args:
        words: all that is no option.
        more: as given with -Q.
        file: as given with --questions.
    """
    asked = [*more, *(_lines(file) if file else ())]
    if more or file:
        if not all(map(str.strip, asked)) or not asked:
            raise click.UsageError(f"{file or '-Q'}: there is no question in it")
        if file == "-" and (not words or "-" in words):
            raise click.UsageError("--questions - reads questions from standard input; name files to read")
        if late := next((word for word in words if _asks(word) and not _is_there(word)), None):
            raise click.UsageError(f"{late}: beside -Q or --questions this names a file; ask it with -Q, too")
        return asked, words
    if not words:
        raise click.UsageError("there is no question; try: longctx ask 'Who is Alice?' book.txt")
    if not words[0].strip():
        raise click.UsageError("the question is empty")
    _check_quoted(words)
    first, last = words[0], words[-1]
    if len(words) > 1 and not _is_there(last) and (_is_there(first) or _asks(last) > _asks(first)):
        return [last], words[:-1]
    return [words[0]], words[1:]


@dataclass
class Asker:
    """Asks one question, as often as one likes; the model is loaded once.

    Attributes:
        passages: how many to quote.
        budget: tokens that a model that writes may read, if not all.
        deep, everything: as of `tasks.ask.consult`.
    """

    launch: Launch
    out: "Output"
    keeping: Keeping
    sampling: Sampling
    chat: Chat
    question: str
    passages: int
    budget: int | None
    deep: bool
    everything: bool
    _engine: "Engine | None" = None
    _store: "Folder | None" = None

    def events(self, corpus: "Corpus") -> "Iterator[Progress | Text | Thought | Answer]":
        """Yield what comes while texts are read, and the answer; at the end, what was read is kept."""
        from longctx.tasks import ask as task

        if not self._writes:
            return task.consult(
                corpus,
                self.question,
                passages_wanted=self.passages,
                load=lambda: self._finder(corpus),
                deep=self.deep,
                everything=self.everything,
                store=self._kept(corpus),
            )
        return task.ask(
            self._writer(corpus),
            corpus,
            self.question,
            passages_wanted=self.passages,
            sampling=self.sampling,
            chunk=self.launch.chunk,
            chat=self.chat,
            budget=self.budget,
            store=self._kept(corpus),
        )

    @cached_property
    def _writes(self) -> bool:
        """Tell whether the model writes, having said which options do nothing with it."""
        from longctx.tasks.lookup import cannot_write

        writes = not cannot_write(self.launch.config)
        if self.budget and not writes:
            raise click.UsageError(
                "--quick is for models that write; leave it out, or choose one with --model"
            )
        manners.note_idle(self.out, writes=writes)
        return writes

    def _finder(self, corpus: "Corpus") -> "Finder":
        from longctx.tasks import parts

        finder = parts.load(self.launch, self.out, corpus, self.sampling.max_tokens, self._engine)
        self._engine = finder.engine
        return finder

    def _writer(self, corpus: "Corpus") -> "Engine":
        if self._engine is None:
            # No text has more tokens than bytes.
            text = min(self.budget, corpus.bytes) if self.budget else corpus
            at = self.launch, self.out, text, self.sampling, self.chat, "ask.md"
            self._engine = load_writer(*at, question=self.question)
        return self._engine

    def _kept(self, corpus: "Corpus") -> "Folder | None":
        """Return where readings are kept; what this command has kept is used even if it began afresh."""
        self._store = (
            replace(self._store, fresh=False) if self._store else self.keeping.folder(self.out, corpus)
        )
        return self._store


def answer_all(book: "Book", questions: Sequence[str], out: "Output", strict: bool, **how: Any) -> None:
    """Answer many questions off one reading, and show each answer as soon as it is whole.

    Args:
        how: the arguments of `Book.ask_all`.

    Raises:
        QuotationError: when it is strict, and a quotation does not stand in the documents.
    """
    from longctx import render
    from longctx.styles import PLAIN, for_stdout

    values, texts, missing, wrong = [], [], 0, 0
    for question, answer in zip(questions, book.ask_all(questions, **how), strict=True):
        out.hide()
        style = for_stdout(question, render.shown(answer)) if out.live else PLAIN
        text = f"## {_heading(question)}\n\n{render.answer_text(answer, streamed=False, style=style)}\n"
        if out.live:
            click.echo(text)
        texts.append(text)
        values.append({"question": question, **render.answer_values(answer)})
        missing += answer.how in ("not found", "closest")
        wrong += sum(one.place is None for one in answer.quotations)
    if not out.live:
        everything = {"answers": values, "notes": book.notes, "sources": render.source_values(book.corpus)}
        usage = {"usage": render.usage_values(book.usage)}
        out.write("\n".join(texts), {"command": "ask", **everything, **usage})
    if book.usage.tokens_read:
        out.note(render.usage_line(book.usage))
    if strict and wrong:
        raise QuotationError(f"{wrong} quotations do not stand in the text")
    if missing:
        have = "has" if missing == 1 else "have"
        out.note(f"{missing} of {len(questions)} questions {have} no answer")
        sys.exit(1)


def _heading(question: str) -> str:
    from longctx.output import clean

    return clean(" ".join(question.split()))


def _check_quoted(words: Inputs) -> None:
    """Refuse a question whose quotation marks are missing: its words would be taken for files."""
    said = list(takewhile(lambda word: not _is_there(word), words))
    plain = all(re.fullmatch(r"[\w'’-]+", word) for word in said[:2])
    if len(words) > 2 and len(said) > 1 and plain:
        rest = shlex.join(words[len(said) :])
        raise click.UsageError(
            f'put the question in quotation marks: longctx ask "{" ".join(said)}" {rest}'.rstrip()
        )


def _asks(word: str) -> bool:
    """Tell whether a word looks like a question, and not like the name of a file."""
    return word.endswith("?") or len(word.split()) > 2


def _is_there(word: str) -> bool:
    try:
        return word == "-" or Path(word).exists()
    except (OSError, ValueError):  # too long for a name, or with a null character
        return False


def _lines(file: str) -> list[str]:
    """Return the lines of a file that are not empty.

    Raises:
        InputError: when it cannot be read, or is no text.
    """
    from longctx.checkpoint import read_bounded

    try:
        if file == "-":
            content = sys.stdin.buffer.read(LARGEST + 1) if sys.stdin else b""
            if len(content) > LARGEST:
                raise ValueError(f"larger than {LARGEST >> 20} MiB")
            text = content.decode()
        else:
            text = read_bounded(Path(file), LARGEST).decode()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{file}: cannot read the questions: {why}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
