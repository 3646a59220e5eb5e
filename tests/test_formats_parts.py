"""What each format's text looks like, line for line; what is left out is counted."""

import io
import json
import zipfile
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from test_formats_packed import PACKERS, zipped
from trees import make, text

from longctx.errors import InputError
from longctx.formats import draft, mail, notebook, zips
from longctx.formats.kinds import recognise
from longctx.formats.limits import Unreadable
from longctx.text.places import Parts
from longctx.text.source import gather

PROSE = "The ferry leaves at nine and comes back at noon. " * 8  # a page of less is made by its scripts
FILES = Path(__file__).parent / "data" / "formats"


def converted(path: Path) -> tuple[str, list[str]]:
    """Return the text of a file, and what is said about it."""
    with gather([str(path)]) as corpus:
        return text(corpus.documents[0]), [note.removeprefix(f"{path}: ") for note in corpus.notes]


def page(folder: Path, body: str) -> tuple[str, list[str]]:
    make(folder, {"page.html": f"<!doctype html><p>{PROSE}</p>{body}"})
    whole, notes = converted(folder / "page.html")
    return whole.removeprefix(PROSE.strip()).strip("\n"), notes


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("<p>one<br>two <br/> three</p>", "one\ntwo\nthree"),
        ("<h2>Fares\n and <b>times</b></h2><p>six</p>", "## Fares and times\n\nsix"),
        ("<ul><li>one<li>two</ul><p>end</p>", "- one\n- two\n\nend"),
        ("<table><tr><th>a<th>b<tr><td>1<td> 2 </table>", "a\tb\n1\t2"),
        ("<table><tr><td>only</table><p>end", "only\n\nend"),
        ("<pre>a  b\n  c</pre><p>d  e\n f</p>", "a  b\n  c\n\nd e f"),
        ("<p>a &amp; b &lt;c&gt; &eacute;</p>", "a & b <c> é"),
        ("<nav>x<nav>y</nav>z</nav><p>end</p>", "end"),
        ("<nav>x<article><p>end</p>", "end"),
        ("<p>a<script>b</script>c</p>", "a\n\nc"),
    ],
)
def test_a_page_keeps_its_lines_rows_and_items(tmp_path: Path, body: str, shown: str) -> None:
    """Rows and lines would run together, and a value stand beside another's name."""
    assert page(tmp_path, body)[0] == shown


def test_pictures_of_a_page_are_counted_and_their_words_kept(tmp_path: Path) -> None:
    """What a picture shows would be lost, or nobody be told that there is one."""
    shown, notes = page(tmp_path, '<p>See <img src="a" alt=" the pier "> and <img src="b"></p>')
    assert shown == "See [picture: the pier] and"
    assert notes == ["left out 2 pictures"]


def test_what_a_page_says_of_its_encoding_counts(tmp_path: Path) -> None:
    """Names in a page of Polish would be read as noise."""
    head = '<!doctype html><meta charset="iso-8859-2">'
    (tmp_path / "a.html").write_bytes(f"{head}<p>{PROSE} Łódź żółć</p>".encode("iso-8859-2"))
    assert "Łódź żółć" in converted(tmp_path / "a.html")[0]


def book(folder: Path, cells: list[Any]) -> tuple[str, list[str]]:
    make(folder, {"a.ipynb": json.dumps({"cells": cells, "nbformat": 4})})
    return converted(folder / "a.ipynb")


