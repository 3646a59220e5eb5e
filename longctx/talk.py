"""The command `chat`: questions typed, or piped, one after the other."""

import contextlib
import json
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Protocol

import click

from longctx import preferences, render, signals
from longctx.book import Book
from longctx.errors import LongctxError
from longctx.output import SCHEMA, Output, clean
from longctx.styles import for_stdout
from longctx.tasks.results import Answer, Text, Thought
from longctx.text.source import Corpus

if TYPE_CHECKING:
    from longctx.tasks.conversation import Turn

HISTORY = 1000  # lines
COMMANDS = """\
/sources       where the last answer comes from, and what you are asking about
/retry         answer the last question once more, in other words
/undo          forget the last question and its answer
/save FILE     write the conversation to a new file
/help          show this
/quit          end (or Ctrl-D); Ctrl-C stops an answer"""


class Talk(Protocol):
    """Questions and answers so far, and how to go on."""

    @property
    def turns(self) -> "list[Turn] | list[Asked]":
        """Return what was asked and answered."""

    def ask(self, question: str) -> Generator[Text | Thought, None, Answer]:
        """Answer a question."""

    def retry(self) -> Generator[Text | Thought, None, Answer]:
        """Answer the last question once more."""

    def undo(self) -> str | None:
        """Forget the last question, and return it."""


class Asked:
    """A question and its answer."""

    def __init__(self, question: str, answer: Answer) -> None:
        self.question, self.answer = question, answer


class Questions:
    """Questions to a model that copies: each stands for itself."""

    def __init__(self, book: Book) -> None:
        self.turns: list[Asked] = []
        self._book = book

    def ask(self, question: str) -> Generator[Text | Thought, None, Answer]:
        """Look the answer up."""
        answer = self._book.ask(question)
        self.turns.append(Asked(question, answer))
        return answer
        yield  # a generator, as the answers of models that write are

    def retry(self) -> Generator[Text | Thought, None, Answer]:
        """Look it up again, which finds the same."""
        return (yield from self.ask(self.turns.pop().question))

    def undo(self) -> str | None:
        """Forget the last question."""
        return self.turns.pop().question if self.turns else None


def converse(talk: Talk, corpus: Corpus, out: Output) -> None:
    """Answer question after question until there are no more."""
    typed = sys.stdin.isatty()
    out.hide()
    if typed:
        what = f"{len(corpus.documents):,} documents" if len(corpus.documents) > 1 else "1 document"
        out.note(f"Ask about {what}. /help lists what else you can do; Ctrl-D ends.")
    with signals.interruptible():
        for line in _typed() if typed else sys.stdin:
            if not (asked := line.strip()):
                continue
            try:
                _obey(asked, talk, corpus, out)
            except KeyboardInterrupt:
                out.hide()
                if not typed:
                    raise
                click.echo()
                out.note("[stopped; this question is not part of the conversation]")
            except EOFError:
                return
            except LongctxError as error:
                out.note(f"longctx: {error}")


def _obey(line: str, talk: Talk, corpus: Corpus, out: Output) -> None:
    """Answer a question, or follow a command."""
    command, _, rest = line.partition(" ")
    if not line.startswith("/"):
        _show(talk, talk.ask(line), out)
    elif command in ("/quit", "/exit", "/bye"):
        raise EOFError
    elif command == "/help":
        out.note(COMMANDS)
    elif command == "/sources":
        out.note(_sources(talk, corpus))
    elif command == "/save":
        out.note(_save(talk, rest.strip()))
    elif command in ("/undo", "/retry") and not talk.turns:
        out.note("nothing was asked yet")
    elif command == "/undo":
        out.note(f"forgotten: {talk.undo()}")
    elif command == "/retry":
        _show(talk, talk.retry(), out)
    else:
        out.note(f"{command}: no such command; /help lists them. Begin a question without /")


def _show(talk: Talk, events: Generator[Text | Thought, None, Answer], out: Output) -> None:
    answer = _shown(events, out)
    out.hide()
    if out.as_json:
        asked = {"schema": SCHEMA, "command": "chat", "question": talk.turns[-1].question}
        click.echo(json.dumps({**asked, **render.answer_values(answer)}))
        return
    if answer.how != "generated":
        style = for_stdout(talk.turns[-1].question, render.shown(answer))
        click.echo(render.answer_text(answer, streamed=False, style=style) + "\n")
        return
    click.echo("" if out.live else clean(answer.text))
    if answer.finish == "length":
        out.note("[cut at the token limit; raise --max-tokens for more]")
    for one in answer.quotations:
        out.note(f"  {render.place(one)}: {render.short(' '.join(one.text.split()))}")
    click.echo()


def _shown(events: Generator[Text | Thought, None, Answer], out: Output) -> Answer:
    """Show what comes before an answer, and return the answer."""
    while True:
        try:
            out.show(next(events))
        except StopIteration as end:
            answer: Answer = end.value
            return answer


def _sources(talk: Talk, corpus: Corpus) -> str:
    if talk.turns and (shown := render.evidence(talk.turns[-1].answer)):
        return "\n".join([f"To the question: {talk.turns[-1].question}", *shown])
    return "\n".join(f"{one.name}: {one.end - one.start:,} bytes" for one in corpus.documents)


def _save(talk: Talk, name: str) -> str:
    """Write the conversation to a file that does not exist yet; return what to say."""
    if not name:
        return "/save FILE: name a file"
    text = "\n".join(f"## {turn.question}\n\n{_written(turn.answer)}\n" for turn in talk.turns)
    try:
        with open(name, "x", encoding="utf-8") as file:  # noqa: PTH123  # as the user typed it
            file.write(text)
    except FileExistsError:
        return f"{name}: exists already; choose another name"
    except OSError as error:
        return f"{name}: cannot be written: {error.strerror}"
    return f"saved: {name}"


def _written(answer: Answer) -> str:
    return render.answer_text(answer, streamed=False)


def _typed() -> Iterator[str]:
    """Yield the lines that a person types, with line editing and a history where the terminal has them."""
    with _history():
        while True:
            try:
                yield input("> ")
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:  # as shells do: a new line
                click.echo()


@contextlib.contextmanager
def _history() -> Iterator[None]:
    """Keep what is typed in the user's own settings folder, readable by nobody else."""
    try:
        import readline
    except ImportError:  # Windows
        yield
        return
    file = preferences.path().parent / "history"
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        readline.read_history_file(file)
    readline.set_history_length(HISTORY)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(file)
