"""Extractive summaries: verbatim sentences in reading order, at their places, from every section."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sumy.models.dom import ObjectDocumentModel, Paragraph
from sumy.models.dom import Sentence as SumySentence
from sumy.summarizers.lex_rank import LexRankSummarizer

from longctx.quotes.extract import Section, similarities, summarize_extractive
from longctx.quotes.outline import outline
from longctx.text.source import Document

Write = Callable[..., Document]

ANIMALS = ["otter", "heron", "badger", "falcon", "salmon", "beaver", "weasel", "magpie"]


def story(animal: str, sentences: int = 13) -> str:
    """Write a chapter that speaks of an animal in sentences that differ."""
    deeds = ["swam", "waited", "slept", "hunted", "hid", "played", "called"]
    places = ["below the old mill", "in the cold river", "near the wooden bridge", "behind the stone church"]
    times = ["at dawn", "that long winter", "before the storm", "after supper", "on market day"]
    return " ".join(
        f"The {animal} {deeds[n % 7]} {places[n % 4]} {times[n % 5]} and nobody noticed."
        for n in range(sentences)
    )


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Make a document of a text."""

    def made(text: str, name: str = "text.txt", encoding: str = "utf-8") -> Document:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
        return Document(name, path, 0, path.stat().st_size, encoding)

    return made


