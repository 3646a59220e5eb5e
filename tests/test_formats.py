"""Documents that other programs made (tests/data/formats), read as text and cited as a person finds them."""

import gzip
import io
import json
import mailbox
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest
from test_formats_packed import zipped
from trees import make, names, text

from longctx.errors import InputError
from longctx.progress import Progress
from longctx.text.document import Corpus, Document
from longctx.text.source import gather
from longctx.text.span import Span

FILES = Path(__file__).parent / "data" / "formats"


def test_a_definition_stands_on_the_line_of_its_term(tmp_path: Path) -> None:
    """What a page lists as "Password" and "x" could not be asked for, and would be quoted apart."""
    lists = "<dl><dt>User</dt><dd>ann</dd><dt>Word<dd><p>x&amp;y</p><dd>z<dt>Last</dl>"
    make(tmp_path, {"a.html": f"<!doctype html><p>{'word ' * 50}</p>{lists}<p>End</p>"})
    with gather([str(tmp_path)]) as corpus:
        assert text(corpus.documents[0]).split("\n\n")[1:] == ["User: ann", "Word: x&y", "z", "Last", "End\n"]


def place(document: Document, words: str) -> str:
    """How the line with the words is cited, after the name of the document."""
    whole = text(document)
    at = whole.index(words)
    start, end = len(whole[:at].encode()), len(whole[: at + len(words)].encode())
    line = whole[:at].count("\n") + 1
    return str(Span(document, start, end, line, line)).removeprefix(document.name)


def read(corpus: Corpus) -> Document:
    (document,) = corpus.documents
    assert document.name.startswith(str(FILES))
    return document


