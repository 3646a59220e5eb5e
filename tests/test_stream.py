"""Streaming equals encoding the whole, in bounded memory; every token leads back to its bytes and line."""

import dataclasses
import itertools
import re
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_tokenizers import SPLITS, TEXTS

from longctx.errors import InputError
from longctx.text.source import Document
from longctx.tokens import stream as stream_module
from longctx.tokens.stream import TokenStream
from longctx.tokens.tokenizer import Tokenizer

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference" / "tiny-retrieval"
SLOW_FIXTURES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclasses.dataclass(frozen=True)
class SmallBlocks(Document):
    """A document read a few bytes at a time."""

    step: int = 5

    def blocks(self, size: int = 1 << 16, start: int | None = None) -> Iterator[str]:
        return super().blocks(min(size, self.step), start)


def document(
    folder: Path, data: bytes, encoding: str = "utf-8", skip: int = 0, step: int = 1 << 16
) -> Document:
    path = folder / "document.txt"
    path.write_bytes(data)
    return SmallBlocks(path.name, path, skip, len(data), encoding, step=step)


def tokens_of(stream: TokenStream) -> list[int]:
    return [token for chunk in stream for token in chunk]


@pytest.mark.parametrize("name", SPLITS)
@SLOW_FIXTURES
@given(
    text=TEXTS,
    window=st.integers(1, 40),
    chunk=st.integers(1, 50),
    step=st.integers(1, 30),
)
@example(text="a  \n  b \r\n\r\n c   ", window=3, chunk=1, step=1)
@example(text="x" * 100 + " y", window=4, chunk=7, step=3)
def test_streaming_equals_encoding_the_whole(
    *,
    name: str,
    tokenizers: dict[str, Tokenizer],
    tmp_path: Path,
    text: str,
    window: int,
    chunk: int,
    step: int,
) -> None:
    """Without it a model would read tokens it was not trained on near every window's end."""
    tokenizer = tokenizers[name]
    stream = TokenStream(tokenizer, [document(tmp_path, text.encode(), step=step)], chunk, window=window)
    chunks = list(stream)
    tokens = [token for one in chunks for token in one]
    assert tokens == tokenizer.encode_with_offsets(text).ids == tokenizer.encode(text)
    assert all(len(one) == chunk for one in chunks[:-1])
    assert stream.bytes_read == len(text.encode())
    assert tokens_of(stream) == tokens


def line_at(text: str, index: int) -> int:
    return 1 + sum(end.end() <= index for end in re.finditer(r"\r\n|\r|\n", text))


def check_places(stream: TokenStream, tokenizer: Tokenizer, data: bytes, text: str) -> None:
    """Compare every place with offsets of the whole text and with the bytes it names."""
    encoding = tokenizer.encode_with_offsets(text)
    assert tokens_of(stream) == encoding.ids
    document = stream.documents[0]
    assert isinstance(document, Document)
    end = document.start
    for position, (start, stop) in enumerate(encoding.offsets):
        place = stream.locate(position)
        assert place is not None
        found = data[place.byte_start : place.byte_end].decode(document.encoding, "replace")
        assert found == text[start:stop]
        assert place.first_line == line_at(text, start)
        assert place.last_line == line_at(text, max(start, stop - 1))
        assert place.byte_start <= end  # no byte between two tokens is left out
        end = place.byte_end
    assert stream.locate(len(encoding)) is None
    assert stream.locate(-1) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32-be", "gb18030", "utf-8-bytes"])
@SLOW_FIXTURES
@given(text=TEXTS, raw=st.binary(max_size=40), window=st.integers(1, 30), skip=st.integers(0, 3))
def test_every_token_leads_back_to_its_bytes_and_line(
    *,
    encoding: str,
    tokenizers: dict[str, Tokenizer],
    tmp_path: Path,
    text: str,
    raw: bytes,
    window: int,
    skip: int,
) -> None:
    """Citations show these places: a shift by one byte would quote the wrong words."""
    if encoding == "utf-8-bytes":
        encoding, data = "utf-8", text.encode() + raw + text.encode()
    else:
        data = text.encode(encoding)
    data = b"#" * skip + data
    read = document(tmp_path, data, encoding, skip)
    stream = TokenStream(tokenizers["gpt2"], [read], 7, window=window)
    check_places(stream, tokenizers["gpt2"], data, "".join(read.blocks()))


CODECS = st.sampled_from(
    (
        "utf-8",
        "utf-16-le",
        "utf-16-be",
        "utf-32-le",
        "cp932",
        "euc_jp",
        "gb18030",
        "big5",
        "cp949",
        "cp1252",
        "koi8_r",
    )
)


@SLOW_FIXTURES
@given(encoding=CODECS, data=st.binary(max_size=80), window=st.integers(1, 30))
@example(encoding="utf-16-le", data=b"\x00\xd8A\x00", window=1)
@example(encoding="euc_jp", data=b"\x8f\x000", window=1)
@example(encoding="utf-8", data=b"\xe2\xe2\x82\xac\xe2(\xef\xbf\xbd\xff", window=1)
def test_damaged_bytes_do_not_shift_places(
    tokenizers: dict[str, Tokenizer], tmp_path: Path, encoding: str, data: bytes, window: int
) -> None:
    """A damaged file is still cited: after an undecodable byte all places would be off."""
    stream = TokenStream(tokenizers["gpt2"], [document(tmp_path, data, encoding)], 7, window=window)
    text = data.decode(encoding, "replace")
    check_places(stream, tokenizers["gpt2"], data, text)
    assert stream.bytes_read == len(data)


