"""Small rules, one table each: what is typed is understood, what is counted told, and what is odd refused."""

import random
import zipfile
from pathlib import Path
from typing import Any

import click
import pytest
import torch

import longctx
from longctx import chat, failures, manners, needs, rates
from longctx.errors import LONGEST as LONGEST_MESSAGE
from longctx.errors import InputError, ModelError, QuotationError
from longctx.formats.convert import convert
from longctx.formats.draft import LONGEST_LABEL, Draft
from longctx.formats.kinds import counted, recognise
from longctx.formats.limits import (
    MOST_FILES,
    RATIO,
    SMALL,
    Allowance,
    Damaged,
    Plain,
    Unreadable,
    check_ratio,
    guarded,
    reason,
)
from longctx.formats.unpack import parts
from longctx.known import known, nearest
from longctx.machine import TILE_LEAF, gib, hides_tiles
from longctx.needs import LENGTHS, Need
from longctx.options import Age, Budgets, KvBudget, Length, Size
from longctx.output import _amount, clean
from longctx.progress import Meter, Progress, Usage
from longctx.regular import EDGE, Stamp, open_regular
from longctx.sampling import Sampling, StopStrings, pick
from longctx.styles import KEPT, LINE, Style, _folder
from longctx.tasks.parts import _best
from longctx.tasks.questions import asked_noun, asks_for_all, keys, names, one_by_one, suits_finder
from longctx.tasks.results import Part
from longctx.text.document import Cut, printable
from longctx.text.places import Cells, Numbers, Parts, column, lines
from longctx.text.points import Point
from longctx.text.span import Span


def said(kind: click.ParamType[Any], text: str) -> object:
    try:
        return kind.convert(text, None, None)
    except click.BadParameter:
        return None


TYPED: list[tuple[click.ParamType[Any], str, object]] = [
    *[(Size(), *one) for one in [("0", 0), ("500MB", 500_000_000), ("8GiB", 8 << 30), ("1.5 k", 1500)]],
    *[(Size(), *one) for one in [("2Ti", 2 << 40), ("1M", 10**6), ("7B", 7), ("1.2.3k", None), ("-1", None)]],
    *[(Size(), *one) for one in [("x", None), ("", None), ("1PB", None), ("0MB", 0)]],
    *[(Age(), *one) for one in [("30min", 1800), ("12h", 43200), ("1.5 d", 129600), ("2w", 1209600)]],
    *[(Age(), *one) for one in [("2", None), ("h", None), ("2y", None)]],
    *[
        (Length(), *one)
        for one in [("4096", 4096), ("64k", 65536), ("1M", 1 << 20), (" 1.5K ", 1536), ("1", 1)]
    ],
    *[(Length(), *one) for one in [("0", None), ("k", None), ("-5", None), ("x", None), ("infk", None)]],
    (Budgets(), "device=8GiB,host=1k", KvBudget(device=8 << 30, host=1000)),
    (Budgets(), " host=1k", KvBudget(host=1000)),
    *[(Budgets(), text, None) for text in ("8GiB", "disk=1k", "host=1k,host=2k", "host")],
]


@pytest.mark.parametrize(("kind", "text", "value"), TYPED)
def test_amounts_are_understood_as_they_are_typed(
    kind: click.ParamType[Any], text: str, value: object
) -> None:
    """If this fails a store may fill the disk, or a text of 64k be read as 64 tokens."""
    assert said(kind, text) == value


@pytest.mark.parametrize(
    ("given", "line", "share", "pattern"),
    [
        *[
            ("1200", 1200, 0.0, None),
            ("40%", 0, 0.4, None),
            ("100 %", 0, 1.0, None),
            ("0.5%", 0, 0.005, None),
        ],
        *[("a+b", 0, 0.0, "a+b"), ("40", 40, 0.0, None), ("1000%", 0, 0.0, "1000%"), ("٣", 0, 0.0, "٣")],
    ],
)
def test_a_point_is_a_line_a_share_or_a_pattern(
    given: str, line: int, share: float, pattern: str | None
) -> None:
    """If this fails --until 40% reads up to line 40."""
    point = Point.parse(given)
    assert (point.given, point.line, point.share) == (given, line, share)
    assert (point.pattern.pattern if point.pattern else None) == pattern
    for wrong in ("0", "0%", "100.1%", "("):
        with pytest.raises(ValueError, match=r"."):
            Point.parse(wrong)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        *[(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB")],
        *[((1 << 20) - 103, "1,023.9 KiB"), (1 << 30, "1.0 GiB"), (5000 << 30, "5,000.0 GiB")],
    ],
)
def test_sizes_are_told_in_the_unit_that_fits(size: int, told: str) -> None:
    """If this fails a store of gigabytes is called one of bytes."""
    assert gib(size) == told


