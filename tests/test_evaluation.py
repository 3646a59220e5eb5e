"""The evaluation of a trained model asks for what is there, and counts what comes."""

from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_texts import PROGRAM, PROSE, SENTENCES, SHAPE, SHORT_FUNCTIONS, STAGE, TOKENIZER, exported

from longctx.engine import Engine
from training import evaluate, tables
from training.answering import NeedleReading, Reader
from training.experiments import ablations
from training.facts import FAMILIES


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder, _ = exported(tmp_path_factory.mktemp("engine"))
    return Engine.load(folder, "cpu", "float32")


@pytest.fixture
def evaluation(engine: Engine) -> evaluate.Evaluation:
    """An evaluation of the first token of every answer: an untrained model would go on to the limit."""
    return evaluate.Evaluation(Reader(engine, longest=1), evaluate.Haystack(PROSE, TOKENIZER), seed=1)


def test_evaluation_asks_about_facts_that_are_there(evaluation: evaluate.Evaluation, tmp_path: Path) -> None:
    """The accuracy table would measure the evaluation's own mistakes."""
    _, facts = evaluation.facts(Random(4), list(FAMILIES), 6)
    ids, spans = evaluation.haystack.hide(Random(4), facts, 900, room=64)
    assert len(ids) == 900 - 64
    for fact, (start, end) in zip(facts, spans, strict=True):
        assert TOKENIZER.decode(ids[start:end])[1:] == fact.statement
    line = f"--model x --books x --out x --documents 1 --trials 1 --programs {tmp_path}"
    args = evaluate.arguments().parse_args(line.split())
    (tmp_path / "program.py").write_text(PROGRAM + SHORT_FUNCTIONS * 2, "utf-8")
    for task in evaluate.tasks(evaluation, args).values():
        task(900, 0)
    asked = {result.task for result in evaluation.results}
    assert {"single", "first line", "mixed", "unseen", "absent", "ten needles", "needles in log"} <= asked
    assert {"names in a program", "absent in a program", "gaps"} <= asked
    assert sum(result.task == "single" for result in evaluation.results) == 10
    rows = [asdict(result) for result in evaluation.results]
    assert "| mixed: magic |" in tables.table(rows)
    counted = tables.counts(rows)
    assert sum(row["asked"] for row in counted) == len(rows)
    assert sum(row["refused"] for row in counted) == sum(row["answer"] == "not found" for row in rows)
    assert tables.trust([row | {"answer": "x", "mass": 0.6, "right": True} for row in rows]).count(" 0 |") > 6


@given(depth=st.floats(0, 1), total=st.integers(18_000, 24_000), seed=st.integers(0, 99))
@settings(max_examples=4, deadline=None)
def test_a_needle_put_in_later_is_read_exactly(engine: Engine, depth: float, total: int, seed: int) -> None:
    """The figures at a million tokens would not be those of reading a million tokens."""
    rng, reader = Random(seed), Reader(engine)
    hay = [rng.randrange(1, SHAPE.vocab) for _ in range(total)]
    needle = [rng.randrange(1, SHAPE.vocab) for _ in range(20)]
    place = int(depth * total)
    short = NeedleReading(reader, hay, [0, place, total]).hide(place, needle)
    long = reader.read(hay[:place] + needle + hay[place:])
    assert short.position == long.position == total + 20
    ours, theirs = short.state.tensors(), long.state.tensors()
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        asked = torch.tensor([hay[:9]])
        one, other = (engine.model.logits(engine.model(asked, each.state)) for each in (short, long))
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@given(start=st.integers(0, 600), count=st.integers(1, 60))
@settings(max_examples=10, deadline=None)
def test_keys_are_taken_out_where_they_stand(engine: Engine, start: int, count: int) -> None:
    """A list would lose values that were not found yet, or name one twice."""
    session = Reader(engine).read([1 + i % 600 for i in range(700)])
    less = session.without(start, start + count)
    kept, whole = (each.state.layers[-1].tensors()["keys"] for each in (less, session))
    assert less.position == 700 - count
    assert torch.equal(kept, torch.cat([whole[:, :, :start], whole[:, :, start + count :]], dim=2))


@pytest.mark.parametrize("form", ["whole", "echo"])
def test_names_that_are_asked_for_stand_in_the_text(evaluation: evaluate.Evaluation, form: str) -> None:
    """The model would be marked wrong for every answer."""
    evaluation.gaps(1200, 0, form)
    assert len(evaluation.results) >= 5
    for result in evaluation.results:
        assert result.family == form
        assert result.value[0].isupper() or result.value.isdigit()
        assert result.value in SENTENCES


def test_ablations_differ_in_their_mixers_alone() -> None:
    """The comparison would show the difference between two recipes."""
    variants = [ablations.stage_of(name, STAGE, 9) for name in ablations.VARIANTS]
    first = variants[0]
    assert {each.shape.mixers for each in variants} == {"LLLS", "LLLL", "SSSS"}
    for each in variants:
        assert replace(each, shape=first.shape) == first
        assert replace(each.shape, mixers="LLLS", theta=0.0) == first.shape
