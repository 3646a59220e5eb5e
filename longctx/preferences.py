"""What the user prefers, in a small file of their own; options and environment variables come first.

It is never looked for in the folder that is read: a text must not choose the model that reads it.
"""

import json
import os
from pathlib import Path

import click

from longctx import signals
from longctx.errors import OptionError


def path() -> Path:
    """Return where the preferences are, whether the file exists or not."""
    return Path(click.get_app_dir("longctx")) / "config.toml"


def default_model() -> str | None:
    """Return the model to run when none is named; None for the bundled one.

    Raises:
        OptionError: when the file cannot be understood.
    """
    import tomllib

    file = path()
    if not file.is_absolute():  # XDG_CONFIG_HOME may be, and would be looked for where texts are
        return None
    try:
        model = tomllib.loads(file.read_text(encoding="utf-8")).get("model")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OptionError(
            f"{file}: cannot be read ({error}); longctx models use NAME writes it anew, or delete it"
        ) from error
    if model is not None and not isinstance(model, str):
        raise OptionError(f"{file}: model must be a name in quotes; longctx models use NAME writes it anew")
    return model


def use(model: str) -> Path:
    """Let `model` be the default; return the file that says so."""
    file = path()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with signals.scratch(file.with_name(f".{file.name}.{os.getpid()}.part")) as part:
            part.write_text(f"model = {json.dumps(model, ensure_ascii=False)}\n", encoding="utf-8")
            part.replace(file)
    except OSError as error:
        raise OptionError(
            f"{file}: cannot be written ({error.strerror}); set LONGCTX_MODEL instead"
        ) from error
    return file