def test_what_cells_put_out_is_read_once_and_without_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that a notebook computed could not be asked for, or a picture's name be taken for one."""
    monkeypatch.setattr(notebook, "LONGEST_OUTPUT", 50)
    shown, notes = book(
        tmp_path,
        [
            {"cell_type": "markdown", "source": ["# Fares\n", "in kronor"]},
            {
                "cell_type": "code",
                "source": "total()",
                "outputs": [
                    {"output_type": "stream", "text": ["\x1b[31m12\x1b[0m\n", "13\n"]},
                    {"output_type": "execute_result", "data": {"text/plain": "25"}},
                    {"data": {"image/png": "x", "text/plain": "<Figure size 2x3>"}},
                    {"data": {"image/png": "x", "text/plain": "a chart of fares"}},
                    {"output_type": "error", "ename": "KeyError", "evalue": "'July'"},
                    {"output_type": "stream", "text": "x" * 51},
                    "no output",
                ],
            },
            "no cell",
        ],
    )
    outputs = ["12\n13", "25", "a chart of fares", "KeyError: 'July'"]
    assert shown == "# Fares\nin kronor\n\ntotal()\n" + "".join(f"\nOutput:\n{one}\n" for one in outputs)
    assert notes == ["left out 2 pictures, 1 long output"]


@pytest.mark.parametrize("content", ["[]", '{"cells": 5}', '{"cells": ', "{}"])
def test_what_is_no_notebook_is_read_as_it_is(tmp_path: Path, content: str) -> None:
    """A damaged notebook would be refused, though its text is there."""
    make(tmp_path, {"a.ipynb": content})
    assert converted(tmp_path / "a.ipynb")[0] == content


HEAD = "From: a@b.example\nDate: Mon, 02 Nov 2026 10:00:00 +0000\nSubject: Fares\n"


def mailed(text: str) -> EmailMessage:
    message = EmailMessage()
    for line in HEAD.splitlines():
        name, _, value = line.partition(": ")
        message[name] = value
    message.set_content(text)
    return message


def letter(folder: Path, message: EmailMessage) -> tuple[str, list[str]]:
    make(folder, {"one.eml": message.as_bytes()})
    return converted(folder / "one.eml")


def test_of_two_forms_of_a_mail_the_plain_one_is_read(tmp_path: Path) -> None:
    """Each mail would be read twice, or one that has only a page not at all."""
    both = mailed("Six kronor.\n")
    both["X-Spam"] = "no"
    both.add_alternative("<p>Six kronor, in colour</p>", subtype="html")
    assert letter(tmp_path, both)[0] == f"{HEAD}\nSix kronor.\n"
    blank = mailed(" \n")
    blank.add_alternative("<p>Only a page</p>", subtype="html")
    assert letter(tmp_path, blank)[0].removeprefix(HEAD).strip() == "Only a page"


def test_what_is_forwarded_or_attached_is_read(tmp_path: Path) -> None:
    """The contract that a mail is about would be missed."""
    outer = mailed("See below.\n")
    outer.add_attachment(mailed("Pier 4.\n"))
    outer.add_attachment(b"nine\n", "application", "octet-stream", filename="../when?.txt")
    outer.add_attachment("ten\n", disposition="attachment")
    make(tmp_path, {"one.eml": outer.as_bytes()})
    with gather([f"{tmp_path}/one.eml"]) as corpus:
        (whole, *files) = corpus.documents
        assert text(whole) == f"{HEAD}\nSee below.\n\n{HEAD}\nPier 4.\n"
        assert [(one.name.rpartition("/")[2], text(one)) for one in files] == [
            ("when_.txt", "nine\n"),
            ("part 5", "ten\n"),
        ]


def test_headers_and_bodies_in_any_encoding_are_read(tmp_path: Path) -> None:
    """A name would stay "=?utf-8?q?=C3=85sa?=", or one wrong charset cost the mail."""
    date = "Date: Mon, 02 Nov 2026 10:00:00 +0000"
    raw = f"From: =?utf-8?q?=C3=85sa?= <a@b>\n{date}\nSubject: =?nonsense?q?=C3=85?= x\n".encode()
    for charset, body in (("nonsense", "Färja".encode()), ("utf-8", "Färja".encode("cp1252"))):
        head = f"MIME-Version: 1.0\nContent-Type: text/plain; charset={charset}\n"
        head += "Content-Transfer-Encoding: 8bit\n\n"
        (tmp_path / "one.eml").write_bytes(raw + head.encode() + body)
        assert converted(tmp_path / "one.eml")[0] == f"From: Åsa <a@b>\n{date}\nSubject: Å x\n\nFärja\n"


