"""Read a checkpoint's small, untrusted files: size is bounded, every failure is a ModelError."""

import json
from pathlib import Path
from typing import Any

from longctx.errors import ModelError
from longctx.regular import open_regular

LONGEST_QUOTED = 200  # characters of a checkpoint in a message
LARGEST_FILE = 1 << 26
AGAIN = "download the model again"


def read_bounded(path: Path, largest: int) -> bytes:
    """Return a regular file's bytes.

    Raises:
        ValueError: when it is larger than `largest` bytes.
        OSError: when it cannot be read, is a device, or a pipe, which might never end.
    """
    with open_regular(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"larger than {largest >> 20} MiB")
    return content


def shorten(text: str) -> str:
    """Return a stranger's text as it may stand in a message of one line."""
    return text if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]} ..."


def read_text(path: Path) -> str:
    """Return a file as text; ModelError when there is none."""
    try:
        return read_bounded(path, LARGEST_FILE).decode()
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file; --model takes a folder with config.json in it") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: cannot be read ({error}); {AGAIN}") from error
    except ValueError as error:
        raise ModelError(f"{path}: {error}; {AGAIN}") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error}); {AGAIN}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; ModelError when there is none."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON ({shorten(str(error))}); {AGAIN}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: not a JSON object; {AGAIN}")
    return found
