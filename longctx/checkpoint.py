"""Read a checkpoint's small, untrusted files: size is bounded, every failure is a ModelError."""

import json
from pathlib import Path
from typing import Any

from longctx.errors import ModelError

LARGEST_FILE = 1 << 26
AGAIN = "download the model again"


def read_text(path: Path) -> str:
    """Return a file as text; ModelError when there is none."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ModelError(f"{path}: larger than {LARGEST_FILE >> 20} MiB; {AGAIN}")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file; --model takes a folder with config.json in it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); {AGAIN}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; ModelError when there is none."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON ({error}); {AGAIN}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: not a JSON object; {AGAIN}")
    return found
