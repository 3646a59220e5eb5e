"""The chat frame of a model, as its checkpoint describes it: turns of system and user around a prompt.

Templates of checkpoints are untrusted: see `templates`.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import longctx
from longctx.chat import CLOSE, OPEN, Chat
from longctx.checkpoint import read_bounded, read_json
from longctx.errors import InputError, ModelError
from longctx.sampling import Sampling
from longctx.tasks.templates import TemplateFailedError, render
from longctx.tokens.tokenizer import Tokenizer

PROMPTS = Path(longctx.__file__).parent / "prompts"
LARGEST_TEMPLATE = 1 << 20
BASE = "the model has no chat template: it is prompted as a base model, which goes on with a text"
# What transformers marks an answer with for training; it means nothing here.
_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


def read_template(path: str | None, default: str) -> str:
    """Return the user's template file, or the built-in one called `default`."""
    source = Path(path) if path else PROMPTS / default
    try:
        return read_bounded(source, LARGEST_TEMPLATE).decode()
    except ValueError as error:  # too large, or not UTF-8
        raise InputError(f"{source}: not a prompt template: {error}") from error
    except OSError as error:
        raise InputError(f"{source}: cannot read the prompt template: {error}") from error


def frame(tokenizer: Tokenizer, folder: Path, content: str, mark: str, chat: Chat, system: str) -> str:
    """Return the user's content in the chat frame of a model; behind the system's words where there are any.

    Args:
        mark: stands in the content, and must not be lost.
        system: what stands for `chat.system`; empty for none.

    Raises:
        ModelError: when the chat template cannot do it.
    """
    template = chat_template(tokenizer, folder)
    if template is None:
        return f"{system}\n\n{content}" if system else content
    turns = [("system", system)] * bool(system) + [("user", content)]
    whom = "a system message; leave --system out" if system else "a user message"
    return _framed(
        template,
        folder,
        turns,
        chat,
        whom,
        lambda text: text.count(mark) == content.count(mark) and text.count(system or mark) == 1,
    )


def between(tokenizer: Tokenizer, folder: Path, chat: Chat, answer: str, question: str) -> str:
    """Return what a model reads from the end of its answer to the beginning of its next one.

    Args:
        answer, question: marks; the question's is in what is returned.

    Raises:
        ModelError: when the chat template cannot hold a conversation.
    """
    template = chat_template(tokenizer, folder)
    if template is None:
        return f"\n\nQuestion: {question}\n\n"
    turns = [("user", "."), ("assistant", answer), ("user", question)]
    whom = "a second question; ask one by one, with `longctx ask`"
    framed = _framed(
        template, folder, turns, chat, whom, lambda text: text.count(answer) == text.count(question) == 1
    )
    return framed.partition(answer)[2]


def _framed(
    template: str,
    folder: Path,
    turns: list[tuple[str, str]],
    chat: Chat,
    whom: str,
    sound: Callable[[str], bool],
) -> str:
    """Return turns (role, content) as a chat template frames them, and the beginning of an answer.

    Raises:
        ModelError: when it cannot, or what it gives is not sound.
    """
    source = _GENERATION.sub(
        lambda found: f"{found[1]}{found[2] or ''}if{' true' * (not found[2])}{found[3]}", template
    )
    why = ""
    # Some published templates want content as a list of parts; with a string they lose it.
    for shape in (str, lambda text: [{"type": "text", "text": text}]):
        variables: dict[str, Any] = {
            **special_names(folder),
            "messages": [{"role": role, "content": shape(content)} for role, content in turns],
            "add_generation_prompt": True,
        }
        variables["enable_thinking"] = chat.think != "off"
        try:
            framed = render(source, variables)
        except TemplateFailedError as error:  # the other shape may do, and if not an error follows
            why = f": {error}"
            continue
        if sound(framed):
            return framed
    raise ModelError(f"{folder}: the chat template cannot frame {whom}{why}")


def chat_template(tokenizer: Tokenizer, folder: Path) -> str | None:
    """Return the checkpoint's chat template, or its family's, or None for models without a frame.

    In this order: chat_template.jinja, chat_template.json, tokenizer_config.json (of several the one called
    "default").
    """
    own = folder / "chat_template.jinja"
    if own.is_file():
        return read_template(str(own), "")
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = _settings(folder, name).get("chat_template")
        if isinstance(found, list):
            named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
            found = named.get("default")
        if isinstance(found, str):
            return found
    if "<beginning_of_sentence>" in tokenizer.special_tokens:
        return read_template(None, "chat_minimax.jinja")
    return None


def special_names(folder: Path) -> dict[str, str]:
    """Return the special tokens that chat templates call by name: bos_token, eos_token and others."""
    found = _settings(folder, "tokenizer_config.json")
    named = {key: value for key, value in found.items() if key.endswith("_token")}
    texts = {key: value.get("content") if isinstance(value, dict) else value for key, value in named.items()}
    return {key: value for key, value in texts.items() if isinstance(value, str)}


def is_thinking(framed: str) -> bool:
    """Tell whether a frame ends inside a thought, which the model is to go on with."""
    return framed.rfind(OPEN) > framed.rfind(CLOSE)


def notes(tokenizer: Tokenizer, folder: Path, sampling: Sampling) -> Iterator[str]:
    """Yield what a user should know: that a base model is asked, or that its authors advise otherwise."""
    if chat_template(tokenizer, folder) is None:
        yield BASE
    found = _settings(folder, "generation_config.json")
    options = {
        f"--{name.replace('_', '-')}": found[name]
        for name in ("temperature", "top_p", "min_p", "repetition_penalty")
        if isinstance(found.get(name), int | float) and found[name] != getattr(Sampling, name)
    }
    drawn = {name: value for name, value in options.items() if found.get("do_sample") or "penalty" in name}
    if drawn and sampling.temperature == 0:
        advised = " ".join(f"{name} {value:g}" for name, value in drawn.items())
        yield f"the model's authors suggest {advised}; the likeliest tokens are taken unless you ask for it"


def _settings(folder: Path, name: str) -> dict[str, Any]:
    return read_json(folder / name) if (folder / name).is_file() else {}
