"""What users point the program at: files, folders, pipes, and all that can be wrong with them."""

import io
import os
import socket
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import make, names, skipped, text

from longctx.errors import InputError
from longctx.text.source import Document, Skipped, gather, printable

AWKWARD = Path(__file__).parents[2] / "shared" / "data" / "awkward"


ENCODINGS = ["utf-8", "utf-16-le", "cp932", "latin-1"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(deadline=None)
@given(
    words=st.lists(
        st.sampled_from(["é", "猫", "😀", "a", "\r\n", "\n", "\r", " ", "\0", "ﾈ"]) | st.binary(max_size=4)
    ),
    size=st.integers(1, 9),
    edges=st.tuples(st.integers(0, 5), st.integers(0, 5)),
)
def test_blocks_join_to_the_decoded_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    encoding: str,
    words: list[str | bytes],
    size: int,
    edges: tuple[int, int],
) -> None:
    """Without it, a character at the border of two blocks would be lost, or a line end changed."""
    data = b"".join(word if isinstance(word, bytes) else word.encode(encoding, "ignore") for word in words)
    path = tmp_path_factory.mktemp("blocks") / "file"
    path.write_bytes(data)
    start = min(edges[0], len(data))
    end = max(len(data) - edges[1], start)
    document = Document("file", path, start, end, encoding)
    expected = data[start:end].decode(encoding, "replace")
    assert "".join(document.blocks(size)) == expected
    assert "".join(document.blocks(size)) == expected


def test_blocks_can_begin_at_a_byte(tmp_path: Path) -> None:
    """Without it, an interrupted reading could not be resumed, nor a citation be shown."""
    path = make(tmp_path, {"a": "one\ntwo\n"}) / "a"
    assert list(Document("a", path, 0, 8, "utf-8").blocks(start=4)) == ["two\n"]


def test_a_file_that_shrinks_while_read_is_an_error(tmp_path: Path) -> None:
    """Without it, a half-read log would be answered about as if it were whole."""
    path = make(tmp_path, {"a": "one"}) / "a"
    with pytest.raises(InputError, match="became shorter"):
        list(Document("a", path, 0, 9, "utf-8").blocks())


def test_files_keep_the_order_they_were_named_in(tmp_path: Path) -> None:
    """Without it, chapters would be read in another order than the user gave."""
    make(tmp_path, {"b.txt": "two", "a.txt": "one"})
    with gather([f"{tmp_path}/b.txt", f"{tmp_path}/a.txt"]) as corpus:
        assert [text(document) for document in corpus.documents] == ["two", "one"]
        assert corpus.bytes == 6
        assert (corpus.skipped, corpus.notes) == ([], [])


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    """Without it, `longctx ask book.txt .` would count every fact twice."""
    make(tmp_path, {"a.txt": "one"})
    with gather([f"{tmp_path}/a.txt", str(tmp_path), f"{tmp_path}/./a.txt"]) as corpus:
        assert len(corpus.documents) == 1
        assert "read once" in corpus.notes[0]


@pytest.mark.parametrize(
    "inputs", [[], ["-"], ["-", "-"], ["/dev/stdin"]], ids=["none", "dash", "twice", "device"]
)
def test_stdin_is_spooled_and_can_be_read_again(inputs: list[str]) -> None:
    """Without it, piped text could be read once only and citations of it not be checked."""
    with gather(inputs, io.BytesIO(b"\xef\xbb\xbfpiped\r\n")) as corpus:
        (document,) = corpus.documents
        assert (document.name, document.start) == ("<stdin>", 3)
        assert text(document) == text(document) == "piped\r\n"
    assert not document.path.exists()


def test_the_spool_is_removed_when_nobody_closes_it() -> None:
    """Without it, gigabytes of piped text would pile up in the temporary folder."""
    path = gather(["-"], io.BytesIO(b"piped")).documents[0].path
    assert not path.exists()


