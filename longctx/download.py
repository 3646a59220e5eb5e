"""Downloads from the Hugging Face hub: only data, checked before it is in place, continued after a break.

Large files are streamed into the hub's own cache, so that other programs find them there and none is kept
twice. (The hub's library starts a file again after a break, and does not compare its sha256.)
"""

import errno
import fcntl
import hashlib
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.parse import urlsplit

from longctx.cache import cache_folder, other_format, silence_library, weight_files
from longctx.errors import DoesNotFitError, ModelError
from longctx.machine import gib
from longctx.progress import Progress

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

# Only data: no code, no pickles.
SETTINGS = ("*.json", "*.jinja", "merges.txt")
BLOCK = 1 << 20
TRIES = 5  # in a row that bring nothing
TIMEOUT = 30.0
SPARE = 64 << 20  # bytes of a disk that are left free
Show = Callable[[Progress], object]


def fetch_settings(repo: str, revision: str | None) -> Path:
    """Download the small files of a repository; return their folder, whose name is the commit.

    Raises:
        ModelError: saying why it failed, and what to do.
    """
    silence_library()
    from huggingface_hub import snapshot_download

    with reasons(repo, revision):
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(SETTINGS)))


def fetch(repo: str, revision: str, show: Show) -> Path:
    """Download the weights of a repository beside its settings; return the folder.

    Args:
        repo: on the hub.
        revision: the commit that `fetch_settings` returned.
        show: is told how far it is.

    Raises:
        ModelError: when a file is missing, damaged or closed to the user, or the hub cannot be reached.
        DoesNotFitError: when the disk is too small; nothing was downloaded.
    """
    folder = fetch_settings(repo, revision)
    files = _wanted(repo, folder)
    total = sum(file.size or 0 for file in files)
    blobs = cache_folder(repo) / "blobs"
    done = 0
    with reasons(repo, revision):
        from huggingface_hub import hf_hub_download

        check_disk(repo, total - bytes_here(repo, folder))
        for file in files:
            if not (folder / file.rfilename).exists():
                if file.lfs and not (blobs / file.lfs.sha256).exists():
                    for more in _stream(repo, folder.name, file, blobs / file.lfs.sha256):
                        show(Progress(f"downloading {repo}", done + more, total, 0))
                hf_hub_download(repo, file.rfilename, revision=folder.name)  # finds the blob, and links it
            done += file.size or 0
            show(Progress(f"downloading {repo}", done, total, 0))
    return folder


def download_bytes(repo: str, folder: Path) -> int:
    """Return the bytes of all weights of a repository whose settings are in `folder`, as the hub has them."""
    return sum(file.size or 0 for file in _wanted(repo, folder))


def bytes_here(repo: str, folder: Path) -> int:
    """Return how many bytes of the weights are in the cache, whole files and beginnings of others."""
    parts = sum(part.stat().st_size for part in (cache_folder(repo) / "blobs").glob("*.incomplete"))
    return parts + sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def check_disk(repo: str, wanted: int) -> None:
    """Raise DoesNotFitError when the cache's disk has no room for so many bytes."""
    place = cache_folder(repo)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if wanted and wanted + SPARE > free:
        raise DoesNotFitError(
            f"{repo}: {gib(wanted)} are still to come, but the disk of {place} has {gib(free)} free; "
            "free some space (longctx models rm), or let HF_HOME name a folder on another disk"
        )


def _wanted(repo: str, folder: Path) -> "list[RepoSibling]":
    """Return the files of weights that belong to the settings in `folder`, as the hub describes them."""
    from huggingface_hub import HfApi

    with reasons(repo, folder.name):
        info = HfApi().model_info(repo, revision=folder.name, files_metadata=True)
    on_hub = {file.rfilename: file for file in info.siblings or ()}
    names = weight_files(folder)
    if strange := [name for name in names if Path(name).name != name]:
        raise ModelError(f"{repo}: its index names a file outside the repository: {strange[0]}")
    if missing := [name for name in names if name not in on_hub]:
        raise ModelError(
            other_format(repo, on_hub)
            or f"{repo}: {missing[0]} is not on the hub: the repository is incomplete; "
            "try another --revision, or tell its authors"
        )
    return [on_hub[name] for name in names]