def test_a_mailbox_is_divided_where_messages_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of a mail that begins with "From" would begin another, or one huge mail cost the others."""
    monkeypatch.setattr(mail, "LARGEST", 200)
    first = "From a@b Mon Nov  2 10:00:00 2026\nSubject: one\n\nFrom here it is far.\n>From there, too.\n"
    huge = "From a@b Mon Nov  2 10:01:00 2026\nSubject: two\n\n" + "x" * 90 + "\n" + "y" * 150 + "\n"
    last = "From a@b Mon Nov  2 10:02:00 2026\nSubject: three\n\nEnd.\n"
    make(tmp_path, {"box.mbox": f"{first}\n{huge}\n{last}"})
    shown, notes = converted(tmp_path / "box.mbox")
    assert shown == (
        "Subject: one\n\nFrom here it is far.\nFrom there, too.\n\n"
        "[a message larger than 0 MiB]\n\nSubject: three\n\nEnd.\n"
    )
    assert notes == ["left out 1 message, whole or in part"]


def test_a_draft_counts_lines_of_any_kind_and_shortens_names(tmp_path: Path) -> None:
    """Places would be a line off behind a text of Windows, or a chapter's name fill the screen."""
    title = "A very long title of a chapter that goes on and on, as they did in other times"
    entry = f'<navPoint><navLabel><text>{title}</text></navLabel><content src="b.xhtml"/></navPoint>'
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<c><rootfile full-path="o/p.opf"/></c>',
        "o/p.opf": '<p><item id="n" href="t.ncx" media-type="application/x-dtbncx+xml"/>'
        '<item id="a" href="a.xhtml"/><item id="b" href="b.xhtml"/><item id="c" href="gone.xhtml"/>'
        '<itemref idref="a"/><itemref idref="c"/><itemref idref="b"/></p>',
        "o/t.ncx": f"<ncx>{entry}</ncx>",
        "o/a.xhtml": "<html><body><p>one</p><pre>two\r\nthree\rfour</pre></body></html>",
        "o/b.xhtml": "<html><body><p>five</p></body></html>",
    }
    make(tmp_path, {"a.epub": zipped(dict(files))})
    with gather([f"{tmp_path}/a.epub"]) as corpus:
        (document,) = corpus.documents
        assert text(document) == "one\n\ntwo\nthree\nfour\n\nfive\n"
        assert isinstance(document.place, Parts)
        assert list(document.place.starts) == [1, 7]
        assert document.place.labels == [
            "chapter 1",
            "A very long title of a chapter that goes on and on, as th...",
        ]
        assert len(document.place.labels[1]) <= draft.LONGEST_LABEL
    lock = '<e><EncryptionMethod Algorithm="{}"/></e>'
    make(tmp_path, {"a.epub": zipped({**files, "META-INF/encryption.xml": lock.format("http://x/aes")})})
    with pytest.raises(InputError, match="locked by its seller"):
        gather([f"{tmp_path}/a.epub"])
    fonts = lock.format("http://www.idpf.org/2008/embedding")
    make(tmp_path, {"a.epub": zipped({**files, "META-INF/encryption.xml": fonts})})
    assert converted(tmp_path / "a.epub")[0].startswith("one\n")


def test_pages_without_text_are_counted(tmp_path: Path) -> None:
    """A scanned page would be missed by nobody."""
    pdfium = pytest.importorskip("pypdfium2")
    for name, blank, source in (("some.pdf", 2, FILES / "guide.pdf"), ("none.pdf", 3, None)):
        with pdfium.PdfDocument.new() as made:
            if source:
                with pdfium.PdfDocument(source) as guide:
                    made.import_pages(guide)
            for _ in range(blank):
                made.new_page(200, 200)
            made.save(tmp_path / name)
    assert converted(tmp_path / "some.pdf")[1] == ["left out 2 empty pages"]
    with pytest.raises(InputError, match="a PDF of pictures only"):
        gather([f"{tmp_path}/none.pdf"])


