"""What a question asks for: each key alone, one answer or all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.quotes.prose import within_bracket
from longctx.tasks.lookup import start_of
from longctx.tasks.questions import asked_noun, asks_for_all, keys, names, one_by_one, suits_finder
from longctx.writing import Pointer

KEY = st.from_regex(r"[a-z]{2,8}[-_][a-z]{2,8}", fullmatch=True)
KEYS = st.lists(KEY, min_size=2, max_size=6, unique=True)


@given(
    listed=st.lists(KEY, min_size=2, max_size=6, unique=True), last=st.sampled_from([" and ", ", and ", ", "])
)
def test_a_list_of_keys_becomes_a_question_for_each(listed: list[str], last: str) -> None:
    """The answer would name the first key's value and forget the others."""
    asked = f"What are the codes for {', '.join(listed[:-1])}{last}{listed[-1]} in the text?"
    assert one_by_one(asked) == {key: f"What are the codes for {key} in the text?" for key in listed}


@pytest.mark.parametrize(
    ("asked", "listed"),
    [
        ("Where do Pip, Estella and Mr. Pocket live?", ["Pip", "Estella", "Mr. Pocket"]),
        ("What are MAX_RETRIES and minWait set to?", ["MAX_RETRIES", "minWait"]),
        ("What happened in 1912 and 1914?", ["1912", "1914"]),
    ],
)
def test_names_and_numbers_are_listed_too(asked: str, listed: list[str]) -> None:
    """Whoever asks in plain words would get one answer of several."""
    assert list(one_by_one(asked)) == listed


@pytest.mark.parametrize(
    "asked",
    [
        "What is the number for amber-lamp?",
        "Which flag is black and white?",
        "In Paris, what did he do?",
        "What is the capital of France, and why?",
        "Tell me the number of room 12 and the name of its owner.",
        "We are in Transylvania, and Transylvania is not what?",
        "I am Dracula, and I bid you welcome where?",
        "To Tom and Jerry he said ____ again.",
        "",
    ],
)
def test_a_question_without_a_list_stays_whole(asked: str) -> None:
    """A plain question would be torn into two that make no sense."""
    assert one_by_one(asked) == {"": asked}


def test_keys_are_words_that_can_only_be_names() -> None:
    """An answer beside another key would be shown, or one in plain words refused for want of a key."""
    told = "What did Tessa say of amber-lamp, K7-R2P, MAX_RETRIES, parseConfig and 42 in the old house?"
    assert keys(told) == ["amber-lamp", "K7-R2P", "MAX_RETRIES", "parseConfig", "42"]
    assert keys("Where does Uriah Heep live, and with whom?") == []
    assert names("Where does Uriah Heep's K7-R2P lie?") == ["K7-R2P", "Uriah", "Heep", "K7"]


@pytest.mark.parametrize(
    ("asked", "every"),
    [("What are all the numbers for X?", True), ("Give every code.", True), ("Who was called Small?", False)],
)
def test_who_asks_for_all_says_so(asked: str, every: bool) -> None:
    """One value of four would be taken for the whole answer, or a plain question asked again and again."""
    assert asks_for_all(asked) == every


@given(start=st.integers(0, 10**6), right=st.integers(2, 20), wrong=st.integers(0, 10**6))
def test_the_place_of_an_answer_is_where_most_of_it_points(start: int, right: int, wrong: int) -> None:
    """Of two values that begin alike the wrong one would be quoted, and taken for found."""
    pointers = [Pointer(start + n, 0.9) for n in range(right)]
    pointers[0] = Pointer(wrong, 0.6)
    found = start_of(pointers)
    assert found.position == start
    assert 0 < found.mass <= 0.9


INSIDE = st.recursive(
    st.text("ab ,:", max_size=4),
    lambda part: st.tuples(part, part, part).map(lambda t: f"{t[0]}({t[1]}){t[2]}"),
    max_leaves=6,
)


@given(before=INSIDE, inside=INSIDE.filter(str.strip), after=INSIDE)
def test_an_answer_ends_where_its_bracket_does(before: str, inside: str, after: str) -> None:
    """Asked for arguments, one would be told what stands behind them too, or too few of them."""
    assert within_bracket(f"{before}(", f"{inside}){after}") == inside.rstrip()
    assert within_bracket(f"{before}(", inside) == inside
    assert within_bracket(before, f"{inside}{after}") == f"{inside}{after}"
    assert within_bracket("1) ", f"{inside}) {after}") == f"{inside}) {after}"


@pytest.mark.parametrize(
    ("asked", "suits"),
    [
        ("What is the secret code of Doctor Brown?", True),
        ("What is the code for amber-lamp?", True),
        ("He went to the ____ with her.", True),
        ("Who is Sherlock Holmes?", False),
        ("what was in the envelope?", False),
        ("What happened in 1912?", False),
        ("Who runs NASA?", False),
        ("What is MAX_RETRIES?", True),
    ],
)
def test_the_model_is_asked_only_what_it_was_made_for(asked: str, suits: bool) -> None:
    """A fact would need --deep, or every question would wait until the model is loaded."""
    assert suits_finder(asked) is suits


def test_what_is_asked_for_is_the_noun() -> None:
    """A value beside the noun would count for no more than any other."""
    assert asked_noun("What is the secret code of Doctor Brown?") == "code"
    assert asked_noun("which year did he sail?") == "year"
    assert asked_noun("Who came?") == ""