def test_what_is_counted_is_told_with_its_number() -> None:
    """If this fails notes say "left out 1 pictures", or hide how many."""
    told = [
        counted("a picture", 1),
        counted("a picture", 2),
        counted("an index, broken", 2),
        counted("hidden", 2),
    ]
    assert told == ["1 picture", "2 pictures", "2 indexs, broken", "2 hidden"]
    assert _amount(Progress("x", 3, 12, 0, "pages")) == "3 of 12 pages"
    assert [_amount(Progress("x", *n, 0)) for n in ((1024, 2048), (1024, 0), (0, 0))] == [
        *("1.0 KiB of 2.0 KiB", "1.0 KiB", "")
    ]


def test_what_could_move_the_cursor_is_replaced() -> None:
    """If this fails a file can rewrite what a user sees on the terminal."""
    assert clean("a\r\nb\rc\td\x1b[2J\u202e\u2028\x9b") == "a\nb\nc\td\ufffd[2J\ufffd\ufffd\ufffd"
    assert printable("a\x1b\u2028é\n") == "a\\x1b\\u2028é\\n"


@pytest.mark.parametrize(
    ("cut", "begins", "told"),
    [
        (Cut("7", "a:7", 7, 9, 1, 1), False, "--until 7: read to line 7 of 9 (a:7)"),
        (Cut("9", "a:9", 9, 9, 1, 1), False, "--until 9: read to the end"),
        (Cut("1", "a:1", 1, 9, 1, 1), True, "--since 1: read from the beginning"),
        (Cut("\x1b", "a:9", 9, 9, 1, 2), False, "--until \\x1b: read to line 9 of 9 (a:9), 1 of 2 documents"),
        (
            Cut("1", "a:1", 1, 1234, 1, 2),
            True,
            "--since 1: read from line 1 of 1,234 (a:1), 1 of 2 documents",
        ),
    ],
)
def test_it_is_told_how_much_of_a_text_is_read(cut: Cut, begins: bool, told: str) -> None:
    """If this fails somebody takes an answer about half of a log for one about all of it."""
    assert cut.told(begins) == told


def stretch(first: int, last: int, start: int = 0, end: int = 0) -> Span:
    return Span(None, start, end, first, last)  # type: ignore[arg-type]


def test_places_lead_to_chapters_pages_and_cells(tmp_path: Path) -> None:
    """If this fails a citation leads to another chapter, page or cell than the one that was quoted."""
    parts = Parts([3, 10], ["one", "two"])
    told = [parts(stretch(*at)) for at in ((1, 1), (1, 2), (2, 3), (3, 3), (9, 9), (4, 12), (10, 11))]
    assert told == [":1", ":1-2", ":2 to #one:1", "#one:1", "#one:7", "#one:2 to #two:3", "#two:1-2"]
    pages = Numbers([3, 10], [7, 8], "p. ")
    assert [pages(stretch(*at)) for at in ((1, 1), (3, 9), (9, 10), (10, 12))] == [
        *(":p. 7", ":p. 7", ":p. 7-8", ":p. 8")
    ]
    (tmp_path / "x").write_bytes(b"One\na\tb\tc\nd\te\n\nTwo\nf\tg\n")
    cells = Cells(tmp_path / "x", [1, 5], ["One", "Two"], [0, 2, 4, 0, 0, 1])
    found = [
        cells(stretch(*at))
        for at in ((1, 1, 0, 3), (2, 2, 6, 7), (2, 2, 4, 10), (2, 3, 8, 11), (6, 6, 21, 22))
    ]
    assert found == [":One!A1", ":One!B2", ":One!A2:C2", ":One!C2:A4", ":Two!B1"]
    assert cells(stretch(2, 2, 6, 6)) == ":One!B2"
    assert [column(n) for n in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
    assert (lines(3, 5), lines(3, 3), lines(3, 2)) == ("3-5", "3", "3")


def test_a_file_is_known_again_while_it_only_grows(tmp_path: Path) -> None:
    """If this fails a log that goes on is refused, or another text answers under the name of the first."""

    def fits() -> bool:
        with open_regular(path) as file:
            return stamp.fits(file)

    path = tmp_path / "x"
    path.write_bytes(b"a" * EDGE + b"b" * EDGE + b"c" * EDGE)
    with open_regular(path) as file:
        stamp = Stamp.of(file)
    assert fits()
    with path.open("ab") as file:
        file.write(b"more")
    assert fits()
    for at in (0, EDGE - 1, 2 * EDGE, 3 * EDGE - 1):
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)
        assert not fits(), at
        data[at] ^= 1
        path.write_bytes(data)
        assert fits(), at
    path.write_bytes(bytes(stamp.size))
    assert not fits()
    path.write_bytes(b"a" * 5)
    assert not fits()
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path)


