"""The verifier: how likely copied words answer a question, and what is fitted for it."""

from dataclasses import replace
from random import Random

import pytest

from longctx.quotes.prose import common_words
from longctx.quotes.second_look import WORD, Look
from longctx.tasks.verifier import Copied, features, probability, threshold, weights
from training.verifier import Row, calibration, choose_threshold, counts, fit, is_right, score
from training.verifier_cases import Asked

QUESTION = "What is the code for amber-lamp?"


def look(question: str) -> Look:
    words = {word.lower() for word in WORD.findall(question)} - common_words()
    return Look.at(question, dict.fromkeys(words, 3.0), lambda given: {word: word.lower() for word in given})


def copied(before: str, text: str, after: str, question: str = QUESTION) -> Copied:
    return Copied(question, before, text, after, 0.97, 0.96, 1.0, False, False, look(question))


def test_the_weights_are_of_the_features_that_are_computed() -> None:
    """A renamed feature would fail at the first answer, or count for nothing."""
    one = copied("It rained. The code for amber-lamp is ", "K7-R2P", ". Nobody came.")
    assert set(weights()["weights"]) == set(features(one))
    assert 0.5 <= threshold() < 1


def test_a_value_beside_its_key_is_shown_and_one_beside_another_key_is_not() -> None:
    """A stranger would get the code of another lamp, or none where it stands in so many words."""
    right = copied("It rained. The code for amber-lamp is ", "K7-R2P", ". Nobody came.")
    wrong = copied("It rained. The code for copper-lamp is ", "K7-R2P", ". Nobody came.")
    assert probability(wrong) < threshold() <= probability(right)


def test_prose_that_only_shares_words_is_not_shown() -> None:
    """ "Who is Sherlock Holmes?" would be answered with "always THE woman", as it once was."""
    prose = copied("To ", "Sherlock Holmes", " she is always THE woman.", "Who is Sherlock Holmes?")
    loose = copied("I have seldom heard him mention her to ", "the woman", ".", "Who is Sherlock Holmes?")
    assert probability(prose) < threshold()
    assert probability(replace(loose, first=0.6, mean=0.6)) < threshold()


def test_another_thing_of_the_same_person_is_not_shown() -> None:
    """Whoever asks for an age would get a code, "94 % likely to be right"."""
    before = "The code of Doctor Brown is "
    asked = "What is the code of Doctor Brown?"
    assert probability(copied(before, "K7-R2P", ", they said.", asked)) >= threshold()
    asked = "What is the age of Doctor Brown?"
    assert probability(copied(before, "K7-R2P", ", they said.", asked)) < threshold()


def test_attention_and_a_refusal_count() -> None:
    """The model's own doubt would be lost."""
    sure = copied("The code for amber-lamp is ", "K7-R2P", ".")
    assert probability(replace(sure, first=0.3, mean=0.3)) < probability(sure)
    assert probability(replace(sure, refused=True)) < probability(sure)


def test_names_that_are_not_there_count_up_to_two() -> None:
    """A question of many names would weigh more than the fit has ever seen."""
    before, asked = "It rained in Oslo. The code is ", "What is the code of Oslo"
    counts = {0: asked, 0.5: f"{asked} and Turin", 1: f"{asked}, Turin, Lyon and Graz"}
    for missing, question in counts.items():
        found = features(copied(before, "K7-R2P", ".", f"{question}?"))
        assert found["names missing"] == missing
        assert found["names elsewhere"] == min(1, missing + 0.5)


@pytest.mark.parametrize(
    ("before", "text", "fits"),
    [("def read(", "path", True), ("def read", "(path", True), ("we read ", "path", False)],
)
def test_arguments_stand_in_brackets(before: str, text: str, fits: bool) -> None:
    """Whoever asks what a function takes would be told any word that stands behind its name."""
    found = features(copied(before, text, "): pass", "What arguments does read take?"))
    assert (found["code fits"], found["code differs"]) == (fits, not fits)


def rows(count: int) -> list[Row]:
    """Proposals that are right with probability 1 / (1 + e^-(4 x - 1))."""
    rng, made = Random(1), list[Row]()
    for number in range(count):
        x = rng.uniform(-1, 1)
        right = rng.random() < 1 / (1 + 2.718281828 ** -(4 * x - 1))
        made.append(
            Row("made", "test", f"q{number}", True, 0, "", right, None, {"x": x, "noise": rng.random()})
        )
    return made


def test_the_fit_finds_the_probabilities_that_made_the_data() -> None:
    """`confidence` would be a number that says nothing."""
    fitted = fit(rows(4000))
    assert fitted["weights"]["x"] == pytest.approx(4, abs=0.4)
    assert fitted["weights"]["noise"] == pytest.approx(0, abs=0.4)
    assert calibration(fitted, rows(4000))["ece"] < 0.03


def test_the_threshold_keeps_wrong_answers_under_the_limit() -> None:
    """More wrong answers would be shown than the documentation says."""
    made = rows(4000)
    fitted = fit(made)
    found = counts(fitted, made, choose_threshold(fitted, made))["made"]
    assert 0 < found["wrong"] <= 0.01 * found["questions"]
    assert found["right"] > found["wrong"]


def test_where_nothing_is_proposed_nothing_is_likely() -> None:
    """A refusal would count as an answer in the figures."""
    assert score({"bias": 5.0, "weights": {}}, Row("made", "test", "q", True, 0, "", False, None, {})) == 0


def test_an_answer_is_judged_as_a_reader_would() -> None:
    """The weights would be fitted to wrong marks."""
    natural = Asked("Who?", ("Nils Brandt",), exact=False)
    assert is_right("captain Nils Brandt.", natural)
    assert is_right("Brandt", natural)
    assert not is_right("the captain", natural)
    assert is_right("K7-R2P", Asked("Which?", ("K7-R2P",)))
    assert not is_right("K7", Asked("Which?", ("K7-R2P",)))
