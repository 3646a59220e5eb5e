"""LexRank: what many texts are like is central. Its equal in the library sumy, where that is installed."""

import warnings
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.quotes.lexrank import centrality, similarities
from longctx.quotes.prose import common_words, words

TEXTS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), min_size=2, max_size=12)


@pytest.fixture(scope="module")
def sumy() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it may warn of its own syntax, and of what it imports
        return pytest.importorskip("sumy.summarizers.lex_rank").LexRankSummarizer()


def test_what_shares_words_with_many_is_central() -> None:
    """If this fails a summary is made of sentences that nothing else in the text speaks of."""
    spokes = ["river boat", "bridge toll", "mill wheel"]
    texts = [text.split() for text in ["river bridge mill", *spokes, "quiet parrot", "yellow lamp"]]
    scores = centrality(texts)
    assert scores.argmax() == 0
    assert max(scores[1:4]) < 1 < scores[0]
    assert scores.mean() == pytest.approx(1)


@given(TEXTS)
def test_scores_are_those_where_the_walk_settles(texts: list[list[str]]) -> None:
    """If this fails scores depend on when the walk was stopped."""
    scores = centrality(texts)
    after = similarities(texts).T @ scores
    assert numpy.linalg.norm(after - scores) < 1e-2 * numpy.linalg.norm(scores)
    assert numpy.isfinite(scores).all()


@given(TEXTS)
def test_ranks_as_sumy_does(sumy: Any, texts: list[list[str]]) -> None:
    """If this fails sentences are ranked by something that only looks like LexRank."""
    theirs = sumy._create_matrix(texts, 0.1, sumy._compute_tf(texts), sumy._compute_idf(texts))
    told = numpy.diag(theirs) > 0  # sumy calls a sentence without telling words unlike itself
    ours = similarities(texts)
    numpy.testing.assert_allclose(ours[told], theirs[told])
    numpy.testing.assert_allclose(ours[~told], numpy.eye(len(texts))[~told])
    scores = sumy.power_method(ours, 1e-4)
    numpy.testing.assert_allclose(centrality(texts), scores / scores.mean())


def test_common_words_are_words_as_the_tokens_of_a_text_are() -> None:
    """If this fails a word of the list is never met, since texts are cut into other pieces."""
    assert {word for common in common_words() for word in words(common)} == common_words()
    assert {"the", "of", "which", "wouldn", "t"} <= common_words()
