"""Prompts: where the document goes, what special tokens mean, and what templates may do."""

import json
from pathlib import Path

import pytest
from checkpoints import write_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from longctx.errors import InputError, ModelError
from longctx.tasks.frame import PROMPTS, read_template
from longctx.tasks.prompt import build_prompt
from longctx.tokens.tokenizer import Tokenizer

LOOKUP = "{{ document }}\n\nQuestion: {{ question }}\nAnswer:"
FRAME = (
    "{% for m in messages %}<|end|>user\n{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|end|>ai\n{% endif %}"
)


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Path]:
    folder = write_checkpoint(tmp_path_factory.mktemp("framed"))
    (folder / "chat_template.jinja").write_text(FRAME)
    return Tokenizer.load(folder, 400), folder


def test_without_a_frame_the_prompt_is_the_template(checkpoint: Path) -> None:
    """If this fails the bundled model is asked in another form than it was trained on."""
    tokenizer = Tokenizer.load(checkpoint, 400)
    prompt = build_prompt(tokenizer, checkpoint, LOOKUP, question="Who came?")
    assert prompt.before == []
    assert prompt.after == tokenizer.encode("\n\nQuestion: Who came?\nAnswer:")


def test_the_chat_frame_keeps_its_special_tokens(framed: tuple[Tokenizer, Path]) -> None:
    """If this fails chat models are asked without the frame they need."""
    tokenizer, folder = framed
    prompt = build_prompt(tokenizer, folder, LOOKUP, question="Who?")
    assert prompt.before == [0, *tokenizer.encode("user\n")]
    assert prompt.after == [*tokenizer.encode("\n\nQuestion: Who?\nAnswer:"), 0, *tokenizer.encode("ai\n")]


@given(st.text(max_size=30), st.sampled_from(["<|end|>", "{{ question }}", "{{ document }}", "[abc]", ""]))
def test_questions_are_plain_text(framed: tuple[Tokenizer, Path], text: str, hostile: str) -> None:
    """If this fails a question or a text can end the user's turn and speak for the system."""
    tokenizer, folder = framed
    question = text + hostile + text
    prompt = build_prompt(tokenizer, folder, LOOKUP, question=question)
    assert prompt.before == [0, *tokenizer.encode("user\n")]
    assert prompt.after.count(0) == 1
    assert tokenizer.decode(prompt.after) == f"\n\nQuestion: {question}\nAnswer:ai\n"


def test_templates_that_want_parts_get_parts(tmp_path: Path) -> None:
    """If this fails the published MiniMax templates, which want a list of parts, cannot be used."""
    folder = write_checkpoint(tmp_path)
    template = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    tokenizer = Tokenizer.load(folder, 400)
    assert build_prompt(tokenizer, folder, LOOKUP, question="Who?").before == []


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for x in range(100000000) %}{% endfor %}",
        "{{ messages",
        "nothing of the message",
    ],
)
def test_a_hostile_or_broken_chat_template_is_refused(tmp_path: Path, template: str) -> None:
    """If this fails a downloaded template runs code, hangs, or drops the user's text."""
    folder = write_checkpoint(tmp_path)
    (folder / "chat_template.jinja").write_text(template)
    tokenizer = Tokenizer.load(folder, 400)
    with pytest.raises(ModelError, match="chat template"):
        build_prompt(tokenizer, folder, LOOKUP, question="Who?")


@pytest.mark.parametrize(
    "template", ["no place", "{{ document }}{{ document }}", "{{ document", "{{ 1/0 }}{{ document }}"]
)
def test_a_prompt_template_must_hold_the_document_once(checkpoint: Path, template: str) -> None:
    """If this fails a run reads the text twice, or never."""
    with pytest.raises(InputError, match="prompt template"):
        build_prompt(Tokenizer.load(checkpoint, 400), checkpoint, template, question="Who?")


@pytest.mark.parametrize("name", ["ask.md", "summarize.md", "section.md", "lookup.md", "chat_minimax.jinja"])
def test_the_templates_are_installed(name: str) -> None:
    """If this fails an installed longctx has no prompts."""
    assert read_template(None, name)
    assert (PROMPTS / name).is_file()


def test_the_minimax_frame_is_the_published_one(tmp_path: Path) -> None:
    """If this fails MiniMax models are asked in a form they were not trained on."""
    folder = write_checkpoint(tmp_path)
    raw = json.loads((folder / "tokenizer.json").read_text())
    for index, name in enumerate(("<beginning_of_sentence>", "<end_of_sentence>")):
        added = {"content": name, "id": 400 + index, "special": True, "single_word": False}
        raw["added_tokens"].append(added | {"lstrip": False, "rstrip": False, "normalized": False})
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    tokenizer = Tokenizer.load(folder, 410)
    prompt = build_prompt(tokenizer, folder, "{{ document }}?")
    assert prompt.before == [400, *tokenizer.encode("user name=user\n")]
    assert prompt.after == [
        *tokenizer.encode("?"),
        401,
        *tokenizer.encode("\n"),
        400,
        *tokenizer.encode("ai name=assistant\n"),
    ]
