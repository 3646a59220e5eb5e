"""The model in the package: whole, loadable elsewhere, and able to find."""

import hashlib
from pathlib import Path
from typing import get_args

import pytest
import torch

from longctx.engine import Engine
from longctx.hub import BUNDLED
from longctx.quotes.passages import passages
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.tasks.frame import read_template
from longctx.tasks.haystack import Kind, load_haystack, make_sample
from longctx.tasks.lookup import look_closer
from longctx.tasks.niah import niah
from longctx.tasks.prompt import build_prompt
from longctx.tasks.results import Report
from longctx.text.source import Document
from training.data import BEFORE, frame


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(BUNDLED, "cpu", "float32")


def test_the_checkpoint_is_the_one_on_the_card() -> None:
    """If this fails the model card's numbers are about other weights."""
    weights = BUNDLED / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in (BUNDLED / "README.md").read_text()
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 15 << 20


def test_needles_are_found_at_every_depth(engine: Engine) -> None:
    """If this fails the bundled model does not do the one thing it can."""
    haystack = load_haystack(engine.tokenizer, None)
    grid = {"lengths": [4096], "depths": [0.0, 25.0, 50.0, 75.0, 100.0], "samples": 4}
    *_, report = niah(engine, haystack, **grid, kind="number", seed=11, chunk=1024)  # type: ignore[arg-type]  # a dict of mixed values
    assert isinstance(report, Report)
    right, of = report.share()
    assert of == 20
    assert right >= 19
    assert sum(bool(trial.pointed) for trial in report.trials) >= 19


def test_transformers_gives_the_same_greedy_answers(engine: Engine) -> None:
    """If this fails the bundled model is no MiniMax checkpoint, or we run it wrongly."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    theirs = transformers.MiniMaxForCausalLM.from_pretrained(BUNDLED, dtype=torch.float32).eval()
    haystack = load_haystack(engine.tokenizer, None)
    template = read_template(None, "lookup.md")
    for number in range(50):
        depth = 10.0 * (number % 11)
        kind = get_args(Kind)[number % 3]
        sample = make_sample(haystack, engine.tokenizer, 300, depth, kind, number, seed=5)
        prompt = build_prompt(engine.tokenizer, BUNDLED, template, question=sample.question)
        text = engine.tokenizer.encode((sample.before + sample.needle + sample.after).rstrip())
        session = engine.session()
        session.read(prompt.before + text)
        pieces = list(session.generate(prompt.after, Sampling(max_tokens=48, stop=("\n",))))
        tokens = [piece.token for piece in pieces if piece.token is not None]
        whole = torch.tensor([prompt.before + text + prompt.after + tokens])
        with torch.inference_mode():
            logits = theirs(whole, use_cache=False).logits[0, -len(tokens) - 1 : -1]
        assert logits.argmax(-1).tolist() == tokens


def test_the_prompt_form_is_the_trained_one(engine: Engine) -> None:
    """If this fails every question is asked in a form the model has never seen."""
    prompt = build_prompt(engine.tokenizer, BUNDLED, read_template(None, "lookup.md"), question="Who came?")
    assert engine.tokenizer.decode(prompt.before) == BEFORE
    assert engine.tokenizer.decode(prompt.after) == frame("Who came?")


def test_a_closer_look_says_where_in_the_whole_text_the_answer_stands(engine: Engine, tmp_path: Path) -> None:
    """An answer found in a passage read alone would be cited with lines and bytes of the passage."""
    fact = "One of the special magic numbers for amber-lamp is: 5391284."
    lines = [f"On day {i} the river was quiet, and nobody came to the mill.\n" for i in range(60)]
    lines[40] = fact + "\n"
    path = tmp_path / "river.txt"
    path.write_text("".join(lines), encoding="utf-8")
    document = Document("river.txt", path, 0, path.stat().st_size, "utf-8")
    found = list(passages(document))
    question = "What is the special magic number for amber-lamp mentioned in the provided text?"
    prompt = build_prompt(engine.tokenizer, BUNDLED, read_template(None, "lookup.md"), question=question)
    reading = Reading(engine, [document], prompt.before, 2048)
    answer = look_closer(reading, found, question, prompt.after)
    assert answer is not None
    assert answer.source is not None
    assert answer.text == "5391284"
    assert str(answer.source.span) == "river.txt:41"
    assert answer.source.text == answer.source.span.text() == fact
    without = [passage for passage in found if fact not in passage.text]
    assert look_closer(reading, without, question, prompt.after) is None
