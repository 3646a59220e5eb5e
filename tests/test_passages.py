"""Passages: nothing lost, every place right, and the passage that answers a question found by its words."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.quotes.sentences import split_sentences
from longctx.text.source import Document
from longctx.text.span import Quote

Write = Callable[..., Document]

SCRAPS = [
    "a",
    "B c",
    " ",
    ". ",
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    "\t",
    "é",
    "你好。",
    "\u2028",
    "\x0c",
    "{};",
    "word " * 60,
]
BOOK = """CHAPTER I

The village lies in a valley between two hills. Nobody had come here for years, and the road was overgrown.

The lighthouse keeper, whose name was Ansgar, kept a tame raven called Mumble. It ate nothing but plums.

CHAPTER II

In spring the river rose over its banks. The bridge was lost, and the miller rowed the children to school.
"""


def at(path: Path, data: bytes, encoding: str = "utf-8", name: str = "text.txt") -> Document:
    path.write_bytes(data)
    return Document(name, path, 0, len(data), encoding)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Make a document of a text."""
    return lambda text, name="text.txt": at(tmp_path / name, text.encode(), name=name)


def lines_before(text: str) -> int:
    return len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def check(document: Document, text: str) -> list[Quote]:
    """Assert that the passages are the text, in order, at their places, but for white space between them."""
    data = document.path.read_bytes()
    found = list(passages(document))
    end = document.start
    for passage in found:
        span = passage.span
        assert not data[end : span.byte_start].decode(document.encoding, "replace").strip()
        assert span.text() == passage.text
        before = data[document.start : span.byte_start].decode(document.encoding, "replace")
        assert span.first_line == lines_before(before)
        assert span.last_line == lines_before(before + passage.text)
        assert passage.text.strip() == passage.text != ""
        assert len(passage.text) <= 1000
        end = span.byte_end
    assert not data[end : document.end].decode(document.encoding, "replace").strip()
    return found


def best(documents: Sequence[Document], question: str, limit: int = 3) -> list[Quote]:
    with PassageIndex() as index:
        for document in documents:
            for passage in passages(document):
                index.add(passage)
        return index.search(question, limit)


@given(st.lists(st.sampled_from(SCRAPS) | st.text(max_size=5), max_size=60), st.integers(1, 3))
def test_passages_cover_the_document(
    tmp_path_factory: pytest.TempPathFactory, scraps: list[str], times: int
) -> None:
    """Losing a line here would keep it from ever being cited, and a wrong place would cite another."""
    text = "".join(scraps * times).encode("utf-8", "ignore").decode()
    check(at(tmp_path_factory.getbasetemp() / "cover.txt", text.encode()), text)


