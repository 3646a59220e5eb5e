"""What does not fit into memory is read in parts: the same answers, at the same places."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.engine import Engine
from longctx.hub import BUNDLED
from longctx.progress import Progress
from longctx.store.folder import Folder, open_folder
from longctx.tasks import parts
from longctx.tasks.ask import consult
from longctx.tasks.parts import Finder
from longctx.tasks.results import Answer
from longctx.text.document import Corpus, Document

FILLER = "The baker carried a basket of warm bread through the village, and everyone greeted him.\n"
ONE, OTHER = (
    "The special magic number for {} is: {}.\n".format(*pair)
    for pair in (("amber-lamp", 48213), ("tin-bell", 9071))
)
QUESTION = "What is the special magic number for amber-lamp?"
BOTH = "What are the special magic numbers for amber-lamp and tin-bell?"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(BUNDLED, "cpu", "float32")


def corpus(folder: Path, *lines: str) -> Corpus:
    documents = []
    for number, text in enumerate(lines):
        path = folder / f"{number}.txt"
        path.write_text(text)
        documents.append(Document(f"{number}.txt", path, 0, len(text.encode()), "utf-8"))
    return Corpus(documents)


def ask(
    engine: Engine,
    texts: Corpus,
    question: str,
    room: int,
    indexed: int = 1 << 24,
    everything: bool = False,
    store: Folder | None = None,
    kv: int = 0,
) -> tuple[Answer, list[Progress]]:
    *told, answer = consult(
        texts,
        question,
        passages_wanted=3,
        load=lambda: Finder(engine, 512, texts.bytes // 4, False, room, kv),
        store=store,
        indexed=indexed,
        everything=everything,
    )
    assert isinstance(answer, Answer)
    return answer, [one for one in told if isinstance(one, Progress)]


def places(answer: Answer) -> list[tuple[str, str]]:
    return [(part.text, str(part.source and part.source.span)) for part in answer.parts]


@settings(deadline=None, max_examples=2)
@given(st.integers(0, 20), st.integers(0, 20))
def test_parts_give_the_answers_of_one_piece(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, first: int, second: int
) -> None:
    """If this fails an answer depends on how much memory is free, or is cited from a line of its part."""
    lines = [FILLER] * 20
    lines.insert(first, ONE)
    lines.insert(second, OTHER)
    texts = corpus(tmp_path_factory.mktemp("parts"), "".join(lines), FILLER * 5)
    whole, _ = ask(engine, texts, BOTH, room=1 << 20)
    pieces, told = ask(engine, texts, BOTH, room=160)  # about 640 bytes of some 2,300
    assert places(pieces) == places(whole)
    assert {text for text, _ in places(pieces)} == {"48213", "9071"}
    assert pieces.tokens_in_all is None
    reading = [event for event in told if event.label == "reading"]
    assert [event.bytes_done for event in reading] == sorted(event.bytes_done for event in reading)
    assert len([event for event in reading if event.bytes_done == 0]) == 1
    assert reading[-1].bytes_done == reading[-1].bytes_total


def test_a_very_long_text_is_read_where_its_words_are(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a question to a gigabyte takes hours, or passes for one to all of it."""
    monkeypatch.setattr(parts, "MOST_READ", 600)
    monkeypatch.setattr("longctx.tasks.ask.MOST_READ", 600)
    texts = corpus(tmp_path, FILLER * 100 + ONE + OTHER + FILLER * 20)
    answer, told = ask(engine, texts, BOTH, room=1000, indexed=5000)
    assert places(answer) == [("48213", "0.txt:101"), ("9071", "0.txt:102")]
    assert answer.evidence[0].span.first_line <= 101 <= answer.evidence[0].span.last_line
    assert 0 < answer.usage.tokens_read < 2000
    assert answer.tokens_in_all == texts.bytes // 4
    assert "looking through 0.txt" in {event.label for event in told}
    everything, _ = ask(engine, texts, BOTH, room=1000, indexed=5000, everything=True)
    assert places(everything) == places(answer)
    assert everything.usage.tokens_read > 2000
    assert everything.tokens_in_all is None


def test_parts_are_kept_beside_the_whole(tmp_path: Path, engine: Engine) -> None:
    """If this fails each question to a text without room in memory reads all of it again."""
    store = open_folder(tmp_path / "store", print)
    texts = corpus(tmp_path, FILLER * 20 + ONE + FILLER * 20, FILLER * 5 + OTHER)
    whole, _ = ask(engine, texts, BOTH, room=1 << 20, store=store)
    first, _ = ask(engine, texts, BOTH, room=160, store=store)
    second, _ = ask(engine, texts, BOTH, room=160, store=store)
    again, _ = ask(engine, texts, BOTH, room=1 << 20, store=store)
    assert places(first) == places(second) == places(whole) == places(again)
    assert first.usage.tokens_read > 0
    assert second.usage.tokens_read == again.usage.tokens_read == 0
    assert second.usage.tokens_reused >= first.usage.tokens_reused + first.usage.tokens_read


def test_parts_that_would_drive_each_other_out_are_not_kept(tmp_path: Path, engine: Engine) -> None:
    """If this fails a text larger than the store empties it, each time, and gains nothing."""
    store = open_folder(tmp_path / "store", print, budget=1 << 20)
    texts = corpus(tmp_path, FILLER * 20 + ONE + OTHER)
    for _ in range(2):
        answer, _ = ask(engine, texts, BOTH, room=300, store=store, kv=2 << 20)
        assert {text for text, _ in places(answer)} == {"48213", "9071"}
        assert answer.usage.tokens_read > answer.usage.tokens_reused == 0
    assert not store.entries()


def test_all_answers_come_from_all_parts(tmp_path: Path, engine: Engine) -> None:
    """If this fails only the numbers of one part are told where all were asked for."""
    values = (48213, 77120, 30956)
    lines = [f"The special magic number for amber-lamp is: {value}.\n" + FILLER * 8 for value in values]
    texts = corpus(tmp_path, "".join(lines))
    question = "What are all the special magic numbers for amber-lamp?"
    answer, _ = ask(engine, texts, question, room=200)
    assert [part.text for part in answer.parts] == [str(value) for value in values]


def test_two_values_in_different_parts_are_both_told(tmp_path: Path, engine: Engine) -> None:
    """If this fails one of two contradicting lines of a long text passes for all that it says."""
    other = ONE.replace("48213", "77120")
    texts = corpus(tmp_path, ONE + FILLER * 8 + OTHER + FILLER * 8 + other + FILLER * 4)
    answer, _ = ask(engine, texts, QUESTION, room=200)
    assert places(answer) == [("48213", "0.txt:1"), ("77120", "0.txt:19")]
    assert answer.text == "48213\n77120"
