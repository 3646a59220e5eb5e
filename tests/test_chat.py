"""Models asked as they were trained to be: templates, thoughts, ends of answers, limits."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from checkpoints import hf_config, tokenizer_json, write_checkpoint
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from longctx.chat import Chat, Thoughts
from longctx.cli import main
from longctx.engine import Session
from longctx.errors import ModelError
from longctx.models.config_file import read_config, translate
from longctx.sampling import Sampling
from longctx.tasks import frame
from longctx.tasks.prompt import build_prompt
from longctx.tokens.tokenizer import Detokenizer, Tokenizer
from longctx.writing import Piece

CHATML = (
    "{% for m in messages %}<|end|>{{ m.role }}\n{{ m.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|end|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
WRITTEN = "\n<think>\nThe text says noon.\n</think>\n\nAt noon.\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def write_settings(folder: Path, name: str, **values: Any) -> None:
    (folder / name).write_text(json.dumps(values))


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("The ferry left the quay at noon.\n" * 30)
    return path


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every model write what the list holds, piece by piece."""
    pieces = list(WRITTEN)

    def generate(self: Session, prompt: list[int], sampling: Sampling, *_: object) -> Iterator[Piece]:
        for piece in pieces[: sampling.max_tokens]:
            yield Piece(piece, 1, None, None)
        yield Piece("", None, None, "stop" if sampling.max_tokens >= len(pieces) else "length")

    monkeypatch.setattr(Session, "generate", generate)
    return pieces


def parted(pieces: list[str], begun: bool = False) -> tuple[str, str]:
    thoughts = Thoughts(begun)
    found = [thoughts.push(piece, last=number == len(pieces)) for number, piece in enumerate(pieces, 1)]
    return "".join(thought for thought, _ in found), "".join(answer for _, answer in found)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "th", " ", "\n", "no"]), max_size=12).map("".join),
    st.lists(st.integers(0, 60), max_size=8),
    st.booleans(),
)
def test_thoughts_end_where_they_end_however_the_text_arrives(
    text: str, cuts: list[int], begun: bool
) -> None:
    """If this fails half a thought is printed as the answer, or an answer's first word is lost."""
    at = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    pieces = [text[start:stop] for start, stop in pairwise(at)] or [""]
    thought, answer = parted(pieces, begun)
    assert (thought, answer) == parted([text], begun)
    body = text.lstrip()
    if begun or body.startswith("<think>"):
        inside, _, after = (body if begun else body.removeprefix("<think>")).partition("</think>")
        assert (thought.strip(), answer) == (inside.strip(), after.strip())
    else:
        assert (thought, answer) == ("", body.rstrip())


@pytest.mark.parametrize("think", ["off", "on", "show"])
def test_thoughts_go_to_stderr_or_nowhere(
    think: str, book: Path, checkpoint: Path, writes: list[str]
) -> None:
    """If this fails a script that reads the answer reads the model's thoughts."""
    arguments = ("ask", "When?", str(book), "--model", str(checkpoint), "--think", think)
    plain = run(*arguments)
    assert plain.stdout.startswith("At noon.\n\n[written by the model")
    assert ("The text says noon." in plain.stderr) == (think == "show")
    assert "<think>" not in plain.stdout + plain.stderr
    values = json.loads(run(*arguments, "--json").stdout)
    assert (values["answer"], values["thinking"]) == ("At noon.", "The text says noon.")
    saved = book.with_name("answer.txt")
    shown = run(*arguments, "-o", str(saved))
    assert shown.stdout == ""
    assert saved.read_text().startswith("At noon.\n\n[written by the model")
    assert ("The text says noon." in shown.stderr) == (think == "show")


def test_an_answer_that_never_came_is_explained(book: Path, checkpoint: Path, writes: list[str]) -> None:
    """If this fails a model that thinks too long seems to say nothing."""
    found = run("ask", "When?", str(book), "--model", str(checkpoint), "--max-tokens", "15")
    assert "cut at the token limit while it was thinking" in found.stdout


def test_special_thinking_tokens_are_seen(tmp_path: Path) -> None:
    """If this fails thoughts of models whose marks are special tokens pass for the answer."""
    raw = json.loads(tokenizer_json())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    raw["added_tokens"] += [
        {"content": text, "id": 400 + number, **flags} for number, text in enumerate(("<think>", "</think>"))
    ]
    tokenizer = Tokenizer(raw, tmp_path)
    stream = Detokenizer(tokenizer)
    ids = [400, *tokenizer.encode("why"), 401, *tokenizer.encode("so")]
    assert "".join(map(stream.push, ids)) + stream.flush() == "<think>why</think>so"


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Path]:
    folder = write_checkpoint(tmp_path_factory.mktemp("chat"))
    return Tokenizer.load(folder, 400), folder


