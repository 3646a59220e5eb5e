"""The command `store`: what is kept is listed, proven and removed, and nothing else is."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from longctx import keep
from longctx.engine import Engine
from longctx.failures import Commands
from longctx.reading import Reading
from longctx.store import keeper
from longctx.store.files import digest_file, seen
from longctx.store.folder import PASSAGES, READINGS, locked, open_folder
from longctx.store.manifest import Manifest, read_manifest
from longctx.text.source import gather

CHUNK, INTERVAL = 32, 192  # tokens
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def filled(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two texts, and a store that holds what a model has read of them, the second one last."""
    room = tmp_path_factory.mktemp("room")
    engine = Engine.load(checkpoint, "cpu", "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper, "TOKENS", INTERVAL)
        patch.setattr(keeper, "WORTH", 0)
        store = open_folder(room / "store", print)
        for name in "ab":
            path = room / f"{name}.txt"
            path.write_text(
                "".join(f"The keeper of lamp {n} saw {n * n} ships, {name}.\n" for n in range(14))
            )
            os.utime(path, (1e9, 1e9))
            documents = gather([str(path)]).documents
            reading = Reading(engine, documents, engine.tokenizer.encode("Read:"), CHUNK, store=store)
            list(reading.read())
            reading.close()
            entry = next(
                one for one in store.entries() if name in read_manifest(one)[0].documents[0].name[-5:]
            )
            os.utime(entry / "manifest.json", (1.7e9 + ord(name), 1.7e9 + ord(name)))
    return room


@pytest.fixture
def room(filled: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil; times and links stay."""
    shutil.copytree(filled / "store", tmp_path / "store")
    return tmp_path


@pytest.fixture
def run(room: Path) -> Run:
    def run(*words: str) -> Result:
        command = Commands("longctx", commands={"store": keep.store})
        return CliRunner().invoke(command, ["store", *words, "--store", str(room / "store")])

    return run


def told(result: Result) -> Any:
    return json.loads(result.stdout)


def entry(room: Path, run: Run, text: str) -> Path:
    rows = told(run("list", "--json"))["readings"]
    return next(Path(row["folder"]) for row in rows if row["text"].endswith(text))


def test_what_is_kept_is_listed(filled: Path, run: Run, checkpoint: Path) -> None:
    """If this fails nobody knows what fills the disk."""
    rows = told(run("list", "--json"))["readings"]
    assert [row["text"] for row in rows] == [str(filled / "b.txt"), str(filled / "a.txt")]
    assert {row["model"] for row in rows} == {str(checkpoint.resolve())}
    assert all(row["tokens"] > 300 and row["bytes"] > 1000 and not row["damage"] for row in rows)
    shown = run("list").stdout
    assert "2 readings" in shown
    assert checkpoint.name in shown


def test_names_of_files_do_not_reach_the_terminal_as_they_are(room: Path, run: Run) -> None:
    """If this fails a file's name moves the cursor, or hides a line of the list."""
    folder = entry(room, run, "a.txt")
    manifest, _ = read_manifest(folder)
    (one,) = manifest.documents
    manifest.documents = [replace(one, name="\x1b[2J\nfine", place="/\x1b[2J")]
    manifest.write(folder)
    for words in (("list",), ("show", str(folder)), ("verify", str(folder), "--windows", "0")):
        assert "\x1b" not in run(*words).stdout
        assert "\nfine" not in run(*words).stdout


def test_a_text_says_what_became_of_it(filled: Path, room: Path, run: Run) -> None:
    """If this fails an old answer is taken for one about today's file."""
    (one,) = told(run("show", str(filled / "a.txt"), "--json"))["readings"]
    assert [document["since"] for document in one["documents"]] == ["unchanged"]
    assert one["snapshots"][-1] == one["tokens"]
    assert "(unchanged)" in run("show", one["name"][:8]).stdout


def test_a_sound_reading_has_the_same_bits_when_it_is_read_again(run: Run) -> None:
    """If this fails a sound reading is reported as spoilt, or nothing was compared at all."""
    result = run("verify", "--windows", "99", "--json")
    assert result.exit_code == 0, result.output
    for one in told(result)["readings"]:
        assert one["tokens_compared"] == one["tokens"]
        for window in one["windows"]:
            assert set(window["differences"]) == {"logs", "states", "logits"}
            assert not any(window["differences"].values())
            assert any(window["others"].values()) or window["end"] - window["start"] < 2


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(data)
    os.utime(path, ns=times)  # as a disk would do it


@pytest.mark.parametrize("kind", ["segment", "state"])
def test_a_flipped_bit_is_found(room: Path, run: Run, kind: str) -> None:
    """If this fails a bad disk goes unnoticed: neither size nor time has changed."""
    path = sorted(entry(room, run, "a.txt").glob(f"{kind}*"))[1]
    flip(path)
    result = run("verify", "--windows", "0")
    assert result.exit_code == 1
    assert f"{path.name} is not what was written" in result.stdout
    assert "b.txt: sound" in result.stdout


def rewritten(folder: Path, kind: str, change: Callable[[torch.Tensor], object], name: str) -> None:
    """Change a tensor of the last file of a kind, and all hashes with it."""
    manifest, _ = read_manifest(folder)
    path = sorted(folder.glob(f"{kind}*"))[-1]
    tensors = load_file(path)
    change(next(tensor for key, tensor in tensors.items() if key.endswith(name)))
    save_file(tensors, path)
    new = seen(path, digest_file(path))
    again = Manifest(manifest.fingerprint, manifest.prompt)
    for one in manifest.segments:
        again.segments.append(again.link(one.start, one.end, new if one.file.name == new.name else one.file))
    manifest.segments = again.segments
    manifest.snapshots = [
        type(one)(one.position, new if one.file.name == new.name else one.file) for one in manifest.snapshots
    ]
    manifest.write(folder)


@pytest.mark.parametrize(("kind", "name"), [("state", "kv"), ("segment", "keys")])
def test_numbers_that_the_model_does_not_reach_are_found(room: Path, run: Run, kind: str, name: str) -> None:
    """If this fails a wrong state with the right hash, of a bug or of a stranger, answers for the text."""
    folder = entry(room, run, "a.txt")
    rewritten(folder, kind, lambda tensor: tensor.view(-1)[3].add_(0.5 * tensor.abs().max()), name)
    result = run("verify", str(folder), "--windows", "99", "--json")
    assert result.exit_code == 1, result.output
    (one,) = told(result)["readings"]
    assert not one["damage"]
    assert any(key.endswith(name) for window in one["windows"] for key in window["wrong"])


def test_another_model_is_not_compared(room: Path, run: Run) -> None:
    """If this fails every reading is wrong as soon as its model has moved."""
    result = run("verify", "--model", "bundled", "--json")
    assert result.exit_code == 1
    assert all("another model" in one["skipped"] for one in told(result)["readings"])


def test_only_what_was_named_goes(filled: Path, room: Path, run: Run) -> None:
    """If this fails hours of reading are lost, or the text itself."""
    folder, other = entry(room, run, "a.txt"), entry(room, run, "b.txt")
    assert run("rm", "").exit_code == 3
    assert run("rm", "zzz").exit_code == 3
    lock = locked(folder)
    assert lock is not None
    busy = run("rm", str(filled / "a.txt"))
    assert "another longctx" in busy.stderr
    os.close(lock)
    assert folder.is_dir()
    assert "freed" in run("rm", str(filled / "a.txt")).stdout
    assert not folder.exists()
    assert other.is_dir()
    assert (filled / "a.txt").is_file()


def moved_away(folder: Path) -> None:
    folder.rename(folder.parent.parent / "x")
    folder.symlink_to(folder.parent.parent / "x")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "manifest.json": lambda folder: (folder / "manifest.json").write_bytes(b"{"),
    "never finished": lambda folder: (folder / "manifest.json").unlink(),
    "symbolic link": moved_away,
}


@pytest.mark.parametrize("reason", DAMAGE)
def test_what_cannot_be_used_is_named_and_goes_when_asked(room: Path, run: Run, reason: str) -> None:
    """If this fails rubbish stays for ever, or a link leads the deletion out of the store."""
    folder = entry(room, run, "a.txt")
    DAMAGE[reason](folder)
    row = next(row for row in told(run("list", "--json"))["readings"] if row["folder"] == str(folder))
    assert reason in row["damage"]
    assert run("verify", row["name"]).exit_code == 1
    assert run("prune").exit_code == 0
    assert not folder.is_symlink()
    assert not folder.exists()
    assert len(told(run("list", "--json"))["readings"]) == 1
    assert (room / "store" / "x").exists() == (reason == "symbolic link")


def test_pruning_takes_the_old_and_what_exceeds_the_budget(room: Path, run: Run) -> None:
    """If this fails the reading used last goes first, or one of a later longctx goes unasked."""
    old, new = entry(room, run, "a.txt"), entry(room, run, "b.txt")
    path = old / "manifest.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 3'))
    assert "nothing was removed" in run("prune").stdout
    os.utime(path, (1e9, 1e9))
    assert run("prune", "--older", "99999d").exit_code == 0
    assert old.exists()
    rows = told(run("list", "--json"))["readings"]
    assert run("prune", "--budget", str(rows[0]["bytes"] + 1)).exit_code == 0
    assert [old.exists(), new.exists()] == [False, True]
    assert run("prune", "--older", "0d").exit_code == 0
    assert not new.exists()
    assert "nothing is kept" in run("list").stdout


def test_an_index_of_passages_counts_and_goes(room: Path, run: Run) -> None:
    """If this fails words of a text stay on the disk, and nobody knows of them."""
    index = room / "store" / PASSAGES / ("0f" * 16)
    index.mkdir(parents=True)
    (index / "manifest.json").write_text("{}")
    (index / "passages.sqlite").write_bytes(b"x" * 5000)
    rows = told(run("list", "--json"))["readings"]
    assert [row["kind"] for row in rows].count("index") == 1
    assert "2 readings and 1 index of passages" in run("list").stdout
    assert len(told(run("verify", "--windows", "0", "--json"))["readings"]) == 2
    for row in rows:
        if row["kind"] != "index":
            run("rm", row["name"])
    assert run("verify").stdout.startswith("there is no reading to check")  # but something is kept
    assert run("prune").exit_code == 0
    assert index.is_dir()
    assert run("rm", "0f0f").exit_code == 0
    assert not index.exists()


def test_a_store_of_others_is_refused(room: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a link or a folder of someone else decides what is deleted."""
    real = room / "store"
    real.rename(room / "real")
    real.symlink_to(room / "real")
    refused = run("list")
    assert refused.exit_code == 3
    assert "symbolic link" in refused.stderr
    real.unlink()
    (room / "real").rename(real)
    monkeypatch.setattr(os, "getuid", lambda: real.stat().st_uid + 1)
    assert "another user" in run("prune").stderr
    assert len(list((real / READINGS).iterdir())) == 2
