"""Long questions, and very many documents: planned for, and not slower for each than for a few."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from longctx import plan
from longctx.cli import main
from longctx.quotes import index as index_module
from longctx.quotes.index import PassageIndex, _any_of
from longctx.tasks.ask import fill
from longctx.text.source import Corpus, gather
from longctx.tokens.stream import TokenStream, heading
from longctx.tokens.tokenizer import Tokenizer


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    for number in range(40):
        (tmp_path / f"chapter-{number}.txt").write_text(f"The ferry number {number} leaves at noon.\n")
    with gather([str(tmp_path)]) as found:
        yield found


@pytest.mark.parametrize("counted", [1000, 7])
def test_headings_of_documents_are_planned_for(
    counted: int, corpus: Corpus, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a folder of many small files needs far more memory than a plan says."""
    monkeypatch.setattr(plan, "HEADINGS", counted)
    tokenizer = Tokenizer.load(checkpoint, 400)
    read = sum(map(len, TokenStream(tokenizer, corpus.documents, 64, heading)))
    planned, exact = plan.count_tokens(tokenizer, corpus)
    assert exact == (counted == 1000)
    assert planned == read if exact else abs(planned - read) < read / 20


def test_a_long_question_is_planned_for(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a question with a page pasted into it fills the memory that a plan left free."""
    text = tmp_path / "a.txt"
    text.write_text("Nobody knew why the river had changed its course.\n")
    given = str(text), "--model", str(checkpoint), "--max-tokens", "3", "--device", "cpu", "--quant", "none"
    needed = json.loads(CliRunner().invoke(main, ["plan", *given, "--json"]).stdout)["needed"]
    monkeypatch.setattr(plan, "_available", lambda device: needed + (1 << 21))
    assert CliRunner().invoke(main, ["ask", "Why?", *given]).exit_code == 0
    refused = CliRunner().invoke(main, ["ask", "Why did the river change? " * 4000, *given])
    assert refused.exit_code == 5
    assert "needs " in refused.stderr


class Counted(Corpus):
    """Counts how often its size is summed up."""

    sums = 0

    @property
    def bytes(self) -> int:
        self.sums += 1
        return super().bytes


def test_the_size_of_all_documents_is_not_summed_up_for_each(corpus: Corpus) -> None:
    """If this fails 100,000 files take minutes longer than it takes to read them."""
    many = Counted(corpus.documents)
    with PassageIndex() as index:
        assert len(list(fill(index, many))) == 40
    assert many.sums <= 1


def test_a_question_of_thousands_of_words_is_asked(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a page pasted as a question takes time by the square of its length, or is refused."""
    lengths: list[int] = []

    def watched(terms: list[str], foreign: bool) -> str:
        lengths.append(len(terms))
        return _any_of(terms, foreign)

    monkeypatch.setattr(index_module, "_any_of", watched)
    with PassageIndex() as index:
        list(fill(index, corpus))
        found = index.search(
            " ".join(f"word-{number}" for number in range(500)) + " which ferry number 23?", 3
        )
    assert "number 23 " in found[0].text
    assert max(lengths) <= index_module.MOST_TERMS
