"""Passages for questions whose own words are not in the text."""

from itertools import pairwise
from pathlib import Path

from longctx.quotes import meanings
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.quotes.related import related, widened
from longctx.text.source import Document


def test_related_words_leave_out_the_questions_own() -> None:
    """A question's common words would fill the evidence with anything."""
    assert "weighed" in related("How heavy is the lamp?")
    assert not {"lamp", "is", "heavy"} & set(related("How heavy is the lamp?"))


def test_a_passage_without_the_questions_words_follows_those_with_them(tmp_path: Path) -> None:
    """Who asks how heavy a lamp is would be shown nothing of a text that says what it weighs."""
    parts = ["The lamp is for riders. " * 60, "It was dark. " * 200, "It weighs 118 grams. " * 60]
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(parts))
    document = Document("a.txt", path, 0, path.stat().st_size, "utf-8")
    with PassageIndex() as index:
        for passage in passages(document):
            index.add(passage)
        found = index.search("how heavy is the lamp?", 1)
        wider = widened(index, "how heavy is the lamp?", found, 3)
        meanings._table.cache_clear()
        assert widened(index, "how heavy is the lamp?", found, 1) == found
        assert not meanings._table.cache_info().currsize, "a table was read for nothing"
    assert wider[0] == found[0]
    assert "118 grams" in wider[1].text
    assert [quote.score for quote in wider[1:]] == [0.0] * len(wider[1:])
    ends = sorted((quote.span.byte_start, quote.span.byte_end) for quote in wider)
    assert all(one[1] <= other[0] for one, other in pairwise(ends))
