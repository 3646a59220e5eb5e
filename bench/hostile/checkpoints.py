"""Checkpoints of strangers: settings, weights and files that lie, lead elsewhere, or change."""

import json
import os
import shutil
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

from bench.fuzz_inputs import VALUES, damaged
from bench.hostile.case import (
    BUNDLED,
    KNOWN,
    MARKS,
    Case,
    ask,
    become,
    change_json,
    model,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return each place of a JSON object, inner ones too."""
    found = [(value, key) for key in value] if isinstance(value, dict) else []
    return found + [place for inner, key in found for place in places(inner[key])]


def settings(place: Path, random: Random) -> Case:
    """Hostile values in config.json, of the bundled model or of a published one."""
    folder = model(place)
    published = random.random() < 0.5
    if published:
        shutil.copyfile(random.choice(sorted(KNOWN.glob("*/config.json"))), folder / "config.json")

    def change(raw: Any) -> None:
        for _ in range(random.randint(1, 4)):
            where, key = random.choice(places(raw))
            where[key] = deepcopy(random.choice(VALUES))  # or later cases would change it

    change_json(folder / "config.json", change)
    command = random.choice([ask(), ["plan", "a.txt"], ["doctor"]])
    return Case([*command, "--model", "model"])


def weights(place: Path, random: Random) -> Case:
    """A safetensors file that is cut, or whose header lies: overlapping, reversed, beyond the end, huge."""
    path = model(place) / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    tensors = [name for name in header if name != "__metadata__"]
    one, other = random.sample(tensors, 2)
    end = len(numbers)
    kind = random.randrange(9)
    if kind == 0:
        path.write_bytes(content[: random.randrange(len(content))])
    elif kind == 1:
        path.write_bytes(random.choice([1 << 63, len(content), (1 << 27) + 1, 0]).to_bytes(8, "little"))
    elif kind == 2:
        path.write_bytes((99_000_000).to_bytes(8, "little") + b" " * 99_000_000)
    else:
        lies: dict[int, tuple[str, Any]] = {
            3: ("data_offsets", header[other]["data_offsets"]),
            4: ("data_offsets", random.choice([[end, 0], [-1, 4], [end, end + 4], [1 << 62, 1 << 63], [0]])),
            5: ("shape", random.choice([[1 << 40, 1 << 40], [-1, 4], [], [0], [2**63], [1] * 10_000, "x"])),
            6: ("dtype", random.choice(["F8_E4M3", "U64", "BOOL", "x" * 10**6, MARKS, None, 7])),
        }
        if kind in lies:
            key, value = lies[kind]
            header[one][key] = value
        elif kind == 7:
            header[MARKS + "x" * random.choice([1, 10**6])] = header.pop(one)
        else:
            header["__metadata__"] = {"format": "pt", MARKS: random.choice(["x" * 10**6, {"a": 1}])}
        text = json.dumps(header).encode("utf-8", "surrogatepass")
        path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    return Case([*random.choice([ask(), ["doctor"]]), "--model", "model"])


def index(place: Path, random: Random) -> Case:
    """An index of weights that leads outside, in a circle, to a pipe, a device, or to nothing."""
    folder = model(place)
    path = folder / "model.safetensors.index.json"
    content = (folder / "model.safetensors").read_bytes()
    names = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    shutil.move(folder / "model.safetensors", folder / "one.safetensors")
    target: Any = random.choice(
        [
            "../outside/w.safetensors",
            "/dev/zero",
            "loop",
            "pipe",
            "zero",
            "folder",
            "x" * 5000,
            MARKS,
            "..",
            "",
        ]
    )
    (folder / "loop").symlink_to("loop")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    table: Any = {name: "one.safetensors" for name in names if name != "__metadata__"}
    table[random.choice(sorted(table))] = target
    odd: list[Any] = [None, [], [["a", "b"]], {"a": {}}, {"a": None}, "x"]
    path.write_text(json.dumps({"weight_map": table if random.random() < 0.8 else random.choice(odd)}))
    if random.random() < 0.1:
        path.unlink()
        path.symlink_to(path.name)
    return Case([*random.choice([ask(), ["doctor"], ["plan", "a.txt"]]), "--model", "model"])


def odd_files(place: Path, random: Random) -> Case:
    """A file of the checkpoint that is a pipe, a device, a folder, a socket, a circle, or that is closed."""
    folder = model(place)
    names = [path.name for path in folder.iterdir()] + ["chat_template.jinja", "model.safetensors.index.json"]
    path = folder / random.choice(sorted(names))
    become(path, random)
    return Case([*random.choice([ask(), ["doctor"], ["plan", "a.txt"]]), "--model", "model"])


SMALL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "verifier.json",
)


def damaged_model(place: Path, random: Random) -> Case:
    """Damage at random in one of the small files of a checkpoint."""
    folder = model(place)
    path = folder / random.choice(SMALL_FILES)
    path.write_bytes(damaged(path.read_bytes(), path.name, random))
    return Case([*ask(), "--model", "model"])


def changing_model(place: Path, random: Random) -> Case:
    """Small files of a checkpoint that change while it is loaded."""
    folder = model(place)

    def change() -> None:
        path = folder / random.choice(SMALL_FILES)
        with suppress(OSError):
            path.unlink()
            if random.random() < 0.5:
                path.write_bytes(damaged((BUNDLED / path.name).read_bytes(), path.name, random))
            else:
                become(path, random)

    return Case([*ask(), "--model", "model"], change)


def modules(place: Path, random: Random) -> Case:
    """A current folder with modules and settings that bear the names of others."""
    model(place, writes=True)
    (place / "model" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    names = [
        "torch",
        "json",
        "jinja2",
        "tokenizers",
        "longctx",
        "numpy",
        "sitecustomize",
        "usercustomize",
        "click",
    ]
    for name in random.sample(names, 5):
        (place / f"{name}.py").write_text("open('OWNED', 'w').close()\nraise SystemExit('owned')\n")
    for name in ("longctx.toml", "pyproject.toml", ".longctx", "config.toml", ".env"):
        (place / name).write_text(
            f'[ask]\nmodel = "../outside"\noutput = "{MARKS}"\n[tool.longctx]\nmodel = "x"\n'
        )
    extra = random.choice([[], ["--dtype", "bfloat16"], ["--dtype", "float16"], ["--quant", "int8"]])
    command = random.choice([ask("--max-tokens", "4"), ["plan", "a.txt"], ["doctor"]])
    return Case([*command, "--model", "model", *extra], fresh=True)