@given(
    st.lists(
        st.sampled_from([b"\xff", b"\xe2\x82", b"\xef\xbf\xbd", b"ok. ", b"\n", b"\n\n", "é".encode()]),
        max_size=40,
    )
)
def test_undecodable_bytes_keep_their_place(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    """One broken byte would shift every citation after it."""
    data = b"".join(pieces)
    check(at(tmp_path_factory.getbasetemp() / "broken.txt", data), data.decode("utf-8", "replace"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "cp1252", "latin-1"])
def test_places_are_right_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    """Citations into files that are not UTF-8 would point at the wrong bytes."""
    text = "Señor Nuñez drank café.\r\n\r\n" * 200
    assert len(check(at(tmp_path / "text.txt", text.encode(encoding), encoding), text)) > 5


def test_one_long_line_is_cut_at_sentences(write: Write) -> None:
    """A book in one line would be one passage, too long for any prompt."""
    text = " ".join(f"This is sentence number {n} of the long line." for n in range(2000))
    found = check(write(text), text)
    assert all(passage.text.startswith("This is") and passage.text.endswith("line.") for passage in found)
    assert all(400 <= len(passage.text) <= 900 for passage in found[:-1])


def test_text_without_any_space_is_cut_anyway(write: Write) -> None:
    """A file of base64 would be held in memory whole."""
    found = check(write("x" * 50_000), "x" * 50_000)
    assert max(len(passage.text) for passage in found) <= 900


def test_code_is_cut_between_lines(write: Write) -> None:
    """A passage of code that begins within a line cannot be read."""
    text = "".join(f"    total_{n} = compute(values[{n}], {{'n': {n}}})\n" for n in range(200))
    found = check(write(text, "code.py"), text)
    assert all(p.text.startswith("total") and p.text.endswith("})") for p in found)
    assert all(5 <= p.span.last_line - p.span.first_line + 1 <= 20 for p in found)


def test_a_heading_begins_a_passage(write: Write) -> None:
    """The end of one chapter and the start of another would be quoted as one."""
    assert [p.text[:10] for p in check(write(BOOK), BOOK)] == ["CHAPTER I\n", "CHAPTER II"]


@pytest.mark.parametrize("text", ["", "\n" * 5000, " \t\r\n" * 3000, "\ufeff"])
def test_empty_documents_have_nothing_to_find(write: Write, text: str) -> None:
    """An empty file in a folder would stop the whole run."""
    document = write(text)
    check(document, text)
    assert best([document], "anything") == []


@given(st.text(alphabet="ab. \n\"'!?é你。", max_size=300))
def test_sentences_joined_are_the_text(text: str) -> None:
    """A splitter that drops white space would shift every place after it."""
    assert "".join(split_sentences(text)) == text


def test_long_texts_survive_the_sentence_splitter() -> None:
    """The splitter works in parts of its own from 10,000 characters on and drops white space between them."""
    text = 'The sentence is short.\n\n"It is," he said.\n\n' * 1000
    assert "".join(split_sentences(text)) == text


def test_the_obvious_passage_is_first(write: Write) -> None:
    """Asking a question would bring up some other part of the book."""
    filler = "\n\n".join(
        f"Paragraph {n} tells of weather, sheep and hay in the year {1800 + n}. " * 8 for n in range(50)
    )
    document = write(f"{filler}\n\n{BOOK}\n\n{filler}")
    found = best([document], "What was the name of the lighthouse keeper's raven?")
    assert "called Mumble" in found[0].text
    assert "miller rowed" in best([document], "Who was rowing children to the school?")[0].text
    assert best([document], "zeppelin quaternion") == []


@pytest.mark.parametrize(
    "question",
    [
        '" OR 1=1 --',
        "NEAR(",
        "*",
        '"',
        "text:raven",
        "raven AND NOT (",
        "^raven -plums",
        "'; DROP TABLE words; --",
        "",
        "?!",
        "\x00raven",
        "raven \udcff",
        "the of what",
        "{raven}",
        "raven " * 3000,
        "\N{CAT FACE}",
    ],
)
def test_no_question_is_query_syntax(write: Write, question: str) -> None:
    """A question with quotes or operators would fail with a database error or search for something else."""
    found = best([write(BOOK)], question)
    assert bool(found) == ("raven" in question or "of" in question)


@given(st.text(max_size=40))
def test_any_question_can_be_asked(tmp_path_factory: pytest.TempPathFactory, question: str) -> None:
    """Some odd character in a question would end in a traceback."""
    best([at(tmp_path_factory.getbasetemp() / "any.txt", BOOK.encode())], question)


@pytest.mark.parametrize("question", ["灯塔看守人的乌鸦叫什么名字？", "乌鸦", "鸦"])
def test_scripts_without_spaces_are_found(write: Write, question: str) -> None:
    """Questions in Chinese or Japanese would find nothing, for there are no words to match."""
    other = "春天河水上涨，桥被冲走了，磨坊主划船送孩子们去上学。" * 20
    found = best([write(f"{other}\n\n灯塔看守人养了一只乌鸦，名叫阿木，只吃李子。\n\n{other}")], question)
    assert "乌鸦" in found[0].text


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what does parse_header return", "def parse_header"),
        ("how is a header parsed", "def parse_header"),
        ("where is HttpConnectionPool defined", "class HttpConnectionPool"),
        ("the connection pool of http", "class HttpConnectionPool"),
        ("who calls os.path.join", "os.path.join("),
        ("cafe resume", "Café résumé"),
    ],
)
def test_identifiers_match_whole_and_in_parts(write: Write, question: str, answer: str) -> None:
    """Asking about code would need the exact spelling, or find every use of a common word."""
    blocks = [
        "def parse_header(line):\n    return line.split(':')",
        "class HttpConnectionPool:\n    limit = 3",
        "def locate(name):\n    return os.path.join(root, name)",
        "# Café résumé\nmenu = None",
        *(f"def step_{n}(value):\n    path = value + {n}\n    return path" for n in range(20)),
    ]
    text = "\n\n".join(block + "\n" + "# ....................\n" * 8 for block in blocks)
    assert answer in best([write(text, "code.py")], question)[0].text


