"""Models rounded once and written: they answer as those rounded while loading, and are whole or not there."""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import hf_config, write_checkpoint
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file
from test_families import BAILING, HYPENET
from test_forms import logits

from longctx import hub
from longctx.cli import main
from longctx.errors import ModelError
from longctx.kernels.int4 import can_quantize4
from longctx.kernels.quantized import can_quantize
from longctx.models.config_file import read_config
from longctx.models.quantize import Rounding
from longctx.models.weight import Form
from longctx.models.weights import load_model

pytestmark = pytest.mark.skipif(
    not (can_quantize() and can_quantize4()), reason="this torch has no such products for this CPU"
)
WIDE = BAILING | {"hidden_size": 64, "moe_intermediate_size": 32, "num_experts": 16}
CONFIGS: dict[str, dict[str, Any]] = {
    "experts": WIDE | {"torch_dtype": "float32"},
    "dense": hf_config(layers="LS", num_local_experts=1, tie_word_embeddings=True, torch_dtype="float32"),
    "odd": HYPENET | {"torch_dtype": "float32"},
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("form", ["int8", "int4", "int4-all"])
def test_what_is_written_answers_as_what_is_rounded(name: str, form: Form, tmp_path: Path) -> None:
    """If this fails a model that was rounded once is another than one that is rounded at each start."""
    source, place = write_checkpoint(tmp_path / "a", CONFIGS[name]), tmp_path / "b"
    sizes = list((rounding := Rounding(source, form, place)).run())
    assert sizes[-1] == rounding.size
    assert abs(sum(path.stat().st_size for path in place.glob("*.safetensors")) / rounding.size - 1) < 0.5
    tokens = torch.randint(90, (40,), generator=torch.Generator().manual_seed(0))
    expected = logits(load_model(source, read_config(source), form=form), tokens, 40)
    config = read_config(place)
    assert torch.equal(logits(load_model(place, config, form=form), tokens, 40), expected)
    other: Form
    for other in ("plain", "int8", "int4"):  # for machines that cannot compute with the form
        found = logits(load_model(place, config, form=other), tokens, 40)
        assert (found - expected).norm() < 0.5 * expected.norm(), other


Room = namedtuple("Room", "total used free")


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def test_the_next_start_takes_what_was_written(tmp_path: Path) -> None:
    """If this fails a model is rounded again at every start, though it was written once."""
    source = write_checkpoint(tmp_path / "a")
    (tmp_path / "t.txt").write_text("Nobody in the village knew why the river had changed its course.\n" * 9)
    done = invoked("models", "quantize", str(source))
    assert done.exit_code == 0, done.output
    assert f"to {source}-int4" in done.stderr
    asked = "ask", "Why?", str(tmp_path / "t.txt"), "--device", "cpu", "--max-tokens", "3", "-v"
    assert f"model {source}-int4" in invoked(*asked, "--model", str(source), "--quant", "int4").stderr
    itself = invoked(*asked, "--model", f"{source}-int4")
    assert itself.exit_code == 0, itself.output
    assert "cpu, int4" in itself.stderr
    again = invoked("models", "quantize", str(source))
    assert (again.exit_code, again.stderr.count("\n")) == (4, 1)
    assert invoked("models", "quantize", f"{source}-int4", str(tmp_path / "c")).exit_code == 4


def test_a_run_that_was_killed_goes_on_and_confuses_nobody(tmp_path: Path) -> None:
    """If this fails a start after a kill reads half a model, or an hour of rounding is lost."""
    source, place = write_checkpoint(tmp_path / "a"), tmp_path / "a-int4"
    files = iter(Rounding(source, "int4", place).run())
    next(files), next(files)
    files.close()  # type: ignore[attr-defined]  # a generator
    assert hub.rounded(source, "int4") is None
    whole = {path.name: path.stat().st_mtime_ns for path in (tmp_path / ".a-int4.part").glob("*.safetensors")}
    assert len(whole) == 2
    list(Rounding(source, "int4", place).run())
    assert {name: (place / name).stat().st_mtime_ns for name in whole} == whole
    assert hub.rounded(source, "int4") == place
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a-int4"]


def test_a_changed_model_is_rounded_from_the_beginning(tmp_path: Path) -> None:
    """If this fails layers of two models are put together."""
    source, place = write_checkpoint(tmp_path / "a"), tmp_path / "a-int4"
    next(Rounding(source, "int4", place).run())
    write_checkpoint(source, seed=1)
    list(Rounding(source, "int4", place).run())
    list(Rounding(source, "int4", tmp_path / "b").run())
    for path in place.glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_full_disk_and_a_folder_of_others_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails somebody finds out after an hour that there was no room, from a traceback."""
    source = write_checkpoint(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Room(9, 8, 1))
        full = invoked("models", "quantize", str(source))
    assert (full.exit_code, full.stderr.count("\n")) == (5, 2)
    assert "1 bytes free" in full.stderr
    (tmp_path / "file").write_text("")
    closed = invoked("models", "quantize", str(source), str(tmp_path / "file" / "b"))
    assert closed.exit_code == 6
    assert "cannot be written (Not a directory)" in closed.stderr


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """If this fails numbers of another shape are multiplied by."""
    source, place = write_checkpoint(tmp_path / "a"), tmp_path / "b"
    list(Rounding(source, "int4", place).run())
    tensors = load_file(place / "rest.safetensors")
    del tensors["norm.weight"]
    save_file(tensors, place / "rest.safetensors")
    with pytest.raises(ModelError, match=r"missing norm\.weight"):
        load_model(place, read_config(place), form="int4")
