"""Round a checkpoint once and write the result as another one, so that the next start reads a quarter of it.

It is written into a hidden folder beside its place and renamed when it is whole. A run that was stopped goes
on where it was, unless the checkpoint has changed since.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from longctx.checkpoint import LARGEST_FILE, read_json
from longctx.errors import DoesNotFitError, ModelError
from longctx.machine import gib, give_back_memory
from longctx.models import rounded
from longctx.models.config_file import read_config
from longctx.models.published import OURS, VERSION
from longctx.models.rounded import Kinds
from longctx.models.shards import write_shard
from longctx.models.target import Target
from longctx.models.weight import Form
from longctx.models.weights import Opened, made_of, named

SMALL = {".json", ".jinja", ".txt", ".model"}  # tokenizer, template, settings
INDEX = "model.safetensors.index.json"
OTHERS = "rest"


class Rounding:
    """A checkpoint that is going to be rounded, and where it goes.

    Attributes:
        place: the folder that will be there.
        size: bytes that its weights will have.

    Raises:
        ModelError: when the checkpoint cannot be read, or is rounded already.
    """

    def __init__(self, folder: Path, form: Form, place: Path):
        config = read_config(folder)
        if config.published.startswith(OURS):
            raise ModelError(f"{folder}: is rounded already; name the model that it was made from")
        self.folder, self.form, self.place = folder, form, place
        self._opened = Opened(folder, config, torch.float32, form)
        self._weights = named(self._opened.model)
        self._files: dict[str, dict[str, Kinds]] = {}
        for name, weight in self._weights.items():
            (target, *_) = self._targets(name)
            kinds = rounded.kinds_of(name, weight, form, self._opened.kind(target))
            parts = name.split(".")
            file = f"{parts[0]}-{int(parts[1]):05}" if parts[0] == "layers" else OTHERS
            self._files.setdefault(f"{file}.safetensors", {})[name] = kinds
        self.size = sum(map(_bytes, self._files.values()))

    def run(self) -> Iterator[int]:
        """Write it; yield the bytes written so far, file by file.

        Raises:
            DoesNotFitError: when the disk has no room for it.
            OSError: when it cannot be written; what is whole stays, and another run goes on from there.
        """
        scratch = self.place.with_name(f".{self.place.name}.part")
        mark, about = scratch / "quantize.json", json.dumps(self._source())
        if not mark.is_file() or mark.read_text(encoding="utf-8") != about:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            mark.write_text(about, encoding="utf-8")
        files = {file: _bytes(weights) for file, weights in self._files.items()}
        left = sum(size for file, size in files.items() if not (scratch / file).exists())
        if (free := shutil.disk_usage(scratch).free) < left:
            raise DoesNotFitError(
                f"{self.place}: {gib(left)} are to be written, and the disk has {gib(free)} free; delete "
                "something, or name a folder on another disk"
            )
        done = 0
        for file, size in files.items():
            if not (scratch / file).exists():
                kinds = {key: kind for of in self._files[file].values() for key, kind in of.items()}
                with torch.inference_mode():
                    write_shard(scratch / file, kinds, self._numbers(file))
                self._opened.shards.close()
                give_back_memory()
            yield (done := done + size)
        self._settings(scratch)
        mark.unlink()
        scratch.rename(self.place)

    def _numbers(self, file: str) -> Iterator[torch.Tensor]:
        for name, kinds in self._files[file].items():
            weight, (dtype, _) = self._weights[name], next(iter(kinds.values()))
            made = (made_of(target, weight, self._opened.stored) for target in self._targets(name))
            plain = f"{name}.weight" in kinds
            yield from rounded.parts_of(weight, self.form, (x.to(dtype) for x in made) if plain else made)

    def _targets(self, name: str) -> list[Target]:
        return [target for target in self._opened.targets if target.weight == name]

    def _source(self) -> list[object]:
        """Return what a run that goes on must find unchanged."""
        files = sorted({path for path, *_ in self._opened.shards.located.values()})
        stats = [path.stat() for path in files]
        return [
            VERSION,
            self.form,
            *((p.name, s.st_size, s.st_mtime_ns) for p, s in zip(files, stats, strict=True)),
        ]

    def _settings(self, scratch: Path) -> None:
        """Copy the small files, and write those that differ."""
        for path in self.folder.iterdir():
            if (
                path.suffix in SMALL
                and path.is_file()
                and path.stat().st_size <= LARGEST_FILE
                and path.name != INDEX
            ):
                shutil.copyfile(path, scratch / path.name)
        raw = read_json(self.folder / "config.json")
        (raw.get("text_config") or {}).pop("quantization_config", None)
        raw["quantization_config"] = {"quant_method": "longctx", "form": self.form, "version": VERSION}
        (scratch / "config.json").write_text(json.dumps(raw, indent=2), encoding="utf-8")
        index = {key: file for file, of in self._files.items() for kinds in of.values() for key in kinds}
        (scratch / INDEX).write_text(json.dumps({"weight_map": index}), encoding="utf-8")
        folder = os.open(scratch, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _bytes(weights: dict[str, Kinds]) -> int:
    kinds = [kind for of in weights.values() for kind in of.values()]
    return sum(dtype.itemsize * math.prod(shape) for dtype, shape in kinds)
