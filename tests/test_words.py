"""What a text looks like, which words of a question tell, and how near they stand: a table for each rule."""

import random
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.quotes.index import rarity
from longctx.quotes.kinds import asked_kind, is_of_kind
from longctx.quotes.prose import (
    heading_level,
    humps,
    is_code,
    is_prose,
    unspaced_characters,
    with_pairs,
    within_bracket,
    words,
)
from longctx.quotes.related import related
from longctx.quotes.scan import Cells, fold, telling
from longctx.quotes.second_look import BESIDE, KIND_WEIGHT, NEAR, NEAR_WEIGHT, Look
from longctx.quotes.stems import cut_foreign, cut_latin, is_foreign_latin
from longctx.quotes.terms import phrases_of, terms_of
from longctx.text.document import Document

HEADINGS = {
    "# One": 1,
    "###### Six\n": 6,
    "####### Seven": None,
    "#One": None,
    "One\n===": 1,
    "One\n---\n": 2,
    "One\n==": None,
    "One\ntwo\n===": None,
    "# One\ntwo": 1,
    "# One\ntwo\nthree": None,
    "BOOK ONE": 2,
    "Part II. The Sea": 2,
    "FIRST EPILOGUE": 2,
    "CHAPTER 7": 3,
    "Chapter the Last": 3,
    "PREFACE": 3,
    "PREFACE.": 3,
    "Preface.": None,
    "Chapters 7": None,
    "Section 8 applies to all of them, as said.": None,
    "SECTION 8 applies, as said": 3,
    "Section 8 applies": 3,
    "Act quickly": None,
    "IV.": 4,
    "123": 4,
    "1234": None,
    "IV.\nmore": None,
    "THE RIVER ROSE": 5,
    "THE": None,
    "A B C": None,
    "THE RIVER\nROSE": None,
    "The River": None,
    "": None,
    "\n\n": None,
    "# " + "x" * 98: 1,
    "# " + "x" * 99: None,
    "  # One  ": 1,
    "# One" + " " * 500: 1,
}


@pytest.mark.parametrize("text", HEADINGS)
def test_a_heading_is_told_from_text_and_has_its_depth(text: str) -> None:
    """If this fails a summary divides a book within its chapters, or calls a sentence a chapter."""
    assert heading_level(text) == HEADINGS[text]


LOOKS = {
    # (is it code, is it prose)
    "We met at the pier and talked until it was late.": (False, True),
    "In 1805, 20,000 men fell near the river there.": (False, True),
    "x[i] = f(a, b) + {c} * 2": (True, False),
    "1234567890 1234567890": (True, False),
    "a = 1 and some more": (False, True),
    "def count(rivers): of them": (True, True),
    "from os import path of them": (True, True),
    "We import goods from os.": (False, True),
    "/* says what it does */ and then some words go on here": (True, True),
    "# A heading of it\n\nand words that follow": (False, True),
    "# two lines\n# of a comment\nwords that follow them": (True, True),
    "#!/bin/sh\nwords that follow them, and then some more of those": (False, True),
    "one\n  two\nthree": (False, True),
    "one\n  two\n  three": (True, False),
    "  one\n  two": (False, True),
    "": (False, True),
}


@pytest.mark.parametrize("text", LOOKS)
def test_code_is_told_from_prose(text: str) -> None:
    """If this fails a summary quotes lines of code, or leaves a page of a story out."""
    assert (is_code(text), is_prose(text)) == LOOKS[text]


def test_prose_has_few_symbols_for_its_length() -> None:
    """If this fails each line of a log is a sentence."""
    assert is_prose("#" * 8 + "x" * 92)
    assert not is_prose("#" * 9 + "x" * 91)
    assert is_prose("1" * 32 + "x" * 68)
    assert not is_prose("1" * 33 + "x" * 67)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It's 3.5 km, she_said", ["It", "s", "3", "5", "km", "she", "said"]),
        ("Zoë said, naïve", ["Zoë", "said", "naïve"]),
        ("東京駅 is", ["東京", "京駅", "駅", "is"]),
        ("हिन्दी", ["हिन्दी"]),
    ],
)
def test_words_are_what_a_reader_counts(text: str, found: list[str]) -> None:
    """If this fails texts in scripts without spaces are one word, and nothing in them is found."""
    assert words(text) == found