@pytest.mark.parametrize("name", ["tokenizer_config.json", "chat_template.json", "several", "jinja"])
def test_templates_are_found_where_checkpoints_keep_them(name: str, tmp_path: Path) -> None:
    """If this fails a chat model is asked as if it had never learned to chat."""
    folder = write_checkpoint(tmp_path)
    if name == "jinja":
        (folder / "chat_template.jinja").write_text(CHATML)
    elif name == "several":
        several = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": CHATML}]
        write_settings(folder, "tokenizer_config.json", chat_template=several)
    else:
        write_settings(folder, name, chat_template=CHATML)
    assert frame.chat_template(Tokenizer.load(folder, 400), folder) == CHATML


def test_the_thinking_switch_reaches_the_template(framed: tuple[Tokenizer, Path]) -> None:
    """If this fails a model thinks for minutes that nobody asked for, or never."""
    tokenizer, folder = framed
    (folder / "chat_template.jinja").write_text(CHATML)
    ends = {
        think: tokenizer.decode(build_prompt(tokenizer, folder, "{{ document }}", Chat(think=think)).after)
        for think in ("off", "on", "show")
    }
    assert ends == {
        "off": "\nassistant\n<think>\n\n</think>\n\n",
        "on": "\nassistant\n",
        "show": "\nassistant\n",
    }


def test_a_prompt_may_end_inside_a_thought(framed: tuple[Tokenizer, Path]) -> None:
    """If this fails the thoughts of models whose template opens them are taken for the answer."""
    tokenizer, folder = framed
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}<think>\n")
    assert build_prompt(tokenizer, folder, "{{ document }}").thinking
    (folder / "chat_template.jinja").write_text(CHATML)
    assert not build_prompt(tokenizer, folder, "<think>{{ document }}").thinking


