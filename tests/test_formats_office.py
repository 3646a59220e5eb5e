"""Letters, sheets and books written by hand, tag by tag: which text they are, and where it stands."""

import datetime
from pathlib import Path

import pytest
from test_formats_packed import zipped
from test_formats_parts import converted
from trees import make, text

from longctx.errors import InputError
from longctx.formats.xml import DEEPEST_XML
from longctx.text.places import Cells, Parts
from longctx.text.source import gather


def word(body: str, **parts: str) -> bytes:
    """A DOCX of a body and other parts; each `X` stands for the namespace of Word."""
    named = {"document": f"<w:body>{body}</w:body>", **parts}
    return zipped({f"word/{name}.xml": f"<w:x xmlns:w='w'>{part}</w:x>" for name, part in named.items()})


def run(words: str) -> str:
    return f"<w:r><w:t>{words}</w:t></w:r>"


def para(words: str, style: str = "") -> str:
    return f"<w:p>{style and f'<w:pPr><w:pStyle w:val={style!r}/></w:pPr>'}{run(words)}</w:p>"


def cell(*paragraphs: str) -> str:
    return f"<w:tc>{''.join(map(para, paragraphs))}</w:tc>"


STYLES = (
    "<w:docDefaults><w:name w:val='heading 1'/><w:outlineLvl w:val='3'/></w:docDefaults>"
    "<w:style w:styleId='T'><w:name w:val='Title'/></w:style>"
    "<w:style w:styleId='Rubrik'><w:name w:val='Heading 3'/><w:outlineLvl w:val='7'/></w:style>"
    "<w:style w:styleId='Deep'><w:name w:val='own'/><w:outlineLvl w:val='8'/></w:style>"
    "<w:style w:styleId='Top'><w:name w:val='own'/><w:outlineLvl w:val='0'/></w:style>"
    "<w:style w:styleId='Body'><w:name w:val='heading 10'/><w:outlineLvl w:val='9'/></w:style>"
    "<w:style w:styleId='Odd'><w:name w:val='own'/><w:outlineLvl w:val='x'/></w:style>"
)
LETTER = (
    f"{para('Fares', 'T')}{para('one  two')}{para('Winter', 'Rubrik')}{para('Deepest', 'Deep')}"
    f"{para('First', 'Top')}{para('plain', 'Body')}"
    f"{para('odd', 'Odd')}{para('new', 'Nowhere')}{para(' ', 'T')}"
    f"<w:p><w:pPr><w:numPr/></w:pPr>{run('item')}</w:p><w:p><w:pPr><w:numPr/></w:pPr>{run(' ')}</w:p>"
    f"<w:p>{run('a')}<w:r><w:tab/></w:r>{run('b')}<w:br/>{run('c')}<w:cr/>{run('d')}<w:noBreakHyphen/>{run('e')}"
    "<w:fld>not shown</w:fld><w:pic/><w:imagedata/></w:p>"
    "<w:p><w:Choice>"
    + run("drawn")
    + "</w:Choice><w:Fallback><w:p>"
    + run("twice")
    + "</w:p></w:Fallback></w:p>"
    f"<w:tbl><w:tr>{cell('port')}{cell('fare')}{cell()}</w:tr>"
    f"<w:tr>{cell('Visby', 'north', ' ')}"
    f"<w:tc><w:tbl><w:tr>{cell('6')}{cell('7')}</w:tr></w:tbl></w:tc></w:tr>"
    f"<w:tr>{cell('')}</w:tr></w:tbl>"
    f"<w:tbl><w:tr>{cell('next')}</w:tr></w:tbl>{para('end')}"
)
LETTER_TEXT = """# Fares

one  two

### Winter

###### Deepest

# First

plain

odd

new

- item

a\tb
c
d-e

drawn

port\tfare
Visby north\t6 7

next

end

[see] below

last
"""


def test_a_letter_keeps_its_headings_items_lines_and_rows(tmp_path: Path) -> None:
    """Headings would be no places, what stands in a row fall apart, or a drawing's words come twice."""
    parts = {
        **{"styles": STYLES, "footnotes": para("[see] below"), "endnotes": para("last")},
        **{"header1": "", "footer": "", "headers": "", "comments": "<w:comment/><w:p/><w:comment/>"},
    }
    make(tmp_path, {"a.docx": word(LETTER, **parts)})
    shown, notes = converted(tmp_path / "a.docx")
    assert shown == LETTER_TEXT
    assert notes == ["left out 2 pictures, 2 running heads, 2 comments"]
    with gather([f"{tmp_path}/a.docx"]) as corpus:
        place = corpus.documents[0].place
        assert isinstance(place, Parts)
        assert list(place.labels) == [
            "Fares",
            "Winter",
            "Deepest",
            "First",
            "footnotes",
            "endnotes",
        ]


