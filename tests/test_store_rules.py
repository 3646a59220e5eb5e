"""What a store promises of its files, its folder, its list and its snapshots; no model reads here."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from documents import Write

from longctx.errors import InputError
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.store import files, listing
from longctx.store import passages as kept_passages
from longctx.store.files import LaterVersion, Unusable, Written, check, open_tensors, read_json, write_json
from longctx.store.folder import (
    PASSAGES,
    READINGS,
    Folder,
    check_own,
    last_used,
    locked,
    open_folder,
    size_of,
)
from longctx.store.keeper import _alike
from longctx.store.listing import Entry, in_excess
from longctx.store.manifest import NAME, Manifest, Snapshot, Source, differences, read_manifest
from longctx.store.match import SETTLED, describe, document_of, which
from longctx.store.passages import Shelf
from longctx.store.thin import most_useful
from longctx.text.span import Span


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, said: list[str]) -> Folder:
    return open_folder(tmp_path / "store", said.append)


def test_json_is_written_whole_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a manifest is half written after a crash, or others read what somebody has read."""
    path = tmp_path / "x.json"
    for value in ({"b": 1, "a": [None, "é"]}, [2]):
        write_json(path, value)
        assert read_json(path) == value
        assert path.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.iterdir()) == [path]
    assert files.canonical({"b": 1, "a": "é"}) == b'{"a":"\\u00e9","b":1}'
    assert files.sha256_of({"b": 1, "a": 2}) == files.sha256_of({"a": 2, "b": 1}) != files.sha256_of({"a": 2})
    monkeypatch.setattr(files, "LARGEST_MANIFEST", path.stat().st_size)
    assert read_json(path) == [2]
    monkeypatch.setattr(files, "LARGEST_MANIFEST", path.stat().st_size - 1)
    with pytest.raises(Unusable, match=r"x\.json is too large"):
        read_json(path)
    path.write_text("[")
    for name in ("x.json", "gone.json"):
        with pytest.raises(Unusable, match=f"{name} cannot be read"):
            read_json(tmp_path / name)


