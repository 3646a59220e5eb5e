"""A reading keeps its text: it can be forked, asked, and looked up in."""

from pathlib import Path

import pytest

from longctx.engine import Engine
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.text.source import Corpus, gather

STORY = "The ferry left the quay at noon.\nNobody in the village knew why.\n"


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Engine:
    return Engine.load(checkpoint, "cpu", "float32")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    (tmp_path / "one.txt").write_text(STORY)
    (tmp_path / "two.txt").write_text("Old Marten counted the passengers twice.\n")
    return gather([str(tmp_path)])


def read(engine: Engine, corpus: Corpus) -> Reading:
    reading = Reading(engine, corpus.documents, engine.tokenizer.encode("Read:"), 16)
    *_, last = reading.read()
    assert (last.bytes_done, last.tokens) == (corpus.bytes, reading.usage.tokens_read)
    return reading


def test_positions_lead_back_to_the_documents(engine: Engine, corpus: Corpus) -> None:
    """If this fails an answer is cited from another place, by as much as the prompt is long."""
    reading = read(engine, corpus)
    before, end = len(reading.before), reading.session.position
    assert reading.locate(before - 1) is None
    assert reading.locate(end) is None
    spans = [span for position in range(before, end) if (span := reading.locate(position))]
    assert "".join(span.text() for span in spans) == "".join(
        document.path.read_text() for document in corpus.documents
    )
    assert str(spans[-1]).endswith("two.txt:1")


def test_a_question_to_a_fork_disturbs_nothing(engine: Engine, corpus: Corpus) -> None:
    """If this fails the second question about a text is answered with the first one in mind."""
    reading, after, sampling = read(engine, corpus), engine.tokenizer.encode(" Why?"), Sampling(max_tokens=8)
    end = reading.session.position
    answers = [[piece.text for piece in reading.fork().generate(after, sampling)] for _ in range(2)]
    assert answers[0] == answers[1]
    assert reading.session.position == end
    assert 0 < reading.usage.tokens_written <= 16
    assert reading.usage.write_seconds > 0
