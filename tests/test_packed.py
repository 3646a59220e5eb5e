"""Dumps of whole repositories come apart into their files, and no byte is lost or read twice."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.text.packed import FORMATS, LONGEST_MARK, Split, diff_path, split

Files = list[tuple[str, str]]
LINE16, LINE48, LINE64 = "=" * 16, "=" * 48, "=" * 64


def _repomix_xml(files: Files) -> str:
    body = "".join(f'<file path="{path}">\n{text}\n</file>\n\n' for path, text in files)
    return (
        f"Merged.\n\n<file_summary>\nWhat this is.\n</file_summary>\n\n<files>\nAll files.\n\n{body}</files>"
    )


def _repomix_markdown(files: Files) -> str:
    body = "".join(f"## File: {path}\n````python\n{text}\n````\n\n" for path, text in files)
    return f"Merged.\n\n# File Summary\n\nWhat this is.\n\n# Files\n\n{body}"


def _repomix_plain(files: Files) -> str:
    body = "".join(f"{LINE16}\nFile: {path}\n{LINE16}\n{text}\n\n" for path, text in files)
    return f"Merged.\n\n{LINE64}\nFiles\n{LINE64}\n\n{body}{LINE64}\nEnd of Codebase\n{LINE64}\n"


def _gitingest(files: Files) -> str:
    body = "".join(f"{LINE48}\nFILE: {path}\n{LINE48}\n{text}\n\n" for path, text in files)
    return f"Directory structure:\n└── it/\n\n{body}"


def _files_to_prompt(files: Files) -> str:
    return "".join(f"{path}\n---\n{text}\n\n---\n" for path, text in files)


def _files_to_prompt_xml(files: Files) -> str:
    body = "".join(
        f'<document index="{index}">\n<source>{path}</source>\n<document_content>\n{text}\n'
        "</document_content>\n</document>\n"
        for index, (path, text) in enumerate(files, 1)
    )
    return f"<documents>\n{body}</documents>\n"


def _git_diff(files: Files) -> str:
    return "".join(
        f"diff --git a/{path} b/{path}\nindex 1..2 100644\n--- a/{path}\n+++ b/{path}\n@@ -0,0 +1 @@\n"
        + "".join(f"+{line}\n" for line in text.split("\n"))
        for path, text in files
    )


PACKERS: dict[str, Callable[[Files], str]] = {
    "repomix XML": _repomix_xml,
    "repomix Markdown": _repomix_markdown,
    "repomix plain": _repomix_plain,
    "gitingest": _gitingest,
    "files-to-prompt": _files_to_prompt,
    "files-to-prompt XML": _files_to_prompt_xml,
    "git diff": _git_diff,
}
FILES: Files = [
    ("src/a.py", "def a():\n    return 1\n"),
    ("docs/deep/é b.md", "# Title\n\nWords.\n"),
    ("c.txt", "x"),
]


def _split(folder: Path, data: bytes, start: int = 0) -> Split | None:
    path = folder / "dump"
    path.write_bytes(data)
    return split(path, start)


def _assert_tiled(found: Split, start: int, size: int) -> None:
    ranges = sorted([(member.start, member.end) for member in found.members] + found.delimiters)
    position = start
    for begin, end in ranges:
        assert begin == position <= end
        position = end
    assert position == size
    assert [member.start for member in found.members] == sorted(member.start for member in found.members)


def _contents(found: Split, data: bytes) -> list[tuple[str | None, str]]:
    return [
        (member.path.decode() if member.path is not None else None, data[member.start : member.end].decode())
        for member in found.members
    ]


def test_every_format_is_tried() -> None:
    """Without it, a format added later could go untested."""
    assert set(PACKERS) == {form.name for form in FORMATS}


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_each_format_gives_back_its_files(tmp_path: Path, name: str, newline: str) -> None:
    """Without it, citations from a dump would name the dump and not the file that says it."""
    data = PACKERS[name](FILES).replace("\n", newline).encode()
    found = _split(tmp_path, data)
    assert found is not None
    assert found.format == name
    _assert_tiled(found, 0, len(data))
    packed = [(path, text) for path, text in _contents(found, data) if path is not None]
    assert [path for path, _ in packed] == [path for path, _ in FILES]
    for (_, text), (_, original) in zip(packed, FILES, strict=True):
        expected, packed_text = original.replace("\n", newline), text
        if name == "git diff":
            expected = "".join(f"+{line}{newline}" for line in original.split("\n"))
            packed_text = text[text.index("+1 @@") + len("+1 @@" + newline) :]
        assert packed_text.rstrip() == expected.rstrip()


# Lines that look like the marks of the formats, or nearly.
NASTY = st.sampled_from(
    [
        *("", "---", "a.py", "x = 1", "```", "````", "## File: z.py", "# Instruction", "<files>", "</files>"),
        *(LINE16, LINE48, LINE64, "File: q.py", "FILE: q.py", "Files", "End of Codebase", "</file>"),
        *('<file path="n.py">', "</document_content>", "</document>", '<document index="7">', "</documents>"),
        *(
            "<source>n.py</source>",
            "<document_content>",
            "diff --git a/x b/x",
            "commit " + "0" * 40,
            "é" * 5000,
        ),
    ]
)
SAFE = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='`=<>-#"|'), max_size=30
)
PATHS = st.from_regex(re.compile(r"[a-z]{1,8}(?:/[a-z]{1,8}){0,3}\.[a-z]{1,3}", re.ASCII), fullmatch=True)
FILE_LISTS = st.lists(
    st.tuples(PATHS, st.lists(SAFE, min_size=1, max_size=6).map("\n".join)), min_size=1, max_size=5
)


@pytest.mark.parametrize("name", PACKERS)
@settings(max_examples=25, deadline=None)
@given(files=FILE_LISTS)
def test_files_of_any_text_come_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, files: Files
) -> None:
    """Without it, a file could swallow its neighbour or lose its first or last line."""
    data = PACKERS[name](files).encode()
    found = _split(tmp_path_factory.mktemp("packed"), data)
    assert found is not None
    _assert_tiled(found, 0, len(data))
    packed = [(path, text) for path, text in _contents(found, data) if path is not None]
    assert [path for path, _ in packed] == [path for path, _ in files]
    if name != "git diff":
        assert [text.strip() for _, text in packed] == [text.strip() for _, text in files]


@pytest.mark.parametrize("name", PACKERS)
@settings(max_examples=40, deadline=None)
@given(
    files=st.lists(
        st.tuples(PATHS, st.lists(NASTY | SAFE, max_size=8).map("\n".join)), min_size=1, max_size=4
    ),
    cut=st.integers(0, 200),
    start=st.integers(0, 3),
)
def test_no_byte_is_lost_whatever_the_files_hold(
    tmp_path_factory: pytest.TempPathFactory, name: str, files: Files, cut: int, start: int
) -> None:
    """Without it, a file that quotes the format, or a dump that was cut off, could lose text silently."""
    data = b"\n" * start + PACKERS[name](files).encode()
    data = data[: max(len(data) - cut, start)]
    found = _split(tmp_path_factory.mktemp("packed"), data, start)
    if found is not None:
        _assert_tiled(found, start, len(data))
        assert any(member.path is not None for member in found.members)


@pytest.mark.parametrize(
    "text",
    [
        "Call me Ishmael.\n\n## File: whale.py\n```\nx\n```\n\nSome years ago.\n",
        'Call me Ishmael.\n\n<file path="whale.py">\nx\n</file>\n\nSome years ago.\n',
        f"Call me Ishmael.\n\n{LINE16}\nFile: whale.py\n{LINE16}\nx\n",
        f"Call me Ishmael.\n\n{LINE48}\nFILE: whale.py\n{LINE48}\nx\n",
        "Call me Ishmael.\n\ndiff --git a/whale b/whale\n+x\n",
        "Call me Ishmael.\n---\n\nSome years ago.\n\n---\n\nNever mind.\n",
        "<files>\nCall me Ishmael.\n",
        '<files>\n<file path="never closed">\nCall me Ishmael.\n',
        "title.v1\n---\nfront matter\n---\nSome years ago.\n",
        "",
    ],
)
def test_a_text_that_only_quotes_marks_stays_whole(tmp_path: Path, text: str) -> None:
    """Without it, a book about programming would fall apart at its first listing."""
    assert _split(tmp_path, text.encode()) is None


def test_quoted_marks_inside_a_file_do_not_end_it(tmp_path: Path) -> None:
    """Without it, the test data of a packing tool would break up its own sources."""
    text = "before\n</file>\nafter\n"
    data = _repomix_xml([("a.py", text), ("b.py", "y\n")]).encode()
    found = _split(tmp_path, data)
    assert found is not None
    assert ("a.py", text + "\n") in _contents(found, data)


def test_text_around_the_files_is_kept(tmp_path: Path) -> None:
    """Without it, the instruction or the commit message in a dump would never be read."""
    dump = _repomix_xml(FILES) + "\n<instruction>\nMind the gap.\n</instruction>"
    found = _split(tmp_path, dump.encode())
    assert found is not None
    around = [text for path, text in _contents(found, dump.encode()) if path is None]
    assert "What this is." in around[0]
    assert "Mind the gap." in around[-1]
    commit = "commit " + "a1" * 20 + "\nAuthor: me\n\n    Why I did it\n\n"
    found = _split(tmp_path, (commit + _git_diff(FILES)).encode() * 2)
    assert found is not None
    assert [member.path for member in found.members].count(None) == 2


def test_lines_longer_than_any_mark_pass_through(tmp_path: Path) -> None:
    """Without it, one minified file in a dump would fill the memory."""
    text = "x" * (3 * LONGEST_MARK) + "\n" + "y" * LONGEST_MARK
    data = _repomix_xml([("long.js", text), ("b.py", "z")]).encode()
    found = _split(tmp_path, data)
    assert found is not None
    _assert_tiled(found, 0, len(data))
    assert ("long.js", text + "\n") in _contents(found, data)


@pytest.mark.parametrize(
    ("header", "path"),
    [
        (b"a/x b/x", b"x"),
        (b"a/with b/in it b/with b/in it", b"with b/in it"),
        (b"x/y x/y", b"y"),
        (b"no/prefix.c no/prefix.c", b"no/prefix.c"),
        (b"a/old.c b/new.c", b"new.c"),
        (b'"a/\\303\\251" "b/\\303\\251"', "é".encode()),
        (b'a/x "b/tab\\there\\""', b'tab\\there"'),
        (b"odd", b"odd"),
    ],
)
def test_the_path_in_a_diff_header(header: bytes, path: bytes) -> None:
    """Without it, citations from a diff would name files that do not exist."""
    assert diff_path(header) == path
