"""Kill readings at random moments, again and again: nothing may be damaged, or lost beyond one interval.

    python -m bench.kill_campaign --kills 200

One process loads the bundled model and forks readers of a text, each of which is killed (SIGKILL) at a random
moment: while it reads, while it writes a checkpoint, between the two. After each kill the store is opened and
every file hashed. A reader that comes to the end must have the state of a reading that was never stopped, to
the last bit. Linux only. With --tmpfs (as root) the store also lies on a full disk of so many MiB.
"""

import argparse
import hashlib
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

import longctx
from longctx.engine import Engine
from longctx.reading import Reading
from longctx.store import keeper
from longctx.store.files import check
from longctx.store.folder import READINGS, open_folder
from longctx.store.kept import KeptReading
from longctx.text.source import gather

BUNDLED = Path(longctx.__file__).parent / "models" / "bundled"
CHUNK, INTERVAL = 256, 1024  # tokens
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
    """What the campaign has seen."""

    kills: int = 0
    whole: int = 0
    while_writing: int = 0
    lost: int = 0  # tokens of the reading that lost most


def made_text(words: int, seed: int) -> str:
    """Return random prose, a line for every twelve words."""
    draw = random.Random(seed)
    return "".join(draw.choice(WORDS) + (" " if n % 12 else "\n") for n in range(1, words + 1))


def digest(reading: Reading) -> str:
    """Return a hash of all that a session remembers."""
    total = hashlib.sha256(str(reading.session.position).encode())
    for name, tensor in sorted(reading.session.state.tensors().items()):
        total.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def read(engine: Engine, text: Path, store: Path | None, progress: mmap.mmap | None = None) -> Reading:
    """Read a text, with or without a store; write down how far it got."""
    folder = open_folder(store, print) if store else None
    before = engine.tokenizer.encode("Read:")
    reading = Reading(engine, gather([str(text)]).documents, before, CHUNK, store=folder)
    for _ in reading.read():
        if progress:
            progress[:8] = struct.pack("q", reading.session.position)
    reading.close()
    return reading


def killed(engine: Engine, text: Path, store: Path, progress: mmap.mmap, delay: float) -> bool:
    """Read in a process of its own and kill it after a while; tell whether it was killed before its end."""
    progress[:8] = struct.pack("q", 0)
    child = os.fork()
    if not child:
        finished = digest(read(engine, text, store, progress)).encode()
        progress[8 : 8 + len(finished)] = finished
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a reader has failed")
    return os.WIFSIGNALED(status)


def check_store(store: Path) -> tuple[int, bool]:
    """Hash every file that a manifest names; return the tokens kept, and whether a write was cut short."""
    folders = list((store / READINGS).glob("*")) if store.exists() else []
    tokens, cut = 0, False
    for folder in folders:
        cut = cut or any(folder.glob(".*.part"))
        if (folder / "manifest.json").exists():
            kept = KeptReading.open(folder)
            assert not kept.damage, kept.damage
            for file in kept.manifest.files:
                check(folder, file, whole=True)
            tokens = kept.manifest.tokens
    return tokens, cut


def campaign(engine: Engine, room: Path, kills: int, words: int, seed: int) -> Tally:
    """Kill readers of several texts until there were enough; each text is read to its end."""
    tally, draw = Tally(), random.Random(seed)
    progress = mmap.mmap(-1, 4096)
    text, store = room / "text.txt", room / "store"
    while tally.kills < kills:
        shutil.rmtree(store, ignore_errors=True)
        text.write_text(made_text(words, draw.randrange(1 << 30)))
        started = time.perf_counter()
        expected = digest(read(engine, text, None))
        whole = time.perf_counter() - started
        while killed(engine, text, store, progress, draw.uniform(0, 0.8) * whole):
            tally.kills += 1
            kept, cut = check_store(store)
            tally.while_writing += cut
            (got,) = struct.unpack("q", progress[:8])
            lost = got - kept
            tally.lost = max(tally.lost, lost)
            # One interval may be in the writer's hands while the next is read.
            assert lost <= 2 * (INTERVAL + CHUNK), f"{lost} tokens were lost"
        found = progress[8:72].decode()
        assert found == expected, "another state than that of a reading never stopped"
        tally.whole += 1
        print(f"{tally.kills} kills, {tally.whole} readings whole and bit-identical", flush=True)
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


def full_disk(engine: Engine, room: Path, mebibytes: int, words: int) -> None:
    """Read onto a disk that is too small: the reading ends all the same, and what is kept can be used."""
    text = room / "full.txt"
    text.write_text(made_text(words, 5))
    expected = digest(read(engine, text, None))
    with tmpfs(mebibytes) as disk:
        store = disk / "store"
        folder = open_folder(store, print, budget=1 << 40)
        for _ in range(2):
            before = engine.tokenizer.encode("Read:")
            reading = Reading(engine, gather([str(text)]).documents, before, CHUNK, store=folder)
            for _ in reading.read():
                pass
            reading.close()
            assert digest(reading) == expected
        kept, _ = check_store(store)
        print(f"full disk of {mebibytes} MiB: {kept:,} tokens kept, {reading.usage.tokens_reused:,} reused")


def main() -> None:
    """Run the campaign and print what it has seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--words", type=int, default=9000, help="of each text")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tmpfs", type=int, metavar="MIB", help="also fill a disk of this size (root only)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keeper.TOKENS, keeper.WORTH = INTERVAL, 0
    engine = Engine.load(BUNDLED, "cpu", "float32")
    with tempfile.TemporaryDirectory() as folder:
        tally = campaign(engine, Path(folder), given.kills, given.words, given.seed)
        if given.tmpfs:
            full_disk(engine, Path(folder), given.tmpfs, given.words)
    print(tally)


if __name__ == "__main__":
    main()
