"""What the user prefers, in a small file of their own; options and environment variables come first.

It is never looked for in the folder that is read: a text must not choose the model that reads it.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from longctx import signals
from longctx.errors import OptionError

# What is said of one call: set once for all, it would be a surprise each time.
OF_ONE_CALL = frozenset({"help", "output", "questions", "since", "until", "follow", "fresh"})
FILES = frozenset({"store", "prompt", "haystack"})  # beside this file, unless the whole path is given
_MODEL = re.compile(r"(?m)^model[ \t]*=.*\n?")

Options = dict[str, click.Option]


def path() -> Path:
    """Return where the preferences are, whether the file exists or not."""
    return Path(click.get_app_dir("longctx")) / "config.toml"


def defaults(name: str, commands: Mapping[str, click.Command]) -> dict[str, Any]:
    """Return what the file says of the options of a command, by the names of its parameters.

    A key at the top of the file is an option without its dashes; it holds for each command that has it. One
    in the table [ask] holds for `ask` alone, and comes first.

    Raises:
        OptionError: when the file cannot be understood, naming the key that is wrong.
    """
    known = {one: _options(command) for one, command in commands.items()}
    if not known[name] or not (said := _read()):
        return {}
    everywhere: Options = {key: option for options in known.values() for key, option in options.items()}
    for key, value in said.items():
        if not isinstance(value, dict):
            _check_known(key, everywhere)
        elif not known.get(key):
            raise OptionError(f"{path()}: [{key}] is no command with options{_nearest(key, known)}")
        else:
            for inner in value:
                _check_known(inner, known[key], f"[{key}] ")
    own = {**{key: value for key, value in said.items() if key in known[name]}, **said.get(name, {})}
    return {str(known[name][key].name): _checked(key, known[name][key], value) for key, value in own.items()}


def _options(command: click.Command) -> Options:
    """Return the options that the file may give a command, by their names without dashes."""
    if isinstance(command, click.Group):  # its commands look after models and readings, and read no texts
        return {}
    options = [one for one in command.params if isinstance(one, click.Option)]
    named = {max(one.opts, key=len).removeprefix("--"): one for one in options}
    return {key: one for key, one in named.items() if key not in OF_ONE_CALL and key[0] != "-"}


def _check_known(key: str, options: Options, where: str = "") -> None:
    if key in OF_ONE_CALL:
        raise OptionError(f"{path()}: {where}{key} goes on the command line only")
    if key not in options:
        raise OptionError(f"{path()}: {where}{key} is no option{_nearest(key, options)}")


def _nearest(key: str, known: Iterable[str]) -> str:
    near = get_close_matches(key, list(known), 1)
    return f"; did you mean {near[0]}?" if near else "; longctx help COMMAND lists them, without the dashes"


def _checked(key: str, option: click.Option, value: object) -> object:
    """Return a value as on a command line, if the option takes it."""
    items = value if isinstance(value, list) else [value]
    if isinstance(value, list) != option.multiple or isinstance(value, dict):
        raise OptionError(f"{path()}: {key} takes {'a list' if option.multiple else 'one value'}")
    if any(isinstance(item, bool) != bool(option.is_flag) for item in items):
        wanted = "true or false" if option.is_flag else "a value, not true or false"
        raise OptionError(f"{path()}: {key} takes {wanted}")
    words = items if option.is_flag else [_word(key, item) for item in items]
    given: object = words if option.multiple else words[0]
    try:
        option.type_cast_value(click.Context(click.Command("")), given)
    except click.BadParameter as error:
        raise OptionError(f"{path()}: {key}: {plainly(error.message, option.type)}") from error
    return given


def plainly(message: str, kind: object) -> str:
    """Return what is wrong with a number in words that say which numbers an option takes."""
    value, wrong, _ = message.partition(" is not ")
    if not wrong or not isinstance(kind, click.IntRange | click.FloatRange):
        return message.rstrip(".")
    least = f"{'more than ' * kind.min_open}{kind.min:g}" if kind.min is not None else ""
    bounds = f"from {least} to {kind.max:g}" if kind.max is not None else f"of {least} or more"
    bounds = bounds.removesuffix(" or more") if kind.min_open else bounds
    return f"must be a {'whole ' * isinstance(kind, click.IntRange)}number {bounds}, not {value}"


def _word(key: str, item: object) -> str:
    """Return a value as it would be typed; what it names must not depend on the current folder."""
    place = Path(str(item))
    if key == "model" and item != "bundled" and not place.is_absolute() and place.exists():
        raise OptionError(
            f"{path()}: there is a {item} in the current folder, too; name a model with --model"
        )
    return str(path().parent / place.expanduser()) if key in FILES else str(item)


def _read() -> dict[str, Any]:
    """Return all that the file says.

    Raises:
        OptionError: when it cannot be read.
    """
    file = path()
    if not file.is_absolute():  # XDG_CONFIG_HOME may be, and would be looked for where texts are
        return {}
    try:
        return _parsed(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise OptionError(f"{file}: cannot be read ({error}); mend it or delete it") from error


def _parsed(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)


def default_model() -> str | None:
    """Return the model to run when none is named; None for the bundled one.

    Raises:
        OptionError: when the file cannot be understood.
    """
    model = _read().get("model")
    if model is not None and not isinstance(model, str):
        raise OptionError(f"{path()}: model must be a name in quotes; longctx models use NAME writes it anew")
    return model


def named_by(parameter: str) -> str:
    """Return what gave an option its value, if it was not the command line: to begin a complaint with."""
    context = click.get_current_context(silent=True)
    source = context.get_parameter_source(parameter) if context else None
    if source is ParameterSource.DEFAULT_MAP:
        return f"{path()}: "
    return f"LONGCTX_{parameter.upper()}: " if source is ParameterSource.ENVIRONMENT else ""


def store() -> str | None:
    """Return the store that the file names, if it does.

    Raises:
        OptionError: when the file cannot be understood.
    """
    place = _read().get("store")
    return None if place is None else _word("store", place)


def use(model: str) -> Path:
    """Let `model` be the default, and leave all else as it stands; return the file that says so.

    Raises:
        OptionError: when the file cannot be read, or not be written.
    """
    file, before = path(), _read()
    line = f"model = {json.dumps(model, ensure_ascii=False)}\n"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    text = _MODEL.sub(lambda _: line, text, count=1) if "model" in before else line + text
    if _parsed(text) != {**before, "model": model}:
        raise OptionError(f"{file}: cannot be changed safely; write there by hand: {line.strip()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with signals.scratch(file.with_name(f".{file.name}.{os.getpid()}.part")) as part:
            part.write_text(text, encoding="utf-8")
            part.replace(file)
    except OSError as error:
        raise OptionError(
            f"{file}: cannot be written ({error.strerror}); set LONGCTX_MODEL instead"
        ) from error
    return file