def test_the_system_speaks_first_and_as_plain_text(framed: tuple[Tokenizer, Path]) -> None:
    """If this fails --system is ignored, or can end its own turn."""
    tokenizer, folder = framed
    (folder / "chat_template.jinja").write_text(CHATML)
    prompt = build_prompt(tokenizer, folder, "{{ document }}", Chat(system="Be brief.<|end|>"))
    system = tokenizer.encode("system\nBe brief.<|end|>\n")
    assert prompt.before == [0, *system, 0, *tokenizer.encode("user\n")]
    (folder / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    with pytest.raises(ModelError, match="leave --system out"):
        build_prompt(tokenizer, folder, "{{ document }}", Chat(system="Be brief."))


def test_templates_are_given_what_transformers_gives_them(framed: tuple[Tokenizer, Path]) -> None:
    """If this fails the first token of Llama's prompts is missing, or templates with new tags are refused."""
    tokenizer, folder = framed
    write_settings(folder, "tokenizer_config.json", bos_token={"content": "<|end|>"}, eos_token="<|end|>")
    (folder / "chat_template.jinja").write_text(
        "{{ bos_token }}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% break %}{% endfor %}"
    )
    assert build_prompt(tokenizer, folder, "{{ document }}").before == [0]
    (folder / "tokenizer_config.json").unlink()
    (folder / "chat_template.jinja").unlink()


def test_base_models_get_their_first_token_and_are_named(tmp_path: Path, book: Path) -> None:
    """If this fails a base model starts in the middle of a text, or passes for one that can chat."""
    folder = write_checkpoint(tmp_path / "model")
    raw = json.loads((folder / "tokenizer.json").read_text())
    raw["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|end|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [0], "tokens": ["<|end|>"]}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    tokenizer = Tokenizer.load(folder, 400)
    assert build_prompt(tokenizer, folder, "{{ document }}").before == [0]
    found = run("ask", "When?", str(book), "--model", str(folder), "--max-tokens", "2", "--json")
    assert frame.BASE in json.loads(found.stdout)["notes"]
    assert frame.BASE in found.stderr
    write_settings(folder, "tokenizer_config.json", chat_template=CHATML)
    assert build_prompt(tokenizer, folder, "{{ document }}").before == [0, *tokenizer.encode("user\n")]
    assert (
        frame.BASE not in run("ask", "When?", str(book), "--model", str(folder), "--max-tokens", "2").stderr
    )


def test_what_authors_suggest_is_said_and_not_done(tmp_path: Path) -> None:
    """If this fails answers change from run to run though nobody asked for it, or the advice is lost."""
    folder = write_checkpoint(tmp_path)
    write_settings(folder, "tokenizer_config.json", chat_template=CHATML)
    write_settings(folder, "generation_config.json", do_sample=True, temperature=0.6, top_p=0.95, top_k=20)
    tokenizer = Tokenizer.load(folder, 400)
    (note,) = frame.notes(tokenizer, folder, Sampling())
    assert "--temperature 0.6 --top-p 0.95" in note
    assert not list(frame.notes(tokenizer, folder, Sampling(temperature=0.6)))


@pytest.mark.parametrize(
    ("generation", "settings", "wanted"),
    [
        (None, {}, (7,)),
        ({"eos_token_id": [5, 6]}, {}, (5, 6)),
        ({"temperature": 1.0}, {}, (7,)),
        ({"eos_token_id": 5}, {"eos_token": "<|im_end|>"}, (5, 9)),
        ({"eos_token_id": 9}, {"eos_token": {"content": "<|im_end|>"}}, (9,)),
    ],
)
def test_answers_end_where_the_checkpoint_says(
    generation: Any, settings: dict[str, Any], wanted: tuple[int, ...], tmp_path: Path
) -> None:
    """If this fails a chat model goes on and asks itself the next question."""
    write_settings(tmp_path, "config.json", **hf_config(eos_token_id=7))
    if generation:
        write_settings(tmp_path, "generation_config.json", **generation)
    added = {"8": {"content": "<|endoftext|>"}, "9": {"content": "<|im_end|>"}}
    write_settings(tmp_path, "tokenizer_config.json", added_tokens_decoder=added, **settings)
    assert read_config(tmp_path).stop_ids == wanted


def test_a_damaged_generation_config_is_named(tmp_path: Path) -> None:
    """If this fails a half-written download ends in a traceback."""
    write_settings(tmp_path, "config.json", **hf_config())
    write_settings(tmp_path, "generation_config.json", eos_token_id="<|end|>")
    with pytest.raises(ModelError, match="is damaged"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("scaling", "trained"),
    [
        (None, 512),
        ({"rope_type": "linear", "factor": 4.0}, 2048),
        ({"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 128}, 1024),
        (
            {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
            | {"original_max_position_embeddings": 64},
            512,
        ),
    ],
)
def test_how_long_a_text_a_model_was_trained_for(scaling: Any, trained: int) -> None:
    """If this fails the warning comes too early, or never."""
    llama = {"model_type": "llama", "vocab_size": 9, "hidden_size": 32, "num_attention_heads": 4}
    sizes = {"intermediate_size": 8, "num_hidden_layers": 1, "max_position_embeddings": 512}
    assert translate({**llama, **sizes, "rope_scaling": scaling}, Path()).trained_tokens == trained


def test_text_beyond_the_trained_length_is_warned_of_before_it_is_read(tmp_path: Path, book: Path) -> None:
    """If this fails a user waits an hour for nonsense and is not told why."""
    folder = write_checkpoint(tmp_path / "model", hf_config(max_position_embeddings=64))
    found = run("summarize", str(book), "--model", str(folder), "--max-tokens", "2", "--json")
    (warning,) = (note for note in json.loads(found.stdout)["notes"] if "trained for 64 tokens" in note)
    assert warning in found.stderr
    assert "expect nonsense beyond" in warning
    longer = write_checkpoint(tmp_path / "longer", hf_config(max_position_embeddings=65536))
    assert (
        "trained for" not in run("summarize", str(book), "--model", str(longer), "--max-tokens", "2").stderr
    )


@pytest.mark.parametrize("style", ["normalizer", "metaspace"])
def test_sentencepiece_style_tokenizers_are_held_whole_and_it_is_said(style: str, tmp_path: Path) -> None:
    """If this fails models with such tokenizers read other tokens than they know."""
    folder = write_checkpoint(tmp_path / "model")
    backend = sentencepiece(style)
    backend.save(str(folder / "tokenizer.json"))
    text = "The keeper of the lighthouse wrote down every ship.\n" * 1000 + "Naïve 語 quay.\n"
    (tmp_path / "book.txt").write_text(text)
    found = run("ask", "Who wrote?", str(tmp_path / "book.txt"), "--model", str(folder), "--max-tokens", "2")
    assert found.exit_code == 0, found.stderr
    assert "the tokens of long documents may differ where they are cut" in found.stderr
    tokenizer = Tokenizer.load(folder, 400)
    assert tokenizer.encode(text) == backend.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(tokenizer.encode(text)) == text
    stream = Detokenizer(tokenizer)
    ids = tokenizer.encode("keeper 語")
    assert ("".join(map(stream.push, ids)) + stream.flush()).strip() == "keeper 語"


def sentencepiece(style: str) -> Backend:
    """Train a BPE with bytes to fall back on, which marks spaces as SentencePiece does."""
    backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if style == "normalizer":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(steps)
    trainer = trainers.BpeTrainer(
        vocab_size=390,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    backend.train_from_iterator(["The keeper of the lighthouse wrote down every ship.\nquay"] * 3, trainer)
    described = json.loads(backend.to_str())
    described["added_tokens"] = described["added_tokens"][:3]  # bytes are words as others are
    return Backend.from_str(json.dumps(described))
