"""Files that vanish, grow, shrink or become others while they are read: one line, or the right answer."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from trees import text

from longctx.errors import InputError
from longctx.formats.limits import Unreadable
from longctx.formats.zips import Wary
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.text.encoding import inspect
from longctx.text.source import Corpus, gather
from longctx.tokens.stream import TokenStream
from longctx.tokens.tokenizer import Tokenizer

TEXT = "".join(f"The ferry number {number} leaves the quay at noon.\n\n" for number in range(400))


def _become_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _become_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _be_moved_over(path: Path) -> None:
    other = path.with_name("other.txt")
    other.write_text(TEXT.replace("noon", "five"))
    other.replace(path)


def _be_rewritten(path: Path) -> None:
    path.write_text(TEXT.replace("noon", "five"))
    os.utime(path, ns=(1, 1))  # a clock may be too coarse to tell


CHANGES: dict[str, Callable[[Path], object]] = {
    "vanishes": Path.unlink,
    "becomes a pipe": _become_pipe,
    "becomes a folder": _become_folder,
    "becomes a device": _become_device,
    "is emptied": lambda path: path.write_text(""),
    "is cut short": lambda path: os.truncate(path, len(TEXT) // 2),
    "is written anew": _be_rewritten,
    "is written anew and longer": lambda path: path.write_text("Other words.\n\n" * 3000),
    "is replaced": _be_moved_over,
}


def _index(corpus: Corpus) -> Callable[[], object]:
    index = PassageIndex()
    for passage in passages(corpus.documents[0]):
        index.add(passage)
    return lambda: index.search("When does ferry 7 leave?", 3)


def _stream(corpus: Corpus, tokenizer: Tokenizer) -> Callable[[], object]:
    stream = TokenStream(tokenizer, corpus.documents, 64, window=999)
    list(stream)
    return lambda: (stream.locate(5), stream.locate(3000))


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_read_costs_one_line(
    change: str, tmp_path: Path, tokenizers: dict[str, Tokenizer]
) -> None:
    """If this fails a log that is rotated ends in a traceback, waits for ever, or is quoted wrongly."""
    path = tmp_path / "log.txt"
    path.write_text(TEXT)
    with gather([str(path)]) as corpus:
        steps: list[Callable[[], object]] = [
            lambda: text(corpus.documents[0]),
            _index(corpus),
            _stream(corpus, tokenizers["gpt2"]),
            lambda: list(TokenStream(tokenizers["gpt2"], corpus.documents, 64)),
        ]
        for step in steps:
            step()
        CHANGES[change](path)
        for step in steps:
            with pytest.raises(InputError, match=r"log.txt: .*run the command again"):
                step()


def test_a_log_that_grows_is_read_as_it_was(tmp_path: Path, tokenizers: dict[str, Tokenizer]) -> None:
    """If this fails nobody can ask about a log that is being written."""
    path = tmp_path / "log.txt"
    path.write_text(TEXT)
    with gather([str(path)]) as corpus:
        search = _index(corpus)
        before = search()
        with path.open("a") as file:
            file.write("The ferry is late.\n")
        assert text(corpus.documents[0]) == TEXT
        assert search() == before


@pytest.mark.parametrize("reader", [inspect, Wary, lambda path: gather([str(path.parent)])])
def test_nothing_waits_for_a_pipe_that_took_the_place_of_a_file(
    reader: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe may come between the look at a folder and the opening of its files."""
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    status = path.lstat()
    _become_pipe(path)
    monkeypatch.setattr(Path, "lstat", lambda _: status)
    with pytest.raises((OSError, InputError, Unreadable), match=r"not a regular file|no text to read"):
        reader(path)
    shutil.rmtree(tmp_path)
