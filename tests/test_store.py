"""What was read is kept: no text is read twice, and what comes of it is the same to the last bit."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx import signals
from longctx.engine import Engine
from longctx.errors import InputError
from longctx.models.config_file import read_config
from longctx.models.state import State
from longctx.reading import Reading
from longctx.store import files, keeper, writer
from longctx.store.files import LaterVersion, sha256_of
from longctx.store.folder import READINGS, Folder, open_folder
from longctx.store.kept import KeptReading
from longctx.store.manifest import read_manifest
from longctx.store.match import document_of
from longctx.store.portable import pack, unpack
from longctx.store.thin import most_useful
from longctx.tasks.ask import whole_reading
from longctx.text.source import Document, gather
from longctx.tokens import stream
from longctx.tokens.tokenizer import Tokenizer

LINES = "The keeper of lamp {n} wrote down {m} ships before the river rose again.\n"
CHUNK, INTERVAL = 32, 192  # tokens


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Engine:
    return Engine.load(checkpoint, "cpu", "float32")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A store that keeps everything, in checkpoints of some chunks."""
    monkeypatch.setattr(keeper, "TOKENS", INTERVAL)
    monkeypatch.setattr(keeper, "WORTH", 0)
    return open_folder(tmp_path / "store", said.append)


def text(lines: int, first: int = 0) -> str:
    return "".join(LINES.format(n=n, m=n * n) for n in range(first, first + lines))


def write(path: Path, content: str, age: int = 3600) -> Path:
    """Write a file that has not been touched for a while, as most have not."""
    path.write_text(content)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return path


def header(document: Document) -> str:
    return f"\n\n==> {document.name} <==\n"


def read(
    engine: Engine, store: Folder | None, *paths: Path, stop: int | None = None, movable: bool = False
) -> Reading:
    """Read files anew, or from what is kept; `stop` after so many chunks as if the power had gone."""
    documents = gather([str(path) for path in paths]).documents
    told = header if len(paths) > 1 else None
    reading = Reading(
        engine, documents, engine.tokenizer.encode("Read:"), CHUNK, told, store=store, movable=movable
    )
    for number, _ in enumerate(reading.read()):
        if number == stop:
            break
    reading.close()
    return reading


