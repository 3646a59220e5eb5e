"""What tells weights apart: hashes that are remembered, and never those of another file."""

import hashlib
import os
from pathlib import Path

import pytest

from longctx.store import fingerprint
from longctx.store.files import sha256_file, write_json


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are hashed whole, in order; weights are whatever ends in .safetensors."""
    found: list[Path] = []

    def counted(path: Path) -> str:
        found.append(path)
        return sha256_file(path)

    monkeypatch.setattr(fingerprint, "sha256_file", counted)
    monkeypatch.setattr(
        fingerprint, "weight_files", lambda folder: sorted(x.name for x in folder.glob("*.safetensors"))
    )
    return found


def test_weights_are_hashed_once_and_again_when_they_change(tmp_path: Path, hashed: list[Path]) -> None:
    """If this fails each command hashes gigabytes, or a reading goes on with other weights."""
    one, two = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    root = tmp_path / "store"
    root.mkdir()
    first = fingerprint.weights(tmp_path, root)
    assert first == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (one, two)}
    assert fingerprint.weights(tmp_path, root) == first
    assert hashed == [one, two]
    one.write_bytes(b"eno")
    os.utime(one, ns=(1, 1))
    assert fingerprint.weights(tmp_path, root) == first | {one.name: hashlib.sha256(b"eno").hexdigest()}
    assert hashed == [one, two, one]


def test_a_damaged_memory_of_hashes_is_none(tmp_path: Path, hashed: list[Path]) -> None:
    """If this fails one broken file in the store stops every command."""
    (tmp_path / "a.safetensors").write_bytes(b"one")
    for damage in ("[1]", "{", ""):
        (tmp_path / fingerprint.CACHE).write_text(damage)
        assert fingerprint.weights(tmp_path, tmp_path) == {
            "a.safetensors": hashlib.sha256(b"one").hexdigest()
        }
    assert len(hashed) == 3
    write_json(tmp_path / fingerprint.CACHE, {"x": 1})
    assert fingerprint._remembered(tmp_path) == {"x": "1"}


def test_as_many_hashes_are_remembered_as_are_useful(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails the memory of hashes grows for ever, or forgets what was hashed last."""
    monkeypatch.setattr(fingerprint, "MOST_CACHED", 2)
    for name in "abc":
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    fingerprint.weights(tmp_path, tmp_path)
    kept = fingerprint._remembered(tmp_path)
    assert list(kept.values()) == [hashlib.sha256(name.encode()).hexdigest() for name in "bc"]
    assert len(hashed) == 3


def test_a_file_that_is_called_by_its_hash_is_not_read(tmp_path: Path, hashed: list[Path]) -> None:
    """If this fails weights in the hub's cache are hashed once more."""
    blob = tmp_path / "blobs" / ("0a" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"one")
    (tmp_path / "a.safetensors").symlink_to(blob)
    assert fingerprint.weights(tmp_path, tmp_path) == {"a.safetensors": "0a" * 32}
    assert not hashed


def test_large_weights_are_told_apart_by_samples_and_time(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a large model is hashed for minutes, or goes on with the reading of another."""
    monkeypatch.setattr(fingerprint, "HASHED_WHOLE", 9)
    monkeypatch.setattr(fingerprint, "SAMPLES", 3)
    monkeypatch.setattr(fingerprint, "SAMPLE", 2)
    path = tmp_path / "a.safetensors"

    def told(content: bytes, time: int = 5) -> str:
        path.write_bytes(content)
        os.utime(path, ns=(time, time))
        return fingerprint.weights(tmp_path, tmp_path / str(len(hashed)))[path.name]

    first = told(b"ab..cd..ef")
    expected = hashlib.sha256(b"10:5" + b"ab" + b"cd" + b"ef").hexdigest()
    assert first == f"samples-{expected}"
    assert not hashed
    assert told(b"ab.,cd,.ef") == first
    assert (
        len({first, told(b"ab..cd..eg"), told(b"bb..cd..ef"), told(b"ab..xd..ef"), told(b"ab..cd..ef", 6)})
        == 5
    )
    assert told(b"123456789") == hashlib.sha256(b"123456789").hexdigest()
