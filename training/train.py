"""One stage of training: two optimizers, one process or several, a checkpoint from which it goes on.

A stage stopped at any time and started again computes what an unbroken one would have computed. Processes
that train together make one batch each a step and share their gradients; two of them on two cores do 1.8
times the work of one, where one with two threads does 1.45 times as much.
"""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ContextDecorator
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils.data import DataLoader, Dataset

from training.data import Batch, Maker
from training.network import Network
from training.settings import Stage
from training.shape import Shape, Weights, averaged, grown, new_weights

COPYING = 0.5  # weight of the copying loss
CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"


class Batches(Dataset[Batch]):
    """The batch of every step, made anew wherever it is asked for; each of several processes has its own."""

    def __init__(self, stage: Stage, maker: Maker) -> None:
        self.stage = stage
        self.maker = maker
        shared = dist.is_initialized()
        self.rank, self.ranks = (dist.get_rank(), dist.get_world_size()) if shared else (0, 1)

    def __len__(self) -> int:
        return self.stage.steps

    def __getitem__(self, step: int) -> Batch:
        number = step * self.ranks + self.rank
        return self.maker.batch(number, self.stage.length(step), self.stage.copies(step))


class Trainer:
    """Weights, two optimizers and the number of steps done."""

    def __init__(self, stage: Stage, maker: Maker, device: str = "cpu") -> None:
        self.stage = stage
        self.batches = Batches(stage, maker)
        self.device = torch.device(device)
        self.network = Network(stage.shape)
        fresh = new_weights(stage.shape, stage.seed)
        self.weights: Weights = {
            name: weight.detach().to(self.device).requires_grad_() for name, weight in fresh.items()
        }
        self.step = 0
        matrix = {name: "embed" not in name and p.ndim == 2 for name, p in self.weights.items()}
        self.names = [[n for n in matrix if matrix[n]], [n for n in matrix if not matrix[n]]]
        groups = [[self.weights[name] for name in names] for names in self.names]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(groups[0], lr=1.0, weight_decay=0.0),
            torch.optim.AdamW(groups[1], lr=1.0, betas=(0.9, 0.98), weight_decay=0.0),
        ]

    def advance(self, batch: Batch | None = None) -> dict[str, float]:
        """Do one step and return its figures; its batch may have been made ahead."""
        stage, step = self.stage, self.step
        batch = (batch or self.batches[step]).to(self.device)
        for optimizer, rate in zip(self.optimizers, (stage.rates.muon, stage.rates.adam), strict=True):
            optimizer.param_groups[0]["lr"] = rate * stage.rate(step)
            optimizer.zero_grad(set_to_none=True)
        answer, pointer, copying, figures = self.network.losses(self.weights, batch)
        torch.autograd.backward(answer + pointer + COPYING * copying)
        share_gradients(self.weights.values())
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        figures |= {"loss": answer.item(), "pointer": pointer.item(), "copying": copying.item()}
        return figures | {"length": batch.documents.shape[1], "tokens": batch.documents.numel()}

    def ahead(self, workers: int) -> Iterator[Batch]:
        """Yield the batches of the steps to come, made by other processes while the device computes."""
        loader = DataLoader(
            self.batches,
            batch_size=None,
            sampler=range(self.step, self.stage.steps),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
        )
        return iter(loader)

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor a resumed run needs."""
        found = {name: weight.detach() for name, weight in self.weights.items()}
        for names, optimizer in zip(self.names, self.optimizers, strict=True):
            for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
                for kind, value in optimizer.state[parameter].items():
                    found[f"optimizer.{kind}.{name}"] = torch.as_tensor(value)
        return {name: tensor.contiguous().cpu() for name, tensor in found.items()}

    def save(self, folder: Path) -> None:
        """Write the checkpoint; a crash while writing leaves the one before."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"step": self.step, "settings": asdict(self.stage)})
        save_file(self.tensors(), folder / (CHECKPOINT + ".new"), metadata={"progress": text})
        (folder / (CHECKPOINT + ".new")).replace(folder / CHECKPOINT)

    def load(self, folder: Path) -> None:
        """Take up a saved run; a ValueError says that it was begun with other settings."""
        self.step = steps_done(folder, self.stage)
        saved = load_file(folder / CHECKPOINT)
        for names, optimizer in zip(self.names, self.optimizers, strict=True):
            for name in names:
                parameter = self.weights[name]
                parameter.data.copy_(saved.pop(name))
                kinds = [key for key in saved if key.startswith("optimizer.") and key.endswith("." + name)]
                kept = {key.split(".")[1]: saved.pop(key) for key in kinds}
                optimizer.state[parameter] = {
                    kind: value if kind == "step" else value.to(self.device) for kind, value in kept.items()
                }

    def begin(self, folders: list[Path]) -> None:
        """Take the mean of the weights of other runs, but neither their steps nor their optimizers."""
        for name, weight in mean_of(folders, self.stage.shape).items():
            self.weights[name].data.copy_(weight)


def steps_done(folder: Path, stage: Stage) -> int:
    """Return how many steps of a stage are saved in a folder.

    Raises:
        ValueError: they were made with other settings.
    """
    if not (folder / CHECKPOINT).exists():
        return 0
    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
    ours, theirs = asdict(stage), progress["settings"]
    if differing := [key for key in ours if ours[key] != theirs.get(key)]:
        raise ValueError(f"{folder} was begun with other settings: {', '.join(differing)}")
    return int(progress["step"])


def mean_of(folders: list[Path], shape: Shape) -> Weights:
    """Return the mean of the weights of runs; those of a smaller model grow to `shape` first."""
    return averaged([grown(load_file(folder / CHECKPOINT), shape) for folder in folders])


class Precision(ContextDecorator):
    """Let the CPU multiply in bfloat16, 1.5 to 2.5 times faster where it can; all else stays float32."""

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")

    def __exit__(self, *_: object) -> None:
        torch.set_float32_matmul_precision(self.before)


def share_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the processes that train together."""
    if dist.is_initialized():
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = parameters_to_vector(gradients)
        dist.all_reduce(together)
        vector_to_parameters(together / dist.get_world_size(), gradients)


def run(trainer: Trainer, folder: Path, workers: int = 0, every: int = 20, save_every: int = 200) -> None:
    """Step until the schedule is over, logging means and saving checkpoints.

    Of several processes the first writes, of its own batches.
    """
    writes = trainer.batches.rank == 0
    recent: list[dict[str, float]] = []
    marked = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG
    if writes and log.exists():  # what came after the checkpoint is computed again
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        log.write_text("".join(lines[: trainer.step // every]), encoding="utf-8")
    for batch in trainer.ahead(workers):
        recent.append(trainer.advance(batch))
        if writes and trainer.step % every == 0:
            now, read = time.monotonic(), sum(figures["tokens"] for figures in recent)
            speed = {"tokens_per_second": round(read / (now - marked))}
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": trainer.step} | mean(recent) | speed) + "\n")
            recent, marked = [], now
        if writes and trainer.step % save_every == 0:
            trainer.save(folder)
    if writes:
        trainer.save(folder)


def mean(figures: list[dict[str, float]]) -> dict[str, float]:
    """Average every figure over the steps that have it."""
    keys = dict.fromkeys(key for row in figures for key in row if key != "tokens")
    rows = {key: [row[key] for row in figures if key in row] for key in keys}
    return {key: round(sum(values) / len(values), 4) for key, values in rows.items()}
