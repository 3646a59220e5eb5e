"""Prompts: a template with a place for the document, inside the model's chat frame.

Templates may contain special tokens. In documents and questions, the same strings are plain text. Templates
of checkpoints are untrusted and run in a sandbox.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

import longctx
from longctx.checkpoint import read_json
from longctx.errors import InputError, ModelError
from longctx.text.source import Corpus, Document
from longctx.tokens.tokenizer import Tokenizer

PROMPTS = Path(longctx.__file__).parent / "prompts"
LARGEST_TEMPLATE = 1 << 20


@dataclass(frozen=True)
class Prompt:
    """Token ids around the document: `before` is read first, `after` once the document was read."""

    before: list[int]
    after: list[int]


def build_prompt(tokenizer: Tokenizer, folder: Path, template: str, **values: str | int) -> Prompt:
    """Fill a template and put it into the chat frame of `folder`'s model.

    Args:
        template: Jinja text with `{{ document }}` exactly once; `values` fill the other places.

    Raises:
        InputError: when the template is broken or lacks exactly one document.
        ModelError: when the checkpoint's chat template cannot be used.
    """
    # Random marks stand for untrusted text while templates run, so no text can pose as a mark.
    marks = {name: f"[{secrets.token_hex(16)}]" for name in ("document", *values)}
    try:
        filled = _sandbox().from_string(template).render(marks)
    except Exception as error:  # a template can raise anything: 1/0, range(10**9), wrong types
        raise InputError(f"prompt template: {error}") from error
    framed = _frame(tokenizer, folder, filled, marks["document"])
    if framed.count(marks["document"]) != 1:
        raise InputError("prompt template: {{ document }} must be in it exactly once")
    plain = {marks[name]: str(value) for name, value in values.items()}
    before, after = framed.split(marks["document"])
    return Prompt(_encode(tokenizer, before, plain), _encode(tokenizer, after, plain))


def header(corpus: Corpus) -> Callable[[Document], str] | None:
    """Return what introduces each document to the model: its path, or nothing for a single document."""
    if len(corpus.documents) < 2:
        return None
    return lambda document: f"\n\n==> {document.name} <==\n"


def read_template(path: str | None, default: str) -> str:
    """Return the user's template file, or the built-in one called `default`."""
    source = Path(path) if path else PROMPTS / default
    try:
        if source.stat().st_size > LARGEST_TEMPLATE:
            raise InputError(f"{source}: larger than {LARGEST_TEMPLATE >> 20} MiB; not a prompt template")
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: cannot read the prompt template: {error}") from error


def _frame(tokenizer: Tokenizer, folder: Path, content: str, mark: str) -> str:
    template = _chat_template(tokenizer, folder)
    if template is None:
        return content
    # Some published templates want content as a list of parts; with a string they lose it.
    for shape in (content, [{"type": "text", "text": content}]):
        try:
            framed = (
                _sandbox()
                .from_string(template)
                .render(messages=[{"role": "user", "content": shape}], add_generation_prompt=True)
            )
        except Exception:  # as above; the other shape may work, else an error follows
            continue
        if framed.count(mark) == content.count(mark):
            return framed
    raise ModelError(f"{folder}: the chat template cannot frame a user message")


def _chat_template(tokenizer: Tokenizer, folder: Path) -> str | None:
    """Return the chat template of the checkpoint or its family; None for models without one."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return read_template(str(own), "")
    settings = folder / "tokenizer_config.json"
    if settings.is_file() and isinstance(found := read_json(settings).get("chat_template"), str):
        return found
    if "<beginning_of_sentence>" in tokenizer.special_tokens:
        return read_template(None, "chat_minimax.jinja")
    return None


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


def _sandbox() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise
    return environment


def _raise(message: str) -> None:
    raise TemplateError(message)
