"""The facts and questions that the bundled model learns from: true, answerable, apart from evaluation."""

from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from training_texts import MAKER, PROGRAM, PROSE, SENTENCES, SHAPE, TOKENIZER

from training import gaps, programs
from training import tokenizer as tokenizer_training
from training.data import ask
from training.facts import FAMILIES, FactMaker
from training.haystack import prose_ends
from training.shape import END_ID
from training.words import Words, is_held_out


@given(text=st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_tokenizer_round_trip(text: str) -> None:
    """Text would come back changed, so no quote could be trusted."""
    assert TOKENIZER.decode(TOKENIZER.encode(text).ids, skip_special_tokens=False) == text


@given(number=st.integers(min_value=0, max_value=10**12))
@settings(max_examples=30, deadline=None)
def test_digits_stand_alone(number: int) -> None:
    """Numbers would be copied in lumps that training rarely saw."""
    pieces = TOKENIZER.encode(str(number)).tokens
    assert pieces == list(str(number))


def test_tokenizer_training_is_repeatable(tmp_path: Path) -> None:
    """Nobody could rebuild the shipped tokenizer from the recipe."""
    again = tokenizer_training.train(tokenizer_training.samples(PROSE, seed=3, megabytes=0.1), SHAPE.vocab)
    assert again.to_str() == TOKENIZER.to_str()
    tokenizer_training.save(again, tmp_path)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("<|end|>") == END_ID


@given(seed=st.integers(0, 10**6), unseen=st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_question_has_two_answers(seed: int, unseen: bool) -> None:
    """Training would punish right answers."""
    rng = Random(seed)
    maker = FactMaker(rng, Words(rng, SENTENCES), lambda r: "qua#", unseen=unseen)
    answers: dict[str, str] = {}
    for _ in range(60):
        fact = maker.draw()
        assert fact.statement[fact.start :].lstrip(" ").startswith(fact.value)
        for asked in fact.questions:
            assert answers.setdefault(asked, fact.topic) == fact.topic


def test_every_family_and_form_is_drawn() -> None:
    """A form that is never trained fails in use, and no loss curve would show it."""
    rng = Random(2)
    facts = FactMaker(rng, Words(rng, SENTENCES), MAKER.junk)
    drawn = [facts.draw() for _ in range(400)]
    assert {fact.family for fact in drawn} == set(FAMILIES)
    exact = [fact for fact in drawn if fact.prefix]
    assert len(exact) > 20
    prompts = [ask(rng, fact) for fact in exact * 9]
    assert {prompt.startswith("\n\nQuestion: ") for prompt in prompts} == {True, False}
    assert {prompt.endswith("\nAnswer:") for prompt in prompts} == {True, False}


@given(seed=st.integers(0, 10**6), held_out=st.booleans())
@settings(max_examples=40, deadline=None)
def test_evaluation_keys_and_wordings_are_never_trained_on(seed: int, held_out: bool) -> None:
    """The reported accuracy would be that of a memory test."""
    rng = Random(seed)
    words = Words(rng, SENTENCES, held_out)
    drawn = [words.noun(), words.adjective(), words.name()]
    assert {is_held_out(word) for word in drawn} == {held_out}
    told = FactMaker(rng, words, lambda r: "x", unseen=held_out).make("attribute")
    assert ("register" in told.statement) == held_out


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_rivals_are_near_and_never_the_same(seed: int) -> None:
    """ "Not found" would be taught for keys that are there."""
    rng = Random(seed)
    maker = FactMaker(rng, Words(rng, SENTENCES), lambda r: "qua#", open_share=0.3)
    for _ in range(20):
        fact = maker.draw()
        before = set(maker.topics)
        rival = maker.rival(fact)
        assert rival.topic not in before
        assert not set(rival.questions) & set(fact.questions)


def test_gaps_take_whole_names() -> None:
    """The model would learn to stop in the middle of every name."""
    text = "He came. In the end he went away with Mary Ann Tolliver to the old town of Wexley. They stayed."
    drawn = [gaps.draw(Random(seed), text, prose_ends(text)) for seed in range(300)]
    words = {gap.word for gap in drawn if gap}
    assert {"Mary", "Mary Ann Tolliver", "Wexley", "town"} <= words
    assert not {"Mary Ann", "Wexley."} & words
    for gap in drawn:
        assert not gap or text[gap.start :].startswith(gap.word)
        assert not gap or text.count(f"{gap.left} {gap.word}{gap.right}") == 1


def test_program_text_tells_what_it_says_once() -> None:
    """Questions about code would have wrong answers, or two right ones."""
    told = {(each.family, each.name): each.answer for each in programs.told(PROGRAM)}
    assert told == {
        ("defined", "Reader"): "(Base):",
        ("defined", "read_page"): "(self, path: Path, *, limit: int = 20) -> list[str]:",
        ("defined", "close_all"): "(self):",
        ("defined", "close_page"): "() -> None:",
        ("arguments", "read_page"): " path: Path, *, limit: int = 20",
        ("arguments", "close_all"): "self",
        ("code", "LARGEST_PAGE"): ' "4 MiB"',
    }
    for each in programs.told(PROGRAM):
        assert PROGRAM[each.start :].startswith(each.answer)
        held_out = programs.ask(Random(0), each, unseen=True)
        for seed in range(60):
            for wording in (
                programs.ask(Random(seed), each),
                programs.ask(Random(seed), each, lambda: "any"),
            ):
                assert each.name in wording and "{" not in wording and wording != held_out
    asked = [
        programs.absent(Random(seed), PROGRAM, "def elsewhere():\n    pass\n") or "" for seed in range(40)
    ]
    assert {name for name in ("open_file", "elsewhere") if any(name in each for each in asked)} == {
        "open_file",
        "elsewhere",
    }
    assert not any("close_all" in each for each in asked)
