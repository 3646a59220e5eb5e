"""Writes the checkpoints of a reading beside the computation: tensors, then the manifest that names them."""

import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from longctx.store.files import Unusable, write_tensors
from longctx.store.folder import Folder, locked
from longctx.store.kept import KeptReading
from longctx.store.manifest import NAME, Manifest, Snapshot, read_manifest
from longctx.store.thin import MOST, most_useful

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LOCK = "lock"
SHARE = 4  # of the store's bytes, the snapshots of a reading may take one in so many


@dataclass(frozen=True)
class Checkpoint:
    """What a session has read since the last one, and its constants now.

    Attributes:
        start, end: positions of the session.
        appended: of the segment's tensors, in pieces. constants: of the snapshot.
        seconds: that reading has taken so far, in all runs.
        begins: a document begins at its end.
        beside: lets the writer copy them from a device beside its computation.
    """

    start: int
    end: int
    appended: "Mapping[str, Sequence[Tensor]]"
    constants: "Mapping[str, Tensor]"
    seconds: float
    begins: bool
    beside: Callable[[], AbstractContextManager[None]]

    @property
    def bytes(self) -> int:
        """Return the size of its tensors."""
        rows = sum(piece.nbytes for pieces in self.appended.values() for piece in pieces)
        return rows + sum(one.nbytes for one in self.constants.values())


class Writer:
    """Writes to the folder of one reading, in a thread of its own.

    Args:
        folder: of the store. entry: of the reading, made with the first checkpoint.
        manifest: to go on with. origin: what its files are of, if there are any.
        seal: of the manifest that the entry had; empty for none that can be used.

    Attributes:
        failure: why nothing more is kept.
    """

    def __init__(
        self, folder: Folder, entry: Path, manifest: Manifest, origin: KeptReading | None, seal: str
    ) -> None:
        self._folder, self._entry, self._manifest, self._origin = folder, entry, manifest, origin
        self._seal = seal
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._job: Future[None] | None = None
        self._lock: weakref.finalize[[int], Writer] | None = None
        self._began = self._cost = 0.0
        self.failure = ""

    @property
    def cost(self) -> float:
        """Return the seconds that the last checkpoint took, or has taken so far."""
        writing = self._job is not None and not self._job.done()
        return perf_counter() - self._began if writing else self._cost

    def write(self, checkpoint: Checkpoint) -> None:
        """Begin to write a checkpoint, once the one before is written."""
        self.wait()
        if not self.failure:
            self._began = perf_counter()
            self._job = self._thread.submit(self._attempt, checkpoint)

    def wait(self) -> None:
        """Wait until all is written."""
        if self._job is not None:
            self._job.result()

    def close(self) -> None:
        """Give the reading back to other processes, once all is written."""
        self._thread.shutdown()
        if self._lock is not None:
            self._lock()

    def _attempt(self, checkpoint: Checkpoint) -> None:
        try:
            self._write(checkpoint)
        except (OSError, Unusable) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self.failure = " ".join(reason.split())
            kept = f"; {self._manifest.tokens:,} tokens of it are kept" if self._manifest.tokens else ""
            self._folder.say(f"store: this reading is not kept any further, {self.failure}{kept}")
        self._cost = perf_counter() - self._began

    def _write(self, checkpoint: Checkpoint) -> None:
        if self._lock is None:
            self._begin()
        budget = self._folder.make_room(self._entry, checkpoint.bytes)
        start, end, manifest = checkpoint.start, checkpoint.end, self._manifest
        told = {"format": "longctx", "start": str(start), "end": str(end)}
        state = {name: [x] for name, x in checkpoint.constants.items()}
        with checkpoint.beside():
            snapshot = write_tensors(self._entry / f"state-{end:012}.safetensors", state, told)
            path = self._entry / f"segment-{start:012}-{end:012}.safetensors"
            segment = write_tensors(path, checkpoint.appended, told)
        manifest.segments.append(manifest.link(start, end, segment))
        manifest.snapshots.append(Snapshot(end, snapshot, checkpoint.begins))
        most = min(MOST, budget // SHARE // snapshot.size)
        kept = most_useful({one.position: one.begins for one in manifest.snapshots}, most)
        manifest.snapshots = [one for one in manifest.snapshots if one.position in kept]
        manifest.seconds = checkpoint.seconds
        manifest.write(self._entry)
        self._sweep()

    def _begin(self) -> None:
        """Lock the reading, and bring the files there that it goes on with.

        Raises:
            Unusable: when another process has it, or has changed it.
        """
        if not self._folder.writable:
            raise Unusable(f"{self._folder.root} cannot be written")
        self._entry.mkdir(mode=0o700, exist_ok=True)
        if (lock := locked(self._entry)) is None:
            raise Unusable("another longctx is reading the same text")
        if not self._folder.fresh and _seal(self._entry) != self._seal:
            os.close(lock)
            raise Unusable("another longctx has read it meanwhile")
        self._lock = weakref.finalize(self, os.close, lock)
        if self._origin and self._origin.folder != self._entry:
            for file in self._manifest.files:
                _link(self._origin.folder / file.name, self._entry / file.name)

    def _sweep(self) -> None:
        """Remove the files that the manifest does not name."""
        named = {file.name for file in self._manifest.files}
        for path in self._entry.iterdir():
            if path.name not in named | {NAME, LOCK}:
                path.unlink(missing_ok=True)


def beside(device: "torch.device") -> Callable[[], AbstractContextManager[None]]:
    """Return what lets another thread copy what a device was told to compute so far, beside what follows."""
    if device.type == "cpu":
        return nullcontext
    import torch

    event, stream = torch.cuda.Event(), torch.cuda.Stream(device)
    event.record()

    @contextmanager
    def copying() -> Iterator[None]:
        stream.wait_event(event)
        with torch.cuda.stream(stream):
            yield

    return copying


def _seal(entry: Path) -> str:
    with suppress(Unusable):
        return read_manifest(entry)[1]
    return ""


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where there are none."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def use(entry: Path) -> None:
    """Note that a reading was used now."""
    with suppress(OSError):
        os.utime(entry / NAME)
