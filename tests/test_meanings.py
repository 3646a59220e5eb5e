"""The table of meanings: which words are near each other."""

import pytest

from longctx.quotes.exact.words import stem
from longctx.quotes.meanings import VECTORS, WIDTH, WORDS, knows, near, nearness


def test_each_word_is_known_by_its_stem_and_has_one_vector() -> None:
    """A change to how words are cut, without a new table, would make words that it holds unknown."""
    rows = [line.split(" ") for line in WORDS.read_text(encoding="utf-8").splitlines()]
    assert VECTORS.stat().st_size == len(rows) * WIDTH
    assert {stem(row[-1]) for row in rows} == {row[0] for row in rows}
    assert len({row[0] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("word", "meant", "not_meant"),
    [("fee", "cost", "colour"), ("heavy", "weight", "owner"), ("married", "wife", "engine")],
)
def test_a_word_is_nearer_to_one_that_means_the_same(word: str, meant: str, not_meant: str) -> None:
    """Passages that say it in other words would not be found, or any passage would."""
    assert meant in near(word, 0.5, 8)
    assert nearness(stem(word), stem(meant)) > 0.5
    assert nearness(stem(word), stem(not_meant)) < 0.3
    assert nearness(stem(word), stem(word)) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("word", ["xyzzyx", "погода", "K70351", ""])
def test_nothing_is_near_a_word_that_the_table_lacks(word: str) -> None:
    """A text in another language, or the name of a thing, would be answered with English words."""
    assert not knows(word)
    assert near(word, -1.0, 8) == []
    assert nearness(word, "cost") == 0


def test_looking_at_signs_first_loses_no_near_word() -> None:
    """The quick look at signs could pass over a word that is near."""
    own = stem("salary")
    forms = [line.split(" ")[0] for line in WORDS.read_text(encoding="utf-8").splitlines()]
    scores = sorted((nearness(own, form) for form in forms if form != own), reverse=True)
    found = [nearness(own, stem(word)) for word in near("salary", 0.5, 8)]
    assert found == scores[:8]