def _stream(repo: str, revision: str, file: "RepoSibling", blob: Path) -> Iterator[int]:
    """Download a large file to `blob`, from where it stopped before; yield how many bytes there are."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]  # of httpx

    assert file.lfs
    size, digest = file.lfs.size, hashlib.sha256()
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{blob.name}.incomplete")  # as the hub's library names it
    with part.open("a+b") as out:
        lock(repo, out.fileno())
        out.seek(0)
        while block := out.read(BLOCK):
            digest.update(block)
            yield out.tell()
        failed = 0
        while (at := out.tell()) < size:
            try:
                for block in _blocks(repo, revision, file.rfilename, at):
                    out.write(block)
                    digest.update(block)
                    yield out.tell()
            except HfHubHTTPError:
                raise
            except (HTTPError, HTTPException, ConnectionError, TimeoutError, URLError) as error:
                reason: object = error
            else:
                reason = "it ended early"
            out.flush()
            failed = 0 if out.tell() > at else failed + 1
            if failed == TRIES:
                raise ModelError(
                    f"{repo}: {file.rfilename}: the connection broke ({reason}) after {gib(out.tell())} of "
                    f"{gib(size)}; run this again: it goes on where it stopped"
                )
            sleep(0.3 * 2**failed if failed else 0)
    if digest.hexdigest() != file.lfs.sha256:
        part.unlink()
        raise ModelError(
            f"{repo}: {file.rfilename} arrived damaged (sha256 {digest.hexdigest()[:12]}, not "
            f"{file.lfs.sha256[:12]}) and was thrown away; run this again: other files stay"
        )
    part.replace(blob)


def _blocks(repo: str, revision: str, name: str, start: int) -> Iterator[bytes]:
    """Yield a file from byte `start` on."""
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url

    url = hf_hub_url(repo, name, revision=revision)
    place = get_hf_file_metadata(url).location  # on another host, mostly, where the token must not go
    request = urllib.request.Request(place, headers={"Range": f"bytes={start}-"})
    if urlsplit(place).netloc == urlsplit(url).netloc and (token := get_token()):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        beginning = 0 if response.status == 206 else start  # a server that knows no ranges sends all of it
        while beginning and (skipped := response.read1(min(BLOCK, beginning))):
            beginning -= len(skipped)
        while block := response.read1(BLOCK):
            yield block


def lock(repo: str, file: int) -> None:
    """Keep an open file for this process; raise ModelError when another one has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ModelError(f"{repo}: is being downloaded by another process; wait for it") from error
    except OSError:  # a filesystem without locks
        pass


@contextmanager
def reasons(repo: str, revision: str | None = None) -> Iterator[None]:
    """Turn what the hub's library raises into one line that says what to do."""
    from huggingface_hub import errors as theirs
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of httpx

    try:
        yield
    except theirs.GatedRepoError as error:
        raise ModelError(
            f"{repo}: is gated, and the hub did not let you in; ask for access on "
            f"https://huggingface.co/{repo}, then set HF_TOKEN to a token of yours"
        ) from error
    except theirs.RevisionNotFoundError as error:
        raise ModelError(f"{repo}: has no revision {revision!r}; look for one on its page") from error
    except theirs.RepositoryNotFoundError as error:
        token = "the token in HF_TOKEN does not open it" if os.environ.get("HF_TOKEN") else "set HF_TOKEN"
        raise ModelError(
            f"{repo}: cannot be downloaded: there is no such repository, or it is private; check the name, "
            f"and if it is private: {token}"
        ) from error
    except (theirs.OfflineModeIsEnabled, theirs.LocalEntryNotFoundError) as error:
        raise _unreachable(repo) from error
    except (HTTPError, OSError, ValueError) as error:
        if isinstance(error, HTTPError) and not isinstance(error, theirs.HfHubHTTPError):
            raise _unreachable(repo) from error
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise ModelError(
                f"{repo}: the disk of {cache_folder(repo).parent} is full; free some space, or let HF_HOME "
                "name a folder on another disk, and run this again: it goes on where it stopped"
            ) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{repo}: cannot be downloaded from the hub ({reason}); check the name and the network, "
            "or pass --model FOLDER"
        ) from error


def _unreachable(repo: str) -> ModelError:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "the hub cannot be reached"
    return ModelError(
        f"{repo}: cannot be downloaded: {why}, and it is not here whole; go online and run "
        f"longctx models pull {repo}, or pass --model FOLDER"
    )
