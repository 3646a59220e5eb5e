"""The recipe: its stages are those that were run, and a run that is killed ends with the same model."""

import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from training_texts import SENTENCES, in_processes

from training import recipe, train
from training.settings import Recipe

# Of the settings of every run that was made, as canonical JSON.
RESOLVED = {
    "first": "4c24c9b5a8e715c7",
    "second": "bf0921372ef62bf6",
    "third": "be142a77a11f5bcb",
    "fourth": "62d2448a82d44719",
    "fifth": "9a6ef63604f15fda",
    "sixth": "2c1dd792dd97b1bc",
    "seventh": "204d4ff414f2a3e3",
    "eighth": "d621bb329af646e1",
    "ninth": "9288d544b141ead3",
    "tenth": "594a058b98a9fd42",
    "eleventh": "bd20a7dd878cac9e",
    "h200": "a742b8f99bdb0a41",
}
TINY = """
export = ["b", "c"]
tokenizer = { entries = 300, megabytes = 0.01, seed = 1 }
[[stage]]
name = "a"
processes = 1
seed = 1
steps = 3
tokens = 128
rates = { muon = 0.015, adam = 0.002, warmup = 1, hold = 0.4 }
phases = [{ until = 1.0, lengths = [64] }]
[stage.shape]
hidden = 16
mixers = "LS"
heads = 2
kv_heads = 1
ffn = 16
vocab = 300
alpha = 3.0
pointers = 2
theta = 0.0
[stage.data]
absent = 0.2
near = 0.5
junk = 0.3
openings = 0.3
rivals = 0.15
listing = 0.1
gaps = 0.15
foreign = 0.0
programs = 0.0
open = 0.35
pool = 0.7
copies = 300
ramp = 0.5
[[stage]]
name = "b"
seed = 2
shape = { kv_heads = 2, ffn = 24 }
[[stage]]
name = "c"
seed = 3
"""


def test_stages_are_those_that_were_run() -> None:
    """The recipe would make another model than the one that ships."""
    stages = Recipe.load(recipe.RECIPE).stages + Recipe.load(recipe.RECIPE.with_name("h200.toml")).stages
    for stage, (name, wanted) in zip(stages, RESOLVED.items(), strict=True):
        settings = asdict(stage)
        assert settings.pop("name") == name
        order = settings.pop("begin"), settings.pop("processes")
        began = {"first": [], "h200": [], "fourth": ["second", "third"]}
        assert order[0] == began.get(name, [list(RESOLVED)[list(RESOLVED).index(name) - 1]])
        assert order[1] == (2 if name in ("ninth", "tenth", "eleventh") else 1)
        text = json.dumps(settings, sort_keys=True)
        assert hashlib.sha256(text.encode()).hexdigest().startswith(wanted), name


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 1\nsteps", "sede = 1\nsteps", "a: no seed"),
        ("seed = 1\nsteps", "sede = 1\nseed = 1\nsteps", "a: unknown sede"),
        ("ffn = 24", "fnn = 24", "b, shape: unknown fnn"),
        (", hold = 0.4", "", "a, rates: no hold"),
        ("copies = 300", "copys = 300", "a, data: no copies"),
        (", lengths = [64]", "", "a, phases: no lengths"),
        ("entries = 300, ", "", "tokenizer: no entries"),
        ('export = ["b", "c"]', "", "tiny.toml: no export"),
        ('"b", "c"', '"b", "d"', "tiny.toml: no stage before it is called d"),
        ("seed = 2", "seed =", "tiny.toml: Invalid value (at line 38, column 7)"),
        ("seed = 3", 'seed = 3\nbegin = ["c"]', "c: no stage before it is called c"),
    ],
)
def test_settings_refuse_what_is_missing_or_unknown(tmp_path: Path, old: str, new: str, message: str) -> None:
    """A typing error in the settings would be ignored for an hour of training."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace(old, new))
    with pytest.raises(ValueError) as raised:
        Recipe.load(path)
    assert str(raised.value).startswith(f"{path}")
    assert str(raised.value).endswith(message)


def make(folder: Path, out: Path, last: int) -> None:
    """Make the tiny model, killed before the `last` of the steps and the files that are given their names."""
    done = 0

    def counted(action: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            nonlocal done
            done += 1
            if done == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return action(*arguments)

        return act

    for kind, name in ((train.Trainer, "advance"), (Path, "rename"), (Path, "replace")):
        setattr(kind, name, counted(getattr(kind, name)))
    recipe.run = partial(train.run, every=1, save_every=2)  # type: ignore[attr-defined]  # this process only
    recipe.make(Recipe.load(folder / "tiny.toml"), folder / "data", out)


def test_a_recipe_that_is_killed_goes_on(tmp_path: Path) -> None:
    """A crash would cost five hours, or another model would come out of it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prose.txt").write_text(SENTENCES * 40, "utf-8")
    (tmp_path / "tiny.toml").write_text(TINY)
    assert in_processes(make, (tmp_path, tmp_path / "whole", 0)) == [0]
    kills = 0
    while in_processes(make, (tmp_path, tmp_path / "parts", 6)) == [-signal.SIGKILL]:
        kills += 1
    assert kills > 2
    made = [
        {file.name: file.read_bytes() for file in (tmp_path / out / "model").iterdir()}
        for out in ("whole", "parts")
    ]
    assert made[0] == made[1]
    for stage in "abc":
        logs = [(tmp_path / out / stage / train.LOG).read_text().splitlines() for out in ("whole", "parts")]
        whole, parts = ([json.loads(line) | {"tokens_per_second": 0} for line in log] for log in logs)
        assert whole == parts
