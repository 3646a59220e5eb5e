"""Where a model is: the bundled one, a folder, or a repository on the Hugging Face hub."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import longctx
from longctx.errors import ModelError

BUNDLED = Path(longctx.__file__).parent / "models" / "bundled"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
SKETCH = BUNDLED.parent / "known" / "minimax"  # only the configuration that the known models share
# Only data, here and for weights: no code, no pickles.
SETTINGS = ("*.json", "*.jinja", "merges.txt")


@dataclass(frozen=True)
class Known:
    """A published checkpoint that this version can run."""

    name: str
    weights_bytes: int
    note: str


KNOWN = (
    Known("MiniMaxAI/MiniMax-Text-01", 912_210_000_000, "456B parameters, 46B used per token"),
    Known("MiniMaxAI/MiniMax-Text-01-hf", 912_210_000_000, "the same weights in the -hf format"),
    Known("MiniMaxAI/MiniMax-M1-40k", 912_210_767_872, "reasoning model, thinks before it answers"),
    Known("MiniMaxAI/MiniMax-M1-80k", 912_210_767_872, "reasoning model with longer thoughts"),
)


def settings(model: str | None, *, to_plan: bool = False) -> Path:
    """Return the folder with a model's configuration and tokenizer.

    None is the bundled model; else `model` is a folder or a hub repository, whose small files (never code)
    come from the cache or are downloaded. With `to_plan`, a known model that is not in the cache gets the
    configuration that ships with longctx.

    Raises:
        ModelError: when there is no such folder or repository, or the download fails.
    """
    if model is None:
        return BUNDLED
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise ModelError(f"{model}: is a file; --model takes the folder that holds config.json")
    if not HUB_NAME.fullmatch(model):
        raise ModelError(f"{model}: no such folder, and not a hub name like organisation/model")
    if to_plan and any(model == known.name for known in KNOWN) and not _has_settings(model):
        return SKETCH
    return _download(model, SETTINGS)


def weights(model: str | None, folder: Path) -> Path:
    """Return the folder with the weights for `settings(model)`; download them if needed."""
    if model is None or Path(model).expanduser().is_dir():
        return folder
    return _download(model, ("*.safetensors", *SETTINGS), revision=folder.name)


def checkpoint_bytes(folder: Path) -> int:
    """Return the size of all safetensors files in `folder`."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def cached() -> list[tuple[str, int]]:
    """Return name and bytes of cached repositories with weights; a plan caches none."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        found = scan_cache_dir()
    except CacheNotFound:
        return []
    return sorted(
        (repo.repo_id, repo.size_on_disk)
        for repo in found.repos
        if any(file.file_name.endswith(".safetensors") for held in repo.revisions for file in held.files)
    )


def _has_settings(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)


def _download(name: str, patterns: tuple[str, ...], revision: str | None = None) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{name}: cannot be downloaded from the hub ({reason}); check the name and the network, "
            "or pass --model FOLDER"
        ) from error