def test_a_stage_ends_at_its_total_and_counts_nothing_else() -> None:
    """If this fails a bar runs past its end, or goes on while nothing is read."""
    told: list[Progress] = []
    meter = Meter(told.append)
    meter.advance(5)
    with meter.stage("one", 10):
        meter.advance(4)
        meter.advance(9)
    meter.advance(5)
    with meter.stage("two", 3):
        meter.advance(1)
    assert [(p.label, p.bytes_done, p.bytes_total, p.tokens) for p in told] == [
        *(("one", 0, 10, 0), ("one", 4, 10, 0), ("one", 10, 10, 0), ("two", 0, 3, 0), ("two", 1, 3, 0))
    ]
    Meter().advance(1)
    usage = Usage(1, 2, 3, 4.0, 5.0, 6)
    usage.add(Usage(10, 20, 30, 40.0, 50.0, 60))
    assert usage == Usage(11, 22, 33, 44.0, 55.0, 60)
    assert (usage.read_rate, Usage(tokens_read=3).read_rate) == (0.5, 0.0)


def test_what_an_input_unpacks_to_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a small file from a stranger fills the disk, or a large honest one is refused."""
    check_ratio(SMALL, 1)
    check_ratio(RATIO << 20, 1 << 20)
    for unpacked, packed in ((SMALL + 1, 1), ((RATIO << 20) + 1, 1 << 20)):
        with pytest.raises(Unreadable, match="grows more than 250-fold"):
            check_ratio(unpacked, packed)
    allowance = Allowance(1, str(tmp_path))
    assert (allowance.bytes, allowance.files) == (4 * SMALL, MOST_FILES)
    assert Allowance(2 * SMALL, str(tmp_path)).bytes == min(4 << 30, 2 * SMALL * RATIO)
    allowance.bytes, allowance.files = 10, 1
    assert list(allowance.watch([b"12345", b"123"], 1)) == [b"12345", b"123"]
    assert allowance.bytes == 2
    allowance.take(2)
    allowance.take_file()
    with pytest.raises(Unreadable, match="more than there is room for"):
        allowance.take(1)
    with pytest.raises(Unreadable, match="only the first 10,000 files"):
        allowance.take_file()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Disk", (), {"free": 100}))
    assert Allowance(1, "x").bytes == 50


def test_whatever_a_decoder_raises_is_damage() -> None:
    """If this fails a damaged archive ends in a traceback."""

    def broken() -> Any:
        yield 1
        raise EOFError("It  ended.\n")

    items = guarded(broken())
    assert next(items) == 1
    with pytest.raises(Damaged, match=r"damaged or cut short \(it ended\)"):
        next(items)
    assert list(guarded([1, 2])) == [1, 2]
    assert (reason(ValueError()), reason(ValueError("X" * 200))) == ("ValueError", "x" * 100)


def test_a_draft_parts_paragraphs_and_names_places(tmp_path: Path) -> None:
    """If this fails paragraphs run together, or a place is a line off."""
    draft = Draft(tmp_path / "x", Allowance(1, str(tmp_path)), lambda: tmp_path / "y", lambda *_: None)
    with draft:
        assert (draft.place(), draft.label(), draft.line, draft.size) == (None, "", 1, 0)
        draft.fresh_line()
        draft.paragraph("\n\n")
        draft.paragraph("\none \n")
        draft.paragraph("two", close=True)
        draft.write("")
        draft.write("a\r\nb\rc")
        assert draft.line == 5
        draft.mark(" first\n part ")
        draft.paragraph("three")
        draft.mark("x" * LONGEST_LABEL)
        draft.mark("y" * (LONGEST_LABEL + 1))
        draft.write("end\n\n")
        draft.paragraph("last")
        assert draft.label() == "y" * (LONGEST_LABEL - 3) + "..."
    assert (tmp_path / "x").read_text() == "one\ntwo\na\nb\nc\n\nthree\n\nend\n\nlast\n"
    assert draft.size == (tmp_path / "x").stat().st_size
    place = draft.place()
    assert isinstance(place, Parts)
    assert (list(place.starts), list(place.labels)[:2]) == ([7, 9, 9], ["first part", "x" * LONGEST_LABEL])
    with Draft(tmp_path / "p", Allowance(1, str(tmp_path)), lambda: tmp_path / "q", lambda *_: None) as pages:
        pages.number(4)
        pages.number(5)
        pages.paragraph("one", 6)
        pages.paragraph("two", 7)
        pages.attach("in", [b"ab", b"c"])
    numbers = pages.place()
    assert isinstance(numbers, Numbers)
    assert (list(numbers.starts), list(numbers.numbers), numbers.unit) == ([1, 3], [4, 7], "")
    assert pages.attached == [("in", tmp_path / "q")]
    assert (tmp_path / "q").read_bytes() == b"abc"


HEADERS = "From: a\nDate: b\nMessage-ID: c\n"
KINDS: dict[tuple[str, bytes], str] = {
    ("a", b"\x1f\x8b\x08x"): "gz",
    ("a", b"BZh91AY&SYx"): "bz2",
    ("a", b"BZh9 is a word"): "text",
    ("a", b"\xfd7zXZ\x00x"): "xz",
    ("a", b"\x28\xb5\x2f\xfdx"): "zst",
    ("a", b"x" * 257 + b"ustar"): "tar",
    ("a", b"junk %PDF-1.7"): "pdf",
    ("a", b"PK\x03\x04 broken"): "zip",
    ("a", b"WEBVTT\n\n1"): "vtt",
    ("a", b"\xef\xbb\xbfWEBVTT"): "vtt",
    ("a", b"1\r\n00:00:01,000 --> x"): "srt",
    ("a", b"<!-- x --><HTML>"): "html",
    ("a", b"<!doctype html><p>{{ name }}"): "text",
    ("a", b"From a Mon 10:00\nSubject: x\n"): "mbox",
    ("a", b"From " + b"0" * 40 + b" Mon 10:00\nSubject: x\n"): "text",
    ("a", f"{HEADERS}\nx".encode()): "eml",
    ("a", f"{HEADERS}x".encode()): "text",
    ("a", b"From: a\nDate: b\nTo: c\n\nx"): "text",
    ("a.eml", b"Subject: a\n\nx"): "eml",
    ("a.eml", b"To: a\n\nx"): "text",
    ("a.eml", b"words"): "text",
    ("a", b'{"cells": [], "nbformat": 4}'): "ipynb",
    ("a", b'{"cells": []}'): "ipynb",
    ("a", b'[{"cells": []}]'): "json",
    ("a", b'{"nbformat": 3, "worksheets": []}'): "ipynb",
    ("a", b'{"a": 1}'): "json",
    ("a", b'{"a": 1}\n{"a": 2}\n'): "jsonl",
    ("a", b'{"a": 1}\n\n{"a": 2}\n'): "jsonl",
    ("a", b'{"a": 1}\n\n\n{"a": 2}\n'): "json",
    ("a", b'{"a": 1}\n{"a": 2}\nx'): "jsonl",
    ("a", b'{"a":\n{"a": 2}}\n'): "json",
    ("a.jsonl", b'{"a": 1}'): "jsonl",
    ("a.ndjson", b'{"a": 1}'): "jsonl",
    ("a.csv", b"x"): "csv",
    ("a.TAB", b"x"): "tsv",
    ("a", b"a\tb\tc\n" * 10): "tsv",
    ("a", b"a,b,c\n" * 10): "csv",
    ("a", b"a;b;c\n" * 12): "csv",
    ("a", b"a,b\n" * 10): "text",
    ("a", b"a,b,c\n" * 9 + b"a,b\n"): "text",
    ("a", b""): "text",
    ("a", b"[s]\na = 1\nb = 2\n# c\n"): "settings",
    ("a", b"a = 1\n"): "text",
    ("a", b"a = 1\na = 2\n"): "text",
    ("a", b"a = 1\nb = 2\n"): "settings",
    ("a", b"".join(b"k%d = 1\n" % n for n in range(9)) + b"some more words\n"): "settings",
    ("a", b"".join(b"k%d = 1\n" % n for n in range(8)) + b"some more words\n"): "text",
}


@pytest.mark.parametrize(("name", "content"), KINDS)
def test_a_file_is_what_its_content_says(tmp_path: Path, name: str, content: bytes) -> None:
    """If this fails mail is read as text, or a page's source as a page."""
    (tmp_path / "x").write_bytes(content)
    assert recognise(tmp_path / "x", name) == KINDS[name, content]


