"""Compressed files and archives: read like the files in them, whatever a hostile one tries."""

import bz2
import gzip
import io
import lzma
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard
from trees import make, names, skipped, text

from longctx.errors import InputError
from longctx.formats import limits
from longctx.progress import Progress
from longctx.tasks.extract import extract
from longctx.text.source import gather

STORY = "The ferry leaves at nine.\nIt comes back at noon.\n" * 2000
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": partial(lzma.compress, preset=0),
    "zst": zstandard.ZstdCompressor().compress,
}


def zipped(files: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(files: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return file.getvalue()


@pytest.mark.parametrize("kind", PACKERS)
def test_a_compressed_log_is_read_by_its_own_name(tmp_path: Path, kind: str) -> None:
    """Without it, rotated logs would have to be unpacked by hand, and be cited by a name nobody has."""
    path = make(tmp_path, {f"app.log.{kind}": PACKERS[kind](STORY.encode())}) / f"app.log.{kind}"
    with gather([str(tmp_path)]) as corpus:
        assert [(document.name, text(document)) for document in corpus.documents] == [(str(path), STORY)]
        spooled = corpus.documents[0].path
    assert not spooled.exists()


@pytest.mark.parametrize("kind", PACKERS)
def test_streams_one_after_the_other_are_one_text(tmp_path: Path, kind: str) -> None:
    """Without it, `cat a.gz b.gz > c.gz`, as log rotation does, would lose all but the first."""
    make(tmp_path, {"log": PACKERS[kind](b"one\n") + PACKERS[kind](b"two\n")})
    with gather([f"{tmp_path}/log"]) as corpus:
        assert text(corpus.documents[0]) == "one\ntwo\n"


@pytest.mark.parametrize("kind", PACKERS)
def test_of_a_cut_file_the_beginning_is_read_and_told(tmp_path: Path, kind: str) -> None:
    """Without it, a log that is still being written would be refused, or read in part without a word."""
    noisy = random.Random(1).randbytes(700_000).hex("\n", 32)
    make(tmp_path, {"log": PACKERS[kind](noisy.encode())[:-2000]})
    with gather([f"{tmp_path}/log"]) as corpus:
        (document,) = corpus.documents
        assert noisy.startswith(text(document))
        assert f"only its first {document.end:,} bytes are read" in corpus.notes[0]


def test_compressed_text_is_recognised_on_standard_input() -> None:
    """Without it, `curl ... | longctx ask` would need a gunzip in between."""
    with gather(["-"], io.BytesIO(gzip.compress(b"piped\n"))) as corpus:
        assert [(document.name, text(document)) for document in corpus.documents] == [("<stdin>", "piped\n")]


TREE: dict[str, str] = {
    "notes/a.txt": "one\n",
    "notes/b.txt": "two\n",
    ".git/config": "x",
    "node_modules/x.js": "x",
}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz", "tar.zst"])
def test_an_archive_is_walked_like_a_folder(tmp_path: Path, kind: str) -> None:
    """Without it, a downloaded source archive could not be asked, or its rubbish would be read too."""
    data = zipped(dict(TREE)) if kind == "zip" else tarred(TREE)
    data = PACKERS[kind.rpartition(".")[2]](data) if "." in kind else data
    make(tmp_path, {"some.file": data})
    with gather([f"{tmp_path}/some.file"]) as corpus:
        assert names(corpus, tmp_path) == ["some.file/notes/a.txt", "some.file/notes/b.txt"]
        assert [text(document) for document in corpus.documents] == ["one\n", "two\n"]
        assert set(skipped(corpus, tmp_path).values()) == {"hidden", "generated or vendored"}
        assert corpus.notes == [f"{tmp_path}/some.file: 2 files read from the archive"]


def test_archives_below_a_folder_are_left_alone_and_told(tmp_path: Path) -> None:
    """Without it, test data packed in a repository would be read among its source."""
    make(tmp_path, {"a.txt": "one", "b.zip": zipped(dict(TREE))})
    with gather([str(tmp_path)]) as corpus:
        assert names(corpus, tmp_path) == ["a.txt"]
        assert [(skip.reason, skip.advice) for skip in corpus.skipped] == [
            ("an archive", "name it to read it")
        ]


def test_paths_and_links_do_not_lead_out_of_an_archive(tmp_path: Path) -> None:
    """Without it, an archive from a stranger could have the user's own files read into an answer."""
    secret = make(tmp_path, {"secret": "secret"}) / "secret"
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(link, str(secret))
        for name in ("../secret", str(secret), "a/../../secret", "c:/secret", "..\\secret"):
            archive.writestr(name, "other")
        archive.writestr("good\x1b[2J", "good")
    make(tmp_path, {"a.zip": file.getvalue()})
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive_:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo("odd")
            member.type, member.linkname = kind, str(secret)
            archive_.addfile(member)
    make(tmp_path, {"b.tar": tar.getvalue()})
    with gather([f"{tmp_path}/a.zip", f"{tmp_path}/b.tar"]) as corpus:
        assert names(corpus, tmp_path) == ["a.zip/good\\x1b[2J"]
        assert [text(document) for document in corpus.documents] == ["good"]
        assert {skip.reason for skip in corpus.skipped} == {
            *("its path leads out of the archive", "link, not followed", "not a regular file")
        }


def test_a_bomb_costs_one_line_and_the_rest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, 100 kB from a stranger would fill the disk."""
    monkeypatch.setattr(limits, "SMALL", 1 << 20)
    bomb = bytes(3 << 20)
    files: dict[str, str | bytes] = {
        "a.txt": "one",
        "bomb": bomb,
        "c.gz": gzip.compress(bomb),
        "d.txt": "two",
    }
    make(tmp_path, {"a.zip": zipped(files)})
    with gather([f"{tmp_path}/a.zip"]) as corpus:
        assert [text(document) for document in corpus.documents] == ["one", "two"]
        assert [skip.reason[:24] for skip in corpus.skipped] == ["grows more than 250-fold"] * 2
        scratch = sum(path.stat().st_size for path in corpus.documents[0].path.parent.iterdir())
        assert scratch < 100
    for kind, pack in PACKERS.items():
        make(tmp_path, {kind: pack(bomb)})
        with pytest.raises(InputError, match="grows more than 250-fold"):
            gather([f"{tmp_path}/{kind}"])


def test_many_files_and_bytes_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a bomb of many small parts would pass where one large part does not."""
    monkeypatch.setattr(limits, "MOST_FILES", 3)
    make(tmp_path, {"many.zip": zipped({f"{number}.txt": "x" for number in range(5)})})
    with gather([f"{tmp_path}/many.zip"]) as corpus:
        assert len(corpus.documents) == 3
        assert "only the first 3 files" in corpus.notes[0]
    monkeypatch.undo()
    monkeypatch.setattr(limits, "SMALL", 1 << 10)
    monkeypatch.setattr(limits, "RATIO", 2)
    noise = [random.Random(number).randbytes(1000).hex() for number in range(9)]
    inner = zipped({str(number): one for number, one in enumerate(noise[:2])}, zipfile.ZIP_STORED)
    make(tmp_path, {"heavy.zip": zipped({str(number): inner for number in range(4)})})
    with gather([f"{tmp_path}/heavy.zip"]) as corpus:
        assert "more than there is room for" in " ".join([*corpus.notes, *(s.reason for s in corpus.skipped)])


def test_endless_nesting_ends(tmp_path: Path) -> None:
    """Without it, an archive that holds itself would be unpacked for ever."""
    data = b"core"
    for level in range(9):
        data = zipped({f"{level}.zip": data, f"{level}.txt": f"level {level}"})
    make(tmp_path, {"a.zip": data})
    with gather([f"{tmp_path}/a.zip"]) as corpus:
        assert len(corpus.documents) == limits.DEEPEST
        assert [skip.reason for skip in corpus.skipped] == ["an archive nested too deep"]
        assert corpus.documents[1].name == f"{tmp_path}/a.zip/8.zip/7.txt"


def test_encrypted_and_damaged_files_are_told(tmp_path: Path) -> None:
    """Without it, a password would end in a traceback, and a damaged file hide those behind it."""
    data = bytearray(zipped({"a.txt": "locked", "b.txt": STORY, "c.txt": "open"}, zipfile.ZIP_STORED))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    data[data.index(b"ferry")] ^= 1  # its checksum is wrong now
    make(tmp_path, {"a.zip": bytes(data), "cut.zip": bytes(data[:3000]), "cut.tar": tarred(TREE)[:1538]})
    with gather([f"{tmp_path}/a.zip"]) as corpus:
        assert skipped(corpus, tmp_path) == {"a.zip/a.txt": "encrypted"}
        assert text(corpus.documents[-1]) == "open"
        assert "b.txt: damaged or cut short (bad crc-32" in corpus.notes[0]
    with pytest.raises(InputError, match="damaged or cut short"):
        gather([f"{tmp_path}/cut.zip"])
    with gather([f"{tmp_path}/cut.tar"]) as corpus:
        assert [text(document) for document in corpus.documents] == ["one\n"]
        assert "cut.tar: damaged or cut short" in corpus.notes[0]


def test_lists_of_files_are_not_read_into_memory_at_any_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, an archive of ten million empty files would take all memory."""
    monkeypatch.setattr("longctx.formats.zips.LARGEST_LIST", 1000)
    make(tmp_path, {"a.zip": zipped({f"{number}": "" for number in range(50)})})
    with pytest.raises(InputError, match="list of files is too long"):
        gather([f"{tmp_path}/a.zip"])


def test_scratch_files_do_not_outlive_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, each failed run would leave an unpacked archive behind."""
    make(tmp_path, {"tmp/x": "", "a.zip": zipped({"a": "one"})})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    with pytest.raises(InputError):
        gather([f"{tmp_path}/a.zip", "missing"])
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == ["x"]


def test_unpacking_and_reading_without_a_model_show_how_far_they_are(tmp_path: Path) -> None:
    """If this fails a gigabyte is unpacked or summarised in silence, and looks like a hang."""
    raw = b"".join(b"2026-03-01 10:00:00 INFO line %d\n" % n for n in range(20_000))
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(raw, 1))
    told: list[Progress] = []
    with gather([str(packed)], show=told.append) as corpus:
        unpacking = [event for event in told if event.label == f"unpacking {packed}"]
        assert len(unpacking) > 3
        assert {event.bytes_total for event in unpacking} == {packed.stat().st_size}
        assert [event.bytes_done for event in unpacking] == sorted(event.bytes_done for event in unpacking)
        told.clear()
        list(extract(corpus, words=50))
    reading = [event for event in told if event.label == "reading"]
    assert len(reading) > 5
    assert (reading[-1].bytes_done, reading[-1].bytes_total) == (len(raw), len(raw))
