"""Files of a store: written whole or not at all, recognised by size and sha256. Knows no readings."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longctx import signals

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1 << 20
PRIVATE = 0o600  # what was read is its reader's own
LARGEST_MANIFEST = 256 << 20


class Unusable(Exception):
    """Something kept cannot be used; the message says why, in the middle of a line."""


class LaterVersion(Unusable):
    """It is of a later version of the format, and must not be replaced."""


@dataclass(frozen=True)
class Written:
    """A file as it was written.

    Attributes:
        mtime_ns, inode: of the file then. While they and the size are the same, its bytes need no proof.
    """

    name: str
    size: int
    sha256: str
    mtime_ns: int
    inode: int


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for equal values: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def sha256_of(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; what stood there is replaced at once or not at all."""
    with signals.scratch(_part(path)) as part:
        part.touch(PRIVATE, exist_ok=False)
        with part.open("wb") as file:
            file.write(json.dumps(value, indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """Read JSON of bounded size.

    Raises:
        Unusable: when it cannot be read or is none.
    """
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise Unusable(f"{path.name} is too large")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Unusable(f"{path.name} cannot be read ({error})") from error


def write_tensors(path: Path, tensors: Mapping[str, "Sequence[Tensor]"], told: Mapping[str, str]) -> Written:
    """Write tensors, each given in pieces along its last but one dimension, as a safetensors file.

    Raises:
        Unusable: when there is no room for them. OSError: likewise.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {}
    for name, pieces in tensors.items():
        here = [piece.cpu() for piece in pieces]
        whole[name] = here[0].contiguous() if len(here) == 1 else torch.cat(here, dim=-2)
    with signals.scratch(_part(path)) as part:
        part.touch(PRIVATE)
        try:
            save_file(whole, part, metadata=dict(told))
        except SafetensorError as error:
            raise Unusable(f"{path.name} cannot be written ({error})") from error
        part.chmod(PRIVATE)  # it may have been made anew
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        digest = sha256_file(part)
        part.replace(path)
    sync_folder(path.parent)
    return seen(path, digest)


def open_tensors(folder: Path, kept: Written) -> "dict[str, Tensor]":
    """Map the tensors of a file into memory.

    Raises:
        Unusable: when it is not the file that was written.
    """
    from safetensors import SafetensorError, safe_open

    check(folder, kept)
    try:
        with safe_open(folder / kept.name, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dictionary
    except (OSError, SafetensorError) as error:
        raise Unusable(f"{kept.name} is damaged ({error})") from error


def check(folder: Path, kept: Written, *, whole: bool = False) -> None:
    """Prove that a file is as it was written: by its times, or by all its bytes when `whole` or in doubt.

    Raises:
        Unusable: when it is not.
    """
    path = folder / kept.name
    try:
        if path.is_symlink():
            raise Unusable(f"{kept.name} is a symbolic link")
        status = path.stat()
        if status.st_size != kept.size:
            raise Unusable(f"{kept.name} has {status.st_size:,} bytes, not {kept.size:,}")
        same = (status.st_mtime_ns, status.st_ino) == (kept.mtime_ns, kept.inode)
        if (whole or not same) and sha256_file(path) != kept.sha256:
            raise Unusable(f"{kept.name} is not what was written")
    except OSError as error:
        raise Unusable(f"{kept.name} cannot be read ({error.strerror})") from error


def seen(path: Path, digest: str) -> Written:
    """Return a file that was just written, as it is to be found again."""
    status = path.stat()
    return Written(path.name, status.st_size, digest, status.st_mtime_ns, status.st_ino)


def sync_folder(folder: Path) -> None:
    """Let renames in a folder survive a loss of power, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
