"""Real files as they lie around: every token of them is read, once, in whatever encoding they are."""

from pathlib import Path

import pytest
from conftest import DATA

from longctx.errors import InputError
from longctx.hub import BUNDLED
from longctx.text.source import gather
from longctx.tokens.stream import TokenStream
from longctx.tokens.tokenizer import Tokenizer

FILES = (
    sorted(path for path in (DATA / "awkward").iterdir() if path.suffix != ".html") if DATA.is_dir() else []
)
ALICE = Path(__file__).parent / "data" / "alice.txt"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(BUNDLED, 4096)


def check(tokenizer: Tokenizer, path: Path, text: str) -> None:
    with gather([str(path)]) as corpus:
        assert "".join(corpus.documents[0].blocks()) == text
        stream = TokenStream(tokenizer, corpus.documents, 1000)
        tokens = [token for chunk in stream for token in chunk]
        assert tokens == tokenizer.encode(text)
        assert stream.bytes_read == corpus.bytes
        assert tokenizer.decode(tokens) == text


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe")]
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", " "])
def test_a_book_is_read_whole_in_any_encoding_and_line_end(
    tokenizer: Tokenizer, tmp_path: Path, encoding: str, mark: bytes, line_end: str
) -> None:
    """If this fails part of a book is left out, or read twice. A space makes the book a single line."""
    text = line_end.join(ALICE.read_text(encoding="utf-8").splitlines())
    path = tmp_path / "alice.txt"
    path.write_bytes(mark + text.encode(encoding))
    check(tokenizer, path, text)


@pytest.mark.skipif(not FILES, reason="the awkward files are not beside this repository")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_awkward_files_are_read_whole(tokenizer: Tokenizer, path: Path) -> None:
    """If this fails files with old encodings, broken bytes or control characters are cut."""
    if path.name in ("empty.txt", "only-newlines.txt"):
        with pytest.raises(InputError, match=r"empty|nothing but white space"):
            gather([str(path)])
        return
    raw = path.read_bytes()
    encoding = {
        "latin1-crlf-1661-8.txt": "cp1252",
        "neko-shift-jis.txt": "cp932",
        "alice-utf16le-bom.txt": "utf-16",
    }
    text = raw.decode(encoding.get(path.name, "utf-8-sig"), errors="replace")
    check(tokenizer, path, text)