def test_a_file_is_converted_read_as_it_is_or_called_damaged(tmp_path: Path) -> None:
    """If this fails a page made by its scripts is an empty text, or a full disk is called a damaged file."""
    path = tmp_path / "x"

    def converted(kind: str) -> Unreadable | None:
        with Draft(tmp_path / "y", Allowance(1, str(tmp_path)), lambda: path, lambda *_: None) as draft:
            return convert(kind, path, draft)

    with pytest.raises(FileNotFoundError):
        converted("ipynb")
    path.write_text('{"cells": 5}')
    with pytest.raises(Plain):
        converted("ipynb")
    path.write_text('{"cells": [{"source": "x"}]}')
    assert converted("ipynb") is None
    assert (tmp_path / "y").read_text() == "x\n"
    for kind in ("docx", "odt", "epub", "xlsx", "pdf"):
        assert isinstance(converted(kind), Damaged), kind


@pytest.mark.parametrize(
    ("mime", "member", "kind"),
    [
        *[("application/epub+zip", "x", "epub"), ("", "META-INF/container.xml", "epub"), ("", "x", "zip")],
        *[
            ("", "word/document.xml", "docx"),
            ("", "xl/workbook.xml", "xlsx"),
            ("", "ppt/presentation.xml", "pptx"),
        ],
        *[
            (f"application/vnd.oasis.opendocument.{a}", "x", b)
            for a, b in (("text", "odt"), ("graphics", "zip"))
        ],
        ("application/vnd.oasis.opendocument.spreadsheet-template\n", "x", "ods"),
    ],
)
def test_an_archive_may_be_a_document(tmp_path: Path, mime: str, member: str, kind: str) -> None:
    """If this fails a letter is unpacked into its parts, and read as XML."""
    with zipfile.ZipFile(tmp_path / "x", "w") as file:
        if mime:
            file.writestr("mimetype", mime)
        file.writestr(member, "x")
    assert recognise(tmp_path / "x", "x") == kind