def test_the_name_of_a_file_counts_a_little(write: Write) -> None:
    """A question that names a file would get passages of any other file that has the words."""
    same = "The settings are read here and the values checked one after another. " * 8
    documents = [write(same, f"{name}.py") for name in ("alpha", "beta", "gamma")]
    assert best(documents, "how are settings read in beta.py", 1)[0].span.document.name == "beta.py"
    assert best(documents, "gamma", 1)[0].span.document.name == "gamma.py"


def test_neighbours_come_as_one_and_ties_in_reading_order(write: Write) -> None:
    """The places for an answer would be taken up by pieces of the same page, in an order that changes."""
    filler = "Nothing of interest happened on that day in the village by the sea. " * 7
    hit = "The comet was seen again over the old harbour, long and pale as ever. " * 7
    document = write("\n\n".join([hit, hit, *[filler] * 5, hit, *[filler] * 5]))
    found = best([document], "comet", 5)
    assert [(p.span.first_line, p.span.last_line) for p in found] == [(1, 3), (15, 15)]
    assert all(passage.span.text() == passage.text for passage in found)


def test_passages_can_be_added_after_a_search(write: Write) -> None:
    """An index fed while reading could be asked once only."""
    with PassageIndex() as index:
        for passage in passages(write(BOOK)):
            index.add(passage)
            assert index.search(passage.text, 1)[0].text.endswith(passage.text)


def test_an_index_leaves_nothing_behind(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk would fill with indexes of texts that were only read once."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("SQLITE_TMPDIR", str(folder))
    best([write(BOOK * 500)], "raven")
    assert list(folder.iterdir()) == []


RUSSIAN = "Смотритель маяка держал ручного ворона. Ворон ел только сливы."
GERMAN = "Die Wärterin des Turms hat einen zahmen Raben, und der frisst nicht viel von den Pflaumen."
ARABIC = "كان حارس المنارة يربي غرابا أليفا ولا يأكل الغراب إلا البرقوق"


@pytest.mark.parametrize(
    ("filler", "told", "question"),
    [
        ("Весной река вышла из берегов и снесла мост. ", RUSSIAN, "Кто кормил воронов сливами?"),
        (
            "Der Fluss ist im Tal, und die Brücke ist von den Leuten nicht zu sehen. ",
            GERMAN,
            "Wer hat Pflaume?",
        ),
        ("فاض النهر في الربيع وضاع الجسر ", ARABIC, "ماذا أكلت الغربان والبرقوقات في منارتها؟"),
    ],
)
def test_endings_of_other_languages_do_not_hide_a_passage(
    write: Write, filler: str, told: str, question: str
) -> None:
    """Who asks in Russian, German or Arabic would have to guess the very form of a word in the text."""
    document = write("\n\n".join([*[filler * 12] * 8, told, *[filler * 12] * 8]))
    assert told in best([document], question, 1)[0].text


def test_words_that_stand_together_beat_the_same_words_far_apart(write: Write) -> None:
    """A page that mentions all the words of a question somewhere would hide the sentence that answers it."""
    dull = "The day was long and the rain went on, as it does in those hills in autumn. "
    apart = f"A silver coin lay there. {dull * 4}The captain slept. {dull * 4}"
    near = f"{dull * 4}The captain found a silver coin in the sand. {dull * 4}"
    document = write("\n\n".join([apart, *[dull * 9] * 4, near, *[dull * 9] * 4, apart]))
    assert "found a silver coin" in best([document], "Where was the captain's silver coin?", 1)[0].text
