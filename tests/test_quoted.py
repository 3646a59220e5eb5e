"""Quotations of an answer, looked up in the documents: every place is right, and nothing is made up."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from longctx.cli import main
from longctx.engine import Session
from longctx.sampling import Sampling
from longctx.tasks.quoted import LEAST_KEPT, check, pattern, quotations_of
from longctx.text.source import Document
from longctx.writing import Piece

TEXT = (
    "The ferry left the quay at noon.\r\n\r\n“Count them twice,” said Old Marten, “for the\n"
    "bridge has been closed since the flood.”\nNobody knew why the river had changed its course.\n"
)


def document(path: Path, text: str = TEXT, encoding: str = "utf-8") -> Document:
    path.write_bytes(text.encode(encoding))
    return Document(path.name, path, 0, path.stat().st_size, encoding)


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ('He says "one two three four" and more.', ["one two three four"]),
        ("“one two three four” and «five six seven eight».", ["one two three four", "five six seven eight"]),
        ("‘It’s one two three’ he said", ["It’s one two three"]),
        ('Short "one two three" is a name.', []),
        ('A 5" pipe and a 6" pipe of the same make', []),
        ("> one two three\n> four five\n\nMore.", ["one two three\n four five"]),
        ("> “one two three four”\n> — Marten", ["one two three four"]),
        ('```\nprint("one two three four")\n```\n', []),
        ('An "open quotation that never ends\n\nand "one two three four" after it', ["one two three four"]),
        ("“He said ‘one two three four’ twice”", ["He said ‘one two three four’ twice"]),
    ],
)
def test_what_counts_as_a_quotation(answer: str, quoted: list[str]) -> None:
    """If this fails quotations go unchecked, or the words between two of them are called invented."""
    assert list(quotations_of(answer)) == quoted


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "cp1252"])
@pytest.mark.parametrize(
    ("quote", "lines"),
    [
        ("The ferry left the quay at noon", (1, 1)),
        ("ferry left the quay, at noon", None),
        ("for the bridge has been closed since the flood.", (3, 4)),
        ('"Count them twice," said Old Marten', (3, 3)),
        ("Nobody knew why the river ... its course", (5, 5)),
        ("its course … Nobody knew why the river", None),
        ("he ferry left the quay", None),
        ("the river had changed its cours", None),
        ("the river had not changed its course", None),
    ],
)
def test_a_quotation_is_cited_where_it_stands(
    quote: str, lines: tuple[int, int] | None, encoding: str, tmp_path: Path
) -> None:
    """If this fails an invented quotation gets a place, or a true one is called invented."""
    other = document(tmp_path / "other.txt", "Nothing of the kind.\n")
    text = document(tmp_path / "text.txt", encoding=encoding)
    (found,) = check(f"> {quote}\n", [other, text])
    if lines is None:
        assert found.place is None
        return
    assert found.place is not None
    assert (found.place.span.first_line, found.place.span.last_line) == lines
    assert found.place.span.document is text
    assert found.place.span.text() == found.place.text
    assert pattern(quote).fullmatch(found.place.text)


def folded(text: str) -> str:
    """Fold white space and quotation marks, the plain way."""
    return re.sub("[“”„‟«»]", '"', re.sub("[‘’‚‛]", "'", " ".join(text.split())))


@given(
    st.lists(
        st.sampled_from(["noon", "the", "“quay”", "Marten’s", "«a»", "b-c", "x(y)", "語"]),
        min_size=4,
        max_size=9,
    ),
    st.lists(st.sampled_from([" ", "\n", "  ", "\r\n", "\t", "\u00a0"]), min_size=9, max_size=9),
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_only_spaces_and_marks_are_folded(
    tokens: list[str], spaces: list[str], start: int, left: int, plain: bool
) -> None:
    """If this fails words that do not stand there are cited, or a line break hides a true quotation."""
    text = "".join(token + space for token, space in zip(tokens, spaces, strict=False))
    quote = " ".join(tokens[start : len(tokens) - left] or tokens)
    quote = folded(quote) if plain else quote
    found = pattern(quote).search(text)
    assert found is not None
    assert folded(found[0]) == folded(quote)
    assert pattern(f"{quote} never").search(text) is None


@pytest.mark.parametrize("before", [0, 10, (1 << 16) - 20, (1 << 16) + 3, 3 * LEAST_KEPT])
def test_quotations_are_found_across_blocks(before: int, tmp_path: Path) -> None:
    """If this fails what stands where two blocks of a long file meet is called invented."""
    text = ("é\n" * before)[:before] + "the keeper of the lighthouse counted" + " x\n" * 40000
    path = document(tmp_path / "long.txt", text)
    (found,) = check('"keeper of the\nlighthouse counted"', [path])
    assert found.place is not None
    assert found.place.text == "keeper of the lighthouse counted"
    assert found.place.span.text() == found.place.text
    assert found.place.span.first_line == 1 + text[: text.index("keeper")].count("\n")
    assert check('"eeper of the lighthouse counted"', [path])[0].place is None


def test_the_questions_own_words_are_no_claim(tmp_path: Path) -> None:
    """If this fails an answer that repeats the question fails under --strict."""
    assert not check(
        'You ask "who let the dogs out?"', [document(tmp_path / "a")], "So who let the dogs out?"
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path) -> Iterator[object]:
    """Ask a model that answers as it is told."""
    book = document(tmp_path / "book.txt").path

    def invoke(says: str, *arguments: str) -> Result:
        def generate(
            self: Session, prompt: list[int], sampling: Sampling, source: object = None
        ) -> Iterator[Piece]:
            yield Piece(says, 1, None, "stop")

        monkeypatch.setattr(Session, "generate", generate)
        command = ["ask", "Why?", str(book), "--model", str(checkpoint), "--passages", "0", *arguments]
        return CliRunner().invoke(main, command)

    yield invoke


def test_quotations_are_cited_and_invented_ones_marked(run: object) -> None:
    """If this fails a reader cannot tell what the text says from what the model made up."""
    assert callable(run)
    says = 'It says "The ferry left the quay at noon" and "The ferry left the quay at dawn".'
    found = run(says)
    assert found.exit_code == 0
    assert "book.txt:1: The ferry left the quay at noon" in found.stdout
    assert "NOT IN THE TEXT: The ferry left the quay at dawn" in found.stdout
    true, false = json.loads(run(says, "--json").stdout)["quotations"]
    assert (true["found"], true["place"]["first_line"]) == (True, 1)
    assert (false["found"], false["place"]) == (False, None)
    strict = run(says, "--strict")
    assert strict.exit_code == 7
    assert "1 of 2 quotations do not stand in the text" in strict.stderr
    assert says in strict.stdout
    assert run('It says "The ferry left the quay at noon".', "--strict").exit_code == 0