def test_the_spool_is_removed_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, each failed run would leave a copy of the input behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(InputError):
        gather(["-", "missing"], io.BytesIO(b"piped"))
    assert list(tmp_path.iterdir()) == []


def test_a_named_pipe_is_read_like_stdin(tmp_path: Path) -> None:
    """Without it, `longctx ask <(git log)` would not work in a shell."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"through a pipe",))
    writer.start()
    with gather([str(pipe)]) as corpus:
        writer.join()
        assert [(document.name, text(document)) for document in corpus.documents] == [
            (str(pipe), "through a pipe")
        ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "no such file or folder; check the name"),
        ("empty.txt", b"", "empty; give it some text"),
        ("only-bom.txt", b"\xef\xbb\xbf", "empty; give it some text"),
        ("blank.txt", b" \r\n\t\n", "nothing but white space; give it some text"),
        ("x.png", b"\x89PNG\r\n\x1a\n" + bytes(99), "a picture, not text; recognise its words"),
        ("noise", bytes(range(32)) * 99, "binary, not text"),
        ("n" * 300, None, "file name too long"),
    ],
)
def test_a_named_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    """Without it, a typo would end in a traceback or in an answer about nothing."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        gather([f"{tmp_path}/{name}"])
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/{name}: ")


@pytest.mark.parametrize("name", ["", "a\0b", "/dev/null", "/dev/zero"])
def test_impossible_names_are_errors(name: str) -> None:
    """Without it, an empty shell variable would mean the current folder, and a device would never end."""
    with pytest.raises(InputError):
        gather([name])


def test_a_socket_and_a_loop_of_links_are_errors(tmp_path: Path) -> None:
    """Without it, odd things in a folder would end the program with a traceback."""
    (tmp_path / "loop").symlink_to("loop")
    short = Path(os.path.relpath(tmp_path / "socket"))  # names of sockets may have some hundred bytes only
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(min(short, tmp_path / "socket", key=lambda path: len(str(path)))))
        for name in ("loop", "socket"):
            with pytest.raises(InputError):
                gather([str(tmp_path / name)])
        with pytest.raises(InputError, match="no text to read, only"):
            gather([str(tmp_path)])


def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    """Without it, one private file would stop the reading of a whole folder."""
    make(tmp_path, {"open.txt": "open", "closed.txt": "closed", "folder/inner.txt": "inner"})
    (tmp_path / "closed.txt").chmod(0)
    if os.access(tmp_path / "closed.txt", os.R_OK):
        pytest.skip("permissions do not bind the superuser")
    (tmp_path / "folder").chmod(0)
    try:
        with gather([str(tmp_path)]) as corpus:
            assert names(corpus, tmp_path) == ["open.txt"]
            assert set(skipped(corpus, tmp_path)) == {"closed.txt", "folder/"}
            assert {skip.reason for skip in corpus.skipped} == {"unreadable, permission denied"}
        with pytest.raises(InputError, match="unreadable, permission denied; check its permissions"):
            gather([str(tmp_path / "folder")])
        with pytest.raises(InputError, match="permission denied"):
            gather([str(tmp_path / "closed.txt")])
    finally:
        (tmp_path / "folder").chmod(0o700)


def test_empty_stdin_is_an_error() -> None:
    """Without it, a pipe whose left side failed would be answered about as an empty text."""
    with pytest.raises(InputError, match="<stdin>: empty"):
        gather(["-"], io.BytesIO(b""))


