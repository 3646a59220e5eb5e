"""Where a model is: the bundled one, a folder, a short name, or a repository on the Hugging Face hub.

What was downloaded once is used as it is; only `models pull` asks the hub for something newer.
"""

import re
from collections.abc import Callable
from pathlib import Path

import longctx
from longctx import known
from longctx.cache import here, is_whole, other_format
from longctx.checkpoint import shorten
from longctx.errors import ModelError
from longctx.progress import Progress

BUNDLED = Path(longctx.__file__).parent / "models" / "bundled"
_SNAPSHOT = re.compile(r".*/models--([\w.-]+?)--([\w.-]+)/snapshots/([0-9a-f]{40})")
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # "./model" is a folder that is not there


def settings(model: str | None, *, to_plan: bool = False) -> Path:
    """Return the folder with a model's configuration and tokenizer.

    None is the bundled model; else a folder, else a short name or a repository on the hub, of which the small
    files are taken from the cache or downloaded (never code). `to_plan`: of a known model that is not in the
    cache, the configuration that ships with longctx will do.

    Raises:
        ModelError: when there is no such folder or repository, or the download fails.
    """
    if folder := own_folder(model):
        return folder
    repo, revision = repository(model or "")
    folder = here(repo, revision)
    if folder and is_whole(folder):
        return folder
    if to_plan and not (folder and (folder / "config.json").exists()) and (found := known.find(repo)):
        return found.folder
    from longctx.download import fetch_settings

    return fetch_settings(repo, revision)


def weights(model: str | None, folder: Path, show: Callable[[Progress], object]) -> Path:
    """Return the folder with the weights that belong to `settings(model)`, downloading them if need be."""
    if own_folder(model) or is_whole(folder):
        return folder
    from longctx.download import fetch

    return fetch(repository(model or "")[0], folder.name, show)


def rounded(folder: Path, form: str) -> Path | None:
    """Return the folder that `models quantize` wrote of a model in a form; None when there is none."""
    place = rounded_place(folder, form)
    return place if (place / "config.json").is_file() and is_whole(place) else None


def rounded_place(folder: Path, form: str) -> Path:
    """Return where a model goes once it is rounded: beside it."""
    return folder.resolve().with_name(f"{folder.resolve().name}-{form}")


def own_folder(model: str | None) -> Path | None:
    """Return the folder of a model that is no download: the bundled one, or one of the user's.

    Raises:
        ModelError: for a file, or a folder whose weights are in a format that is not read.
    """
    if model is None or model == "bundled":
        return BUNDLED
    try:
        path = Path(model).expanduser()
        path.stat()
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, ValueError) as error:  # nobody's home, a name too long, a zero byte
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"--model {shorten(model)}: no such model or folder ({reason})") from error
    if path.is_file():
        raise ModelError(
            other_format(path.name, [path.name])
            or f"{model}: is a file; --model takes the folder that holds config.json"
        )
    if not path.is_dir():
        return None
    if reason := other_format(str(path), [file.name for file in path.iterdir()]):
        raise ModelError(reason)
    return path


def repository(model: str) -> tuple[str, str | None]:
    """Return the repository that a name stands for, and the revision that stands after an @.

    Raises:
        ModelError: when it is neither a short name nor one of the hub.
    """
    name, _, revision = model.partition("@")
    if found := known.find(name):
        return found.repo, revision or None
    if not HUB_NAME.fullmatch(name):
        raise ModelError(
            f"{model}: no such folder, and not a hub name like organisation/model; "
            f"{known.nearest(name)}`longctx models` lists short names"
        )
    return name, revision or None


def name_of(folder: Path) -> str:
    """Return the name by which --model finds a folder again: "bundled", a repository at a commit, a path."""
    if folder == BUNDLED:
        return "bundled"
    found = _SNAPSHOT.fullmatch(folder.as_posix())
    return f"{found[1]}/{found[2]}@{found[3]}" if found else str(folder.resolve())


def is_sketch(folder: Path) -> bool:
    """Tell whether a folder holds a configuration that ships with longctx, and no tokenizer."""
    return folder.parent == known.FOLDER
