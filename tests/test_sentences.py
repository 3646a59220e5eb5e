"""Sentences end where they end: a summary or a quotation that begins in the middle of one is nonsense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.quotes.sentences import split_sentences

CASES = [
    "Mr. Smith met Dr. Jones.|They talked.",
    "Go to No. 5 Baker Street.|It is near.",
    "The answer was No.|The next one was Yes.",
    "The U.S. Army left.|The war ended.",
    "He lives in the U.S.|He likes it.",
    "J. R. R. Tolkien wrote it.|It sold.",
    "He chose Plan B.|It worked well.",
    '"What?" said he.|"Nothing."',
    'He said, "I go."|She stayed.',
    "It rained, e.g. in May, cf. Fig. 3 and Sec. 4.|Then it stopped.",
    "See pp. 12-14, vol. 2, or visit example.com.|The end.",
    "It was 3.14 exactly.|Yes!",
    "At 5 p.m. Mr. Hyde came.|He left at 6 a.m.|Nobody saw him.",
    "Wait... then what?|No way!",
    "St. Petersburg is cold.|Mt. Everest is colder.",
    "(He left.)|She stayed.|[Note.]|End.",
    "1. First we go.|2. Then we stop.",
    "In 1847.|The keeper left.",
    "She read Gen. Lee's letter of Jan. 5, 1863.|He wept.",
    "Am 3. Oktober kam Hr. Dr. Meier.|Er blieb.",
    "Das ist z. B. Holz bzw. Stein.|Dann nicht.",
    "M. de Villefort et Mme. Danglars arrivent.|Ils partent.",
    "吾輩は猫である。|名前はまだ無い。",
    "他说：“好。”|她走了。",
    "Это г. Москва.|Он ушёл.",
    "هل ذهب؟|نعم ذهب.",
    "यह एक वाक्य है।|यह दूसरा है।",
    "He chose Plan B\u00a0.|It worked well.",
    "The U.S\u00a0.|It worked.",
    "One line\nand its end.|Two.",
]


@pytest.mark.parametrize("marked", CASES)
def test_sentences_end_at_their_ends(marked: str) -> None:
    """If this fails a summary quotes "Smith met Dr." or begins with "5 Baker Street"."""
    expected = [part.strip() for part in marked.split("|")]
    gap = "" if marked.startswith(("吾", "他")) else " "
    assert [s.strip() for s in split_sentences(gap.join(expected))] == expected


@given(st.text(alphabet="aZ é。.!?\"')1\n\u00a0\u2009\u3000\u0085\u1680…"))
def test_nothing_is_lost(text: str) -> None:
    """If this fails, places after an odd space are wrong, or the command crashes."""
    assert "".join(split_sentences(text)) == text
    assert all(split_sentences(text))