def test_oddities_of_a_file_are_the_librarys_own(tmp_path: Path) -> None:
    """A table without styles would be refused, or a library's warning stand before the answer."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["Visby", 6.5, True, None])
    book.active.append([None, None])
    book.active.append(["Kiruna", 31])
    plain = io.BytesIO()
    book.save(plain)
    with zipfile.ZipFile(plain) as given, zipfile.ZipFile(tmp_path / "a.xlsx", "w") as made:
        for name in given.namelist():
            raw = given.read(name)
            if name == "xl/styles.xml":
                raw = raw[: raw.index(b"<cellStyles")] + raw[raw.index(b"</cellStyles>") + 13 :]
            made.writestr(name, raw)
    with gather([f"{tmp_path}/a.xlsx"]) as corpus:
        (document,) = corpus.documents
        assert text(document) == "Sheet\nVisby\t6.5\tTRUE\nKiruna\t31\n"
        assert corpus.notes == []


@pytest.mark.parametrize("kind", PACKERS)
def test_a_long_packed_file_is_unpacked_whole(tmp_path: Path, kind: str) -> None:
    """Of a log of many megabytes the end would be missing."""
    lines = "".join(f"{number * 7919 % 1_000_003} came at {number}\n" for number in range(20_000))
    make(tmp_path, {"log": PACKERS[kind](lines.encode())})
    assert converted(tmp_path / "log") == (lines, [])


def test_nothing_reads_the_rest_of_a_large_archive_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crafted archive of gigabytes would be held in memory."""
    monkeypatch.setattr(zips, "LARGEST_LIST", 10)
    make(tmp_path, {"a": "x" * 30})
    for size in (11, -1, None):
        with zips.Wary(tmp_path / "a") as file, pytest.raises(Unreadable, match="too long"):
            file.read(size)
    with zips.Wary(tmp_path / "a") as file:
        file.seek(20)
        assert file.read() == b"x" * 10
        assert file.read(10) == b""


@pytest.mark.parametrize(
    ("content", "kind"),
    [('{"a": 1}\n{"a": 2}\n', "jsonl"), ('{"a": 1}\n', "json"), ('[{"a": 1},\n{"a": 2}]\n', "json")],
)
def test_records_on_lines_of_their_own_are_told_by_two_of_them(
    tmp_path: Path, content: str, kind: str
) -> None:
    """The fields of a small file of records would be looked for in one object that is not there."""
    make(tmp_path, {"records": content})
    assert recognise(tmp_path / "records", "records") == kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("[server]\nport = 8080 # of all\n\n; no more\n[[job]]\nname = a\n[[job]]\nname = b\n", "settings"),
        ("PORT=1\nHOST=\n", "settings"),
        ("port = 8080\n", "text"),
        ("time=1 level=info\ntime=2 level=info\ntime=3 level=warn\n", "text"),
        ("The sum:\na = b\nc = d\nand so on\n", "text"),
        ("a == b\nc => d\n", "text"),
        ("[1, 2]\n", "json"),
        ("[12]\n", "json"),
        ("[2024-05-11 04:00:02] up\n[2024-05-11 05:12:09] down\n", "text"),
        ('<?xml version="1.0"?>\n<port>80</port>\n', "xml"),
        ("name,age,city\nAnn,31,\nBob,44,Oslo\n", "csv"),
        ("Ann, Bob, Cy\nDee, Ed, Flo\nGus, Hal, Ivy\n", "text"),
    ],
)
def test_data_without_a_name_are_told_by_their_lines(tmp_path: Path, content: str, kind: str) -> None:
    """What is piped in would be read as prose: settings run together, and no cell or section is known."""
    make(tmp_path, {"piped": content})
    assert recognise(tmp_path / "piped", "piped") == kind