def test_unpacking_tells_how_far_it_is(tmp_path: Path) -> None:
    """If this fails the bar of an archive stands still, or begins in the middle."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for name in ("b", "a", "c/"):
            file.writestr(name, name * 100 if name[-1] != "/" else "")
    size = (tmp_path / "x.zip").stat().st_size
    told: list[tuple[int, int]] = []
    found = [
        (part.name, b"".join(part.blocks), part.packed, part.refused)
        for part in parts("zip", tmp_path / "x.zip", lambda *at: told.append(at))
    ]
    assert found == [("a", b"a" * 100, 100, ""), ("b", b"b" * 100, 100, "")]
    assert told == [(0, size), (100, size), (200, size)]


@pytest.mark.parametrize(
    ("question", "inputs", "told"),
    [
        *[
            (" ", (), "question is empty"),
            ("x", (), "question comes first"),
            ("x", ("x",), ""),
            ("y", (), ""),
        ],
        *[("z\0", (), ""), ("x" * 5000, (), "")],
    ],
)
def test_a_question_is_no_file_and_not_empty(
    question: str, inputs: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails somebody who forgot the question waits for standard input for ever."""
    monkeypatch.chdir(tmp_path)
    Path("x").touch()
    if not told:
        manners.check_question(question, inputs)
        return
    with pytest.raises(click.UsageError, match=told):
        manners.check_question(question, inputs)


