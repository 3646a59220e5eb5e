"""The tensors in a checkpoint's safetensors files: where each of them is, its numbers, and new files of them.

Checkpoints are untrusted: only safetensors is read, and files stay inside the folder. Pages that were read
count as memory of the process for as long as their file is open, so files are closed again and again.
"""

import json
import math
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from longctx import signals
from longctx.checkpoint import read_json
from longctx.errors import ModelError
from longctx.models.published import Shape

# A multimodal checkpoint keeps the language model under this prefix; the rest of it is not ours to run.
TEXT_PREFIX = "language_model."
LONGEST_HEADER = 100_000_000  # bytes, by the format
WINDOW = 1 << 26  # bytes that are read before files are closed
ALIGNED = 64  # bytes: the address of a tensor in memory is a multiple of them
# How safetensors calls what we write.
KINDS = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.int32: "I32",
    torch.int64: "I64",
}
# What it calls the numbers that we read.
NUMBERS = {kind: dtype for dtype, kind in KINDS.items()} | {
    "F8_E4M3": torch.float8_e4m3fn,
}


class SupportsWrite(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes | memoryview, /) -> object: ...  # noqa: D102


# File, shape and kind of numbers of each stored tensor.
Located = dict[str, tuple[Path, Shape, str]]


class Shards:
    """The tensors of the language model in a folder; several threads may ask for them.

    Attributes:
        located: where and what every tensor is, from the files' headers alone.

    Raises:
        ModelError: when a file is missing, corrupt or outside the folder.
    """

    def __init__(self, folder: Path):
        found = {name: at for path in _files(folder) for name, at in _tensors(path)}
        prefixed = any(name.startswith(TEXT_PREFIX) for name in found)
        self._prefix = TEXT_PREFIX if prefixed else ""
        self.located: Located = {
            name.removeprefix(self._prefix): at for name, at in found.items() if name.startswith(self._prefix)
        }
        self._open: dict[Path, Any] = {}
        self._plain: dict[Path, PlainFile] = {}
        self._read, self._lock = 0, Lock()

    def __call__(self, name: str, member: int | None = None) -> Tensor:
        """Return a tensor, or one of a stack; its numbers are read from the file when they are used."""
        path = self.located[name][0]
        with self._lock:
            if self._read > WINDOW:
                self._close()
            if path not in self._open:
                self._open[path] = safe_open(path, framework="pt")
            key = self._prefix + name
            file = self._open[path]
            tensor: Tensor = file.get_tensor(key) if member is None else file.get_slice(key)[member]
            self._read += tensor.nbytes
        return tensor

    def copy(self, name: str, member: int | None = None) -> Tensor:
        """Return a tensor, or one of a stack, read into memory of its own.

        For what is read while the model runs: a mapped file that shrinks would kill the process.

        Raises:
            ModelError: naming a file that has gone, or is not what it was.
        """
        path, shape, kind = self.located[name]
        try:
            with self._lock:
                if path not in self._plain:
                    self._plain[path] = PlainFile(path)
                file = self._plain[path]
            return file.read(self._prefix + name, shape, NUMBERS[kind], kind, member)
        except (OSError, ValueError, LookupError, TypeError) as error:
            why = getattr(error, "strerror", None) or "it is not the file that it was"
            raise ModelError(
                f"{path}: cannot be read any more ({why}), and experts are read from it while the model "
                "runs; make the file whole and start again"
            ) from error

    def close(self) -> None:
        """Close all mapped files; tensors still in use keep theirs."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._open.clear()
        self._read = 0


class PlainFile:
    """A safetensors file that is read, not mapped; it stays open. `Shards` has checked its header before."""

    def __init__(self, path: Path):
        self._file, self._lock = path.open("rb", buffering=0), Lock()
        weakref.finalize(self, self._file.close)
        length = int.from_bytes(self._file.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError
        self._start, self._tensors = 8 + length, json.loads(self._file.read(length))

    def read(self, name: str, shape: Shape, dtype: torch.dtype, kind: str, member: int | None) -> Tensor:
        """Return a tensor, or one of a stack; an error of any kind when it is not there."""
        found = self._tensors[name]
        if (tuple(found["shape"]), found["dtype"]) != (shape, kind):
            raise ValueError
        start = self._start + int(found["data_offsets"][0])
        tensor = torch.empty(shape if member is None else shape[1:], dtype=dtype)
        room = tensor.reshape(-1).view(torch.uint8).numpy().data
        start += len(room) * (member or 0)
        with self._lock:
            self._file.seek(start)
            while room:
                done = self._file.readinto(room)
                if not done:
                    raise ValueError
                room = room[done:]
        return tensor


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return [folder / "model.safetensors"]
    names = set(map(str, dict(read_json(index).get("weight_map", {})).values()))
    if any(Path(name).name != name for name in names):
        raise ModelError(f"{index}: names a file outside the checkpoint")
    return sorted(folder / name for name in names)


def _tensors(path: Path) -> Iterator[tuple[str, tuple[Path, Shape, str]]]:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; the checkpoint is incomplete (only safetensors is read)")
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  # a safetensors handle is no dict
                part = file.get_slice(name)
                yield name, (path, tuple(part.get_shape()), part.get_dtype())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: truncated or corrupt safetensors file: {error}") from error


def write_shard(path: Path, shapes: Mapping[str, tuple[torch.dtype, Shape]], parts: Iterable[Tensor]) -> None:
    """Write a safetensors file piece by piece; until it is whole it has another name.

    Args:
        path: of the file.
        shapes: kind and shape of each tensor, in the order of the file.
        parts: the numbers of all tensors in that order, in as many pieces as is convenient.

    Raises:
        OSError: when it cannot be written; nothing is left then.
    """
    with signals.scratch(path.with_name(f".{path.name}.part")) as scratch:
        with scratch.open("wb") as file:
            write_tensors(file, shapes, parts, {"format": "pt"})
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)


def write_tensors(
    file: SupportsWrite,
    shapes: Mapping[str, tuple[torch.dtype, Shape]],
    parts: Iterable[Tensor],
    told: Mapping[str, str],
) -> None:
    """Write all that is in a safetensors file; its numbers begin at a multiple of ALIGNED bytes.

    Args:
        shapes, parts: as of `write_shard`. told: the metadata.
    """
    header: dict[str, object] = {"__metadata__": told}
    end = written = 0
    for name, (dtype, shape) in shapes.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": KINDS[dtype], "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    # CPUs add up numbers at odd addresses in another order, and what is mapped must give the same bits.
    text += b" " * (-(len(text) + 8) % ALIGNED)
    file.write(len(text).to_bytes(8, "little") + text)
    for part in parts:
        file.write(part.contiguous().view(-1).view(torch.uint8).numpy().data)
        written += part.nbytes
    assert written == end, "the pieces are not the tensors"
