"""Kill `longctx read` and `longctx ask` at random moments, again and again: nothing may be damaged, or lost
beyond one interval.

    python -m bench.kill_campaign --kills 200 --tmpfs 3

One process imports longctx and forks children that run the commands as they are typed, each of which is
killed (SIGKILL) at a random moment: while it starts, reads, writes a checkpoint, answers. After each kill all
files are hashed. A command that comes to its end must keep the state, and give the answer, of one that was
never stopped, to the last bit. Linux only. With --tmpfs (as root) the store also lies on a disk of so many
MiB, which gets full.
"""

import argparse
import hashlib
import io
import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch

import longctx
from longctx.cli import main as commands
from longctx.models.config_file import read_config
from longctx.models.decoder import Decoder
from longctx.progress import Progress
from longctx.reading import Reading
from longctx.store import keeper
from longctx.store.files import check
from longctx.store.folder import READINGS
from longctx.store.kept import KeptReading

BUNDLED = Path(longctx.__file__).parent / "models" / "bundled"
CHUNK, INTERVAL = 256, 2048  # tokens
FACT = "One of the special magic numbers for quiet-lantern is: 4031775.\n"
QUESTION = "What is the special magic number for quiet-lantern?"
WORDS = [
    "the",
    "keeper",
    "of",
    "a",
    "lighthouse",
    "wrote",
    "down",
    "every",
    "ship",
    "before",
    "rivers",
    "rose",
]


@dataclass
class Tally:
    """What the campaign has seen; `lost` are tokens of the command that lost most."""

    kills: dict[str, int] = field(default_factory=lambda: {"read": 0, "ask": 0})
    before_reading: int = 0
    while_writing: int = 0
    whole: int = 0
    lost: int = 0


def made_text(words: int, seed: int) -> str:
    """Return random prose, a line for every twelve words."""
    draw = random.Random(seed)
    return "".join(draw.choice(WORDS) + (" " if n % 12 else "\n") for n in range(1, words + 1))


class Shared:
    """A few pages that a child writes to and that outlive it."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 1 << 16)

    def clear(self) -> None:
        """Forget all."""
        self._map[:] = bytes(len(self._map))

    @property
    def position(self) -> int:
        """Return the tokens that a child's session has read."""
        found: int = struct.unpack("q", self._map[:8])[0]
        return found

    @position.setter
    def position(self, value: int) -> None:
        self._map[:8] = struct.pack("q", value)

    @property
    def said(self) -> str:
        """Return what a child has written to standard output."""
        (size,) = struct.unpack("q", self._map[8:16])
        return self._map[16 : 16 + size].decode()

    @said.setter
    def said(self, value: str) -> None:
        data = value.encode()
        self._map[16 : 16 + len(data)] = data
        self._map[8:16] = struct.pack("q", len(data))


def told_of(shared: Shared) -> None:
    """Let readings write down how far they got, for the parent to see."""
    read = Reading.read

    def watched(self: Reading, *words: object) -> Iterator[Progress]:
        for event in read(self, *words):  # type: ignore[arg-type]
            if self._keeper is not None:
                shared.position = self.session.position
            yield event

    Reading.read = watched  # type: ignore[assignment,method-assign]


def run(words: list[str], shared: Shared, draw: random.Random | None = None, reading: float = 0.0) -> float:
    """Run a command in a process of its own; return the seconds from its first token to its end.

    Args:
        draw: kill it at a random moment; one in five times from its start on, else from its first token on.
        reading: the seconds that it takes from there.

    Returns:
        0 if it was killed.
    """
    shared.clear()
    child = os.fork()
    if not child:
        _obey(words, shared)
    early = draw is not None and draw.random() < 0.2
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while not (early or shared.position or os.waitid(os.P_PID, child, ended)):
        time.sleep(0.001)
    first = time.perf_counter()
    if draw is not None:
        time.sleep(draw.random() * (1.5 if early else 0.6) * reading)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"{' '.join(words)} has failed: {shared.said}")
    return 0.0 if os.WIFSIGNALED(status) else time.perf_counter() - first


def _obey(words: list[str], shared: Shared) -> NoReturn:
    """Run a command in this process, write down what it said, and end."""
    code, shown, sys.stderr = 70, io.StringIO(), io.StringIO()
    sys.stdout = shown
    try:
        commands.main(words, standalone_mode=False)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:
        shown.write(repr(error))
    finally:
        shared.said = shown.getvalue() or sys.stderr.getvalue()
        os._exit(code)