def test_an_address_or_a_pattern_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails "no such file" is all that is said of an address."""
    monkeypatch.chdir(tmp_path)
    Path("[x]").touch()
    manners.check_inputs(["a", "[x]", "b*\0"])
    for name, told in (
        ("HTTPS://x", "opens no addresses"),
        ("a*", "pattern"),
        ("a?", "pattern"),
        ("[y]", "pattern"),
    ):
        with pytest.raises(click.UsageError, match=told):
            manners.check_inputs(["a", name])


def test_the_nearest_model_is_named() -> None:
    """If this fails a slip in a model's name costs a look into the manual."""
    name = next(iter(known()))
    assert nearest(name[:-1].upper()) == f"did you mean {name}? "
    assert nearest("undle") == "did you mean bundled? "
    assert nearest("qqqqqqqqqqqq") == ""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (QuotationError("two are wrong"), 7, "longctx: two are wrong"),
        (ModelError("broken"), 4, "longctx: broken"),
        (MemoryError(), 5, "out of memory"),
        (RuntimeError("CUDA: out of Memory"), 5, "out of memory"),
        (RuntimeError("odd"), 70, "RuntimeError: odd"),
        (OSError("disk"), 70, "longctx: unexpected: disk"),
        (ImportError("x"), 70, "longctx: unexpected: x"),
        (click.UsageError("no such option."), 2, "longctx: no such option (see longctx --help)"),
        (click.ClickException("bad\n thing"), 1, "longctx: bad thing"),
    ],
)
def test_each_failure_has_its_code_and_its_line(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """If this fails a script cannot tell a full memory from a missing file."""
    assert failures._exit_code(error) == code
    assert told in capsys.readouterr().err


def test_a_message_is_cut_where_strangers_would_fill_the_screen() -> None:
    """If this fails a broken template is printed whole, or each message ends in dots."""
    assert str(InputError("x" * LONGEST_MESSAGE)) == "x" * LONGEST_MESSAGE
    assert str(InputError("x" * (LONGEST_MESSAGE + 1))) == "x" * LONGEST_MESSAGE + " ..."


def test_python_lists_what_the_library_offers() -> None:
    """If this fails a notebook completes none of the names of longctx."""
    assert {"read", "Book", "Quote", "__version__"} <= set(dir(longctx))


def test_a_processor_that_hides_its_tiles_is_known() -> None:
    """If this fails longctx dies of SIGILL on some virtual machines."""
    told = "flags: amx_tile\ncpuid level : {}\n"
    assert hides_tiles(told.format(TILE_LEAF - 1))
    assert not hides_tiles(told.format(TILE_LEAF))
    assert not hides_tiles("cpuid level : 1\n")
    assert hides_tiles("amx_tile")


KEYED = {
    "What are amber-lamp, MAX_RETRIES and K7-R2P?": ["amber-lamp", "MAX_RETRIES", "K7-R2P"],
    "parseConfig of v2.1 in 1805": ["parseConfig", "v2.1", "1805"],
    "what is it": [],
}


def test_a_question_is_taken_apart_by_its_names() -> None:
    """If this fails of three things asked for one is answered, or none."""
    for question, found in KEYED.items():
        assert keys(question) == found
    assert names("Who met Ann, the Bo of a-1?") == ["a-1", "Ann", "Bo"]
    assert asks_for_all("What are all the codes?")
    assert not asks_for_all("What is allowed?")
    assert one_by_one("codes for a-1, b-2 and c-3?") == {
        "a-1": "codes for a-1?",
        "b-2": "codes for b-2?",
        "c-3": "codes for c-3?",
    }
    assert one_by_one("codes for a-1, b-2?") == {"a-1": "codes for a-1?", "b-2": "codes for b-2?"}
    for whole in ("codes for a-1 and a-1?", "code of a-1?", "a-1, b-2 and __?", "What is the code?"):
        assert one_by_one(whole) == {"": whole}


@pytest.mark.parametrize(
    ("question", "noun", "suits"),
    [
        ("What is the secret code of Doctor Brown?", "code", True),
        ("What is the code of the man?", "code", False),
        ("What is the amber-lamp?", "lamp", True),
        ("Which port?", "port", False),
        ("the value of __ is", "", True),
        ("What is K7-R2P?", "", True),
        ("What happened in 1805?", "happened", False),
        ("What is MAX_RETRIES?", "", True),
        ("What is the NATO?", "", False),
        ("Who is Ann?", "", False),
    ],
)
def test_a_model_that_copies_is_asked_what_it_was_made_for(question: str, noun: str, suits: bool) -> None:
    """If this fails each question costs the reading of the whole text, or none gets it."""
    assert (asked_noun(question), suits_finder(question)) == (noun, suits)


def test_of_many_parts_the_surest_answer_counts() -> None:
    """If this fails a text that is read in parts answers with what the first part guessed."""

    def part(text: str, confidence: float | None) -> Part:
        return Part("", text, None, confidence)

    found = [part("a", 0.2), part("b", 0.9), part("c", None), part("b", 0.1)]
    assert _best([], "x") == []
    assert [one.text for one in _best(found, "what is it")] == ["b"]
    assert [(one.text, one.confidence) for one in _best(found, "what are all of them")] == [
        *(("a", 0.2), ("b", 0.9), ("c", None))
    ]


@pytest.mark.parametrize("seed", range(3))
def test_tokens_are_drawn_from_those_that_are_left(seed: int) -> None:
    """If this fails an answer is made of words that the options had ruled out, or repeats itself."""
    random_ = torch.Generator().manual_seed(seed)
    share = torch.tensor([0.5, 0.25, 0.15, 0.1])

    def drawn(**options: Any) -> set[int]:
        sampling = Sampling(temperature=1.0, **options)
        return {pick(share.log(), (), sampling, random_) for _ in range(150)}

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_p=0.5) == {0}
    assert drawn(top_p=0.51) == {0, 1}
    assert drawn(top_p=0.75) == {0, 1}
    assert drawn(min_p=0.31) == {0, 1}
    assert drawn(min_p=0.3) == {0, 1, 2}
    assert drawn(min_p=0.3, top_p=0.5) == {0, 1} or drawn(min_p=0.3, top_p=0.5) == {0}
    greedy = Sampling(repetition_penalty=3.0)
    assert pick(torch.tensor([3.0, 2.0, 1.0]), (), greedy, random_) == 0
    assert pick(torch.tensor([3.0, 2.0, 1.0]), (0, 0), greedy, random_) == 1
    assert pick(torch.tensor([-1.0, -2.0]), (0,), greedy, random_) == 1
    assert pick(torch.tensor([0.0, -1.0]), (1,), greedy, random_) == 0
    with pytest.raises(ModelError, match="no numbers"):
        pick(torch.tensor([0.0, float("nan")]), (), greedy, random_)


