"""Files of tensors: memory of what was read is given back, and new files are whole or not there."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from longctx.models import shards
from longctx.models.shards import Shards, write_shard

STATUS = Path("/proc/self/status")


def mapped_bytes() -> int:
    """Return the bytes of files that count as memory of this process."""
    (line,) = (x for x in STATUS.read_text().splitlines() if x.startswith("RssFile"))
    return int(line.split()[1]) << 10


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells")
def test_a_long_checkpoint_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a checkpoint larger than memory cannot be loaded in 4 bits, though that fits."""
    monkeypatch.setattr(shards, "WINDOW", 1 << 22)
    kinds = {f"part.{i}": (torch.uint8, (1 << 20,)) for i in range(48)}
    write_shard(
        tmp_path / "model.safetensors", kinds, (torch.full((1 << 20,), i).to(torch.uint8) for i in range(48))
    )
    stored, before = Shards(tmp_path), mapped_bytes()
    for i, name in enumerate(kinds):
        assert int(stored(name).max()) == i
        assert mapped_bytes() - before < 12 << 20
    stored.close()


def test_what_is_written_in_pieces_is_read_as_a_whole(tmp_path: Path) -> None:
    """If this fails a rounded model is written with its numbers in the wrong places."""
    parts = [torch.randn(3, 5), torch.arange(6, dtype=torch.int8).view(2, 3), torch.randn(4).bfloat16()]
    kinds = {f"x{i}": (part.dtype, tuple(part.shape)) for i, part in enumerate(parts)}
    pieces = [parts[0][:1], parts[0][1:], *parts[1:]]
    write_shard(tmp_path / "a.safetensors", kinds, pieces)
    for found, part in zip(load_file(tmp_path / "a.safetensors").values(), parts, strict=True):
        assert torch.equal(found, part)


def test_a_file_that_is_not_whole_is_not_there(tmp_path: Path) -> None:
    """If this fails a start after a full disk reads half a model."""

    def broken() -> torch.Tensor:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_shard(tmp_path / "a.safetensors", {"x": (torch.float32, (2,))}, (broken() for _ in range(1)))
    assert not list(tmp_path.iterdir())