def kept(store: Path) -> tuple[KeptReading | None, bool]:
    """Hash every file that a manifest names; return the reading, and whether a write was cut short."""
    found, cut = None, False
    for folder in (store / READINGS).glob("*"):
        cut = cut or any(folder.glob(".*.part"))
        if (folder / "manifest.json").exists():
            found = KeptReading.open(folder)
            assert not found.damage, found.damage
            for file in found.manifest.files:
                check(folder, file, whole=True)
    return found, cut


def digest(reading: KeptReading) -> str:
    """Return a hash of all that a model remembers at the end of a kept reading."""
    state = Decoder(read_config(BUNDLED)).new_state()
    reading.load(state, reading.manifest.snapshots[-1])
    total = hashlib.sha256(str(state.position).encode())
    for name, tensor in sorted(state.tensors().items()):
        total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def answered(said: str) -> object:
    """Return what a command answers, without what it cost."""
    told = json.loads(said)
    return [told.get(key) for key in ("answer", "confidence", "source", "evidence")]


def words_of(command: str, text: Path, store: Path) -> list[str]:
    """Return a command as it is typed."""
    asked = [QUESTION, "--deep"] if command == "ask" else []
    how = ["--store", str(store), "--chunk", str(CHUNK), "--threads", "1", "--json", "--quiet"]
    return [command, *asked, str(text), *how]


def campaign(room: Path, shared: Shared, kills: int, words: int, seed: int) -> Tally:
    """Kill commands about several texts until there were enough; each text is read to its end."""
    tally, draw = Tally(), random.Random(seed)
    text, store, alone = room / "text.txt", room / "store", room / "alone"
    while sum(tally.kills.values()) < kills:
        for command in ("read", "ask"):
            for folder in (store, alone):
                shutil.rmtree(folder, ignore_errors=True)
            text.write_text(made_text(words, draw.randrange(1 << 30)) + FACT)
            whole = run(words_of(command, text, alone), shared)
            answer, expected = shared.said, kept(alone)[0]
            assert expected is not None
            while not run(words_of(command, text, store), shared, draw, whole):
                reading, cut = kept(store)
                tally.kills[command] += 1
                tally.before_reading += not shared.position
                tally.while_writing += cut
                lost = shared.position - (reading.manifest.tokens if reading else 0)
                tally.lost = max(tally.lost, lost)
                assert lost <= INTERVAL, f"{lost} tokens were lost"
            reading, _ = kept(store)
            assert reading is not None
            assert digest(reading) == digest(expected), "not the state of a reading that was never stopped"
            if command == "ask":
                assert answered(shared.said) == answered(answer), "another answer"
            tally.whole += 1
            print(f"seed {seed}: {tally}", flush=True)
    return tally


@contextmanager
def tmpfs(mebibytes: int) -> Iterator[Path]:
    """Mount a small disk."""
    with tempfile.TemporaryDirectory() as folder:
        size = f"size={mebibytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def full_disk(room: Path, shared: Shared, mebibytes: int, words: int, seed: int) -> None:
    """Read onto a disk that is too small: commands end all the same, and what is kept is used."""
    text, alone = room / "full.txt", room / "alone-full"
    text.write_text(
        made_text(words, seed) + "One of the special magic numbers for quiet-lantern is: 4031775.\n"
    )
    run(words_of("ask", text, alone), shared)
    answer = shared.said
    with tmpfs(mebibytes) as disk:
        store = disk / "store"
        for command in ("read", "ask", "ask"):
            run([*words_of(command, text, store), "--store-budget", "1TiB"], shared)
        reading, _ = kept(store)
        assert reading is not None
        assert answered(shared.said) == answered(answer), "another answer"
        reused = json.loads(shared.said)["usage"]["tokens_reused"]
        assert 0 < reused <= reading.manifest.tokens < json.loads(answer)["usage"]["tokens_read"]
        print(f"full disk of {mebibytes} MiB: {reading.manifest.tokens:,} tokens kept, {reused:,} reused")


def main() -> None:
    """Run the campaign and print what it has seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--words", type=int, default=9000, help="of each text")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tmpfs", type=int, metavar="MIB", help="also fill a disk of this size (root only)")
    given = parser.parse_args()
    keeper.TOKENS, keeper.WORTH = INTERVAL, 0
    shared = Shared()
    told_of(shared)
    with tempfile.TemporaryDirectory() as folder:
        if given.tmpfs:
            full_disk(Path(folder), shared, given.tmpfs, given.words, given.seed)
        print(campaign(Path(folder), shared, given.kills, given.words, given.seed))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