@pytest.mark.parametrize("seed", range(20))
def test_an_answer_ends_before_the_first_stop_string(seed: int) -> None:
    """If this fails the answer goes on behind its end, or loses the words before it."""
    rng = random.Random(seed)
    text = "".join(rng.choices("ab", k=14))
    stops = ["".join(rng.choices("ab", k=rng.randrange(2, 6))) for _ in range(2)]
    ends = [(text.find(s) + len(s), text.find(s)) for s in stops if s in text]
    stream, shown, at, ended = StopStrings(["", *stops]), "", 0, False
    while at < len(text) and not ended:
        more = rng.randrange(1, 4)
        piece, ended = stream.push(text[at : at + more])
        shown, at = shown + piece, at + more
    shown += "" if ended else stream.flush()
    assert (shown, ended) == ((text[: min(ends)[1]], True) if ends else (text, False)) or (
        ended and any(text.startswith(shown + s) for s in stops)
    )


def test_a_long_line_is_cut_around_its_match() -> None:
    """If this fails the terminal is full of one line, and the word that was asked for is not in it."""
    style = Style(True, "otter")
    words = ["word"] * 200
    line = " ".join(words)
    assert Style(True, "otter")._shortened("x" * LINE) == "x" * LINE
    shown = style._shortened(line)
    assert shown.endswith("word [...]")
    assert KEPT - 10 < len(shown) < KEPT + 10
    words[150] = "otters"
    shown = style._shortened(" ".join(words))
    assert shown.startswith("[...] word")
    assert shown.endswith("word [...]")
    assert 60 < shown.index("otters") < 100
    words[150], words[-1] = "word", "otters"
    shown = style._shortened(" ".join(words))
    assert shown.startswith("[...] word")
    assert shown.endswith(" otters")
    assert len(shown) <= KEPT + 6 + 5
    solid = "x" * 1000
    assert style._shortened(solid) == "x" * (KEPT // 2) + " [...]"
    assert "otter" in style._shortened(solid + "-otter-" + solid)


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        *[
            ({"a/b/x", "a/b/y"}, "a/b/"),
            ({"a/b/x", "a/c/y"}, "a/"),
            ({"a/x", "a/b/y"}, "a/"),
            ({"x", "y"}, ""),
        ],
        *[({"a/x"}, ""), (set(), ""), ({"/a/x", "/a/y"}, "/a/"), ({"ab/x", "ac/x"}, "")],
    ],
)
def test_a_folder_that_all_share_is_left_out(names: set[str], folder: str) -> None:
    """If this fails each place begins with the same long path, or with half of a name."""
    assert _folder(names) == folder