def test_tensors_come_back_joined_and_as_they_were(tmp_path: Path) -> None:
    """If this fails a log that was written in pieces is another one, or its file cannot be proven."""
    one, two = torch.arange(24.0).reshape(2, 3, 4), torch.arange(16.0).reshape(2, 2, 4) + 100
    given = {
        "log": [one, two],
        "flat": [torch.arange(6, dtype=torch.uint8).reshape(3, 2), torch.ones(1, 2, dtype=torch.uint8)],
        "state": [torch.tensor(7.0)],
        "deep": [torch.arange(8.0).reshape(1, 2, 2, 2), torch.arange(4.0).reshape(1, 2, 1, 2)],
    }
    kept = files.write_tensors(tmp_path / "x", given, {"format": "test"})
    found = open_tensors(tmp_path, kept)
    assert found.keys() == given.keys()
    for name, pieces in given.items():
        assert torch.equal(found[name], torch.cat(pieces, dim=-2) if len(pieces) > 1 else pieces[0]), name
    assert (kept.name, kept.size) == ("x", (tmp_path / "x").stat().st_size)
    assert kept.digest == files.digest_file(tmp_path / "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
    (tmp_path / "bad").write_bytes(b"x" * 9)
    with pytest.raises(Unusable, match="bad is damaged"):
        open_tensors(tmp_path, files.seen(tmp_path / "bad", files.digest_file(tmp_path / "bad")))


def test_a_file_is_proven_by_its_times_or_by_its_bytes(tmp_path: Path) -> None:
    """If this fails a bad disk changes an answer, or each question hashes gigabytes."""
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    kept = files.seen(path, files.digest_file(path))
    check(tmp_path, kept)
    check(tmp_path, replace(kept, digest="wrong"))
    for other in ({"mtime_ns": 0}, {"inode": 0}):
        check(tmp_path, replace(kept, **other))  # type: ignore[arg-type]
        with pytest.raises(Unusable, match="x is not what was written"):
            check(tmp_path, replace(kept, digest="wrong", **other))  # type: ignore[arg-type]
    with pytest.raises(Unusable, match="x is not what was written"):
        check(tmp_path, replace(kept, digest="wrong"), whole=True)
    with pytest.raises(Unusable, match="x has 3 bytes, not 1,004"):
        check(tmp_path, replace(kept, size=1004))
    with pytest.raises(Unusable, match="y cannot be read"):
        check(tmp_path, replace(kept, name="y"))
    (tmp_path / "l").symlink_to(path)
    with pytest.raises(Unusable, match="l is a symbolic link"):
        check(tmp_path, replace(kept, name="l"))


def reading(store: Folder, name: str, size: int, used: float) -> Path:
    """Put a reading of so many bytes into a store, with a manifest of no bytes."""
    folder = store.entry(name)
    folder.mkdir()
    (folder / "x").write_bytes(b"x" * size)
    (folder / NAME).touch()
    os.utime(folder / NAME, (used, used))
    return folder


def test_the_oldest_goes_first_and_never_what_is_in_use(
    store: Folder, said: list[str], tmp_path: Path
) -> None:
    """If this fails the text asked about every day is read again each day, or the disk fills up."""
    names = {"a": 1e9 + 2, "b": 1e9 + 1, "c": 1e9 + 3, "d": 1e9}
    paths = {name: reading(store, name, 100, used) for name, used in names.items()}
    assert [path.name for path in store.entries()] == ["c", "a", "b", "d"]
    assert [path.name for path in store.entries("a")] == ["a"]
    assert (size_of(paths["a"]), last_used(paths["a"]), last_used(tmp_path)) == (100, 1e9 + 2, 0.0)
    store.budget = 400
    assert store.make_room(paths["a"], 0) == 400
    assert said == []
    lock = locked(paths["d"])
    assert lock is not None
    assert locked(paths["d"]) is None
    assert store.make_room(paths["b"], 1) == 400  # d is in use, b is the one that grows
    assert [path.name for path in store.entries()] == ["c", "b", "d"]
    assert said == ["store: removed a reading of 100 bytes that was not used for longest"]
    os.close(lock)
    (store.root / PASSAGES).mkdir()
    index = store.root / PASSAGES / "i"
    index.mkdir()
    (index / "x").write_bytes(b"x" * 200)
    assert store.make_room(paths["c"], 100) == 400
    assert said[1:] == [
        "store: removed an index of 200 bytes that was not used for longest",
    ]
    with pytest.raises(Unusable, match="more than its 150 bytes; --store-budget allows more"):
        replace(store, budget=150).make_room(paths["c"], 60)
    assert [path.name for path in store.entries()] == ["c"]


def test_a_store_takes_a_tenth_of_what_is_free(store: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a store of its own accord fills the disk."""
    reading(store, "a", 1000, 1e9)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Disk", (), {"free": 9000}))
    assert store.limit() == 1000
    assert replace(store, budget=0).limit() == 0


def test_a_store_is_a_folder_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails what somebody reads is written where others look."""
    with pytest.raises(Unusable, match="not an absolute path"):
        open_folder(Path("x"), print)
    (tmp_path / "file").touch()
    with pytest.raises(Unusable, match="cannot be made"):
        open_folder(tmp_path / "file", print)
    folder = open_folder(tmp_path / "deep" / "store", print, 7, 2.0, fresh=True)
    assert (folder.budget, folder.least_seconds, folder.fresh, folder.writable) == (7, 2.0, True, True)
    check_own(tmp_path / "nothing")
    (folder.root / READINGS).chmod(0o755)
    check_own(folder.root / READINGS)
    assert (folder.root / READINGS).stat().st_mode & 0o777 == 0o700
    assert (folder.root.stat().st_mode & 0o777) == 0o700
    assert folder.entries() == []
    (folder.root / READINGS / "link").symlink_to(tmp_path)
    (folder.root / READINGS / "file").touch()
    assert folder.entries() == []


def manifest() -> Manifest:
    made = Manifest({"model": "m", "chunk": 8}, 2, [Source("a", None, "/a", 0, 9, "utf-8")], model="m")
    for start, end in ((0, 5), (5, 9)):
        made.segments.append(made.link(start, end, Written(f"s{end}", 10 * end, f"hash{end}", 1, 2)))
    made.snapshots.append(Snapshot(9, Written("t9", 7, "hash", 1, 2), True))
    return made


def test_a_manifest_comes_back_or_says_what_is_wrong(tmp_path: Path) -> None:
    """If this fails a reading that was cut, changed or made by somebody else is taken for sound."""
    made = manifest()
    made.write(tmp_path)
    found, seal = read_manifest(tmp_path)
    assert found == made
    assert seal == read_manifest(tmp_path)[1]
    assert (made.tokens, made.bytes, [one.name for one in made.files]) == (9, 147, ["s5", "s9", "t9"])
    assert Manifest({}, 0).tokens == 0
    chains = {Manifest({}, 0).chain, Manifest({"x": 1}, 0).chain, *(one.chain for one in made.segments)}
    assert len(chains) == 4
    assert made.chain == made.segments[-1].chain
    value = json.loads((tmp_path / NAME).read_text())
    for change, told in (
        ({"format": "x"}, "is not a reading's"),
        ({"version": 3}, "version 3 of the format, and this longctx reads 2"),
        ({"version": 1}, "version 1 of the format, and this longctx reads 2"),
        ({"seal": "x"}, f"{NAME} is damaged$"),
    ):
        (tmp_path / NAME).write_text(json.dumps(value | change))
        with pytest.raises(Unusable, match=told) as caught:
            read_manifest(tmp_path)
        assert isinstance(caught.value, LaterVersion) == (change == {"version": 3})
    (tmp_path / NAME).write_text("[]")
    with pytest.raises(Unusable, match="is not a reading's"):
        read_manifest(tmp_path)
    for field, wrong in (("name", "../x"), ("name", 5), ("size", "5"), ("digest", None)):
        other = json.loads(json.dumps(value["reading"]))
        other["segments"][0]["file"][field] = wrong
        (tmp_path / NAME).write_text(json.dumps(value | {"reading": other, "seal": files.sha256_of(other)}))
        with pytest.raises(Unusable, match="is damaged"):
            read_manifest(tmp_path)


def test_differences_are_named_once() -> None:
    """If this fails it is not said why a reading is not used."""
    assert differences({"a": 1, "b": 2}, {"b": 3, "a": 1, "c": 4}) == ["b", "c"]
    assert differences({"a": None}, {}) == []


@pytest.mark.parametrize(
    ("positions", "begins", "most", "left"),
    [
        ([10, 20, 30, 40], [], 4, [10, 20, 30, 40]),
        ([10, 20, 30, 40], [], 3, [20, 30, 40]),
        ([10, 20, 30, 40], [10], 3, [10, 30, 40]),
        ([10, 20, 30, 40], [10, 20], 3, [20, 30, 40]),
        ([10, 20, 30, 40], [], 2, [30, 40]),
        ([10, 20, 30, 40], [], 0, [30, 40]),
        ([10, 38, 39, 40], [], 3, [38, 39, 40]),
        ([10, 20, 21, 40, 41], [], 4, [10, 21, 40, 41]),
        ([5], [], 0, [5]),
        ([], [], 3, []),
    ],
)
def test_the_snapshot_goes_whose_loss_costs_least(
    positions: list[int], begins: list[int], most: int, left: list[int]
) -> None:
    """If this fails an edit near the end costs the whole text again, for its snapshot was dropped."""
    assert sorted(most_useful({at: at in begins for at in positions}, most)) == left


def entry(name: str, **more: object) -> Entry:
    return Entry(Path("/store/readings", name), 100, 1e9, **more)  # type: ignore[arg-type]


def test_readings_are_found_by_name_and_by_path() -> None:
    """If this fails a reading cannot be removed, or that of another text is."""
    here = os.path.abspath("x")  # noqa: PTH100
    one = entry("g1-ab1", manifest=Manifest({}, 0, [Source("x", None, here, 0, 1, "utf-8")]))
    two = entry("g1-ab2", manifest=Manifest({}, 0, [Source("y", None, f"{here}/y", 0, 1, "utf-8")]))
    three = entry("g2", damage="x")
    held = [one, two, three]
    assert [each.name for each in held] == ["ab1-g1", "ab2-g1", "g2"]
    assert listing.select(held, "ab1") == [one]
    assert listing.select(held, "g1-ab2") == [two]
    assert listing.select(held, "x") == [one, two]
    assert listing.select(held, here + os.sep) == [one, two]
    assert listing.select(held, "/store/readings/g2") == [three]
    with pytest.raises(InputError, match="could be ab1-g1, ab2-g1"):
        listing.select(held, "ab")
    for wrong in ("", "q", "x/z"):
        with pytest.raises(InputError, match="no reading has this name"):
            listing.select([one, three], wrong)
    assert [each.useless for each in held] == [False, False, True]
    assert not replace(three, later=True).useless
    assert not entry("i", index=True).useless
    assert entry("i", index=True, damage="x").useless


def test_what_is_useless_old_or_too_much_goes() -> None:
    """If this fails pruning takes what was used today, or leaves what nobody can use."""
    ages = [replace(entry(str(n), manifest=Manifest({}, 0)), used=1e9 - n) for n in range(4)]
    broken, unknown = entry("b", damage="x"), replace(ages[0], used=0.0)
    assert in_excess([*ages, broken], None, None) == [broken]
    assert in_excess(ages, 1e9 - 1, None) == ages[2:]
    assert in_excess([unknown], 1e9, None) == []
    assert in_excess(ages, None, 200) == ages[2:]
    assert in_excess(ages, None, 199) == ages[1:]
    assert in_excess(ages, None, 0) == ages
    small = replace(ages[3], bytes=10)
    assert in_excess([*ages[:3], small], None, 210) == [ages[2]]


def test_a_list_tells_what_there_is(store: Folder, tmp_path: Path) -> None:
    """If this fails somebody cannot tell a sound reading from rubbish before it is removed."""
    assert listing.entries(tmp_path / "nothing") == []
    sound = reading(store, "g-sound", 0, 1e9)
    text = tmp_path / "a"
    text.write_bytes(b"x")
    status = text.stat()
    source = Source("a", None, str(text), 0, 1, "utf-8", "text", 1, status.st_mtime_ns, status.st_ino)
    made = Manifest(
        {"chunk": 8, "kv": "int8"}, 2, [source, replace(source, name="b", place="/gone")], model="m"
    )
    made.segments.append(made.link(0, 5, files.seen(sound / "x", "h")))
    made.write(sound)
    os.utime(sound / NAME, (1e9, 1e9))
    reading(store, "g-empty", 3, 1e9 + 1).joinpath(NAME).unlink()
    later = reading(store, "g-later", 3, 1e9 + 2)
    (later / NAME).write_text(json.dumps({"format": "longctx reading", "version": 9}))
    (store.root / READINGS / "file").touch()
    (store.root / READINGS / "link").symlink_to(sound)
    (store.root / PASSAGES / "i").mkdir(parents=True)
    found = {one.folder.name: one for one in listing.entries(store.root)}
    assert {name: (one.damage, one.later, one.index) for name, one in found.items()} == {
        "g-sound": ("", False, False),
        "g-empty": ("it was never finished", False, False),
        "g-later": ("it has version 9 of the format, and this longctx reads 2", True, False),
        "file": ("file is not a folder", False, False),
        "link": (f"{store.root}/readings/link is a symbolic link; name the folder itself", False, False),
        "i": ("it was never finished", False, True),
    }
    told = listing.facts(found["g-sound"])
    assert (told["kind"], told["text"], told["texts"], told["tokens"]) == ("reading", "a and 1 more", 2, 5)
    assert (told["model"], told["name"], told["damage"]) == ("m", "sound-g", "")
    assert told["age_seconds"] == pytest.approx(time.time() - 1e9, abs=60)
    assert listing.facts(found["file"])["age_seconds"] is None
    assert (listing.facts(found["i"])["kind"], listing.facts(found["i"])["text"]) == (
        "index",
        "(index of passages)",
    )
    assert listing.details(found["file"]) == listing.facts(found["file"])
    more = listing.details(found["g-sound"])
    assert (more["chunk"], more["kv"], more["prompt_tokens"], more["segments"]) == (8, "int8", 2, 1)
    assert [one["since"] for one in more["documents"]] == ["unchanged", "gone"]
    assert more["used"] == "2001-09-09T01:46:40+00:00"
    text.write_bytes(b"xy")
    assert listing.since(source) == "changed"
    assert listing.since(replace(source, mtime_ns=0)) == "unknown"
    (sound / "x").write_bytes(b"12345")
    again = {one.folder.name: one.damage for one in listing.entries(store.root)}
    assert again["g-sound"] == "x has 5 bytes, not 0"
    (sound / "x").unlink()
    assert listing._missing(sound / "x", made.files[0]).startswith("x cannot be read")
    (sound / "x").symlink_to(text)
    assert listing._missing(sound / "x", made.files[0]) == "x is a symbolic link"


def test_only_what_is_free_is_removed(store: Folder, tmp_path: Path) -> None:
    """If this fails a reading is removed under the hands of another longctx, or a target with its link."""
    path = reading(store, "a", 3, 1e9)
    lock = locked(path)
    assert lock is not None
    with pytest.raises(InputError, match="a: another longctx uses it"):
        listing.remove(Entry(path, 3, 1e9))
    os.close(lock)
    listing.remove(Entry(path, 3, 1e9))
    assert not path.exists()
    target = tmp_path / "target"
    target.mkdir()
    path.symlink_to(target)
    listing.remove(Entry(path, 3, 1e9))
    assert target.exists()
    assert not path.is_symlink()
    path.touch()
    listing.remove(Entry(path, 3, 1e9))
    with pytest.raises(InputError, match="a: cannot be removed"):
        listing.remove(Entry(path, 3, 1e9))


def test_a_text_is_told_by_its_place_and_its_times(write: Write) -> None:
    """If this fails a text that somebody writes to at this moment is taken for unchanged later on."""
    document = write("a", "one\ntwo\n")
    fresh = describe(document, None)
    assert (fresh.size, fresh.mtime_ns, fresh.inode) == (0, 0, 0)
    then = time.time() - SETTLED - 60
    os.utime(document.path, (then, then))
    settled = describe(document, lambda one: f"<{one.name}>")
    status = document.path.stat()
    assert (settled.size, settled.mtime_ns, settled.inode) == (8, status.st_mtime_ns, status.st_ino)
    assert (settled.header, settled.start, settled.end, settled.encoding) == ("<a>", 0, 8, "utf-8")
    span = Span(document, 4, 8, 2, 2)
    assert (document_of(span), document_of(document)) == (document, document)
    part = describe(span, None)
    assert (part.start, part.end, part.header) == (4, 8, None)
    assert which(settled, document) == [settled.place, "<a>", 0]
    assert which(settled, replace(document, cut=True)) == [settled.place, "<a>", 0, 8]


def test_readings_are_alike_as_far_as_their_documents_are() -> None:
    """If this fails a reading of other files is gone on from, or none."""
    a, b, c = (Source(name, None, f"/{name}", 0, 9, "utf-8") for name in "abc")
    assert _alike([a, b], [a, c]) == 1
    assert _alike([a, b], [a, replace(b, end=5), c]) == 2
    assert [_alike([a], other) for other in ([b], [], [replace(a, header="x")], [replace(a, start=1)])] == [
        0
    ] * 4


def test_an_index_is_kept_for_the_very_same_texts(
    store: Folder, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a question is answered from what a text said yesterday, or each one indexes it anew."""
    monkeypatch.setattr(kept_passages, "LEAST", 10)
    document = write("a.txt", "The otter slept. " * 30)

    def index() -> PassageIndex:
        made = PassageIndex()
        for passage in passages(document):
            made.add(passage)
        return made

    def found(shelf: Shelf) -> int:
        kept = shelf.find()
        if kept is None:
            return 0
        with kept:
            return len(kept.search("otter", 5))

    shelf = Shelf(store, [document])
    assert found(shelf) == 0
    for other in (replace(store, writable=False), replace(store, least_seconds=1.0)):
        small = Shelf(other, [replace(document, end=9)])
        with index() as made:
            small.keep(made)
        assert found(small) == 0
    with index() as made:
        shelf.keep(made)
    assert found(shelf) > 0
    assert found(Shelf(store, [document])) > 0
    assert found(Shelf(replace(store, fresh=True), [document])) == 0
    for other_text in (
        replace(document, name="b.txt"),
        replace(document, start=1),
        replace(document, first_line=2),
    ):
        assert found(Shelf(store, [other_text])) == 0
    (entry_,) = (store.root / PASSAGES).iterdir()
    assert sorted(one.name for one in entry_.iterdir()) == ["lock", NAME, kept_passages.FILE]
    told = json.loads((entry_ / NAME).read_text())
    (entry_ / NAME).write_text(json.dumps(told | {"size": told["size"] + 1}))
    assert found(shelf) == 0
    (entry_ / NAME).write_text(json.dumps(told))
    assert found(shelf) > 0
    data = bytearray((entry_ / kept_passages.FILE).read_bytes())
    data[-1] ^= 1
    (entry_ / kept_passages.FILE).write_bytes(data)
    assert found(shelf) == 0
    changed = Shelf(store, [document])
    document.path.write_bytes(document.path.read_bytes().replace(b"otter", b"heron"))
    with index() as made:
        changed.keep(made)
    assert found(Shelf(store, [document])) == 0
