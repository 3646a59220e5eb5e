"""Long texts are cut into stretches that overlap and know their place in the whole."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.text.document import Document
from longctx.text.span import Span
from longctx.text.stretches import merged, overlapping, parts, stretches, whole, widened

LINES = st.lists(st.text(st.sampled_from("ab \u00e9\u4e2d"), max_size=30), max_size=40)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def document(folder: Path, text: str, encoding: str = "utf-8") -> Document:
    path = folder / "text.txt"
    path.write_bytes(text.encode(encoding))
    return Document("text.txt", path, 0, path.stat().st_size, encoding)


def true_line(text: str) -> int:
    return 1 + text.replace("\r\n", "\n").replace("\r", "\n").count("\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stretches")


@settings(deadline=None, max_examples=60)
@given(LINES, ENDS, st.integers(1, 50), st.sampled_from(["utf-8", "utf-16-le", "gb18030"]))
def test_stretches_are_the_text(folder: Path, lines: list[str], end: str, size: int, encoding: str) -> None:
    """If this fails some text is never read, or what comes after it is cited from a wrong line."""
    text = end.join(lines)
    found = list(stretches(whole(document(folder, text, encoding)), size))
    assert "".join(part for _, part in found) == text
    before = ""
    for span, part in found:
        assert span.text() == part
        assert span.first_line == true_line(before) - (before[-1:] == "\r" and part[0] == "\n")
        before += part


@settings(deadline=None, max_examples=60)
@given(LINES, st.integers(8, 80), st.integers(1, 8), st.integers(0, 900), st.integers(1, 8))
def test_nothing_falls_between_two_pieces(
    folder: Path, lines: list[str], size: int, overlap: int, at: int, length: int
) -> None:
    """If this fails a fact at the border of two parts is cut in two, and is not found."""
    text = "\n".join(lines)
    pieces = list(overlapping(whole(document(folder, text)), size, overlap))
    raw = text.encode()
    assert b"".join(raw[p.byte_start : p.byte_end] for p in merged(pieces)) == raw
    start, end = min(at, len(raw)), min(at + min(length, overlap), len(raw))
    assert not raw or any(p.byte_start <= start and end <= p.byte_end for p in pieces)
    for piece in pieces:
        assert piece.first_line == true_line(raw[: piece.byte_start].decode())
    together = list(parts([whole(document(folder, text))], size, overlap))
    assert [piece for part in together for piece in part] == pieces or len(raw) <= size


def test_what_stands_around_a_place_is_whole_lines(folder: Path) -> None:
    """If this fails a quoted line begins in the middle, or is numbered wrongly."""
    text = "".join(f"line {n}\n" for n in range(1, 40))
    start = text.index("line 20")
    wide = widened(Span(document(folder, text), start, start + 7, 20, 20), 20)
    assert wide.text() == "line 18\nline 19\nline 20\nline 21\nline 22\n"
    assert (wide.first_line, wide.last_line) == (18, 23)
    alone = document(folder, "x" * 50)
    assert widened(Span(alone, 20, 24, 1, 1), 8).text() in ("xxxx", "x" * 12, "x" * 20)
