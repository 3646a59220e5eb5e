"""Large files of a hub as they stream: continued after breaks, checked, and never mixed."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longctx import download
from longctx.errors import DoesNotFitError, ModelError

CONTENT = bytes(range(256)) * 40


def file(content: bytes = CONTENT, digest: str = "") -> Any:
    lfs = SimpleNamespace(size=len(content), sha256=digest or hashlib.sha256(content).hexdigest())
    return SimpleNamespace(rfilename="model.safetensors", lfs=lfs)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int | Exception]], list[float]]:
    """Serve the content in connections that bring so many bytes, or fail; return the waits in between."""
    waits: list[float] = []

    def make(connections: list[int | Exception]) -> list[float]:
        left = iter(connections)

        def blocks(_: str, __: str, ___: str, start: int) -> Iterator[bytes]:
            brought = next(left)
            if isinstance(brought, Exception):
                raise brought
            yield CONTENT[start : start + brought]

        monkeypatch.setattr(download, "_blocks", blocks)
        monkeypatch.setattr(download, "sleep", waits.append)
        return waits

    return make


def test_a_broken_download_waits_longer_each_time_that_brings_nothing(serve: Any, tmp_path: Path) -> None:
    """If this fails a hub that is down is asked again at once, or a slow connection is given up."""
    lost = ConnectionError("lost")
    waits = serve([1000, lost, lost, lost, lost, 2000, 0, 0, len(CONTENT)])
    blob = tmp_path / "blobs" / "b"
    seen = list(download._stream("o/m", "main", file(), blob))
    assert blob.read_bytes() == CONTENT
    assert seen == [1000, 3000, 3000, 3000, len(CONTENT)]
    assert waits == [0, 0.6, 1.2, 2.4, 4.8, 0, 0.6, 1.2, 0]
    assert [path.name for path in blob.parent.iterdir()] == ["b"]


def test_a_download_that_brings_nothing_five_times_ends_in_one_line(serve: Any, tmp_path: Path) -> None:
    """If this fails a command hangs while the hub is down, or what was downloaded is lost."""
    serve([1000, *[TimeoutError("slow")] * download.TRIES])
    with pytest.raises(ModelError, match=r"connection broke \(slow\) after .*goes on where it stopped"):
        list(download._stream("o/m", "main", file(), tmp_path / "b"))
    assert (tmp_path / "b.incomplete").stat().st_size == 1000
    serve([len(CONTENT)])
    assert list(download._stream("o/m", "main", file(), tmp_path / "b")) == [1000, len(CONTENT)]
    assert (tmp_path / "b").read_bytes() == CONTENT


def test_a_connection_that_ends_early_says_so(serve: Any, tmp_path: Path) -> None:
    """If this fails nobody learns why a download does not go on."""
    serve([0] * download.TRIES)
    with pytest.raises(ModelError, match="it ended early"):
        list(download._stream("o/m", "main", file(), tmp_path / "b"))


def test_a_damaged_download_is_thrown_away(serve: Any, tmp_path: Path) -> None:
    """If this fails weights that nobody published are used."""
    serve([len(CONTENT)])
    with pytest.raises(ModelError, match=r"arrived damaged \(sha256 [0-9a-f]{12}, not 0{12}\)"):
        list(download._stream("o/m", "main", file(digest="0" * 64), tmp_path / "b"))
    assert not list(tmp_path.iterdir())


def test_a_disk_must_have_room_for_what_is_to_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If this fails a download fills the disk, or none is possible though all is there already."""
    monkeypatch.setattr(download, "cache_folder", lambda repo: tmp_path / "not" / "yet")
    usage = SimpleNamespace(free=download.SPARE + 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    download.check_disk("o/m", 1000)
    with pytest.raises(DoesNotFitError, match=f"the disk of {tmp_path} has"):
        download.check_disk("o/m", 1001)
    usage.free = 0
    download.check_disk("o/m", 0)


def test_only_files_of_the_repository_are_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If this fails an index makes the download write outside its folder, or stop half way."""
    siblings = [SimpleNamespace(rfilename="a.safetensors", size=5), SimpleNamespace(rfilename="x", size=9)]
    api = SimpleNamespace(model_info=lambda *_, **__: SimpleNamespace(siblings=siblings))
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    names = ["a.safetensors"]
    monkeypatch.setattr(download, "weight_files", lambda folder: names)
    assert download.download_bytes("o/m", tmp_path) == 5
    names.append("b.safetensors")
    with pytest.raises(ModelError, match=r"b\.safetensors is not on the hub"):
        download.download_bytes("o/m", tmp_path)
    names[:] = ["../a.safetensors"]
    with pytest.raises(ModelError, match="outside the repository"):
        download.download_bytes("o/m", tmp_path)


def test_beginnings_count_as_bytes_that_are_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If this fails a download that was broken off is said to need its whole room again."""
    monkeypatch.setattr(download, "cache_folder", lambda repo: tmp_path)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "a.incomplete").write_bytes(b"123")
    (tmp_path / "blobs" / "b").write_bytes(b"1")
    (tmp_path / "c.safetensors").write_bytes(b"12345")
    (tmp_path / "config.json").write_bytes(b"1")
    assert download.bytes_here("o/m", tmp_path) == 8