def test_damage_in_a_long_window_does_not_shift_places(
    tokenizers: dict[str, Tokenizer], tmp_path: Path
) -> None:
    """Damaged bytes are looked for in steps: a character that lies over the end of a step is not damage."""
    data = ("日本語 " * 300).encode() + b"\xff\xe6" + ("日本語\n" * 300).encode() + b"\xe6\x97"
    stream = TokenStream(tokenizers["gpt2"], [document(tmp_path, data)], 100)
    check_places(stream, tokenizers["gpt2"], data, data.decode("utf-8", "replace"))


def test_headers_come_before_their_documents(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    """The model would not know which file it reads, and citations would name a neighbour."""
    tokenizer = tokenizers["gpt2"]
    documents = []
    for name, text in {"a.txt": "one\ntwo", "empty.txt": "", "b.txt": "three"}.items():
        (tmp_path / name).write_text(text)
        documents.append(Document(name, tmp_path / name, 0, len(text), "utf-8"))
    stream = TokenStream(tokenizer, documents, 3, header=lambda one: f"<|end|>{one.name}\n")
    expected: list[int] = []
    starts = []
    for one in documents:
        starts.append(len(expected))
        expected += tokenizer.encode(f"<|end|>{one.name}\n") + tokenizer.encode(one.path.read_text())
    assert tokens_of(stream) == expected
    for one, start in zip(documents, starts, strict=True):
        place = stream.locate(start)
        assert place is not None
        assert (place.document, place.byte_start, place.byte_end, place.first_line) == (one, 0, 0, 1)
    last = stream.locate(len(expected) - 1)
    assert last is not None
    assert (last.document.name, last.byte_end) == ("b.txt", 5)


def test_a_changed_document_is_not_cited(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    """A log that grew or was rewritten meanwhile would be quoted with words that were never read."""
    one = document(tmp_path, b"It was the best of times")
    stream = TokenStream(tokenizers["gpt2"], [one], 8)
    tokens_of(stream)
    one.path.write_bytes(b"x" * 24)
    with pytest.raises(InputError, match="changed"):
        stream.locate(3)


class Watched(Tokenizer):
    """Remembers the longest text that was encoded at once."""

    longest = 0

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        self.longest = max(self.longest, sum(len(text) for text in texts))
        return super().encode_batch(texts)


@pytest.mark.parametrize("name", ["gpt2", "cl100k"])
def test_a_long_line_needs_little_memory(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """Books joined to one line of many megabytes are read with the memory of a few windows."""
    line = b"It was the best of times, it was the worst of times, it was 1859; "
    with (tmp_path / "line.txt").open("wb") as file:
        file.writelines(itertools.repeat(line * 100, 500))
    size = len(line) * 50_000
    tokenizer = Watched.load(folders[name], 400)
    stream = TokenStream(tokenizer, [Document("line", tmp_path / "line.txt", 0, size, "utf-8")], 4096)
    tracemalloc.start()
    count = sum(map(len, stream))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > size / 20
    assert tokenizer.longest <= 9 * stream.window
    assert peak < 4_000_000
    place = stream.locate(count - 1)
    assert place is not None
    assert (place.byte_end, place.first_line) == (size, 1)


def test_a_long_word_is_encoded_at_once(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    """A word without a cut is longer than any window: it must neither be torn nor stop the stream."""
    text = "a" * 300_000 + " b " + "c" * 50_000
    stream = TokenStream(tokenizers["gpt2"], [document(tmp_path, text.encode())], 4096)
    assert tokens_of(stream) == tokenizers["gpt2"].encode(text)


@pytest.mark.parametrize("text", ["a" * 70_000, " " * 70_000 + "x", "\r\n" * 35_000, ".\n" + "-" * 70_000])
@pytest.mark.parametrize("name", ["gpt2", "cl100k", "whole"])
def test_a_text_without_a_cut_is_cut_all_the_same(
    name: str, text: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails 50 MB of one letter, or a tokenizer that proves no cuts, fill gigabytes."""
    monkeypatch.setattr(stream_module, "LONGEST", 9999)
    tokenizer = Watched.load(folders[name], 400)
    stream = TokenStream(tokenizer, [document(tmp_path, text.encode())], 4096, window=512)
    tokens = tokens_of(stream)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.longest <= 9999 + 8 * 512
    last = stream.locate(len(tokens) - 1)
    assert last is not None
    assert (last.byte_end, last.last_line) == (len(text), text.rstrip("\n").count("\n") + 1)


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    if not REFERENCE.is_dir():
        pytest.skip("the trained reference checkpoint is not at hand")
    return Tokenizer.load(REFERENCE, 4096)


@SLOW_FIXTURES
@given(text=TEXTS, window=st.integers(1, 40))
def test_a_trained_tokenizer_streams_like_the_whole(
    trained: Tokenizer, tmp_path: Path, text: str, window: int
) -> None:
    """The small tokenizers above have few merges; a real one joins more characters."""
    stream = TokenStream(trained, [document(tmp_path, text.encode())], 16, window=window)
    assert tokens_of(stream) == trained.encode(text)
