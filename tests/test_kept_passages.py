"""An index that was kept is used again only for the very same text; nothing else about an answer changes."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import longctx
from longctx.quotes.index import PassageIndex
from longctx.store.folder import PASSAGES, Folder, open_folder
from longctx.store.passages import FILE, LEAST
from longctx.tasks.ask import consult, index_of
from longctx.tasks.results import Answer
from longctx.text.source import gather

QUESTION = "Who wrote down the ships of lamp twelve?"
PLACES = [f"The keeper of lamp {n} counted ships.\n\nKelp grew on rock {n}.\n\n" for n in range(60)]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "lamps.txt").write_text("".join(PLACES) + "The keeper of lamp twelve wrote down the ships.\n")
    (folder / "phare.txt").write_text("Le gardien du phare a compté les navires de la baie.\n" * 30)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Folder:
    return open_folder(tmp_path / "store", pytest.fail)


def ask(texts: Path, store: Folder | None, question: str = QUESTION) -> Answer:
    def load() -> object:
        raise AssertionError("no model is needed")

    with gather([str(texts)]) as corpus:
        *_, answer = consult(corpus, question, passages_wanted=3, load=load, store=store)  # type: ignore[arg-type]
    assert isinstance(answer, Answer)
    return answer


def shown(answer: Answer) -> Sequence[object]:
    evidence = [
        (one.span.document.name, one.span.byte_start, one.span.first_line, one.text, one.score)
        for one in answer.evidence
    ]
    return [answer.how, answer.text, answer.closest and answer.closest.text, *evidence]


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(*_: object) -> None:
        raise AssertionError("a passage was indexed anew")

    monkeypatch.setattr(PassageIndex, "add", add)


def test_a_second_question_builds_no_index(
    texts: Path, store: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each question about a long text would cost a second more."""
    ask(texts, store, "What grew on rocks?")
    built = ask(texts, None)
    forbid(monkeypatch)
    assert shown(ask(texts, store)) == shown(built)
    assert "wrote down" in built.evidence[0].text
    french = "Qui a compté les navires de la baie ?"
    assert "gardien" in ask(texts, store, french).evidence[0].text


def test_a_text_that_changed_is_indexed_anew(texts: Path, store: Folder) -> None:
    """Otherwise places would be those of a text that is gone, even where size and time are the same."""
    ask(texts, store)
    path = texts / "lamps.txt"
    path.write_text(path.read_text().replace("lamp 31 counted ships", "lamp 31 saw a whale"))
    assert "whale" in ask(texts, store, "Who saw a whale?").evidence[0].text


@pytest.mark.parametrize("name", [FILE, "manifest.json"])
def test_a_damaged_index_is_made_anew(texts: Path, store: Folder, name: str) -> None:
    """Otherwise a flipped bit would hide a passage, or end the command with an error of SQLite."""
    right = shown(ask(texts, store))
    (path,) = store.root.glob(f"{PASSAGES}/*/{name}")
    for at in (20, path.stat().st_size // 2):
        damaged = bytearray(path.read_bytes())
        damaged[at] ^= 0x55
        path.write_bytes(damaged)
        assert shown(ask(texts, store)) == right
        assert path.read_bytes() != bytes(damaged), "the damaged index stays"


def test_indexes_count_towards_the_budget(texts: Path, tmp_path: Path) -> None:
    """Otherwise the store would grow beyond what the user allows."""
    said: list[str] = []
    store = open_folder(tmp_path / "store", said.append)
    ask(texts, store)
    store.budget = sum(path.stat().st_size for path in store.root.glob(f"{PASSAGES}/*/*"))
    (texts / "phare.txt").unlink()
    ask(texts, store)
    assert [line for line in said if "removed an index" in line]
    assert len(list(store.root.glob(f"{PASSAGES}/*"))) == 1


def test_of_itself_only_what_takes_a_while_is_kept(texts: Path, store: Folder) -> None:
    """Otherwise the data folder would fill with traces of every small question."""
    store.least_seconds = 1.0
    ask(texts, store)
    assert not (store.root / PASSAGES).exists()
    with (texts / "lamps.txt").open("a") as file:
        file.write("kelp\n\n" * (LEAST // 6))
    with gather([str(texts)]) as corpus:
        events = index_of(corpus, store)
        for _ in events:
            pass
    assert list((store.root / PASSAGES).iterdir())


def test_the_python_api_keeps_where_it_is_told_to(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a program would read and index its texts anew each time it starts."""
    with longctx.read(texts, store=tmp_path / "own") as book:
        book.ask(QUESTION)
    forbid(monkeypatch)
    with longctx.read(texts, store=tmp_path / "own") as book:
        assert "wrote down" in book.ask(QUESTION).evidence[0].text
