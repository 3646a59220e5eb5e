"""What a question asks for: its telling words, names, and the kind of its answer."""

import pytest

from longctx.quotes.exact.asked import LONGEST, mentions, parse
from longctx.quotes.exact.definitions import defined_name, mentioned
from longctx.quotes.exact.requirements import package
from longctx.quotes.exact.values import kind, wanted_kind
from longctx.quotes.exact.words import places, short_forms, stem, stems, term, words

# ~ may go unanswered, ^ only carries the question
PARSED = [
    ("What is the port of the server?", "port server", ""),
    ("Is caching enabled?", "caching ~enabled", "state"),
    ("when was the mill built", "mill built", "time"),
    ("How many beds are there?", "beds", "number"),
    ("Who owns Tern?", "owns tern", "name"),
    ("Where is MAX_RETRIES set?", "max retries ^set", "place"),
    ("which version of go is used", "~version go ^used", "version"),
    ("what is T3?", "3", ""),
    ("at least how many lamps?", "minimum lamps", "number"),
    ("How high is the tower?", "high tower", "number"),
    ("the read timeout", "read timeout", ""),
    ("Which file is read?", "file ^read", ""),
    ("Which tag is deployed?", "tag ^deployed", ""),
    ("name of the ship", "~name ship", ""),
    ("what time zone is set?", "~time zone ^set", ""),
    ("which year did it open", "year ^did open", "time"),
    ("number 5", "~number 5", ""),
    ("does smtp use ssl", "^does smtp ^use ssl", "state"),
    ("Mill in Dr Lee’s house", "mill dr lee house", ""),
]
NOT_PARSED = (
    "how long does it keep?|Why is it?|What should I do?|can it?|what happens if it fails|the|go"
    "|how do I start it|whose is it|"
)


@pytest.mark.parametrize(("question", "terms", "wanted"), PARSED)
def test_a_question_is_taken_apart(question: str, terms: str, wanted: str) -> None:
    """If this fails a word that nobody needs is looked for, or one that all hangs on is not."""
    asked = parse(question)
    assert asked
    marked = [f"{'^' if one.carries else '~' if one.light else ''}{one.word}" for one in asked.terms]
    assert (" ".join(marked), asked.wanted) == (terms, wanted)
    telling = {i for i, word in enumerate(terms.split()) if word[0] not in "~^"}
    assert asked.required == telling


@pytest.mark.parametrize("question", NOT_PARSED.split("|"))
def test_what_no_line_can_answer_is_not_looked_up(question: str) -> None:
    """If this fails "why?" is answered with a value."""
    assert parse(question) is None