OPEN = "xmlns:office='o' xmlns:text='t' xmlns:table='b' xmlns:draw='d' xmlns:svg='s'"
PAPER = f"""<office:x {OPEN}><text:tracked-changes><text:p>gone</text:p></text:tracked-changes>
<text:h text:outline-level="2">Fares  and
 times</text:h><text:p>a<text:tab/>b<text:line-break/>c<text:s text:c="3"/>d<text:s/>e<text:s text:c="x"/>f
 g</text:p>stray
<text:h>One</text:h><text:h text:outline-level="9">Nine</text:h><text:h text:outline-level="10">Ten</text:h>
<text:h text:outline-level="0">Zero</text:h><text:h text:outline-level="x">Odd</text:h>
<text:list-item><text:p>item</text:p></text:list-item>
<text:p>See<text:note><text:note-citation>1</text:note-citation><text:note-body
><text:p>the pier</text:p></text:note-body></text:note> now<office:annotation
><text:p>why?</text:p></office:annotation></text:p>
<text:p><draw:frame><svg:title>t</svg:title><svg:desc>d</svg:desc><draw:image/></draw:frame></text:p>
<table:table><table:table-row><table:table-cell><text:p>port</text:p></table:table-cell>
<table:table-cell><text:p>fare</text:p></table:table-cell></table:table-row>
<table:table-row><table:table-cell><text:p>Visby</text:p><text:p>north</text:p></table:table-cell>
<table:table-cell><text:p>6</text:p></table:table-cell></table:table-row></table:table>
<table:table><table:table-row><table:table-cell><text:p>next</text:p></table:table-cell></table:table-row>
</table:table><text:p>wide<text:s text:c="99999"/>.<text:s text:c="100000000"/>!</text:p></office:x>"""
PAPER_TEXT = f"""## Fares and times

a\tb
c   d e f g

# One

###### Nine

# Ten

# Zero

# Odd

- item

See [the pier] now

port\tfare
Visby north\t6

next

wide{" " * 1000}. !
"""


def test_a_paper_of_open_document_keeps_its_headings_notes_and_rows(tmp_path: Path) -> None:
    """A note would run into the word before it, deleted words be read, or a cell leave its row."""
    files = {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": PAPER}
    make(tmp_path, {"a.odt": zipped(dict(files))})
    shown, notes = converted(tmp_path / "a.odt")
    assert shown == PAPER_TEXT
    assert notes == ["left out 1 list of changes, 1 comment, 1 picture"]


def test_a_document_without_its_text_is_called_damaged(tmp_path: Path) -> None:
    """If this fails a broken letter is an empty one."""
    make(tmp_path, {"a.odt": zipped({"mimetype": "application/vnd.oasis.opendocument.text", "x": "y"})})
    with pytest.raises(InputError, match=r"damaged: it has no content\.xml"):
        gather([f"{tmp_path}/a.odt"])


@pytest.mark.parametrize(("deeper", "read"), [(0, True), (1, False)])
def test_tags_may_nest_so_deep_and_no_deeper(tmp_path: Path, deeper: int, read: bool) -> None:
    """A hostile letter would fill the memory with open tags, or an odd one be refused."""
    inside = DEEPEST_XML - len(("x", "body")) + deeper
    deep = "<w:g>" * inside + "</w:g>" * inside
    make(tmp_path, {"a.docx": word(para("here") + deep + deep + para("there"))})
    with gather([f"{tmp_path}/a.docx"]) as corpus:
        assert text(corpus.documents[0]) == ("here\n\nthere\n" if read else "here\n")
        assert any("nests too deep" in note for note in corpus.notes) != read


def test_a_sheet_shows_its_values_as_people_see_them(tmp_path: Path) -> None:
    """Dates would be numbers, truths Python's, and a cell be cited in a sheet whose name means another."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    first, other = book.active, book.create_sheet("It's\n 2")
    first.title = "Fares_26"
    day = datetime.datetime(2026, 3, 1)
    rows = [
        ["port", None, " two  words\n", None],
        [],
        [True, False, 0.1 + 0.2, 1e20, 7],
        [
            day,
            day.replace(hour=9, second=5, microsecond=700),
            datetime.time(9, 30),
            datetime.date(2026, 3, 2),
        ],
    ]
    for row in rows:
        first.append(row)
    other["B3"] = "last"
    book.create_chartsheet("Chart").add_chart(openpyxl.chart.BarChart())
    book.save(tmp_path / "a.xlsx")
    shown, notes = converted(tmp_path / "a.xlsx")
    assert shown == (
        "Fares_26\nport\t\ttwo words\nTRUE\tFALSE\t0.3\t1e+20\t7\n"
        "2026-03-01\t2026-03-01 09:00:05\t09:30:00\t2026-03-02\n\nIt's 2\n\tlast\n"
    )
    assert notes == ["left out 1 chart sheet"]
    with gather([f"{tmp_path}/a.xlsx"]) as corpus:
        place = corpus.documents[0].place
        assert isinstance(place, Cells)
        assert list(place.sheets) == ["Fares_26", "'It''s 2'"]
        assert list(place.rows) == [0, 1, 3, 4, 0, 0, 3]
