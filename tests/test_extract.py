"""Extractive summaries: verbatim sentences in reading order, at their places, from every section."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from longctx.quotes.candidates import Candidate, candidates, length
from longctx.quotes.coverage import STRETCH, Coverage
from longctx.quotes.extract import WINDOW, Excerpt, _held, summarize_extractive
from longctx.quotes.outline import outline
from longctx.text.source import Document
from longctx.text.span import Quote

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


def check(documents: list[Document], excerpts: list[Excerpt]) -> None:
    """Assert that each sentence is in its document, at its bytes and lines, and that all are in order."""
    places = []
    for excerpt in excerpts:
        assert excerpt.sentences
        for sentence in excerpt.sentences:
            span = sentence.span
            assert span.text() == sentence.text
            before = span.document.path.read_bytes()[: span.byte_start].decode(span.document.encoding)
            assert span.first_line == lines_of(before)
            assert span.last_line == lines_of(before + sentence.text)
            places.append((documents.index(span.document), span.byte_start))
    assert places == sorted(set(places))


def lines_of(text: str) -> int:
    return len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def considered(documents: list[Document], count: int) -> list[int]:
    """Count the sentences that are compared in each section."""
    return [len(list(candidates(section))) for section in outline(documents, count)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("heading", ["# {}", "CHAPTER {}", "BOOK THE {}", "{}."])
def test_sections_follow_the_headings(write: Write, heading: str, end: str) -> None:
    """A summary of a book would not say which chapter its sentences come from."""
    numbers = ["II", "III", "IV", "V"]
    text = "\n\n".join(f"{heading.format(n)}\n\n{story(a)}" for n, a in zip(numbers, ANIMALS, strict=False))
    document = write(text.replace("\n", end))
    excerpts = summarize_extractive([document], 200)
    check([document], excerpts)
    assert [excerpt.title for excerpt in excerpts] == [heading.format(n).removeprefix("# ") for n in numbers]
    for excerpt, animal in zip(excerpts, ANIMALS, strict=False):
        assert all(animal in sentence.text for sentence in excerpt.sentences)
    assert considered([document], 8) == [13] * 4


def test_too_many_chapters_are_joined(write: Write) -> None:
    """A short summary of a long book would have one section for each of hundreds of chapters."""
    text = "\n\n".join(f"CHAPTER {n}\n\n{story(ANIMALS[n % 8])}" for n in range(1, 41))
    document = write(text)
    excerpts = summarize_extractive([document], 300)
    check([document], excerpts)
    assert len(excerpts) == 4
    assert excerpts[1].title == "CHAPTER 11 - CHAPTER 20"
    assert sum(considered([document], 12)) == 40 * 13


def test_wider_headings_are_taken_where_they_suffice(write: Write) -> None:
    """The books of a novel would be cut across."""
    text = "\n\n".join(
        f"BOOK {book}: 18{book}0\n\n"
        + "\n\n".join(f"CHAPTER {n}\n\n{story(ANIMALS[book])}" for n in range(9))
        for book in range(1, 7)
    )
    excerpts = summarize_extractive([write(text)], 350)
    assert [excerpt.title for excerpt in excerpts] == [f"BOOK {book}: 18{book}0" for book in range(1, 7)]


def test_a_table_of_contents_is_no_section(write: Write) -> None:
    """The summary of a book with a table of contents would be made of empty chapters."""
    titles = [f"CHAPTER {n}. The {animal.title()}" for n, animal in enumerate(ANIMALS, 1)]
    text = "\n\n".join([*titles, *(f"{t}\n\n{story(a)}" for t, a in zip(titles, ANIMALS, strict=True))])
    document = write(text)
    assert [excerpt.title for excerpt in summarize_extractive([document], 400)] == titles
    assert considered([document], 16) == [13] * 8


def test_a_text_without_headings_comes_in_slices(write: Write) -> None:
    """All sentences could come from one page of a text that has no chapters."""
    document = write("\n\n".join(story(ANIMALS[n % 8]) for n in range(40)))
    excerpts = summarize_extractive([document], 300)
    check([document], excerpts)
    assert [excerpt.title for excerpt in excerpts] == [f"Part {n} of 4" for n in range(1, 5)]
    counts = considered([document], 12)
    assert max(counts) <= 1.5 * min(counts)
    letter = write("\n\n".join(story(ANIMALS[n]) for n in range(4)))
    assert {excerpt.title for excerpt in summarize_extractive([letter], 300)} == {""}


def test_files_are_sections(write: Write) -> None:
    """A summary of several files would leave out some of them."""
    documents = [write(story(animal), f"{animal}.txt") for animal in ANIMALS]
    excerpts = summarize_extractive(documents, 250)
    check(documents, excerpts)
    assert [excerpt.title for excerpt in excerpts] == [f"{animal}.txt" for animal in ANIMALS]


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
    excerpts = summarize_extractive(documents, 200)
    check(documents, excerpts)
    texts = {excerpt.title: [sentence.text for sentence in excerpt.sentences] for excerpt in excerpts}
    assert texts["count.py"][0] == "Count the otters in a river."
    assert texts["feed.c"] == ["Feeds the herons"]
    assert "bare.c" not in texts


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
    assert considered([write("\n\n".join([*junk, story("otter")]))], 3) == [13]


@pytest.mark.parametrize("text", ["", "\n" * 3000, " \r\n\t"])
def test_nothing_comes_of_nothing(write: Write, text: str) -> None:
    """An empty file would end in a traceback."""
    assert summarize_extractive([write(text)], 125) == []
    assert summarize_extractive([], 5) == []


@pytest.mark.parametrize("encoding", ["utf-16-le", "cp932"])
def test_japanese_in_other_encodings(write: Write, encoding: str) -> None:
    """Texts without word spaces would have no sentence of the right length."""
    text = (
        "吾輩は猫である。名前はまだ無い。どこで生れたか頓と見当がつかぬ。何でも薄暗い所で泣いて居た。\r\n" * 3
    )
    document = write(text, encoding=encoding)
    excerpts = summarize_extractive([document], 50)
    check([document], excerpts)
    assert considered([document], 2)[0] >= 6


def test_what_is_said_most_is_told_once(write: Write) -> None:
    """A summary would repeat itself, or tell what nobody else in the text speaks of."""
    deeds = [
        "planned",
        "priced",
        "praised",
        "mourned",
        "sketched",
        "crossed",
        "measured",
        "painted",
        "opposed",
    ]
    talk = [f"The council {deed} the bridge over the Elm in month {n}." for n, deed in enumerate(deeds)]
    odd = ["Parrots can live sixty years in quiet kitchens.", "Yellow lamps hummed near empty tin bathtubs."]
    document = write(" ".join([*talk[:4], odd[0], *talk, odd[1], *talk[4:]]))
    (excerpt,) = summarize_extractive([document], 11)
    (sentence,) = excerpt.sentences
    assert "council" in sentence.text
    texts = [s.text for e in summarize_extractive([document], 66) for s in e.sentences]
    assert len(texts) == len(set(texts)) > 4


def essay(count: int, seed: int = 0) -> str:
    """Write sentences of 5 to 40 words in paragraphs, some of them speech."""
    random = Random(seed)
    nouns = [f"{a}{b}" for a in ANIMALS for b in ("", "s", "like", "hood", "land")]
    sentences = [" ".join(random.choices(nouns, k=random.randint(5, 40))) for _ in range(count)]
    ends = [random.choice([" ", " ", "\n\n"]) for _ in range(count)]
    return "".join(s.capitalize() + "." + end for s, end in zip(sentences, ends, strict=True))


@pytest.mark.parametrize("asked", [50, 100, 300, 1000])
@pytest.mark.parametrize("headings", [0, 3, 9])
def test_the_length_is_the_one_asked_for(write: Write, asked: int, headings: int) -> None:
    """A summary for a form of 300 words would come with 411, as it did."""
    parts = [essay(400 // (headings + 1), seed) for seed in range(headings + 1)]
    document = write("\n\n".join(f"# Part {n}\n\n{part}" for n, part in enumerate(parts)))
    excerpts = summarize_extractive([document], asked)
    check([document], excerpts)
    words = sum(length(s.text) for excerpt in excerpts for s in excerpt.sentences)
    assert 0.95 * asked <= words <= 1.03 * asked


def test_all_of_a_short_text_is_quoted(write: Write) -> None:
    """A summary longer than its text would leave some of it out all the same, or never end."""
    assert len(summarize_extractive([write(story("otter"))], 1000)[0].sentences) == 13


def test_sentences_come_from_all_over(write: Write) -> None:
    """A summary would quote the page with the rarest words and nothing else."""
    plain = story("otter", 60)
    rich = " ".join(
        f"Lord Quill{n} met Lady Vane{n} at Castle Tor{n} over Lord Quill{n - 1}." for n in range(60)
    )
    document = write(f"{plain} {rich}")
    (excerpt,) = summarize_extractive([document], 100)
    assert sum("otter" in sentence.text for sentence in excerpt.sentences) >= 2
    assert sum("Quill" in sentence.text for sentence in excerpt.sentences) >= 2


def test_speech_and_scraps_come_last(write: Write) -> None:
    """The summary of a story would be "Yes," said he."""
    told = "The keeper of the lighthouse mended the broken lamp before the storm."
    said = "'The keeper of the lighthouse mended the broken lamp before the storm.'"
    inside = "'Listen to me. The keeper of the lighthouse mended the broken lamp before the storm.'"
    for other in (said, inside):
        (excerpt,) = summarize_extractive(
            [write(f"{story('otter', 6)} {other} {story('heron', 6)} {told}")], 40
        )
        texts = [sentence.text for sentence in excerpt.sentences]
        assert told in texts
        assert not any(text in other for text in texts if text != told)


def test_a_text_of_any_size_is_held_in_windows(write: Write) -> None:
    """Ten million sentences would have to fit into memory."""
    text = " ".join(
        f"The {ANIMALS[n % 8]} number {n} ran {n * 7 % 13} miles through." for n in range(WINDOW + 300)
    )
    document = write(text)
    (section,) = outline([document], 1)
    held = _held(candidates(section), 50)
    assert 200 < len(held) < 400
    assert [one.quote.span.byte_start for one in held] == sorted(one.quote.span.byte_start for one in held)
    excerpts = summarize_extractive([document], 50)
    check([document], excerpts)


SCRAPS = [story("otter", 3), story("heron", 2), "# Head\n", "x = {1: 2}\n", "\r\n", "é" * 30]


@given(
    st.lists(st.sampled_from(SCRAPS), max_size=25),
    st.integers(1, 30),
)
@example([SCRAPS[0], "# Head\n", *[SCRAPS[0]] * 3, "# Head\n", "# Head\n"], 3)
def test_any_summary_is_verbatim_and_bounded(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], count: int
) -> None:
    """A sentence that is not in the text, or at another line, would make the summary worthless."""
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes("\n\n".join(parts).encode())
    document = Document("any.txt", path, 0, path.stat().st_size, "utf-8")
    excerpts = summarize_extractive([document], 25 * count)
    check([document], excerpts)
    assert len(excerpts) <= count
    assert sum(length(s.text) for excerpt in excerpts for s in excerpt.sentences) <= 1.03 * 25 * count
    spans = [span for section in outline([document], count) for span in section.spans]
    if spans:
        ends = [0, *(span.byte_end for span in spans)]
        assert [span.byte_start for span in spans] == ends[:-1]
        assert ends[-1] == document.end


def test_code_between_fences_is_not_quoted(write: Write) -> None:
    """If this fails the summary of a README quotes its shell commands as sentences."""
    code = "$ run it now. It prints the answer, and the place of it.\n\nThis line is code too, you see."
    document = write(f"{story('fox')}\n\n```console\n{code}\n```\n\n{story('owl')}\n", "README.md")
    excerpts = summarize_extractive([document], 2000)
    texts = [sentence.text for excerpt in excerpts for sentence in excerpt.sentences]
    assert any("owl" in text for text in texts)
    assert not any("answer" in text or "code" in text for text in texts)


def test_a_section_is_one_stretch_of_each_document(write: Write) -> None:
    """If this fails a section is read in scraps, and a sentence across two of them is lost."""
    documents = [write(story("otter", 3), "a.txt"), write("\n\n".join(map(story, ANIMALS)), "b.txt")]
    sections = outline(documents, 15)
    assert len(sections) == 5
    for section in sections:
        names = [span.document.name for span in section.spans]
        assert len(names) == len(set(names))
    spans = [span for section in sections for span in section.spans]
    assert sum(span.byte_end - span.byte_start for span in spans) == sum(one.end for one in documents)


def test_the_next_sentence_comes_from_another_stretch() -> None:
    """If this fails all of a short summary is the first page."""
    every = [
        Candidate(Quote(None, " ".join(f"{a}x{b}" for b in "bcdfgh")), 6, opens=False, speech=False)  # type: ignore[arg-type]
        for a in "qrstvwxz"
    ]
    coverage = Coverage(every, 2 * STRETCH, Counter())
    taken = []
    for _ in range(4):
        best = coverage.best(10)
        assert best is not None
        coverage.take(best[1])
        taken.append(best[1])
    assert taken == [0, 4, 1, 5]
    assert coverage.best(5) is None
    assert coverage.best(10, 7) is None
