"""The evaluation of the reader: true questions, answers that stand in their passages, its scores hold."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_tokenizers import SPLITS, train
from tokenizers import AddedToken, Tokenizer

from bench.reader.collect import Row
from bench.reader.network import Network
from bench.reader.probability import LEXICAL, fit, left_out
from bench.reader.questions import BOOKS, HERE, Question, is_right, load, one_line
from bench.reader.spans import Reader
from bench.reader.verdict import counts
from training.reader.prompt import BEGIN, END, prompt

HIDDEN, HEADS, KV, LAYERS, INNER, VOCAB = 32, 4, 2, 2, 48, 402
PASSAGES = ("The rent is 40 a month, and the house is old.", "Nobody came.")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A reader of random weights."""
    folder = train(SPLITS["digits"], tmp_path_factory.mktemp("reader"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in (BEGIN, END)])
    random = torch.Generator().manual_seed(0)
    head = HIDDEN // HEADS
    shapes = {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (KV * head, HIDDEN),
        "self_attn.v_proj": (KV * head, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }
    tensors = {"model.embed_tokens.weight": torch.randn(VOCAB, HIDDEN, generator=random)}
    tensors["model.norm.weight"] = torch.ones(HIDDEN)
    for i in range(LAYERS):
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{i}.{name}.weight"] = torch.ones(HIDDEN)
        for name, shape in shapes.items():
            tensors[f"model.layers.{i}.{name}.weight"] = torch.randn(shape, generator=random) * 0.3
    save_file(tensors, folder / "model.safetensors")
    config: dict[str, float] = {
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV,
    }
    config |= {"rope_theta": 1e4, "rms_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps(config))
    return Reader(Network(folder, None, torch.float32), tokenizer)


def test_there_are_enough_questions_and_half_have_no_answer() -> None:
    """If this fails, the shares that are reported mean nothing."""
    every = [*load("dev", Path(BOOKS)), *load("test", Path(BOOKS))]
    assert len(every) >= 500
    assert len({(one.text, one.ask) for one in every}) == len(every)
    assert 0.45 < sum(not one.answers for one in every) / len(every) < 0.55


def test_no_text_is_in_both_parts() -> None:
    """If this fails, a threshold was chosen on a text that figures are reported on."""
    parts = [{one.text for one in load(part, Path(BOOKS))} for part in ("dev", "test")]
    assert not parts[0] & parts[1]
    written = {file.name for file in (HERE / "texts").iterdir()}
    assert written == {text for part in parts for text in part if not text.startswith(BOOKS)}


@pytest.mark.parametrize("part", ["dev", "test"])
def test_answers_and_their_places_stand_in_the_short_texts(part: str) -> None:
    """If this fails, a right answer is counted as wrong."""
    for one in load(part):
        text = one_line((HERE / "texts" / one.text).read_text(encoding="utf-8"))
        assert text.count(one.at) == 1 or not one.at, one.at
        assert all(answer.lower() in text.lower() for answer in one.answers), one.ask


def test_a_whole_passage_is_no_answer() -> None:
    """If this fails, a reader that repeats what it was given is always right."""
    asked = Question("dev", "a.txt", "rent?", ("40",))
    assert is_right("The rent is 40", asked)
    assert not is_right("The rent is 400", asked)
    assert not is_right(f"{PASSAGES[0]} {PASSAGES[0]}", asked)


def test_each_answer_stands_word_for_word_in_its_passage(reader: Reader) -> None:
    """If this fails, words are shown that the text does not have, or a part of a word."""
    for passage, said in zip(PASSAGES, reader.ask("What is the rent?", PASSAGES), strict=True):
        assert 0 <= said.start < said.end <= len(passage)
        for start, end, _ in said.spans:
            around = passage[max(0, start - 1) : start], passage[end : end + 1]
            assert not any(one.isalnum() for one in around)


def test_scores_are_those_of_the_whole_text_read_at_once(reader: Reader) -> None:
    """If this fails, side by side is not what one by one would be, and probabilities mean nothing."""
    question = "What is the rent?"
    said = reader.ask(question, PASSAGES)
    for passage, one in zip(PASSAGES, said, strict=True):
        start = reader.ids(prompt(question, passage))
        answer = [*reader.ids(passage[one.start : one.end]), reader.stop]
        steps = [start + answer[:count] for count in range(len(answer))]
        after, _ = reader.network.read(steps)
        total = float(sum(after[i, token] for i, token in enumerate(answer)))
        assert one.total == pytest.approx(total, abs=1e-3)


def rows(count: int) -> list[Row]:
    """Questions of three texts whose surest answers are right."""
    made = []
    for number in range(count):
        right = number % 3 == 0
        said = {"text": f"a{number}", "total": -1.0 if right else -6.0, "refusal": -3.0, "first": -0.5}
        said |= {"mass": -1.0, "other": -8.0, "tokens": 2, "right": right, "sentence": "a"}
        said |= {"features": dict.fromkeys(LEXICAL, 0.5)}
        row = Row("dev", f"{number % 4}.txt", f"{number}?", ["a"] if right else [], "at")
        row.passages, row.said = [{"closeness": 0.1}], [said]
        made.append(row)
    return made


def test_what_is_surer_and_right_gets_the_higher_probability() -> None:
    """If this fails, a threshold shows the wrong answers and hides the right ones."""
    made = rows(40)
    fitted = fit(made)
    assert fitted(made[0], 0) > 0.8
    assert fitted(made[1], 0) < 0.2
    best = left_out(made)
    told = counts(made, best, 0.5)
    assert told["shown right"]["share"] == told["unanswerable refused"]["share"] == 1.0
    assert counts(made, best, 0.0)["unanswerable refused"]["count"] == 0


def test_what_the_tool_finds_goes_first() -> None:
    """If this fails, the figures with the reader are not those of the command."""
    (row,) = rows(1)
    row.tool, row.tool_right = "wrong", False
    assert counts([row], left_out([row, *rows(8)])[:1], 0.0)["shown right"]["count"] == 0
