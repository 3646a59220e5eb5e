"""What a reading depends on besides the text: weights, tokenizer, numbers, kernels, and the grid of chunks.

Only what has the same fingerprint may go on with a reading. The number of threads is no part of it.
"""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longctx.cache import weight_files
from longctx.store.files import Unusable, read_json, sha256_file, write_json
from longctx.tokens.stream import APART

if TYPE_CHECKING:
    from longctx.engine import Engine

HASHED_WHOLE = 4 << 30  # bytes of weights; of more, samples are hashed, and their times count
SAMPLES, SAMPLE = 64, 1 << 16
CACHE = "weights.json"
MOST_CACHED = 256
TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt")
_BLOB = re.compile(r"[0-9a-f]{64}")


def fingerprint(engine: "Engine", before: list[int], chunk: int, root: Path) -> dict[str, Any]:
    """Return what a reading by an engine depends on.

    Args:
        before: the tokens before the documents, which hold the template and the chat frame.
        root: of the store, where hashes of weights are remembered.
    """
    from longctx.kernels import select

    folder, model = engine.folder, engine.model
    names = [name for name in TOKENIZER if (folder / name).is_file()]
    # Readings from before have no such marks.
    kept: dict[str, Any] = {"kv": "int8"} if model.kv.rounded else {}
    if model.kv.chosen is not None:
        kept["kv_pages"] = model.kv.chosen
    return {
        "model": sha256_file(folder / "config.json"),
        "weights": weights(folder, root),
        "tokenizer": [sha256_file(folder / name) for name in names],
        "prompt": before,
        "dtype": str(model.dtype).removeprefix("torch."),
        "form": engine.form,
        "device": engine.device.type,
        "kernels": os.environ.get(select.SWITCH) or "auto",
        "chunk": chunk,
        "apart": APART,
        **kept,
    }


def weights(folder: Path, root: Path) -> dict[str, str]:
    """Return what tells the weights in a folder from all others, by file; remembered by size and time."""
    paths = [folder / name for name in weight_files(folder)]
    total = sum(path.stat().st_size for path in paths)
    known = _remembered(root)
    found = {}
    for path in paths:
        real, status = path.resolve(), path.stat()
        key = f"{real}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"
        if _BLOB.fullmatch(real.name):  # the hub's cache calls a large file by its sha256
            found[path.name] = real.name
            continue
        if key not in known:
            known[key] = sha256_file(path) if total <= HASHED_WHOLE else sampled(path)
            with suppress(OSError):
                write_json(root / CACHE, dict(list(known.items())[-MOST_CACHED:]))
        found[path.name] = known[key]
    return found


def sampled(path: Path) -> str:
    """Return a hash of a large file's size and time, and of pieces of it, the header included."""
    status = path.stat()
    digest = hashlib.sha256(f"{status.st_size}:{status.st_mtime_ns}".encode())
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek((status.st_size - SAMPLE) * number // (SAMPLES - 1))
            digest.update(file.read(SAMPLE))
    return f"samples-{digest.hexdigest()}"


def _remembered(root: Path) -> dict[str, str]:
    with suppress(Unusable):
        found = read_json(root / CACHE)
        if isinstance(found, dict):
            return {str(key): str(value) for key, value in found.items()}
    return {}