def assert_same(one: State, other: State) -> None:
    assert one.position == other.position
    ours, theirs = one.tensors(), other.tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_text_is_read_once(
    engine: Engine, store: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails the second question about a book costs as much as the first."""
    paths = write(tmp_path / "a.txt", text(9)), write(tmp_path / "b.txt", text(9, 100))
    first = read(engine, store, *paths)

    def absorb(*_: object) -> None:
        raise AssertionError("a token was read twice")

    monkeypatch.setattr(engine.model, "absorb", absorb)
    again = read(engine, store, *paths)
    assert_same(first.session.state, again.session.state)
    assert (again.usage.tokens_reused, again.usage.tokens_read) == (first.session.position, 0)
    assert str(again.locate(again.session.position - 1)) == str(first.locate(first.session.position - 1))


@pytest.mark.parametrize("stop", [1, 8, 13, 20])
def test_an_interrupted_reading_goes_on_as_if_it_had_never_stopped(
    engine: Engine, store: Folder, tmp_path: Path, stop: int
) -> None:
    """If this fails a power cut costs hours, or the answer afterwards is another one."""
    path = write(tmp_path / "a.txt", text(18))
    whole = read(engine, None, path)
    broken = read(engine, store, path, stop=stop)
    again = read(engine, store, path)
    assert_same(again.session.state, whole.session.state)
    reused = again.usage.tokens_reused
    assert broken.session.position - reused < INTERVAL + CHUNK
    assert reused + again.usage.tokens_read == whole.session.position - len(again.before) * (not reused)
    assert [str(again.locate(n)) for n in range(0, again.session.position, 37)] == [
        str(whole.locate(n)) for n in range(0, again.session.position, 37)
    ]


def tokens_of(reading: Reading) -> list[int]:
    stream = reading._stream
    stream.begin_after((), 0)
    return [token for chunk in stream for token in chunk]


def common(one: list[int], other: list[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


Edit = Callable[[Path], object]
# What is done, and the file from whose beginning on all is read again; none: from somewhere within one.
EDITS: dict[str, tuple[Edit, str]] = {
    "append": (lambda folder: append(folder / "c.txt", text(3, 500)), ""),
    "append half a word": (lambda folder: append(folder / "c.txt", "x"), ""),
    "cut": (lambda folder: rewrite(folder / "c.txt", lambda old: old[: len(old) // 2]), ""),
    "first": (lambda folder: rewrite(folder / "a.txt", lambda old: "Now " + old), "a.txt"),
    "middle": (lambda folder: rewrite(folder / "b.txt", lambda old: old.replace("103", "1O3")), ""),
    "last": (lambda folder: rewrite(folder / "c.txt", lambda old: "Now " + old), "c.txt"),
    "delete": (lambda folder: (folder / "b.txt").unlink(), "b.txt"),
    "rename": (lambda folder: (folder / "b.txt").rename(folder / "bb.txt"), "b.txt"),
    "add": (lambda folder: write(folder / "d.txt", text(5)), "d.txt"),
    "add before": (lambda folder: write(folder / "0.txt", text(5)), "0.txt"),
}


def append(path: Path, more: str) -> None:
    with path.open("a") as file:
        file.write(more)


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize("edit", EDITS)
def test_after_an_edit_only_what_follows_is_read_again(
    engine: Engine, store: Folder, tmp_path: Path, edit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a changed word costs the whole folder, or the old text answers for the new one."""
    monkeypatch.setattr(stream, "APART", 1)
    folder = tmp_path / "notes"
    folder.mkdir()
    for number, name in enumerate("abc"):
        write(folder / f"{name}.txt", text(6, 100 * number))
    old = read(engine, store, *sorted(folder.iterdir()), movable=True)
    before, kept = tokens_of(old), KeptReading.open(entry(store)).manifest
    starts = {document_of(one).path.name: at for one, at in zip(old.documents, begins(old), strict=True)}
    starts |= dict.fromkeys(("d.txt", "0.txt"), len(before))  # new files come behind the others
    change, first = EDITS[edit]
    change(folder)
    new = read(engine, store, *sorted(folder.iterdir()), movable=True)
    fresh = Reading(engine, new.documents, new.before, CHUNK, header)
    for _ in fresh.read():
        pass
    assert tokens_of(new) == tokens_of(fresh)
    assert new.session.position == fresh.session.position
    same = common(before, tokens_of(new))
    snapshots = [one.position - len(new.before) for one in kept.snapshots]
    # From the last snapshot on: what differs begins within a chunk, or an interval, of it.
    reused = max([at for at in snapshots if at <= same], default=0)
    assert same - reused < INTERVAL
    assert new.usage.tokens_reused == (reused + len(new.before) if reused else 0)
    assert (
        new.usage.tokens_reused + new.usage.tokens_read + len(new.before) * (not reused)
        == new.session.position
    )
    if first:  # and where files come and go, or change at once, exactly from there on
        assert reused == starts[first]
    for name, tensor in fresh.session.state.tensors().items():
        torch.testing.assert_close(new.session.state.tensors()[name], tensor, rtol=1e-4, atol=1e-4)


def begins(reading: Reading) -> list[int]:
    """Return the positions at which documents begin."""
    first: dict[int, int] = {}
    for one in reading._stream.anchors:
        first.setdefault(one.part, one.position)
    return [first[number] for number in range(len(reading.documents))]


def test_the_order_of_files_stays_whatever_git_says_later(
    engine: Engine, store: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails each edit of a file that is edited every day costs the reading of all others."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number, name in enumerate("abc"):
        write(folder / f"{name}.txt", text(6, 100 * number))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    for n in range(2):
        rewrite(folder / "a.txt", lambda old, n=n: f"{n}\n{old}")  # type: ignore[misc]
        git(folder, "commit", "-qam", "x")

    def names(kept: Folder | None) -> tuple[list[str], int]:
        with gather([str(folder)]) as corpus:
            reading = whole_reading(engine, corpus, engine.tokenizer.encode("Read:"), CHUNK, None, kept)
            for _ in reading.read():
                pass
            reading.close()
        return [Path(document_of(one).name).name for one in reading.documents], reading.usage.tokens_read

    assert names(None)[0] == ["b.txt", "c.txt", "a.txt"]
    order, whole = names(store)
    assert order == ["b.txt", "c.txt", "a.txt"]
    for n in range(2):
        rewrite(folder / "b.txt", lambda old, n=n: f"{old}{n}\n")  # type: ignore[misc]
        git(folder, "commit", "-qam", "x")
    assert names(None)[0] == ["c.txt", "a.txt", "b.txt"]
    write(folder / "0.txt", text(6, 400))
    assert names(store)[0] == ["b.txt", "c.txt", "a.txt", "0.txt"]
    assert names(store)[1] == 0
    assert names(replace(store, fresh=True))[0] == ["0.txt", "c.txt", "a.txt", "b.txt"]
    rewrite(folder / "a.txt", lambda old: "Now " + old)
    assert 0 < names(store)[1] < whole


def git(folder: Path, *words: str) -> None:
    own = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *own, *words], cwd=folder, check=True)


