"""A first pass finds the places that hold a question's words, in memory that does not grow with the text."""

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.progress import Progress
from longctx.quotes import scan as module
from longctx.quotes.scan import Cells, scan
from longctx.text.document import Document

FILLER = "2024-03-01 10:00:00 INFO job {} finished after a while, and the worker went back to sleep\n"
FACT = "2024-03-01 10:00:00 INFO the access code for amber-lamp is 48213\n"


def document(path: Path, text: str, encoding: str = "utf-8") -> Document:
    path.write_bytes(text.encode(encoding))
    return Document(path.name, path, 0, path.stat().st_size, encoding)


def looked_through(
    documents: list[Document], question: str, room: int = 1 << 20
) -> tuple[Cells, list[Progress]]:
    told: list[Progress] = []

    def run() -> Generator[Progress, None, Cells]:
        return (yield from scan(documents, [question], room))

    running = run()
    while True:
        try:
            told.append(next(running))
        except StopIteration as end:
            return end.value, told


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scan")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 3000), st.sampled_from(["utf-8", "utf-16-le"]), st.sampled_from(["", "\u00e9\u00fc "]))
def test_a_fact_is_found_wherever_it_stands(folder: Path, at: int, encoding: str, accent: str) -> None:
    """If this fails a fact of a long text is never shown to the model, or is cited from a wrong line."""
    lines = [accent + FILLER.format(n) for n in range(3000)]
    lines.insert(at, FACT)
    cells, told = looked_through(
        [document(folder / "log", "".join(lines), encoding)], "What is the access code for amber-lamp?"
    )
    (best,) = cells.best(1 << 16, 0.6)
    assert FACT in best.text()
    assert best.first_line + best.text()[: best.text().index(FACT)].count("\n") == at + 1
    assert told[-1].bytes_done == told[-1].bytes_total


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What do the queries cost?", "A query costs a cent."),
        ("Who writes the minutes?", "Marten is writing minutes."),
        (
            "\u041a\u0442\u043e \u0432\u044b\u0431\u0440\u0430\u043b \u0438\u0433\u0440\u043e\u043a\u0430?",
            "\u0418\u0433\u0440\u043e\u043a\u0438 \u043f\u0440\u0438\u0448\u043b\u0438.",
        ),
        ("Was kostet das M\u00fcsli?", "Das MUSLI kostet nichts."),
        ("\u8c01\u662f\u706f\u5854\u7684\u5b88\u62a4\u8005?", "\u706f\u5854\u5f88\u9ad8\u3002"),
        ("Where is parseConfig called?", "int parse_it() { parseConfig(); }"),
    ],
)
def test_forms_of_a_word_are_found_as_in_the_index(tmp_path: Path, question: str, text: str) -> None:
    """If this fails a long text is searched for fewer words than a short one."""
    cells, _ = looked_through([document(tmp_path / "a.txt", f"{text}\n")], question)
    assert [span.text().strip() for span in cells.best(1 << 12)] == [text]


def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a question of common words takes as much memory as the text."""
    monkeypatch.setattr(module, "MOST_MASKS", 8)
    text = "".join(FILLER.format(n) for n in range(5000)) + FACT
    cells, _ = looked_through(
        [document(tmp_path / "log", text)],
        "Which job finished after 1 2 3 4 5 6 7 8 whiles when the worker of amber-lamp slept?",
        20 << 10,
    )
    assert cells._held <= 4 * cells.most + 1  # 80 of about 400 cells
    assert any(FACT in span.text() for span in cells.best(8 << 10))


def test_each_key_of_a_question_gets_its_share(tmp_path: Path) -> None:
    """If this fails the commoner of two keys fills the room, and the other is said not to be there."""
    text = "".join(
        f"the code for a-{n % 2} stands here, in line {n}\n" + FILLER.format(n) * 9 for n in range(200)
    )
    documents = [document(tmp_path / "log", text + "the code for rare-one is 7\n")]
    cells = Cells(documents, ["code for a-1", "code for rare-one"], 64)
    list(cells.look_through(0))
    found = [span.text() for span in cells.best(32 << 10, 0.6)]
    assert any("rare-one" in text for text in found)
    assert any("a-1" in text for text in found)
    assert sum(map(len, found)) < 64 << 10


def test_a_file_asked_for_by_name_is_found(tmp_path: Path) -> None:
    """If this fails "what is in deploy.txt" finds every file but that one."""
    documents = [
        document(tmp_path / name, f"nothing of the kind, {name[0]}\n") for name in ("a.txt", "deploy.txt")
    ]
    cells, _ = looked_through(documents, "What about deploy?")
    assert [span.document.name for span in cells.best(1 << 12)] == ["deploy.txt"]