def test_no_input_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the bare command would wait for the keyboard without a word."""
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="nothing is piped in; name a file"):
        gather([])


def test_a_folder_without_text_is_an_error_that_names_what_it_has(tmp_path: Path) -> None:
    """Without it, the user would not learn why nothing was read."""
    with pytest.raises(InputError, match="no file at all"):
        gather([str(tmp_path)])
    make(tmp_path, {"a.txt": "", **{f"{index}.bin": bytes(99) for index in range(6)}})
    with pytest.raises(InputError, match=r"0\.bin: binary, .*\.\.\.; name a file"):
        gather([str(tmp_path)])


@given(name=st.text(st.characters(), max_size=50))
def test_printable_names_cannot_control_a_terminal(name: str) -> None:
    """Without it, some control character would slip through into the terminal or a log."""
    shown = printable(name)
    assert shown.isascii() or shown.encode()
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    assert printable(shown) == shown


def _dump(files: Iterable[tuple[str, str]]) -> bytes:
    body = "".join(f'<file path="{path}">\n{text}\n</file>\n\n' for path, text in files)
    return f"<files>\n{body}</files>".encode()


@pytest.mark.parametrize("named", [True, False], ids=["file", "stdin"])
def test_a_packed_dump_becomes_its_files(tmp_path: Path, named: bool) -> None:
    """Without it, `repomix --stdout | longctx ask -` would cite one endless file."""
    data = (
        b"\xef\xbb\xbfWords.\n" + _dump([("src/a.py", "é = 1"), ("b\x1b[2J.md", "# B")]) + b"\nMore words.\n"
    )
    path = make(tmp_path, {"dump.xml": data}) / "dump.xml"
    outer = str(path) if named else "<stdin>"
    with gather([str(path)] if named else ["-"], io.BytesIO(data)) as corpus:
        assert [document.name for document in corpus.documents] == [
            outer,
            "src/a.py",
            "b\\x1b[2J.md",
            f"{outer} (after b\\x1b[2J.md)",
        ]
        assert [text(document) for document in corpus.documents][1:3] == ["é = 1\n", "# B\n"]
        assert corpus.notes == [f"{outer}: 2 files packed as repomix XML"]


def test_a_dump_inside_a_folder_stays_one_file(tmp_path: Path) -> None:
    """Without it, a repository that keeps its own dump would be cited by names from inside the dump."""
    make(tmp_path, {"dump.xml": _dump([("a", "x"), ("b", "y")])})
    with gather([str(tmp_path)]) as corpus:
        assert names(corpus, tmp_path) == ["dump.xml"]


def test_encodings_are_told_and_used(tmp_path: Path) -> None:
    """Without it, an old Japanese text would be read as garbage without a word."""
    story = "吾輩は猫である。名前はまだ無い。\r\n" * 50
    make(tmp_path, {"neko.txt": story.encode("cp932"), "wide.txt": b"\xff\xfe" + story.encode("utf-16-le")})
    with gather([str(tmp_path)]) as corpus:
        assert [text(document) for document in corpus.documents] == [story, story]
        assert corpus.notes == [
            f"{tmp_path}/neko.txt: read as cp932",
            f"{tmp_path}/wide.txt: read as utf-16-le",
        ]


@pytest.mark.skipif(not AWKWARD.is_dir(), reason="the optional collection of awkward files is not here")
def test_awkward_real_files_are_readable() -> None:
    """Without it, a file that real people have would be refused or garbled."""
    with gather([str(path) for path in sorted(AWKWARD.iterdir())]) as corpus:
        assert [skip.reason for skip in corpus.skipped] == ["empty", "nothing but white space"]
        encodings = {Path(document.name).stem: document.encoding for document in corpus.documents}
    assert encodings.pop("alice-utf16le-bom") == "utf-16-le"
    assert encodings.pop("neko-shift-jis") == "cp932"
    assert encodings.pop("latin1-crlf-1661-8") == "cp1252"
    assert set(encodings.values()) == {"utf-8"}
    assert any("broken-utf8.txt: 15 bytes are not UTF-8" in note for note in corpus.notes)
    with pytest.raises(InputError, match="empty"):
        gather([str(AWKWARD / "empty.txt")])


def test_skipped_files_are_values() -> None:
    """Without it, reports in JSON and tests could not compare what was left out."""
    assert Skipped("a", "empty") == Skipped("a", "empty")