def test_scripts_without_spaces_are_read_in_pairs() -> None:
    """If this fails a single character of such a script is found only at the end of a line."""
    assert with_pairs("plain") == "plain"
    assert with_pairs("a東京b駅").split() == ["a", "東京", "京", "b", "駅"]
    assert (unspaced_characters("plain"), unspaced_characters("a東京b駅")) == (0, 3)
    assert (humps("MyHTTPServer and plain"), humps("plain"), humps("aB")) == ("My HTTP Server", "", "a B")


@pytest.mark.parametrize(
    ("before", "text", "cut"),
    [
        ("f(", "a, b) -> int:", "a, b"),
        ("f(", "a(b), c) and", "a(b), c"),
        ("f(g(", "a) b) c", "a"),
        ("f() ", "a) b", "a) b"),
        ("f(", "a, b", "a, b"),
        ("", "(a) b", "(a) b"),
        ("f( ", "a ) b", "a"),
    ],
)
def test_an_answer_inside_a_bracket_ends_where_that_closes(before: str, text: str, cut: str) -> None:
    """If this fails the arguments of a function come with half of the next line."""
    assert within_bracket(before, text) == cut


ASKED = {
    "When did it close?": "time",
    "In what year was it built?": "time",
    "how long ago was that": "time",
    "How long is the pier?": "number",
    "What is the total price?": "number",
    "how many boats": "number",
    "Who left?": "name",
    "In which old city did he live?": "name",
    "Why did it close?": None,
    "What is it?": None,
}


@pytest.mark.parametrize("question", ASKED)
def test_a_question_says_what_kind_of_thing_it_asks_for(question: str) -> None:
    """If this fails a sentence with a year in it is no closer to "when" than any other."""
    assert asked_kind(question) == ASKED[question]


@pytest.mark.parametrize(
    ("word", "begins", "kinds"),
    [
        ("1805", False, "number time"),
        ("B2", False, "number time name"),
        ("Twelve", True, "number"),
        ("May", True, "time"),
        ("Ann", False, "name"),
        ("Ann", True, ""),
        ("The", False, ""),
        ("pier", False, ""),
    ],
)
def test_a_word_is_a_number_a_time_or_a_name(word: str, begins: bool, kinds: str) -> None:
    """If this fails the sentence with the name that was asked for does not come first."""
    found = [kind for kind in ("number", "time", "name") if is_of_kind(kind, word, begins=begins)]
    assert " ".join(found) == kinds


def plain(words: Iterable[str]) -> dict[str, str]:
    return {word: word.lower() for word in words}


def nearest(texts: list[str], worth: dict[str, float], places: list[int] | None) -> float:
    """The definition: the most that different words are worth of which no two stand NEAR or further apart."""
    hits = [(at, word) for at, word in enumerate(texts) if word in worth]
    best = 0.0
    for one in range(len(hits)):
        for other in range(one, len(hits)):
            first, last = hits[one][0], hits[other][0]
            beside = places is None or any(first - BESIDE <= at <= last + BESIDE for at in places)
            if last - first < NEAR and beside:
                best = max(best, sum(worth[word] for word in {word for _, word in hits[one : other + 1]}))
    return best


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_a_row_is_as_close_as_its_best_window(rng: random.Random, kind: bool) -> None:
    """If this fails the passage that has all words of a question in one line comes behind a scattered one."""
    worth = {"otter": 3.0, "pier": 2.0, "rose": 1.0}
    texts = rng.choices([*worth, "x", "x", "x", "x", "x", "x", "7"], k=rng.randrange(120))
    look = Look.at("how many" if kind else "", worth, plain)
    numbers = [at for at, word in enumerate(texts) if word == "7"]
    near = nearest(texts, worth, None)
    beside = nearest(texts, worth, numbers) if kind else near
    assert look.closeness(" ".join(texts)) == pytest.approx((NEAR_WEIGHT * near + KIND_WEIGHT * beside) / 6)


def test_what_holds_a_question_is_measured_by_rarity() -> None:
    """If this fails a sentence with three common words is closer than one with the name itself."""
    look = Look.at("who fed otters", {"otter": 3.0, "fed": 1.0}, plain)
    held = look.held("An Otter was fed")
    assert held == {"otter", "fed"}
    assert (look.share(["otter"]), look.share(held), look.share([])) == (0.75, 1.0, 0.0)
    nothing = Look.at("who", {}, plain)
    assert (nothing.share([]), nothing.closeness("Otter"), nothing.total) == (0.0, 0.0, 0)
    assert look.has_kind("it was Ann")
    assert not look.has_kind("It was. Ann said")
    assert not look.has_kind("it was an Otter")
    assert not Look.at("why", {}, plain).has_kind("it was Ann")