PLACES = {
    "guide.epub": ("#Getting there:3", "#Weather:3"),
    "guide2.epub": ("#Getting there:3", "#Weather:3"),
    "guide.docx": ("#Getting there:3", "#Weather:3"),
    "writer.docx": ("#Getting there:3", "#Weather:3"),
    "guide.odt": ("#Getting there:3", "#Weather:3"),
    "writer.odt": ("#Getting there:3", "#Weather:3"),
    "guide.html": (":177", ":213"),
    "writer.html": (":36", ":84"),
    "calibre.epub": ("#Getting there:3", "#Weather:3"),
    "calibre.docx": ("#Getting there:3", "#Weather:3"),
    "guide.pdf": (":p. 1", ":p. 1"),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("how", ["file", "stdin", "gz"])
def test_a_document_is_read_and_cited_as_a_person_finds_it(tmp_path: Path, name: str, how: str) -> None:
    """Without it, books and papers would be refused, or be cited by lines that no program shows."""
    data = (FILES / name).read_bytes()
    path = make(tmp_path, {"x.gz": gzip.compress(data)}) / "x.gz" if how == "gz" else FILES / name
    with gather(["-" if how == "stdin" else str(path)], io.BytesIO(data)) as corpus:
        (document,) = corpus.documents
        assert document.kind == name.rpartition(".")[2]
        ferry, storm = "pier 4 at nine", "Storms come in November"
        assert (place(document, ferry), place(document, storm)) == PLACES[name]
        for words in ("On Sundays it leaves at ten", "Tomas Ek", "day & night", "Dogs travel free"):
            assert words in text(document)
        row = "Child 6" if name.endswith("pdf") else "Child\t6"
        assert row in text(document)
        assert name.endswith("pdf") or any(" picture" in note for note in corpus.notes)


@pytest.mark.parametrize("name", ["guide.html", "guide.docx", "guide.odt", "counts.ipynb"])
def test_a_conversion_shows_how_far_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a page of many megabytes is converted for seconds while nothing moves."""
    monkeypatch.setattr("longctx.formats.html.STEP", 500)
    monkeypatch.setattr("longctx.formats.zips.BLOCK", 500)
    told: list[Progress] = []
    with gather([str(FILES / name)], None, told.append) as corpus:
        assert corpus.documents
    done = [one.bytes_done for one in told if one.label.startswith("reading")]
    assert len(set(done)) > 1
    assert done == sorted(done)
    assert all(one.bytes_done <= one.bytes_total for one in told)


def test_pages_are_places_whoever_restricts_them(tmp_path: Path) -> None:
    """If this fails a paper is cited by the wrong page, or one that may only be read is refused."""
    for name in ("pages.pdf", "restricted.pdf"):
        with gather([str(FILES / name)]) as corpus:
            (document,) = corpus.documents
            for page, words in enumerate(("pier 4 at nine", "Tomas Ek", "Storms come"), 1):
                assert place(document, words) == f":p. {page}"
    with pytest.raises(InputError, match=r"an encrypted PDF; save a copy without its password"):
        gather([str(FILES / "locked.pdf")])


def test_a_cell_stands_in_its_row_whatever_is_around_its_words(tmp_path: Path) -> None:
    """If this fails a price is parted from what it is the price of, in pages that Word or Writer wrote."""
    row = "<tr><td><p>Child</p></td>\n<td><div><p>6</p></div></td></tr>"
    layout = "<tr><td><p>First words.</p><p>Second words.</p></td><td><p>Aside.</p></td></tr>"
    page = f"<!doctype html>{'<p>word</p>' * 50}<table>{row}{row}{layout}</table><p>One</p><p>Two</p>"
    make(tmp_path, {"a.html": page})
    with gather([str(tmp_path)]) as corpus:
        assert text(corpus.documents[0]).partition("word\n\nChild")[2] == (
            "\t6\nChild\t6\n\nFirst words.\n\nSecond words.\n\nAside.\n\nOne\n\nTwo\n"
        )


def test_a_superscript_is_no_part_of_a_number(tmp_path: Path) -> None:
    """If this fails a fare of 12 with note 3 is copied as 123, and ten to the sixth as 106."""
    notes = "12<sup><a href=#n>3</a></sup> or 12<a role=doc-noteref href=#n>4</a>"
    page = f"<p>{notes}, 10<sup>6</sup>, 1<sup>st</sup>"
    make(tmp_path, {"a.html": f"<!doctype html>{page}{'<p>word</p>' * 60}"})
    with gather([str(tmp_path)]) as corpus:
        assert text(corpus.documents[0]).startswith("12[3] or 12[4], 10^6, 1st\n")


def test_menus_and_scripts_of_a_page_are_left_out_and_told(tmp_path: Path) -> None:
    """Without it, every page of a site would be answered about by its menu."""
    filler = "<p>The ferry leaves at nine.</p>\n" * 20
    menu, script = "<nav>Home<ul><li>About</ul></nav>", "<script>var a = '<p>no';</script>"
    page = f"<!DOCTYPE html><title>Ferry</title>{menu}{script}{filler}"
    app = "<!doctype html><title>App</title><script>" + "x();" * 999 + "</script>"
    make(tmp_path, {"page": page, "app.html": app})
    make(tmp_path, {"template.html": "<!doctype html><p>{% block body %}{% endblock %}</p>" + filler})
    with gather([str(tmp_path)]) as corpus:
        by_name = {document.path.name: document for document in corpus.documents}
        assert [document.kind for document in corpus.documents] == ["text", "html", "text"]
        page_text = text(corpus.documents[1])
        assert page_text.startswith("Ferry\n") and "Home" not in page_text and "no" not in page_text
        assert corpus.notes == [f"{tmp_path}/page: left out 1 menu, 1 script"]
        assert "{% block body %}" in text(by_name["template.html"])
        assert "x();" in text(by_name["app.html"])


@pytest.mark.parametrize(("comments", "told"), [(0, []), (2, ["left out 2 comments"])])
def test_only_comments_that_there_are_were_left_out(tmp_path: Path, comments: int, told: list[str]) -> None:
    """If this fails the reader of a letter looks for remarks that nobody made."""
    head = '<w:{} xmlns:w="http://w">{}</w:{}>'
    body = head.format("document", "<w:body><w:p><w:r><w:t>Dear Ann</w:t></w:r></w:p></w:body>", "document")
    remarks = head.format("comments", "<w:comment><w:p/></w:comment>" * comments, "comments")
    letter = tmp_path / "letter.docx"
    letter.write_bytes(zipped({"word/document.xml": body, "word/comments.xml": remarks}))
    with gather([str(letter)]) as corpus:
        assert text(corpus.documents[0]) == "Dear Ann\n"
        assert corpus.notes == [f"{letter}: {one}" for one in told]


def test_a_notebook_is_its_cells_and_outputs() -> None:
    """Without it, a notebook would be read as JSON full of encoded pictures."""
    with gather([str(FILES / "counts.ipynb")]) as corpus:
        document = read(corpus)
        assert (place(document, "print("), place(document, "total 4515")) == ("#cell 2:2", "#cell 2:5")
        assert place(document, "KeyError: 'July'") == "#cell 5:4"
        assert corpus.notes == [f"{document.name}: left out 1 picture"]


def test_a_notebook_of_ipython_is_read_too(tmp_path: Path) -> None:
    """If this fails notebooks from before 2015 are JSON full of encoded pictures."""
    picture = {
        "output_type": "display_data",
        "metadata": {},
        "png": "iVBORw0KGgo=" * 99,
        "text": ["<Figure>"],
    }
    cells = [
        {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["Fares"]},
        {
            **{"cell_type": "code", "collapsed": False, "language": "python", "metadata": {}},
            "input": ["print(12)"],
            "outputs": [
                {"output_type": "stream", "stream": "stdout", "text": ["12\n"]},
                picture,
                {"output_type": "pyerr", "ename": "KeyError", "evalue": "'x'", "traceback": []},
            ],
        },
    ]
    old = {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0}
    make(tmp_path, {"a.ipynb": json.dumps({**old, "worksheets": [{"cells": cells, "metadata": {}}]})})
    with gather([str(tmp_path)]) as corpus:
        (document,) = corpus.documents
        assert text(document) == "## Fares\n\nprint(12)\n\nOutput:\n12\n\nOutput:\nKeyError: 'x'\n"
        assert place(document, "print(12)") == "#cell 2:1"
        assert corpus.notes == [f"{document.name}: left out 1 picture"]


def test_formulas_that_nobody_computed_are_told(tmp_path: Path) -> None:
    """If this fails a table that a program wrote has empty cells where a person sees sums."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append([1, 2, "=A1+B1"])
    book.active.append(["=A1", 5])
    book.save(tmp_path / "sums.xlsx")
    with gather([str(tmp_path / "sums.xlsx")]) as corpus:
        assert text(corpus.documents[0]).endswith("1\t2\n\t5\n")
        assert corpus.notes == [f"{tmp_path}/sums.xlsx: left out 2 formulas, never computed"]


def test_a_table_is_cited_by_its_cells() -> None:
    """Without it, a number from a table could not be found again in it."""
    with gather([str(FILES / "table.xlsx")]) as corpus:
        document = read(corpus)
        assert place(document, "Visby") == ":table!C3"
        assert place(document, "Eva Lind\t1990-01-15\tKiruna\t31.25") == ":table!A4:D4"


def test_mail_is_decoded_and_its_attachments_are_read(tmp_path: Path) -> None:
    """Without it, a mailbox would be base64, and what was sent with it be lost."""
    box = mailbox.mbox(tmp_path / "mail.mbox")
    for number in range(3):
        message = EmailMessage()
        message["From"], message["To"] = "Åsa Berg <asa@example.org>", "tomas@example.org"
        message["Subject"], message["Date"] = f"Färja {number}", "Mon, 02 Nov 2026 10:00:00 +0000"
        message.set_content(f"Hej!\n\nFrom nine on the pier is open: för {number}.\n", cte="base64")
        message.add_alternative("<html><body><p>Hej i html</p></body></html>", subtype="html")
        message.add_attachment(
            zipped({"a/b.txt": "in the archive"}), "application", "zip", filename="../all.zip"
        )
        message.add_attachment(b"\x89PNG\r\n\x1a\n", "image", "png", filename="x.png")
        box.add(message)
    single = message.as_bytes()
    box.close()
    make(tmp_path, {"one.eml": single})
    with gather([f"{tmp_path}/mail.mbox", f"{tmp_path}/one.eml"]) as corpus:
        assert names(corpus, tmp_path) == [
            *("mail.mbox", *(f"mail.mbox#message {number}/all.zip/a/b.txt" for number in (1, 2, 3))),
            *("one.eml", "one.eml/all.zip/a/b.txt"),
        ]
        whole = corpus.documents[0]
        assert place(whole, "för 2") == "#message 3:8"
        assert place(whole, "Färja 1") == "#message 2:4"
        assert "html" not in text(whole)
        assert f"{tmp_path}/one.eml: left out 1 picture" in corpus.notes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.pdf", (FILES / "guide.pdf").read_bytes()[:900], "PDF"),
        ("bomb.docx", zipped({"word/document.xml": bytes(80 << 20)}), "grows more than 250-fold"),
        (
            "entities.docx",
            zipped({"word/document.xml": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}),
            "its XML declares entities",
        ),
        (
            "secret.odt",
            zipped(
                {
                    "mimetype": "application/vnd.oasis.opendocument.text",
                    "content.xml": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
                }
            ),
            "its XML declares entities",
        ),
        ("deep.docx", zipped({"word/document.xml": "<a>" * 5000}), "nests too deep"),
        ("hollow.epub", zipped({"mimetype": "application/epub+zip"}), "it has no META-INF/container.xml"),
    ],
    ids=["pdf", "bomb", "entities", "outside", "deep", "hollow"],
)
def test_hostile_and_damaged_documents_cost_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """Without it, a document from a stranger could take all memory or read the user's files."""
    make(tmp_path, {name: content, "good.txt": "good"})
    with pytest.raises(InputError, match=message) as caught:
        gather([f"{tmp_path}/{name}"])
    assert "\n" not in str(caught.value)
    with gather([str(tmp_path)]) as corpus:
        assert [text(document) for document in corpus.documents] == ["good"]
        assert message in corpus.skipped[0].reason


@pytest.mark.parametrize(
    ("name", "module", "advice"),
    [
        ("guide.pdf", "pypdfium2", "pip install 'longctx-lightning[pdf]'"),
        ("table.xlsx", "openpyxl", "pip install 'longctx-lightning[xlsx]'"),
    ],
)
def test_without_an_extra_its_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, advice: str
) -> None:
    """Without it, the user of a bare install would not learn how to read the file."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError) as caught:
        gather([str(FILES / name)])
    assert str(caught.value).endswith(advice)
    make(tmp_path, {"a": "good", name: (FILES / name).read_bytes()})
    with gather([str(tmp_path)]) as corpus:
        assert [skip.advice for skip in corpus.skipped] == [advice]


def test_a_page_without_ends_is_read_in_linear_time(tmp_path: Path) -> None:
    """Without it, four megabytes of comments that never end would keep a processor busy for hours."""
    make(tmp_path, {"page.html": "<!doctype html><p>" + "first words " * 50 + "<!--" * 400_000})
    with gather([f"{tmp_path}/page.html"]) as corpus:
        assert "first words" in text(corpus.documents[0])
        assert "a tag or comment without an end" in corpus.notes[0]
