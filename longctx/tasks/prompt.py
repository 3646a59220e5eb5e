"""Prompts: a template with a place for the document, inside the model's chat frame.

Template text may name special tokens. The document and the question may not: in them the strings of
special tokens are plain text.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from longctx.chat import Chat
from longctx.errors import InputError
from longctx.tasks.frame import between, chat_template, frame, is_thinking
from longctx.tasks.templates import TemplateFailedError, render
from longctx.text.source import Corpus, Document
from longctx.tokens.stream import heading
from longctx.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Prompt:
    """Token ids around the document.

    Attributes:
        before: is read first. after: once the document was read.
        thinking: the prompt ends inside a thought, which the model goes on with.
    """

    before: list[int]
    after: list[int]
    thinking: bool = False

    @property
    def tokens(self) -> int:
        """Return how many tokens there are in all."""
        return len(self.before) + len(self.after)


def build_prompt(
    tokenizer: Tokenizer, folder: Path, template: str, chat: Chat | None = None, **values: str | int
) -> Prompt:
    """Fill a template and put it into the chat frame of the model in `folder`.

    Args:
        template: Jinja text with `{{ document }}` exactly once; `values` fill the other places.
        chat: how the model is spoken to, but for the template.

    Raises:
        InputError: when the template is broken or lacks exactly one document.
        ModelError: when the checkpoint's chat template cannot be used.
    """
    chat = chat or Chat()
    marks = {name: _mark(name) for name in ("document", "system", *values)}
    try:
        filled = render(template, marks)
    except TemplateFailedError as error:
        raise InputError(f"prompt template: {error}") from error
    framed = frame(tokenizer, folder, filled, marks["document"], chat, marks["system"] if chat.system else "")
    if framed.count(marks["document"]) != 1:
        raise InputError("prompt template: {{ document }} must be in it exactly once")
    plain = {marks[name]: str(value) for name, value in {**values, "system": chat.system or ""}.items()}
    before, after = framed.split(marks["document"])
    opening = [] if chat_template(tokenizer, folder) else tokenizer.opening
    ids = [*opening, *_encode(tokenizer, before, plain)], _encode(tokenizer, after, plain)
    return Prompt(*ids, thinking=is_thinking(after))


def next_turn(tokenizer: Tokenizer, folder: Path, question: str, chat: Chat) -> Prompt:
    """Return what a model reads after its answer, for its next one to be about `question`.

    Raises:
        ModelError: when the checkpoint's chat template cannot hold a conversation.
    """
    mark = _mark("question")
    text = between(tokenizer, folder, chat, _mark("answer"), mark)
    return Prompt([], _encode(tokenizer, text, {mark: question}), thinking=is_thinking(text))


@cache
def _mark(name: str) -> str:
    """Return what stands for untrusted text while templates run: random, so that no text can pose as it."""
    return f"[{secrets.token_hex(16)}]"


def header(corpus: Corpus) -> Callable[[Document], str] | None:
    """Return what introduces each document to the model: its path, or nothing for a single document."""
    if len(corpus.documents) < 2:
        return None
    return heading


def _encode(tokenizer: Tokenizer, text: str, plain: dict[str, str]) -> list[int]:
    """Encode template text, recognising special tokens in it, with plain text put in at the marks.

    Plain text joins the template text around it before it is encoded, as it does in training.
    """
    special = tokenizer.special_tokens
    tokens: list[int] = []
    names = sorted(special, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, names)) + ")", text) if names else [text]
    for part in parts:
        if part in special:
            tokens.append(special[part])
        elif part:
            for mark, value in plain.items():
                part = part.replace(mark, value)  # noqa: PLW2901  # each mark occurs in the template's own words
            tokens += tokenizer.encode(part)
    return tokens
