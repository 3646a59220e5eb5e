"""Words as they are compared: in small letters and without accents."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx.quotes.exact import words
from longctx.quotes.exact.words import plain


@given(st.text())
def test_no_accent_is_left_and_nothing_else_goes(text: str) -> None:
    """If this fails a question without accents does not find a name that has some, or finds another one."""
    said = plain(text)
    assert not any(map(unicodedata.combining, said))
    apart = unicodedata.normalize("NFD", text.lower().translate(words._PLAIN))
    assert said == "".join(sign for sign in apart if not unicodedata.combining(sign))


def test_a_foreign_sign_costs_no_look_at_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails one dash in a novel makes each question about it a second slower."""
    looked: list[str] = []

    def combining(sign: str) -> int:
        looked.append(sign)
        return 0

    monkeypatch.setattr("unicodedata.combining", combining)
    assert plain("É" + "the river \u2014 rose " * 1000).startswith("e\u0301the river")
    assert len(looked) <= 1001
