"""Spans lead back to the words and their lines; the line of an answer is quoted whole, or visibly cut."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.text.source import Document
from longctx.text.span import REACH, Span, line_around


def span_of(path: Path, text: str, words: str, encoding: str = "utf-8") -> Span:
    """Write a text to a file and return where these words first stand in it."""
    path.write_bytes(text.encode(encoding))
    before = text[: text.index(words)]
    start = len(before.encode(encoding))
    line = 1 + before.count("\n")
    document = Document(path.name, path, 0, path.stat().st_size, encoding)
    return Span(document, start, start + len(words.encode(encoding)), line, line + words.count("\n"))


@pytest.mark.parametrize(("words", "place"), [("one", "a.txt:2"), ("two\nthree\nfo", "a.txt:3-5")])
def test_a_span_says_all_its_lines(tmp_path: Path, words: str, place: str) -> None:
    """If this fails a citation of several lines leads to the first of them only."""
    span = span_of(tmp_path / "a.txt", "zero\none\ntwo\nthree\nfour\n", words)
    assert str(span) == place
    assert span.text() == words


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_whole_line_of_an_answer_is_quoted(tmp_path: Path, encoding: str, end: str) -> None:
    """If this fails the sentence that an answer stands in breaks off where nobody can see it."""
    line = "  " + "The café was built of stone. " * 7 + "Its key is 4031775, they say. " + "It rained. " * 12
    span = span_of(tmp_path / "a.txt", f"before{end}{line}{end}after", "4031775", encoding)
    quote = line_around(span)
    assert quote.text == line
    assert quote.span.text() == line


@given(st.integers(0, 2000), st.integers(0, 2000), st.sampled_from(["word ", "é", "語。", "a b\n"]))
def test_a_long_line_is_cut_where_one_can_see_it(
    tmp_path_factory: pytest.TempPathFactory, before: int, after: int, words: str
) -> None:
    """If this fails the terminal is filled with a book that is one line, or words go missing unseen."""
    text = words * before + "[4031775]" + words * after
    path = tmp_path_factory.getbasetemp() / "line.txt"
    quote = line_around(span_of(path, text, "4031775"))
    assert "[4031775]" in quote.text
    assert quote.span.byte_end - quote.span.byte_start <= 2 * REACH + 7
    inner = quote.text.removeprefix("[...] ").removesuffix(" [...]")
    assert quote.span.text() == inner
    assert inner in text
    start, end = len(text[: text.index(inner)].encode()), 0
    for line in text.split("\n"):
        if "4031775" in line:
            start, end = end, end + len(line.encode())
            break
        end += len(line.encode()) + 1
    assert quote.text.startswith("[...] ") == (quote.span.byte_start > start)
    assert quote.text.endswith(" [...]") == (quote.span.byte_end < end)