def test_a_question_has_a_longest_length() -> None:
    """If this fails a pasted page is looked up word by word."""
    assert parse("mill " * (LONGEST // 5))
    assert parse("mill " * (LONGEST // 5) + "x mill") is None


def test_names_of_programs_and_numbers_are_kept() -> None:
    """If this fails a dotted name is any of its parts, and T3 is any 3."""
    asked = parse("what is database.readTimeout of MAX_SIZE?")
    assert asked
    assert (asked.coded, asked.dotted) == (
        ("database.readTimeout", "MAX_SIZE"),
        ("database", "read", "timeout"),
    )
    numbered = parse("what is T3?")
    assert numbered
    assert mentions(numbered, "t3 is 5")
    assert not mentions(numbered, "3 is 5")


@pytest.mark.parametrize(
    ("question", "text", "may", "outright"),
    [
        ("what is the port of the server?", "listen on this host", True, True),
        ("what is the port of the server?", "listen on this", False, False),
        ("what time zone is set?", "tz=5", True, True),
        ("at least how many lamps?", "5 lamps", True, False),
        ("at least how many lamps?", "at least: min 5 lamps", True, True),
    ],
)
def test_a_text_is_looked_through_only_where_it_may_answer(
    question: str, text: str, may: bool, outright: bool
) -> None:
    """If this fails an answer in other words is passed over, or every text is gone through."""
    asked = parse(question)
    assert asked
    assert (mentions(asked, text), mentions(asked, text, outright=True)) == (may, outright)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("max_retries", "max retries"),
        ("maxRetries", "max retries"),
        ("HTTPServer2", "http server 2"),
        ("wi-fi", "wi fi"),
        ("A1b", "a 1 b"),
        ("Ünï", "ünï"),
    ],
)
def test_a_name_is_taken_apart_however_it_is_joined(name: str, parts: str) -> None:
    """If this fails "max retries" does not find maxRetries."""
    assert " ".join(words(name)) == parts


@pytest.mark.parametrize(
    "alike",
    [
        "owner owns owned own",
        "running runs run ran",
        "jittered jitter jitters",
        "added adding adds add",
        "stored stores store storing",
        "policies policy",
        "carriers carrier",
        "colour color",
        "built builds build",
    ],
)
def test_forms_of_a_word_are_one(alike: str) -> None:
    """If this fails "who owns" does not find "owner"."""
    assert len(set(map(stem, alike.split()))) == 1


@pytest.mark.parametrize("apart", ["class clas", "lamp limp", "boss bos", "port part", "day days_"])
def test_other_words_stay_apart(apart: str) -> None:
    """If this fails one word is found for another."""
    assert len(set(map(stem, apart.split()))) == 2


@pytest.mark.parametrize(
    ("asked", "name", "found"),
    [
        ("time out", "timeout", [[0], [0]]),
        ("wifi", "Wi-Fi", [[0, 1]]),
        ("longest line", "MAXLINE", [[0], [0]]),
        ("postgres", "PostgreSQL", [[0, 1]]),
        ("memory limit", "mem_limit", [[0], [1]]),
        ("a b", "b_a", [[1], [0]]),
        ("time zone", "tz", [[0], [0]]),
        ("file name", "filename", [[0], [0]]),
        ("phone", "mobile", [[0]]),
        ("lamp", "limit", [[]]),
    ],
)
def test_words_are_found_in_names(asked: str, name: str, found: list[list[int]]) -> None:
    """If this fails a setting is not found by the words that a person has for it."""
    assert places([term(word) for word in asked.split()], stems(name)) == found


def test_short_forms_stand_for_their_word_alone() -> None:
    """If this fails "tz" is not looked for, or anything is."""
    assert short_forms("timezone") == {"tz"}
    assert short_forms("minimum") == {"min", "lowest", "shortest", "smallest"}
    assert short_forms("lamp") == set()


WANTED_KINDS = (
    "how much is it=amount|how often is it read=often|how many lamps=count|who is it=name|when is it=time"
    "|which version=version|what ip has it=address|ticket for Ann=code|rent of the flat=money"
    "|how long is the pier=size|how heavy is it=size|temperature of the kiln=size|what is the speed=size"
    "|names on the list=count|licence number of Ann=code|due date=time|birthday of Ann=time"
    "|number of pages=count|number of the page=|what time zone=|the phone number=|how old is he=|what is it="
)


@pytest.mark.parametrize("case", WANTED_KINDS.split("|"))
def test_the_kind_of_an_answer_is_told_by_the_question(case: str) -> None:
    """If this fails "how heavy" is answered with a length."""
    question, name = case.split("=")
    found = wanted_kind(question)
    assert (found.name if found else "") == name


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("time", "on 5 March 1912 and in 1999%; 12.345 or 1912a", "5 March 1912"),
        ("time", "Monday at 7:30 pm; 2024-03-02T10:00; noon", "Monday at 7:30 pm|2024-03-02T10:00|noon"),
        (
            "money",
            "$1,200 per month, 12.50 € or 3 lamps at £5 million",
            "$1,200 per month|12.50 €|£5 million",
        ),
        ("amount", "5 kg; 3; 2x; 1.5", "5 kg|3|1.5"),
        ("count", "five lamps, 3,400 and 1.5-2 7/8 twenty-one 5kg", "five|3,400|twenty-one"),
        ("often", "every 5 minutes, twice a day or weekly", "every 5 minutes|twice a day|weekly"),
        ("name", "Dr. Mei Tan saw Ludwig van Beethoven.", "Dr. Mei Tan|Ludwig van Beethoven"),
        ("code", "PO-1234, A7/3, 1984, KX 12 34 and abc", "PO-1234|A7/3|KX 12 34"),
        ("address", "10.0.0.1 1.2.3 fe80:0:0:1::2 300.1.2.3.4", "10.0.0.1|fe80:0:0:1::2"),
        ("version", "v1.2.3, 3, 1.0-rc1 2.0+ 1.2/3", "v1.2.3|1.0-rc1|2.0+"),
        ("long", "2 hours 30 minutes; 5 km; 3 kg; 2-3 days", "2 hours 30 minutes|5 km|2-3 days"),
        ("heavy weigh weight", "5 kg; 3 m; 1,200 tonnes", "5 kg|1,200 tonnes"),
        ("hot cold warm temperature", "5 °C; 20 degrees; 3 m", "5 °C|20 degrees"),
        ("capacity", "5 l; 3 GB; 4 V", "5 l|3 GB"),
    ],
)
def test_values_of_a_kind_are_found_whole(name: str, text: str, found: str) -> None:
    """If this fails half of a date, a sum without its currency, or part of a number is told."""
    assert "|".join(one[0] for one in kind(name).find(text)) == found


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Where is the function a.b.load_it() declared?", "load_it"),
        ("where is the class Pool", "Pool"),
        ("where is the Pool class", "Pool"),
        ("which file defines Pool", "Pool"),
        ("which line has `x`", "x"),
        ("definition of Foo::bar", "bar"),
        ("where is loadIt", "loadIt"),
        ("where is Ann", ""),
        ("where is X?", ""),
    ],
)
def test_who_asks_for_a_definition_is_understood(question: str, name: str) -> None:
    """If this fails the uses of a name are shown, or a person is looked for in a program."""
    assert defined_name(question) == name


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("which file mentions the moon", "the moon"),
        ("what notes talk about Ann", "Ann"),
        ("In which of the documents is the word lamp", ""),
        ("which files has x", "x"),
        ("who mentions x", ""),
    ],
)
def test_who_asks_for_a_file_is_understood(question: str, found: str) -> None:
    """If this fails "which file mentions X" gets a passage."""
    assert mentioned(question) == found


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("which version of click is needed", "click"),
        ("click version?", "click"),
        ("what Python version", "Python"),
        ("minimum psycopg2-binary version", "psycopg2-binary"),
        ("version of the @scope/pkg", "@scope/pkg"),
        ("the latest version", ""),
    ],
)
def test_the_package_is_told_by_the_question(question: str, name: str) -> None:
    """If this fails a package named "the" is looked for."""
    asked = parse(question)
    assert asked
    assert package(asked) == name
