"""The files that describe a tokenizer, read with suspicion; knows nothing of text."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers.pre_tokenizers import ByteLevel

from longctx.checkpoint import AGAIN, read_json, read_text, shorten
from longctx.errors import ModelError

MOST_GROWTH = 64  # characters that normalizing may make of one


def read_specification(folder: Path) -> dict[str, Any]:
    """Return tokenizer.json, or its equivalent made from a GPT-2 style tokenizer's files."""
    path = folder / "tokenizer.json"
    if path.is_file():
        found = read_json(path)
        if not isinstance(found.get("model"), dict):
            raise ModelError(f"{path}: not a tokenizer of the tokenizers library; download the model again")
        return found
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _from_merges(folder)
    raise ModelError(
        f"{folder}: no tokenizer.json and no vocab.json with merges.txt; download them with the model"
    )


def _from_merges(folder: Path) -> dict[str, Any]:
    """Describe a byte-level BPE that splits like GPT-2, as such checkpoints expect."""
    vocabulary = read_json(folder / "vocab.json")
    if not all(isinstance(id, int) for id in vocabulary.values()):
        raise ModelError(f"{folder / 'vocab.json'}: not a table of token ids; download the model again")
    lines = read_text(folder / "merges.txt").split("\n")
    merges = [line.rstrip("\r") for line in lines if line.strip() and not line.startswith("#version")]
    settings = folder / "tokenizer_config.json"
    config = read_json(settings) if settings.is_file() else {}
    # An entry made by neither a byte nor a merge can only be a special token.
    made = {*ByteLevel.alphabet(), *(merge.replace(" ", "") for merge in merges)}
    added = {content: {"content": content, "special": True} for content in vocabulary if content not in made}
    ids = {content: vocabulary[content] for content in added}
    try:
        for id, token in (config.get("added_tokens_decoder") or {}).items():
            added[token["content"]] = token
            ids[token["content"]] = int(id)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{settings}: added_tokens_decoder is damaged; download it again") from error
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    ordered = sorted(added, key=lambda content: ids[content])
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    spaced = bool(config.get("add_prefix_space"))
    return {
        "version": "1.0",
        "added_tokens": [{**flags, **added[content], "id": ids[content]} for content in ordered],
        "pre_tokenizer": {**byte_level, "add_prefix_space": spaced},
        "decoder": {**byte_level, "add_prefix_space": spaced},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }


def check_growth(specification: dict[str, Any], origin: Path) -> None:
    """Refuse settings by which the library would abort the process, or a short text would fill the memory.

    Raises:
        ModelError: naming the setting.
    """
    model = specification["model"]
    if model.get("type") == "BPE" and model.get("continuing_subword_prefix"):
        raise ModelError(f"{origin}: continuing_subword_prefix is not supported for BPE")
    growth, rest = 1, [specification.get(part) for part in ("normalizer", "pre_tokenizer", "decoder")]
    while rest:
        found = rest.pop()
        if isinstance(found, list):
            rest += found
        elif isinstance(found, dict):
            if found.get("type") == "FixedLength" and not found.get("length"):  # a panic, told on stderr
                raise ModelError(f"{origin}: a FixedLength of 0 is not supported")
            rest += (value for value in found.values() if isinstance(value, dict | list))
            texts = [found.get(name) for name in ("content", "prepend", "replacement")]
            growth *= max([1, *(len(text) for text in texts if isinstance(text, str))])
    if growth > MOST_GROWTH:
        raise ModelError(f"{origin}: its normalizer could make a text {growth:,} times as long; {AGAIN}")


@contextmanager
def library(origin: Path) -> Iterator[None]:
    """Turn whatever the library raises, panics included, into one line.

    Raises:
        ModelError: naming the tokenizer.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError, ModelError):
        raise
    except BaseException as error:  # a panic is no Exception, and its class has no public name
        reason = shorten(" ".join(str(error).split()))
        raise ModelError(f"{origin}: not a usable tokenizer ({reason}); {AGAIN}") from error


def build(specification: dict[str, Any], origin: Path) -> Backend:
    """Build the tokenizer with the library, or say why it cannot."""
    with library(origin):
        return Backend.from_str(json.dumps(specification))


def check_added(added: Sequence[dict[str, Any]], backend: Backend, origin: Path) -> None:
    """Refuse gaps between ids: the library closes them silently, and later tokens get wrong ids."""
    for token in added:
        found = backend.token_to_id(token["content"])
        if found != token["id"]:
            detail = f"{shorten(repr(token['content']))} should have id {token['id']} but gets {found}"
            raise ModelError(f"{origin}: {detail}; added tokens do not fit the vocabulary; download it again")


def opening(specification: dict[str, Any], origin: Path) -> list[int]:
    """Return the special tokens that a post-processor puts before a text.

    Raises:
        ModelError: when it is not one.
    """
    try:
        return list(_opening(specification.get("post_processor") or {}))
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelError(f"{origin}: its post_processor is damaged; {AGAIN}") from error


def _opening(processor: dict[str, Any]) -> Iterator[int]:
    for one in processor.get("processors") or [processor]:
        if one.get("type") == "TemplateProcessing":
            before = takewhile(lambda piece: "SpecialToken" in piece, one.get("single") or [])
            names = [piece["SpecialToken"]["id"] for piece in before]
            yield from (int(id) for name in names for id in one["special_tokens"][name]["ids"])


def without_special(specification: dict[str, Any]) -> dict[str, Any]:
    """Remove added tokens and everything else that could turn text into a special token."""
    model = specification["model"]
    added = specification.get("added_tokens") or []
    special = {token["content"] for token in added if token.get("special")} - {model.get("unk_token")}
    if special and model.get("type") == "BPE":
        merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model = {
            **model,
            "vocab": {token: id for token, id in model["vocab"].items() if token not in special},
            "merges": [merge for merge in merges if special.isdisjoint([*merge, "".join(merge)])],
        }
    return {**specification, "model": model, "added_tokens": []}