@pytest.mark.parametrize(
    ("word", "cut"),
    [
        ("игроками", "игрок"),
        ("игра", "игра"),
        ("plain", "plain"),
        ("हिन्दी", "हिन्दी"),
        ("والكتابها", "كتاب"),
        ("الكتاب", "كتاب"),
        ("كتاب", "كتاب"),
        ("وكتب", "وكتب"),
        ("مدرسة", "مدرس"),
    ],
)
def test_words_of_other_alphabets_are_cut_to_what_their_forms_share(word: str, cut: str) -> None:
    """If this fails a question about a player does not find the players."""
    assert cut_foreign(word) == cut


def test_a_document_in_another_latin_language_is_recognised() -> None:
    """If this fails a Polish question finds nothing, for the words of the text have other endings."""
    assert cut_latin("Żółte Łodzie 7 x") == "żółte łodzi x"
    assert is_foreign_latin("der Hund und die Katze sind nicht von hier mit der Maus")
    assert not is_foreign_latin("the dog and the cat in the house")
    assert not is_foreign_latin("der " + "Wort " * 12)
    assert is_foreign_latin("der " + "Wort " * 11)
    assert not is_foreign_latin("")


def test_a_question_is_searched_by_its_telling_words() -> None:
    """If this fails "the" finds everything, or a dotted name only its parts."""
    assert terms_of("What is the MAX_RETRIES of app.log?") == [
        '"MAX_RETRIES"',
        '"MAX"',
        '"RETRIES"',
        '"app.log?"',
        '"app"',
        '"log"',
    ]
    assert terms_of("what is the") == ['"what"', '"is"', '"the"']
    assert terms_of('parseConfig "x" 駅') == ['"parseConfig"', '"parse"', '"Config"', '"x"', '"駅"*']
    assert phrases_of("the red boat of Ann Lee left") == ['"red boat"', '"Ann Lee"', '"Lee left"']


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("What is the MAX_RETRIES?", {"max_retries", "max", "retries"}),
        ("who is it", {"who", "is", "it"}),
        ("parseConfig x", {"parseconfig", "parse", "config"}),
        ("Où est Zoë", {"ou", "est", "zoe"}),
    ],
)
def test_a_long_text_is_scanned_for_telling_words(question: str, found: set[str]) -> None:
    """If this fails a needle in a gigabyte is looked for by the wrong words, and not found."""
    assert telling(question) == found


def test_accents_do_not_part_words() -> None:
    """If this fails a name is not found by somebody who cannot type it."""
    assert (fold("ZOË Ünal"), fold("PLAIN")) == ("zoe unal", "plain")


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_cells_of_a_scan_are_the_best_there_are(rng: random.Random) -> None:
    """If this fails of a text too long to index a place with common words is read, and the answer is not."""
    pieces = [rng.choice(["otter", "pier", "rose", "filler"]) + " word" * 220 + "\n" for _ in range(30)]
    text = "".join(pieces)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.txt")
        path.write_text(text)
        cells = Cells([Document("a.txt", path, 0, len(text), "utf-8")], ["otter pier rose"], 50)
        for _ in cells.look_through(0):
            pass
        counts = Counter(piece.split()[0] for piece in pieces)
        having = {word: counts[word] for word in ("otter", "pier", "rose") if counts[word]}
        if not having:
            assert cells.best(10_000) == []
            return
        weights = {word: rarity(count, max(count, cells.total)) for word, count in having.items()}
        rarest = max(weights.values())
        if rarest <= 0:
            return
        spans = cells.best(1)
        assert len(spans) == 1
        assert any(word in spans[0].text() and weights[word] == rarest for word in having)
        everything = cells.best(10**6)
        held = sum(span.text().count(word) for span in everything for word in having if weights[word] > 0)
        assert held == sum(count for word, count in having.items() if weights[word] > 0)


def test_related_words_are_not_those_of_the_question() -> None:
    """If this fails "how heavy" is not answered by what something weighs."""
    assert "weight" in related("How heavy is the car")
    assert "car" not in related("who drove the car")
    assert related("nothing here") == []