def test_it_is_told_what_fits_and_what_would_make_it_fit() -> None:
    """If this fails somebody downloads a model of 90 GB for a machine that cannot run it."""
    sizes = dict(zip(LENGTHS, (10, 20, 30), strict=True))
    cpu, gpu = Need("int4", "cpu", sizes), Need("bfloat16", "cuda", sizes)
    assert [cpu.longest(n) for n in (9, 10, 29, 30)] == [None, "32k", "128k", "1M"]
    assert (cpu.options, gpu.options) == ("--device cpu --quant int4", "--device cuda --dtype bfloat16")
    assert needs.advice([cpu], {"cpu": 20}) == [
        "fits on the CPU as int4, texts up to 128k tokens: --device cpu --quant int4"
    ]
    assert "up to 1,000 tokens" in needs.advice([cpu], {"cpu": 20}, 1000)[0]
    assert "up to 128k tokens" in needs.advice([cpu], {"cpu": 20}, LENGTHS["128k"])[0]
    told = needs.advice([cpu, gpu], {"cpu": 4})
    assert told == [
        "does not fit this machine",
        "on the CPU as int4, for 32k tokens, it needs 10 bytes: 6 bytes more than is free now; close"
        " programs, or take more memory",
        "on a GPU as bfloat16, for 32k tokens, it needs 10 bytes",
    ]
    away = Need("int4", "cpu", sizes, least=5, away=8, used=2, chunk=4, disk=2e9)
    assert not needs.fits([cpu, gpu], {"cpu": 9})
    assert needs.fits([cpu], {"cpu": 10})
    assert needs.fits([away], {"cpu": 5})
    assert not needs.fits([away], {"cpu": 4})
    assert needs.advice([away], {"cpu": 5}) == [
        "runs slowly on the CPU as int4, with 8 bytes of experts on disk and 5 bytes or more in memory: at"
        " 2 GB/s it reads up to 1,000,000,000 tokens per second, and a token written takes up to 1e-09 s:"
        " --device cpu --quant int4"
    ]
    beside = Need("int4", "cuda", sizes, least=5, away=8, used=2, chunk=4, disk=2e9)
    assert (
        "in the memory of the host and 5 bytes or more on the GPU: at 25 GB/s"
        in needs.advice([beside], {"cpu": 100, "cuda": 5})[0]
    )
    assert "experts on disk" in needs.advice([beside], {"cpu": 7, "cuda": 5})[0]
    assert needs.advice([beside], {"cpu": 7})[1].endswith(
        "or 5 bytes with 8 bytes of experts in the memory of its host"
    )


def test_rates_of_devices_that_are_not_here_are_stated() -> None:
    """If this fails a plan for a GPU elsewhere tells the speed of this machine."""
    if not torch.cuda.is_available():
        device = torch.device("cuda")
        assert (rates.bus_rate(device), rates.product_rate(device)) == (rates.BUS, rates.PRODUCTS)


def test_a_thought_is_told_from_an_answer_however_it_comes() -> None:
    """If this fails what a model thinks is printed as its answer."""
    text = "let me <see</thin></think>\n\nSix.</think>"
    for size in range(1, len(text)):
        thoughts, pieces = chat.Thoughts(True), range(0, len(text), size)
        told = [thoughts.push(text[at : at + size], last=at + size >= len(text)) for at in pieces]
        thought, answer = ("".join(part) for part in zip(*told, strict=True))
        assert (thought.strip(), answer.strip()) == ("let me <see</thin>", "Six.</think>"), size
