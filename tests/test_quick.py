"""`ask --quick`: a few passages under a budget of tokens, in text order, and no word more is claimed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from longctx.cli import main
from longctx.errors import InputError
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.tasks.quick import choose
from longctx.text.source import gather
from longctx.tokens.stream import heading
from longctx.tokens.tokenizer import Tokenizer

FILLER = "The baker carried a basket of warm bread through the village, and everyone greeted him.\n\n" * 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text(f"{FILLER}The lighthouse keeper is called Marten.\n\n{FILLER}")
    (texts / "b.txt").write_text(f"{FILLER}Marten has kept the lighthouse since the flood.\n\n{FILLER}")
    return texts


@pytest.mark.parametrize("budget", [300, 600, 2000])
def test_the_best_passages_are_read_in_text_order(folder: Path, checkpoint: Path, budget: int) -> None:
    """If this fails more is read than asked for, or a story is told backwards, or a place is wrong."""
    tokenizer = Tokenizer.load(checkpoint, 400)
    with gather([str(folder)]) as corpus, PassageIndex() as index:
        for document in corpus.documents:
            for passage in passages(document):
                index.add(passage)
        chosen = choose(index, corpus, "Who is the lighthouse keeper?", tokenizer, budget)
        assert chosen is not None
        texts = ["".join(part.blocks()) for part in chosen.documents]
        read = [chosen.header(part) + text for part, text in zip(chosen.documents, texts, strict=True)]
        assert sum(len(tokenizer.encode(text)) for text in read) <= budget
        assert chosen.exact
        assert chosen.tokens_in_all == sum(
            len(tokenizer.encode(d.path.read_text())) + len(tokenizer.encode(heading(d)))
            for d in corpus.documents
        )
        places = [(part.name, part.start) for part in chosen.documents]
        assert places == sorted(places)
        assert any("Marten" in text for text in texts)
        for part, text in zip(chosen.documents, texts, strict=True):
            line = int(chosen.header(part).strip("\n=<> ").rsplit(":", 1)[1].split("-")[0])
            assert part.path.read_text().split("\n")[line - 1] == text.split("\n")[0]
        assert choose(index, corpus, "Who is the lighthouse keeper?", tokenizer, 10**6) is None
        with pytest.raises(InputError, match="without --quick"):
            choose(index, corpus, "zebra?", tokenizer, budget)
        with pytest.raises(InputError, match="raise --budget"):
            choose(index, corpus, "lighthouse", tokenizer, 3)


def ask(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["ask", "Who is the lighthouse keeper?", str(folder), *arguments])


def test_passages_together_are_within_the_budget(folder: Path, checkpoint: Path) -> None:
    """If this fails each passage may be as long as the budget, and a quick answer takes minutes."""
    tokenizer = Tokenizer.load(checkpoint, 400)
    with gather([str(folder)]) as corpus, PassageIndex() as index:
        for document in corpus.documents:
            for passage in passages(document):
                index.add(passage)
        chosen = choose(index, corpus, "What is in the basket of the baker?", tokenizer, 2000)
        assert chosen is not None
        texts = [chosen.header(part) + "".join(part.blocks()) for part in chosen.documents]
    tokens = [len(tokenizer.encode(text)) for text in texts]
    assert 2000 - max(tokens) < sum(tokens) <= 2000
    assert len(tokens) > 1


def test_how_much_was_read_is_said(folder: Path, checkpoint: Path) -> None:
    """If this fails an answer from a thousandth of the text passes for one from all of it."""
    arguments = ("--model", str(checkpoint), "--max-tokens", "2", "--quick", "--budget", "500")
    found = ask(folder, *arguments, "--json")
    values = json.loads(found.stdout)
    read, whole = values["usage"]["tokens_read"], values["tokens_in_all"]
    assert 0 < read <= 500 < whole
    assert f"read {read:,} of {whole:,} tokens" in found.stderr
    assert values["passages_read"] > 0
    everything = ask(folder, "--model", str(checkpoint), "--max-tokens", "2", "--json")
    assert json.loads(everything.stdout)["tokens_in_all"] is None


def test_a_model_that_copies_is_not_quick(folder: Path) -> None:
    """If this fails the bundled model, which must read all to check itself, is given scraps."""
    found = ask(folder, "--quick")
    assert found.exit_code == 2
    assert "for models that write" in found.stderr
