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


@pytest.mark.parametrize(
    ("name", "value", "question", "before", "text", "after"),
    [
        ("linked", 1, QUESTION, "It rained. The code is ", "K7", "."),
        ("linked", 1, QUESTION, 'code = "', "K7", '"'),
        ("linked", 0, QUESTION, "It is late. The code ", "K7", "."),
        ("words between", 0, QUESTION, "The code for amber-lamp is ", "K7", "."),
        ("words between", 3 / 5, QUESTION, "The code for amber-lamp, said Nils Brandt, is ", "K7", "."),
        ("words between", 1, QUESTION, "One two three river mill ferry otter heron stone ", "K7", "."),
        ("repeated before", 0, QUESTION, "The code for amber-lamp was ", "K7", "."),
        ("repeated before", 5 / 6, QUESTION, "I want the code for amber-lamp: ", "K7", "."),
        ("repeated before", 1, QUESTION, "So what is the code for amber-lamp: ", "K7", "."),
        ("gap", 1, "The code for amber-lamp is __", "The code for amber-lamp is ", "K7", "."),
        ("kind fits", 1, "How many ships came?", "There came ", "17 ships", "."),
        ("kind differs", 0, "How many ships came?", "There came ", "17 ships", "."),
        ("kind fits", 0, "How many ships came?", "There came ", "some", "."),
        ("kind differs", 1, "How many ships came?", "There came ", "some", "."),
        ("kind differs", 0, "Tell me of ships.", "There came ", "some", "."),
        ("no fact asked", 1, "Why did the ships come?", "There came ", "17", "."),
        ("no fact asked", 1, "Did the ships come?", "There came ", "17", "."),
        ("no fact asked", 0, "How many ships came?", "There came ", "17", "."),
        ("no fact asked", 0, "Is the code of the lamp __?", "The code is ", "17", "."),
        ("names", 1, "Who is Sherlock Holmes?", "To ", "Holmes", " she is the woman."),
        ("names", 0, "Who is she?", "To ", "Holmes", " she is the woman."),
        ("names alone", 1, "Who is Sherlock Holmes?", "To ", "Holmes", " she is the woman."),
        ("names alone", 0, "Where does Sherlock Holmes lodge?", "To ", "Holmes", " she is the woman."),
        ("names alone", 0, "Who is she?", "To ", "Holmes", " she is the woman."),
        ("log", 1, QUESTION, "It rained.\n2026-01-05 12:00 code ", "K7", "."),
        ("log", 0, QUESTION, "It rained on 2026-01-05. The code ", "K7", "."),
        ("length", 1 / 4, QUESTION, "It is ", "K7", "."),
        ("length", 1 / 2, QUESTION, "It is ", "the old mill", "."),
        ("cut", 0, QUESTION, "It is ", "K7", ". Nobody came."),
        ("cut", 1, QUESTION, "It is K", "7", "."),
        ("cut", 1, QUESTION, "It is ", "K7", "-R2P."),
        ("cut", 1, QUESTION, "It is ", "K", "7."),
        ("cut", 0, QUESTION, "It is (", "K7", ")."),
        ("common words", 1, QUESTION, "It is ", "not there", "."),
        ("common words", 0, QUESTION, "It is ", "not K7", "."),
        ("noun beside", 1, QUESTION, "A code " + "and so " * 2 + "and it is ", "K7", "."),
        ("noun beside", 0, QUESTION, "A code " + "and so " * 3 + "it is ", "K7", "."),
        ("noun beside", 1, QUESTION, "It is ", "K7", ", " + "and so " * 3 + "a code."),
        ("noun beside", 0, QUESTION, "It is ", "K7", ", " + "and so " * 3 + "a red code."),
        ("noun beside", 0, QUESTION, "The code. It is ", "K7", ". A code."),
        ("no noun", 1, "Who came?", "It was ", "Nils", "."),
        ("no noun", 0, QUESTION, "It was ", "Nils", "."),
        ("another noun", 1, "What is the age of Doctor Brown?", "Doctor Brown has ", "K7", ", they say."),
        ("another noun", 0, "What is the age of Doctor Brown?", "Doctor Brown. His age is ", "K7", "."),
        ("another noun", 0, "What is the age of amber-lamp?", "It has ", "K7", ", they say."),
        ("all", 1, "What are all the codes?", "It is ", "K7", "."),
        ("share in sentence", 1, QUESTION, "The code for amber-lamp is ", "K7", "."),
        ("share in sentence", 1 / 3, QUESTION, "The amber-lamp. The code is ", "K7", "."),
        ("share in sentence", 2 / 3, QUESTION, "A code is ", "K7", " for the lamp. It is amber."),
        ("share around", 1, QUESTION, "The amber-lamp. The code is ", "K7", "."),
        ("share in answer", 2 / 3, QUESTION, "It is ", "the amber-lamp", "."),
        ("sentence is question", 1 / 2, QUESTION, "The code was ", "K7", " of Oslo. It rained."),
        ("rarest in sentence", 0, QUESTION, "It was ", "K7", "."),
        ("rarest in sentence", 1, QUESTION, "The code for amber-lamp was ", "K7", "."),
    ],
)
def test_a_feature_is_what_was_fitted(
    name: str, value: float, question: str, before: str, text: str, after: str
) -> None:
    """The weights beside the model would be of other numbers, and wrong answers shown as likely ones."""
    assert features(copied(before, text, after, question))[name] == pytest.approx(value)


def test_the_rarest_word_decides_not_any() -> None:
    """A sentence with a common word of the question would count as one that is about it."""
    rare = replace(look(QUESTION), rarity={"code": 1.0, "amber": 9.0, "lamp": 2.0})
    one = replace(copied("The code for the lamp is ", "K7", ". Amber."), look=rare)
    assert features(one)["rarest in sentence"] == 0
    assert features(one)["share in sentence"] == pytest.approx(3 / 12)
    assert features(replace(one, before="An amber thing is "))["rarest in sentence"] == 1


def test_no_score_is_beyond_counting() -> None:
    """An extreme value would end in an overflow instead of an answer."""
    one = copied("The code for amber-lamp is ", "K7", ".")
    assert 0 < probability(replace(one, first=-1e6)) < 1e-9
    assert 1 - 1e-9 < probability(replace(one, first=1e6)) <= 1


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