def check(documents: list[Document], sections: list[Section]) -> None:
    """Assert that each sentence is in its document, at its bytes and line, and that all are in order."""
    places = []
    for section in sections:
        assert section.sentences
        for sentence in section.sentences:
            data = sentence.document.path.read_bytes()
            encoding = sentence.document.encoding
            assert data[sentence.byte_start : sentence.byte_end].decode(encoding, "replace") == sentence.text
            before = data[: sentence.byte_start].decode(encoding, "replace")
            assert sentence.line == len(before.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
            places.append((documents.index(sentence.document), sentence.byte_start))
    assert places == sorted(set(places))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("heading", ["# {}", "CHAPTER {}", "BOOK THE {}", "{}."])
def test_sections_follow_the_headings(write: Write, heading: str, end: str) -> None:
    """A summary of a book would not say which chapter its sentences come from."""
    numbers = ["II", "III", "IV", "V"]
    text = "\n\n".join(f"{heading.format(n)}\n\n{story(a)}" for n, a in zip(numbers, ANIMALS, strict=False))
    document = write(text.replace("\n", end))
    sections = summarize_extractive([document], 8)
    check([document], sections)
    assert [section.title for section in sections] == [heading.format(n).removeprefix("# ") for n in numbers]
    assert [len(section.sentences) for section in sections] == [2, 2, 2, 2]
    for section, animal in zip(sections, ANIMALS, strict=False):
        assert all(animal in sentence.text for sentence in section.sentences)
        assert section.considered == 13


def test_too_many_chapters_are_joined(write: Write) -> None:
    """A short summary of a long book would have one section for each of hundreds of chapters."""
    text = "\n\n".join(f"CHAPTER {n}\n\n{story(ANIMALS[n % 8])}" for n in range(1, 41))
    document = write(text)
    sections = summarize_extractive([document], 12)
    check([document], sections)
    assert len(sections) == 4
    assert sections[1].title == "CHAPTER 11 - CHAPTER 20"
    assert sum(section.considered for section in sections) == 40 * 13


def test_wider_headings_are_taken_where_they_suffice(write: Write) -> None:
    """The books of a novel would be cut across."""
    text = "\n\n".join(
        f"BOOK {book}: 18{book}0\n\n"
        + "\n\n".join(f"CHAPTER {n}\n\n{story(ANIMALS[book])}" for n in range(9))
        for book in range(1, 7)
    )
    sections = summarize_extractive([write(text)], 14)
    assert [section.title for section in sections] == [f"BOOK {book}: 18{book}0" for book in range(1, 7)]


def test_a_table_of_contents_is_no_section(write: Write) -> None:
    """The summary of a book with a table of contents would be made of empty chapters."""
    titles = [f"CHAPTER {n}. The {animal.title()}" for n, animal in enumerate(ANIMALS, 1)]
    text = "\n\n".join([*titles, *(f"{t}\n\n{story(a)}" for t, a in zip(titles, ANIMALS, strict=True))])
    sections = summarize_extractive([write(text)], 16)
    assert [section.title for section in sections] == titles
    assert all(section.considered == 13 for section in sections)


def test_a_text_without_headings_comes_in_slices(write: Write) -> None:
    """All sentences could come from one page of a text that has no chapters."""
    document = write("\n\n".join(story(ANIMALS[n % 8]) for n in range(40)))
    sections = summarize_extractive([document], 12)
    check([document], sections)
    assert [section.title for section in sections] == [f"Part {n} of 4" for n in range(1, 5)]
    assert max(s.considered for s in sections) <= 1.5 * min(s.considered for s in sections)


def test_files_are_sections(write: Write) -> None:
    """A summary of several files would leave out some of them."""
    documents = [write(story(animal), f"{animal}.txt") for animal in ANIMALS]
    sections = summarize_extractive(documents, 10)
    check(documents, sections)
    assert [section.title for section in sections] == [f"{animal}.txt" for animal in ANIMALS]


def test_code_gives_its_docstrings(write: Write) -> None:
    """The summary of a program would consist of lines of code."""
    documents = [
        write("# Otter\n\n" + story("otter"), "README.md"),
        write('"""Count the otters in a river. Knows no herons."""\n\nimport os\n', "count.py"),
        write(
            "// Copyright 2020 Somebody\n\n// Feeds the herons\n// every day.\nint main() { return 0; }\n",
            "feed.c",
        ),
        write("int x = 0;\n", "bare.c"),
    ]
    sections = summarize_extractive(documents, 8)
    check(documents, sections)
    texts = {section.title: [sentence.text for sentence in section.sentences] for section in sections}
    assert texts["count.py"][0] == "Count the otters in a river."
    assert texts["feed.c"] == ["Feeds the herons"]
    assert texts["bare.c"] == ["int x = 0;"]


def test_the_central_sentence_is_chosen_and_no_other_like_it(write: Write) -> None:
    """A summary would repeat itself, or tell what nobody else in the text speaks of."""
    same = "The council will build the new bridge over the river Elm this year."
    more = [
        "The new bridge over the river Elm costs more than the council expected.",
        "Farmers near the river Elm asked the council for a bridge last year.",
        "Parrots can live for sixty years in a quiet kitchen.",
        "The council votes about the bridge over the Elm on Monday night.",
    ]
    section = summarize_extractive([write(" ".join([same, *more, same, same.replace("new", "fine")]))], 2)[0]
    texts = [sentence.text for sentence in section.sentences]
    assert len(texts) == 2
    assert not any("Parrots" in text for text in texts)
    assert sum("build the" in text for text in texts) <= 1


def test_boilerplate_is_not_considered(write: Write) -> None:
    """Headings, tables, fragments and page numbers would be quoted as the essence of a text."""
    junk = [
        "ALL OF THIS IS IN CAPITALS AND SAYS NOTHING.",
        "Chapter one . . . . . . . 12.",
        "Yes. No. Oh well.",
    ]
    junk += [
        "- a point of a list that ends with a stop.",
        "| a | table | of | many | cells |.",
        "word " * 100 + "end.",
    ]
    section = summarize_extractive([write("\n\n".join([*junk, story("otter")]))], 3)[0]
    assert section.considered == 13


@pytest.mark.parametrize("text", ["", "\n" * 3000, " \r\n\t"])
def test_nothing_comes_of_nothing(write: Write, text: str) -> None:
    """An empty file would end in a traceback."""
    assert summarize_extractive([write(text)], 5) == []
    assert summarize_extractive([], 5) == []


def test_text_without_sentences_gives_its_first_line(write: Write) -> None:
    """A log or a list of words would have no summary at all."""
    (section,) = summarize_extractive([write("\n\nalpha beta\ngamma\n" * 3)], 2)
    assert [(s.text, s.line, s.score) for s in section.sentences] == [("alpha beta", 3, 0.0)]
    assert section.considered == 0


@pytest.mark.parametrize("encoding", ["utf-16-le", "cp932"])
def test_japanese_in_other_encodings(write: Write, encoding: str) -> None:
    """Texts without word spaces would have no sentence of the right length."""
    text = (
        "吾輩は猫である。名前はまだ無い。どこで生れたか頓と見当がつかぬ。何でも薄暗い所で泣いて居た。\r\n" * 3
    )
    document = write(text, encoding=encoding)
    sections = summarize_extractive([document], 2)
    check([document], sections)
    assert sections[0].considered >= 6


def test_long_texts_go_through_windows(write: Write) -> None:
    """Comparing all sentences of a book with each other would take hours and all memory."""
    text = " ".join(
        f"The {ANIMALS[n % 8]} number {n} ran {n * 7 % 13} miles through the old forest." for n in range(1500)
    )
    document = write(text)
    sections = summarize_extractive([document], 2)
    check([document], sections)
    assert sum(section.considered for section in sections) == 1500
    assert sum(len(section.sentences) for section in sections) == 2


SCRAPS = [story("otter", 3), story("heron", 2), "# Head\n", "x = {1: 2}\n", "\r\n", "é" * 30]


@given(
    st.lists(st.sampled_from(SCRAPS), max_size=25),
    st.integers(1, 30),
)
def test_any_summary_is_verbatim_and_bounded(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], count: int
) -> None:
    """A sentence that is not in the text, or at another line, would make the summary worthless."""
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes("\n\n".join(parts).encode())
    document = Document("any.txt", path, 0, path.stat().st_size, "utf-8")
    sections = summarize_extractive([document], count)
    check([document], sections)
    assert len(sections) <= count
    assert sum(len(section.sentences) for section in sections) <= count
    pieces = [piece for part in outline([document], count) for piece in part.pieces]
    if pieces:
        ends = [0, *(piece.byte_end for piece in pieces)]
        assert [piece.byte_start for piece in pieces] == ends[:-1]
        assert ends[-1] == document.end


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), min_size=2, max_size=12))
def test_the_matrix_is_that_of_sumy(texts: list[list[str]]) -> None:
    """Sentences would be ranked by something that only looks like LexRank."""
    plain = LexRankSummarizer()
    frequencies = plain._compute_tf(texts)
    rarities = plain._compute_idf(texts)
    expected = plain._create_matrix(texts, 0.1, frequencies, rarities)
    ours = similarities(texts)
    told = numpy.diag(expected) > 0  # sumy calls a sentence without telling words unlike itself
    numpy.testing.assert_allclose(ours[told], expected[told])
    numpy.testing.assert_allclose(ours[~told], numpy.eye(len(texts))[~told])


def test_the_ranking_is_that_of_sumy(write: Write) -> None:
    """The library's own ranking is what the summaries are described as."""
    texts = [
        f"The {ANIMALS[n % 3]} met {ANIMALS[n % 5]} and {ANIMALS[n % 7]} near a mill." for n in range(20)
    ]

    class Words:
        def to_words(self, text: str) -> list[str]:
            return text.strip(".").lower().split()

    model = ObjectDocumentModel([Paragraph([SumySentence(text, Words()) for text in texts])])
    chosen = {str(sentence) for sentence in LexRankSummarizer()(model, 5)}
    scores = LexRankSummarizer.power_method(similarities([Words().to_words(text) for text in texts]), 0.1)
    best = sorted(range(20), key=lambda n: -scores[n])[:5]
    assert {texts[n] for n in best} == chosen


def test_help_does_not_wait_for_the_libraries() -> None:
    """Every command would start half a second later."""
    late = "'sumy', 'nltk', 'numpy'"
    code = f"import sys, longctx.quotes.extract; sys.exit(any(m in sys.modules for m in ({late})))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
