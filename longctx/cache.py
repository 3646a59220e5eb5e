"""What lies in the hub's cache, which other programs use too: read without the network, and deleted."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from longctx.checkpoint import read_json
from longctx.errors import ModelError

COMMIT_LENGTH = 40


def checkpoint_bytes(folder: Path) -> int:
    """Return the size of all safetensors files in `folder`."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def other_format(where: str, names: Iterable[str]) -> str:
    """Return why weights in another format are not read, and what to do; empty when there are none."""
    suffixes = {Path(name).suffix for name in names}
    if ".safetensors" in suffixes:
        return ""
    if ".gguf" in suffixes:
        return f"{where}: GGUF is for llama.cpp; take the repository it was made from, with safetensors files"
    if suffixes & {".bin", ".pt", ".pth"}:
        return (
            f"{where}: pickled weights (.bin, .pt) can run code and are not read; look for a version "
            "with safetensors files"
        )
    return ""


def weight_files(folder: Path) -> list[str]:
    """Return the names of the files that a checkpoint's weights are in, whether they are there or not."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return ["model.safetensors"]
    return sorted({str(name) for name in dict(read_json(index).get("weight_map", {})).values()})


def is_whole(folder: Path) -> bool:
    """Tell whether all weights are there; they come after all other files."""
    return all((folder / name).exists() for name in weight_files(folder))


def silence_library() -> None:
    """Set what the hub's library reads when it is imported: no telemetry, and no progress bars of its own."""
    for key in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(key, "1")


def cache_folder(repo: str) -> Path:
    """Return the folder of a repository in the hub's cache, whether it is there or not."""
    silence_library()
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE).expanduser() / f"models--{repo.replace('/', '--')}"


def here(repo: str, revision: str | None = None) -> Path | None:
    """Return the snapshot of a repository in the cache, which may be incomplete; None when there is none."""
    cache, commit = cache_folder(repo), revision or "main"
    ref = cache / "refs" / commit
    if len(commit) != COMMIT_LENGTH:
        if not ref.is_file():
            return None
        commit = ref.read_text().strip()
    snapshot = cache / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def cached() -> dict[str, int]:
    """Return the bytes of each repository in the cache that has weights, whole or not; a plan leaves none."""
    root = cache_folder("a/b").parent
    found = {}
    for cache in sorted(root.glob("models--*--*")):
        held = {path.name for path in cache.glob("snapshots/*/*")} | {p.name for p in cache.glob("blobs/*")}
        if any(name.endswith((".safetensors", ".incomplete")) for name in held):
            found[cache.name.removeprefix("models--").replace("--", "/", 1)] = bytes_in(cache)
    return found


def bytes_in(folder: Path) -> int:
    """Return the bytes of all files in a folder, each counted once however often it is linked."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def remove(repo: str) -> int:
    """Delete a repository from the cache, whole or not; return the bytes freed.

    Raises:
        ModelError: when it is not there, or cannot be deleted.
    """
    folder = cache_folder(repo)
    if not folder.is_dir():
        raise ModelError(f"{repo}: is not downloaded; longctx models lists what is")
    freed = bytes_in(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be deleted ({error.strerror}); check whose it is") from error
    shutil.rmtree(folder.parent / ".locks" / folder.name, ignore_errors=True)
    return freed