def entry(store: Folder) -> Path:
    (found,) = (store.root / READINGS).iterdir()
    return found


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (lambda folder: flip(sorted(folder.glob("segment*"))[1], -9), "not what was written"),
    "a cut segment": (lambda folder: os.truncate(sorted(folder.glob("segment*"))[1], 999), "999 bytes"),
    "a lost segment": (lambda folder: sorted(folder.glob("segment*"))[0].unlink(), "No such file"),
    "a flipped state": (lambda folder: flip(sorted(folder.glob("state*"))[-1], -3), "not what was written"),
    "a flipped manifest": (lambda folder: flip(folder / "manifest.json", -40), "manifest.json"),
    "no manifest": (lambda folder: (folder / "manifest.json").write_bytes(b"{"), "manifest.json"),
    "a later version": (
        lambda folder: rewrite(folder / "manifest.json", lambda s: s.replace('"version": 2', '"version": 3')),
        "version 3",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_named_and_read_anew(
    engine: Engine, store: Folder, tmp_path: Path, said: list[str], damage: str
) -> None:
    """If this fails a bad disk changes an answer and nobody knows."""
    path = write(tmp_path / "a.txt", text(18))
    whole = read(engine, store, path)
    harm, told = DAMAGE[damage]
    harm(entry(store))
    again = read(engine, store, path)
    assert len(said) == 1, said
    assert told in said[0]
    assert "\n" not in said[0]
    assert again.usage.tokens_read
    assert_same(again.session.state, whole.session.state)
    if damage == "a later version":
        with pytest.raises(LaterVersion, match="version 3"):
            read_manifest(entry(store))


def in_another_file(folder: Path, name: str) -> Engine:
    """Load a checkpoint of which one file has other bytes, which mean the same or nearly so."""
    path = folder / name
    if name.endswith(".safetensors"):
        flip(path, -1)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()), indent=3))
    return Engine.load(folder, "cpu", "float32")


def of_bfloat16(folder: Path) -> Engine:
    config = read_config(folder)
    tokenizer = Tokenizer.load(folder, config.vocab_size)
    return Engine.of(folder, config, tokenizer, torch.device("cpu"), torch.bfloat16, "plain")


