"""Keys and values that memory has no room for: where they are makes no difference to what is read."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.engine import Engine
from longctx.errors import DoesNotFitError
from longctx.kernels.attention import choose_attention
from longctx.kernels.select import Site
from longctx.models import kv_log
from longctx.models.kv_file import spill_folder
from longctx.models.kv_form import KVForm
from longctx.models.kv_log import KVLog
from longctx.models.kv_room import Room
from longctx.sampling import Sampling

CPU = torch.device("cpu")
ATTENTION = choose_attention(Site(CPU, torch.float32), 8)
TOKEN = 2 * 2 * 8 * 4  # bytes: keys and values of two heads of eight channels


@pytest.fixture(autouse=True)
def _small_pages() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kv_log, "FIRST_PAGE", 4)
        patch.setattr(kv_log, "LAST_PAGE", 16)
        yield


def log(room: Room | None, *, values: bool = True) -> KVLog:
    return KVLog(1, 2, 8, torch.float32, CPU, values=values, form=KVForm(room=room))


def assert_same(one: KVLog, other: KVLog) -> None:
    """Compare what two logs hold, and what attention makes of it, in one pass and in a second one."""
    assert (one.length, one.nbytes) == (other.length, other.nbytes)
    ours, theirs = one.tensors(), other.tensors()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    q, (k, v) = torch.randn(1, 4, 3, 8), torch.randn(2, 1, 2, 3, 8)
    expected = ATTENTION(q, k, v, other.pages())
    pages = one.pages()
    assert torch.equal(ATTENTION(q, k, v, pages), expected)
    assert torch.equal(ATTENTION(q, k, v, pages), expected)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 3), st.integers(1, 40)),
        st.tuples(st.just("fork"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("without"), st.integers(0, 3), st.integers(0, 60)),
        st.tuples(st.just("drop"), st.integers(0, 3), st.just(0)),
    ),
    max_size=12,
)


@given(
    memory=st.sampled_from([0, 20 * TOKEN, 90 * TOKEN, 1 << 20]),
    host=st.sampled_from([0, 30 * TOKEN, 1 << 20]),  # here a CPU stands in for a GPU
    steps=STEPS,
    values=st.booleans(),
)
@settings(max_examples=30)
def test_where_pages_are_changes_nothing(
    memory: int, host: int, steps: list[tuple[str, int, int]], values: bool
) -> None:
    """If this fails an answer depends on how much memory the machine has."""
    room = Room(CPU, memory, host)
    pairs = [(log(room, values=values), log(None, values=values))]
    for kind, which, number in steps:
        ours, theirs = pairs[which % len(pairs)]
        if kind == "append":
            k, v = torch.randn(2, 1, 2, number, 8)
            ours.append(k, v)
            theirs.append(k, v)
        elif kind == "fork":
            pairs.append((ours.fork(), theirs.fork()))
        elif kind == "without" and number < ours.length:
            pairs.append((ours.without(number, number + 5), theirs.without(number, number + 5)))
        elif kind == "drop" and len(pairs) > 1:
            pairs.remove((ours, theirs))
    for ours, theirs in pairs:
        assert_same(ours, theirs)
        if ours.length > 5:
            some = ours.between(2, ours.length - 1), theirs.between(2, ours.length - 1)
            assert all(torch.equal(a, b) for a, b in zip(*some, strict=True))
            assert all(
                map(torch.equal, *(x.appended({"keys": 3, "values": 3})["keys"] for x in (ours, theirs)))
            )


def test_memory_holds_no_more_than_its_budget() -> None:
    """If this fails a long text takes all memory, whatever budget was given."""
    room = Room(CPU, 80 * TOKEN)
    memory = log(room)
    for _ in range(50):
        memory.append(*torch.randn(2, 1, 2, 13, 8))
        held = sum(x.nbytes() for x in _storages(memory))
        assert held + 2 * 16 * TOKEN <= 80 * TOKEN
    assert room.spilled >= (50 * 13 - 80) * TOKEN


@pytest.mark.parametrize("values", [True, False])
def test_forks_share_what_is_in_the_file_and_give_it_back(values: bool) -> None:
    """If this fails each of a hundred questions writes the book to disk again, or the disk fills up."""
    room = Room(CPU, 0)
    memory = log(room, values=values)
    memory.append(*torch.randn(2, 1, 2, 400, 8))
    written = room.spilled
    for _ in range(20):
        fork = memory.fork()
        fork.append(*torch.randn(2, 1, 2, 40, 8))
        del fork
    assert room.spilled <= written + 3 * 40 * TOKEN


@pytest.mark.parametrize("values", [True, False])
def test_places_in_the_file_are_used_again_and_none_by_two(values: bool) -> None:
    """If this fails a question about one text is answered from the keys of another, or the disk fills up."""
    room, size = Room(CPU, 0), (TOKEN if values else TOKEN // 2) * 28  # three whole pages

    def made() -> tuple[KVLog, KVLog]:
        pair, (k, v) = (log(room, values=values), log(None, values=values)), torch.randn(2, 1, 2, 28, 8)
        for each in pair:
            each.append(k, v)
        return pair

    logs = [made() for _ in range(3)]
    assert room.spilled == 3 * size
    del logs[:2]
    logs += [made(), made()]
    assert room.spilled == 3 * size
    logs.append(made())
    assert room.spilled == 4 * size
    for ours, theirs in logs:
        assert_same(ours, theirs)


def test_a_file_that_was_cut_short_is_one_clear_line(tmp_path: Path) -> None:
    """If this fails a disk that lost the file gives keys of zeros, and the answer is made of them."""
    room = Room(CPU, 0, folder=tmp_path)
    memory = log(room)
    memory.append(*torch.randn(2, 1, 2, 28, 8))
    os.truncate(room._file._file.fileno(), 10)
    with pytest.raises(DoesNotFitError, match=r"cannot be read back from .*cut short.*TMPDIR"):
        memory.tensors()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """If this fails a reading that is killed leaves gigabytes in a folder that nobody looks into."""
    memory = log(Room(CPU, 0, folder=tmp_path))
    memory.append(*torch.randn(2, 1, 2, 400, 8))
    assert list(tmp_path.iterdir()) == []
    assert_same(memory, memory)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to try")
def test_a_full_disk_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a full disk ends in a traceback, which does not say what to do."""
    room = Room(CPU, 0)
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123  # as the file that is made otherwise
        monkeypatch.setattr(room._file, "_file", full)
        with pytest.raises(DoesNotFitError, match=r"cannot be written in .*No space left.*TMPDIR") as caught:
            log(room).append(*torch.randn(2, 1, 2, 40, 8))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_named_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails gigabytes go to a disk that the user did not choose, or to memory that looks like one."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert spill_folder() == tmp_path
    monkeypatch.delenv("TMPDIR")
    if os.access("/var/tmp", os.W_OK):
        assert spill_folder() == Path("/var/tmp")


def test_a_model_answers_alike(checkpoint: Path) -> None:
    """If this fails a model that reads a long text under a budget writes something else."""
    engine, written = Engine.load(checkpoint, "cpu", "float32"), []
    for room in (None, Room(CPU, 0)):
        engine.model.kv = KVForm(room=room)
        session = engine.session()
        session.read([1 + i % 90 for i in range(300)])
        answers = session.fork(), session.without(20, 60)
        written.append([list(answer.generate([5, 6], Sampling(max_tokens=2))) for answer in answers])
    assert written[0] == written[1]


def _storages(memory: KVLog) -> list[torch.UntypedStorage]:
    """Return the memory of all pages that are here."""
    tensors = [x for piece in memory._pieces() for x in piece.page.tensors or ()]
    return list({x.untyped_storage().data_ptr(): x.untyped_storage() for x in tensors}.values())
