"""`ask --follow`: the same question, again and again, whenever the files have grown."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import NoReturn

import click

from longctx import render
from longctx.asking import Asker
from longctx.begin import SUFFIX
from longctx.errors import InputError
from longctx.output import SCHEMA
from longctx.progress import Progress
from longctx.tasks.results import Answer, Thought
from longctx.text.source import Corpus, gather, printable

Told = tuple[str, ...]  # what tells an answer from another


class Watched:
    """Files that others write to, as they were when they were last looked at."""

    def __init__(self, names: Sequence[str]) -> None:
        self._seen: dict[str, os.stat_result | None] = dict.fromkeys(names)

    def changed(self) -> tuple[bool, list[str]]:
        """Tell whether any has changed, and what to say of files that did not simply grow."""
        changed, said = False, []
        for name, old in self._seen.items():
            try:
                new = Path(name).stat()
            except OSError:
                new = None
            if old and not new:
                said.append(f"{printable(name)}: is gone; waiting for it")
            elif old and new and (old.st_dev, old.st_ino) != (new.st_dev, new.st_ino):
                said.append(f"{printable(name)}: is another file now; reading that from its beginning")
            elif old and new and new.st_size < old.st_size:
                said.append(f"{printable(name)}: became shorter; reading what it holds now")
            changed |= _mark(old) != _mark(new)
            self._seen[name] = new
        return changed, said

    def forget(self) -> None:
        """Let the files count as changed when they are looked at next."""
        self._seen = dict.fromkeys(self._seen)

    @property
    def readable(self) -> bool:
        """Tell whether all are there, and hold anything."""
        return all(self._seen.values()) and any(one.st_size for one in self._seen.values() if one)


def _mark(status: os.stat_result | None) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) if status else ()


def check(inputs: Sequence[str], *others: object) -> None:
    """Refuse what cannot be followed.

    Args:
        others: options that do not go with it, as they were given.

    Raises:
        InputError: when a file is not there.
        click.UsageError: saying what to type.
    """
    if any(others):
        raise click.UsageError("--follow goes with one question, without --since, --until, --strict and -o")
    for name in inputs or ("-",):
        path = Path(name)
        if name != "-" and not path.exists():
            raise InputError(f"{printable(name)}: no such file; check the name")
        if not path.is_file() or name.endswith(SUFFIX):
            raise click.UsageError(f"--follow {printable(name)}: name files that grow, such as logs")


def follow(asker: Asker, inputs: Sequence[str], every: float) -> NoReturn:
    """Answer, and again whenever the files have changed; show an answer that is not the last one's, for ever.

    Args:
        every: seconds between two looks at the files.

    Raises:
        InputError: when they cannot be read the first time; later on that may change, and is only told.
    """
    out, watched = asker.out, Watched(inputs)
    last: Told | None = None
    trouble = ""
    while True:
        changed, said = watched.changed()
        for note in said:
            out.note(note)
        if changed and not watched.readable and last is None:
            out.note("waiting for text")
        elif changed and watched.readable:
            try:
                last = _ask(asker, inputs, last)
                trouble = ""
            except InputError as error:  # written anew meanwhile, say
                if last is None:
                    raise
                if trouble != (trouble := str(error)):
                    out.note(f"{trouble} (tried again)")
                watched.forget()
        sleep(every)


def _ask(asker: Asker, inputs: Sequence[str], last: Told | None) -> Told:
    """Ask once, and show what is not the last answer; return what was answered."""
    out, told = asker.out, last or ()
    with gather(inputs, show=out.show) as corpus:
        if last is None:
            out.report_sources(corpus)
        for event in asker.events(corpus):
            if isinstance(event, Progress | Thought):
                out.show(event)
            elif isinstance(event, Answer):
                out.hide()
                told = event.how, event.text, event.closest.text if event.closest else ""
                if told != last:
                    _show(asker, event, corpus)
                if event.usage.tokens_read or event.usage.tokens_reused:
                    out.note(render.usage_line(event.usage), detail=True)
    return told


def _show(asker: Asker, answer: Answer, corpus: Corpus) -> None:
    if asker.out.as_json:
        values = render.result_values("ask", answer, corpus, question=asker.question)
        click.echo(json.dumps({"schema": SCHEMA, **values}))
    else:
        click.echo(render.answer_text(answer, streamed=False) + "\n")
