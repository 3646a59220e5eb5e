"""The folder of a store: where it is, whose, how large it may grow, and what goes first."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from longctx.machine import gib
from longctx.store.files import Unusable
from longctx.store.manifest import NAME

SHARE = 10  # of the disk's free bytes, a store may take one in so many
LEAST_SECONDS = 1.0  # of reading, for it to be kept where nobody asked for that
READINGS = "readings"
PASSAGES = "passages"  # indexes, which are made anew where they are gone
GIVEN = "portable"  # the name of a reading that came with its text


@dataclass
class Folder:
    """A store on disk.

    Attributes:
        root: of it. budget: bytes that it may hold; None: a tenth of what is free.
        writable: whether anything new can be kept.
        least_seconds: of reading; what took less is not kept.
        fresh: use nothing that was kept.
        say: tells the user something, in one line.
    """

    root: Path
    say: Callable[[str], None]
    budget: int | None = None
    writable: bool = True
    least_seconds: float = LEAST_SECONDS
    fresh: bool = False

    def entry(self, name: str) -> Path:
        """Return the folder of a reading, whether it is there or not."""
        return self.root / READINGS / name

    def entries(self, begin: str = "") -> list[Path]:
        """Return the folders of all readings, or of those whose names begin so; the last used come first.

        One whose first checkpoint was never finished has no manifest, and comes last.
        """
        with suppress(OSError):
            found = [path for path in (self.root / READINGS).iterdir() if path.name.startswith(begin)]
            real = [path for path in found if path.is_dir() and not path.is_symlink()]
            return sorted(real, key=last_used, reverse=True)
        return []

    def _everything(self) -> list[Path]:
        """Return the folders of all readings and indexes; the last used come first."""
        indexes: list[Path] = []
        with suppress(OSError):
            found = (self.root / PASSAGES).iterdir()
            indexes = [path for path in found if path.is_dir() and not path.is_symlink()]
        return sorted([*self.entries(), *indexes], key=last_used, reverse=True)

    def make_room(self, own: Path, more: int) -> int:
        """Remove what was not used for longest until so many more bytes are within the budget, but not `own`.

        Returns:
            The budget in bytes.

        Raises:
            Unusable: when it is not within it even so.
        """
        budget = self.limit()
        entries = self._everything()
        total = more + sum(size_of(path) for path in entries)
        for path in reversed(entries):
            if total <= budget:
                break
            if path == own or (lock := locked(path)) is None:
                continue
            total -= (freed := size_of(path))
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
            if not freed:  # of one that was stopped before it kept anything
                continue
            what = "a reading" if path.parent.name == READINGS else "an index"
            self.say(f"store: removed {what} of {gib(freed)} that was not used for longest")
        if total > budget:
            raise Unusable(f"it would take more than its {gib(budget)}; --store-budget allows more")
        return budget

    def limit(self) -> int:
        """Return the bytes that the store may hold."""
        if self.budget is not None:
            return self.budget
        held = sum(size_of(path) for path in self._everything())
        return (shutil.disk_usage(self.root).free + held) // SHARE


def default_root() -> Path:
    """Return where readings are kept unless the user says otherwise."""
    return platformdirs.user_data_path("longctx") / "store"


def open_folder(
    root: Path,
    say: Callable[[str], None],
    budget: int | None = None,
    least_seconds: float = 0.0,
    *,
    fresh: bool = False,
) -> Folder:
    """Return the store at a path, made if it is not there, private to the user.

    Raises:
        Unusable: when it is not a folder of the user's own.
    """
    if not root.is_absolute():
        raise Unusable(f"{root} is not an absolute path")
    folder = Folder(root, say, budget, least_seconds=least_seconds, fresh=fresh)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        for path in (root, root / READINGS):
            path.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        if not root.is_dir():
            raise Unusable(f"{root} cannot be made ({error.strerror})") from error
    for path in (root, root / READINGS):
        check_own(path)
    folder.writable = os.access(root / READINGS, os.W_OK | os.X_OK)
    return folder


def check_own(path: Path) -> None:
    """Raise unless a path is a folder of the user's; close it to all others."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(status.st_mode):
        raise Unusable(f"{path} is a symbolic link; name the folder itself")
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        raise Unusable(f"{path} belongs to another user")
    if path.name == READINGS and status.st_mode & 0o077:
        with suppress(OSError):
            path.chmod(0o700)


def locked(entry: Path) -> int | None:
    """Return a descriptor that locks a reading until it is closed; None when another process has it."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # which Windows lacks
    descriptor = os.open(entry / "lock", flags, 0o600)
    try:
        import fcntl
    except ImportError:  # Windows
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def last_used(entry: Path) -> float:
    """Return when a reading was used last, in seconds since the epoch."""
    with suppress(OSError):
        return (entry / NAME).stat().st_mtime
    return 0.0


def size_of(entry: Path) -> int:
    """Return the bytes of a reading's files."""
    return sum(_sizes(entry))


def _sizes(entry: Path) -> Iterator[int]:
    with suppress(OSError):
        for one in os.scandir(entry):
            yield one.stat(follow_symlinks=False).st_size
