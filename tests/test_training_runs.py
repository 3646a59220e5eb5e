"""Runs of training: they learn, they go on to the bit, and several processes train one model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training_texts import SHAPE, STAGE, in_processes, new_trainer

from training.train import LOG, run, share_gradients


def test_resumed_run_equals_unbroken_run(tmp_path: Path) -> None:
    """A crash would cost the run, or silently change the model that comes out of it."""
    unbroken = new_trainer()
    run(unbroken, tmp_path / "whole", every=1, save_every=3)
    broken = new_trainer()
    for _ in range(4):
        broken.advance()
    broken.save(tmp_path / "parts")
    resumed = new_trainer()
    resumed.load(tmp_path / "parts")
    run(resumed, tmp_path / "parts")
    assert resumed.step == unbroken.step == 6
    left, right = unbroken.tensors(), resumed.tensors()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    logged = [json.loads(line) for line in (tmp_path / "whole" / LOG).read_text().splitlines()]
    assert [entry["step"] for entry in logged] == [1, 2, 3, 4, 5, 6]


def together(rank: int, folder: Path) -> None:
    """Train one of two processes for two steps, then write its weights."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    trainer = new_trainer(replace(STAGE, steps=2))
    run(trainer, folder / "run")
    part = torch.ones(3, requires_grad=True)
    part.grad = torch.full((3,), float(rank))
    share_gradients([part])
    text = json.dumps({"batch": trainer.batches[0].documents.tolist(), "mean": part.grad.tolist()})
    save_file(trainer.tensors(), folder / f"{rank}.safetensors", metadata={"told": text})


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Each core would train a model of its own, both would learn from the same batches, or one would hang."""
    assert in_processes(together, *((rank, tmp_path) for rank in range(2))) == [0, 0]
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    told = []
    for rank in range(2):
        with safe_open(tmp_path / f"{rank}.safetensors", framework="pt") as file:
            told.append(json.loads(file.metadata()["told"]))
    assert told[0]["batch"] != told[1]["batch"]
    assert told[0]["mean"] == told[1]["mean"] == [0.5] * 3


def test_a_second_run_begins_with_the_weights_of_the_first(tmp_path: Path) -> None:
    """An hour of training would begin from nothing, go on with the old schedule, or not be shipped."""
    runs = [new_trainer() for _ in range(2)]
    for count, trainer in enumerate(runs, 1):
        for _ in range(count):
            trainer.advance()
        trainer.save(tmp_path / str(count))
    second = new_trainer()
    second.begin([tmp_path / "1", tmp_path / "2"])
    assert second.step == 0
    for name, weight in second.weights.items():
        torch.testing.assert_close(weight, (runs[0].weights[name] + runs[1].weights[name]) / 2)
    assert not any(optimizer.state for optimizer in second.optimizers)
    second.advance()


def test_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    """A wrong folder would be trained on, from another model or to the end of another schedule."""
    trainer = new_trainer()
    trainer.save(tmp_path)
    other = replace(STAGE, seed=9, shape=replace(SHAPE, mixers="LS"))
    with pytest.raises(ValueError, match=r"other settings: seed, shape$"):
        new_trainer(other).load(tmp_path)


def test_steps_lower_the_loss() -> None:
    """The recipe would not train at all."""
    trainer = new_trainer(replace(STAGE, seed=5, steps=1000, rates=replace(STAGE.rates, warmup=1)))
    losses = []
    for _ in range(15):
        trainer.step = 0  # the same batch again and again
        figures = trainer.advance()
        losses.append(figures["loss"] + figures["pointer"] + figures["copying"])
    assert losses[-1] < 0.7 * losses[0]


@given(step=st.integers(0, 9000))
@settings(max_examples=50, deadline=None)
def test_schedules_stay_in_their_range(step: int) -> None:
    """A run could end at a full learning rate, or begin harder than it can learn."""
    chosen = replace(STAGE, steps=9000)
    assert 0 <= chosen.rate(step) <= 1
    assert 1 <= chosen.copies(step) <= chosen.data.copies
    assert chosen.rate(9000) == 0