OTHERS: dict[str, Callable[[Path, Engine], Engine]] = {
    "other weights": lambda folder, _: in_another_file(folder, "model.safetensors"),
    "another tokenizer": lambda folder, _: in_another_file(folder, "tokenizer.json"),
    "another model": lambda folder, _: in_another_file(folder, "config.json"),
    "another dtype, another form": lambda folder, _: of_bfloat16(folder),
    "another form": lambda _, engine: Engine(engine.model, engine.tokenizer, engine.folder, "int8"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_model_neither_takes_over_a_reading_nor_spoils_it(
    engine: Engine, store: Folder, tmp_path: Path, said: list[str], other: str
) -> None:
    """If this fails the state of one model is fed to another, or changing models loses what was read."""
    path = write(tmp_path / "a.txt", text(5))
    read(engine, store, path)
    shutil.copytree(engine.folder, tmp_path / "other")
    again = read(OTHERS[other](tmp_path / "other", engine), store, path)
    assert again.usage.tokens_reused == 0
    assert said == [f"store: what was kept of this text is not used: it was read with {other}"]
    assert read(engine, store, path).usage.tokens_read == 0


def test_processes_that_read_the_same_text_leave_one_sound_reading(checkpoint: Path, tmp_path: Path) -> None:
    """If this fails two terminals spoil each other's readings."""
    path, store = write(tmp_path / "a.txt", text(99)), tmp_path / "store"
    words = ["read", str(path), "--model", str(checkpoint), "--store", str(store), "--threads=1", "--json"]
    command = [sys.executable, "-m", "longctx", *words]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in "ab"]
    for process in both:
        said = process.communicate(timeout=300)[1].decode()
        assert process.returncode == 0, said
    sound = subprocess.run(
        [*command[:3], "store", "verify", "--store", str(store), "--json"], check=True, capture_output=True
    )
    (one,) = json.loads(sound.stdout)["readings"]
    assert (one["sound"], one["damage"], one["skipped"]) == (True, [], "")
    again = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert again["usage"]["tokens_read"] == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_on_a_disk_that_cannot_be_written_is_used_all_the_same(
    engine: Engine, store: Folder, tmp_path: Path, said: list[str]
) -> None:
    """If this fails a shared or mounted store is of no use, or each question complains of it."""
    path, other = write(tmp_path / "a.txt", text(5)), write(tmp_path / "b.txt", text(5))
    read(engine, store, path)
    folders = [store.root, store.root / READINGS, entry(store)]
    for folder in folders:
        folder.chmod(0o500)
    try:
        locked = open_folder(store.root, said.append)
        assert read(engine, locked, path).usage.tokens_read == 0
        assert said == []
        assert read(engine, locked, other).usage.tokens_read
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert len(said) == 1
    assert "cannot be written" in said[0]


def test_two_at_once_do_not_disturb_each_other(
    engine: Engine, store: Folder, tmp_path: Path, said: list[str]
) -> None:
    """If this fails two terminals that read one folder leave half of each."""
    path = write(tmp_path / "a.txt", text(18))
    documents = gather([str(path)]).documents
    one, two = (
        Reading(engine, documents, engine.tokenizer.encode("Read:"), CHUNK, store=store) for _ in "ab"
    )
    for _ in zip(one.read(), two.read(), strict=True):
        pass
    for each in (one, two):
        each.close()
    assert len(said) == 1
    assert "another longctx" in said[0]
    again = read(engine, store, path)
    assert again.usage.tokens_read == 0
    assert_same(again.session.state, one.session.state)
    assert_same(again.session.state, two.session.state)


def test_the_store_stays_within_its_budget(
    engine: Engine, store: Folder, tmp_path: Path, said: list[str]
) -> None:
    """If this fails the disk fills up, or the text asked about every day goes first."""
    paths = [write(tmp_path / f"{name}.txt", text(8, 50 * number)) for number, name in enumerate("abc")]
    for age, path in enumerate(paths[:2]):
        read(engine, store, path)
        for folder in (store.root / READINGS).iterdir():
            os.utime(folder / "manifest.json", (1e9 + age, 1e9 + age))
    read(engine, store, paths[0])  # used last
    held = sum(file.stat().st_size for file in store.root.rglob("*.safetensors"))
    store.budget = int(held * 1.2)
    read(engine, store, paths[2])
    assert "removed" in said[0]
    assert [read(engine, store, path).usage.tokens_read > 0 for path in (paths[0], paths[2])] == [
        False,
        False,
    ]


def test_a_store_that_cannot_be_written_costs_no_answer(
    engine: Engine, store: Folder, tmp_path: Path, said: list[str]
) -> None:
    """If this fails a full disk ends a reading of hours."""
    path = write(tmp_path / "a.txt", text(9))
    store.budget = 10
    full = read(engine, store, path)
    store.budget, store.writable = None, False
    locked = read(engine, store, path)
    assert_same(full.session.state, locked.session.state)
    assert len(said) == 2
    assert "--store-budget" in said[0]
    assert "cannot be written" in said[1]


def test_a_store_is_the_users_own(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails other users of a machine read what you read."""
    from longctx.store.files import Unusable

    folder = open_folder(tmp_path / "store", print)
    assert (folder.root / READINGS).stat().st_mode & 0o777 == 0o700
    read(engine, folder, write(tmp_path / "a.txt", text(3)))
    for path in folder.root.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    (tmp_path / "link").symlink_to(folder.root)
    with pytest.raises(Unusable, match="symbolic link"):
        open_folder(tmp_path / "link", print)
    monkeypatch.setattr(os, "getuid", lambda: folder.root.stat().st_uid + 1)
    with pytest.raises(Unusable, match="another user"):
        open_folder(folder.root, print)


def test_snapshots_grow_rarer_towards_the_beginning() -> None:
    """If this fails a thousand snapshots fill the disk, or an edit near the end costs the whole text."""
    kept: set[int] = set()
    for position in range(1, 1001):
        kept = most_useful(dict.fromkeys([*sorted(kept), position], False))
    ordered = sorted(kept)
    assert len(ordered) == 12
    assert ordered[-2:] == [999, 1000]
    assert ordered[0] < 700


def test_snapshots_stay_where_documents_begin() -> None:
    """If this fails a file that is replaced costs half of the one before it, too."""
    kept: set[int] = set()
    for position in range(1, 1001):
        kept = most_useful({one: one % 3 == 0 for one in [*sorted(kept), position]})
    assert sum(one % 3 == 0 for one in kept) >= 10
    gaps = [b - a for a, b in pairwise([0, *sorted(kept)])]
    assert gaps[1] > 4 * gaps[-2]


def test_snapshots_take_a_part_of_the_budget_only(
    engine: Engine, store: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails states of hundreds of megabytes push the readings of other texts out of the store."""
    path, store.budget = write(tmp_path / "a.txt", text(40)), 1 << 24
    read(engine, store, path)
    many = KeptReading.open(entry(store)).manifest.snapshots
    assert len(many) > 6
    monkeypatch.setattr(writer, "SHARE", store.budget // (3 * many[0].file.size))
    read(engine, replace(store, fresh=True), path)
    few = KeptReading.open(entry(store)).manifest
    assert [one.position for one in few.snapshots][1:] == [one.position for one in many[-2:]]
    assert len(few.snapshots) == 3


def test_a_reading_in_one_file_needs_neither_the_texts_nor_the_store(
    engine: Engine, store: Folder, tmp_path: Path, said: list[str]
) -> None:
    """If this fails the one who gets a reading must read the text again, or cannot."""
    paths = write(tmp_path / "a.txt", text(6)), write(tmp_path / "b.txt", text(6, 50))
    first = read(engine, store, *paths)
    place = str(first.locate(first.session.position - 1))
    assert first.kept
    pack(first.kept, gather([str(path) for path in paths]).documents, tmp_path / "x.lctx")
    for path in paths:
        path.unlink()
    with unpack(tmp_path / "x.lctx") as corpus:
        assert corpus.reading
        assert "contains the text" in corpus.notes[0]
        other = open_folder(corpus.reading, said.append)
        before = engine.tokenizer.encode("Read:")
        again = Reading(engine, corpus.documents, before, CHUNK, header, store=other)
        assert [event.tokens for event in again.read()] == [0]
        assert_same(first.session.state, again.session.state)
        assert str(again.locate(again.session.position - 1)) == place
    assert not said


@pytest.mark.parametrize("harm", ["cut", "compressed", "name", "encoding"])
def test_a_reading_of_strangers_is_not_trusted(
    engine: Engine, store: Folder, tmp_path: Path, harm: str
) -> None:
    """If this fails a file from a stranger fills the disk, writes elsewhere, or ends in a traceback."""
    path = write(tmp_path / "a.txt", text(4))
    kept = read(engine, store, path).kept
    assert kept
    pack(kept, gather([str(path)]).documents, tmp_path / "x.lctx")
    with zipfile.ZipFile(tmp_path / "x.lctx") as file:
        members = {name: file.read(name) for name in file.namelist()}
    manifest = json.loads(members["manifest.json"])
    if harm == "name":
        manifest["reading"]["segments"][0]["file"]["name"] = "../../out"
    if harm == "encoding":
        manifest["reading"]["documents"][0]["encoding"] = "zlib_codec"
    manifest["seal"] = sha256_of(manifest["reading"])
    members["manifest.json"] = json.dumps(manifest).encode()
    how = zipfile.ZIP_DEFLATED if harm == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(tmp_path / "x.lctx", "w", how) as file:
        for name, data in members.items():
            file.writestr(name, data)
    if harm == "cut":
        os.truncate(tmp_path / "x.lctx", 5000)
    with pytest.raises(InputError, match="not a reading that can be used"):
        unpack(tmp_path / "x.lctx")


def test_a_reading_that_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    """If this fails a slip in the name makes you read the text once more."""
    with pytest.raises(InputError, match=r"x\.lctx: no such file; check the name"):
        unpack(tmp_path / "x.lctx")


def test_a_first_interrupt_keeps_what_was_read(
    engine: Engine, store: Folder, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails Ctrl-C after an hour loses the hour."""
    monkeypatch.setattr(keeper, "TOKENS", 1 << 20)
    monkeypatch.setattr(keeper.Keeper, "_answer_signal", lambda _: None)
    path = write(tmp_path / "a.txt", text(9))
    reading = Reading(
        engine, gather([str(path)]).documents, engine.tokenizer.encode("Read:"), CHUNK, store=store
    )
    with pytest.raises(KeyboardInterrupt):
        for number, _ in enumerate(reading.read()):
            if number == 4:
                assert signals._patient
                assert signals._patient.note()  # as the handler does
                assert not signals._patient.note()
    assert said == [
        f"stopped; {reading.session.position} tokens are kept: the same command goes on from there"
    ]
    again = read(engine, store, path)
    assert again.usage.tokens_reused == reading.session.position
    assert_same(again.session.state, read(engine, None, path).session.state)


@given(
    rows=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    name=st.text(st.characters(codec="ascii", exclude_characters="\0/"), min_size=1, max_size=90),
)
def test_what_is_kept_lies_in_memory_as_what_was_read(rows: list[int], name: str) -> None:
    """If this fails CPUs that add in another order at odd addresses do not continue a reading exactly."""
    logs = {f"{i}.k": [torch.randn(2, n, 32)] for i, n in enumerate(rows)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "segment"
        odd = {"tokens": [torch.arange(rows[0])], "mark": [torch.zeros(1, dtype=torch.int8)]}
        written = files.write_tensors(path, odd | logs, {"made of": name})
        mapped = files.open_tensors(Path(folder), written)
        for key, [tensor] in logs.items():
            assert mapped[key].data_ptr() % 64 == 0
            assert torch.equal(mapped[key], tensor)
        assert torch.equal(mapped["tokens"], torch.arange(rows[0]))
