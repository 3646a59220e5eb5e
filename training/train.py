"""Train the small bundled model.

    python -m training.train --data DIR --tokenizer models/bundled --out runs/tiny --minutes 75

A run stopped at any checkpoint and started again with the same command goes on as if it had never stopped.
Under `torchrun --nproc-per-node N` N processes make one batch each a step and share their gradients; two of
them on two cores do 1.8 times the work of one, where one with two threads does 1.45 times as much.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils.data import DataLoader, Dataset

from longctx.machine import prepare_cpu
from training.data import Batch, Maker
from training.haystack import Prose
from training.network import Network
from training.settings import Settings
from training.shape import Weights, averaged, grown, new_weights

COPYING = 0.5  # weight of the copying loss
CHECKPOINT, PROGRESS, LOG = "checkpoint.safetensors", "progress.json", "log.jsonl"


class Batches(Dataset[Batch]):
    """The batch of every step, made anew wherever it is asked for; each of several processes has its own."""

    def __init__(self, settings: Settings, maker: Maker) -> None:
        self.settings = settings
        self.maker = maker
        shared = dist.is_initialized()
        self.rank, self.ranks = (dist.get_rank(), dist.get_world_size()) if shared else (0, 1)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        number = step * self.ranks + self.rank
        return self.maker.batch(number, self.settings.length(step), self.settings.copies(step))


class Trainer:
    """Weights, two optimizers and the number of steps done."""

    def __init__(self, settings: Settings, maker: Maker, device: str = "cpu") -> None:
        self.settings = settings
        self.batches = Batches(settings, maker)
        self.device = torch.device(device)
        self.network = Network(settings.shape)
        fresh = new_weights(settings.shape, settings.seed)
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
        settings, step = self.settings, self.step
        batch = (batch or self.batches[step]).to(self.device)
        for optimizer, name in zip(self.optimizers, ("muon", "adam"), strict=True):
            optimizer.param_groups[0]["lr"] = settings.rates[name] * settings.rate(step)
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
            sampler=range(self.step, self.settings.steps),
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
        text = json.dumps({"step": self.step, "settings": self.settings.to_json()})
        save_file(self.tensors(), folder / (CHECKPOINT + ".new"), metadata={"progress": text})
        (folder / (CHECKPOINT + ".new")).replace(folder / CHECKPOINT)
        (folder / PROGRESS).write_text(text + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take up a saved run."""
        with safe_open(folder / CHECKPOINT, framework="pt") as file:
            self.step = json.loads(file.metadata()["progress"])["step"]
            saved = {name: file.get_tensor(name) for name in list(file.keys())}
        unknown = {name for name in saved if not name.startswith("optimizer.")} ^ self.weights.keys()
        if unknown:
            raise ValueError(
                f"{folder}: its run trains another shape of model; differing: {sorted(unknown)[:3]}"
            )
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
        """Take the mean of the weights of other runs, but neither their steps nor their optimizers.

        A smaller model's weights grow to this one's.
        """
        runs = []
        for folder in folders:
            with safe_open(folder / CHECKPOINT, framework="pt") as file:
                saved = {name: file.get_tensor(name) for name in self.weights}
            runs.append(grown(saved, self.settings.shape))
        with torch.no_grad():
            for name, weight in averaged(runs).items():
                self.weights[name].copy_(weight)


def share_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the processes that train together."""
    if dist.is_initialized():
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = parameters_to_vector(gradients)
        dist.all_reduce(together)
        vector_to_parameters(together / dist.get_world_size(), gradients)


def agreed(over: bool) -> bool:
    """Say whether any of the processes that train together says so: they stop after the same step."""
    said = torch.tensor(float(over))
    if dist.is_initialized():
        dist.all_reduce(said, dist.ReduceOp.MAX)
    return bool(said)


def run(
    trainer: Trainer, folder: Path, minutes: float, every: int = 20, save_every: int = 250, workers: int = 0
) -> None:
    """Step until the schedule or the time is over, logging means and saving checkpoints.

    Of several processes the first writes, of its own batches.
    """
    writes = trainer.batches.rank == 0
    begun = time.monotonic()
    recent: list[dict[str, float]] = []
    marked, read = begun, 0.0
    folder.mkdir(parents=True, exist_ok=True)
    for batch in trainer.ahead(workers):
        if agreed(time.monotonic() - begun >= minutes * 60):
            break
        recent.append(trainer.advance(batch))
        read += recent[-1]["tokens"]
        if writes and trainer.step % every == 0:
            now = time.monotonic()
            entry: dict[str, Any] = {
                "step": trainer.step,
                **mean(recent),
                "tokens_per_second": round(read / (now - marked)),
            }
            with (folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
            recent, marked, read = [], now, 0.0
        if writes and trainer.step % save_every == 0:
            trainer.save(folder)
    if writes:
        trainer.save(folder)


def mean(figures: list[dict[str, float]]) -> dict[str, float]:
    """Average every figure over the steps that have it."""
    keys = dict.fromkeys(key for row in figures for key in row if key != "tokens")
    rows = {key: [row[key] for row in figures if key in row] for key in keys}
    return {key: round(sum(values) / len(values), 4) for key, values in rows.items()}


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with *.jsonl.xz or *.txt prose")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with tokenizer.json")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoint and log; resumed when it has one"
    )
    parser.add_argument(
        "--begin", type=Path, nargs="+", help="finished runs; a new run begins with the mean of their weights"
    )
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument(
        "--minutes", type=float, default=1e9, help="stop after so long; the schedule does not change"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that make batches ahead; for a GPU, one a core"
    )
    parser.add_argument(
        "--precision",
        choices=["highest", "medium"],
        default="medium",
        help="of matrix products: medium may use bfloat16, 1.5 to 2.5 times faster where the CPU can",
    )
    return parser


def main() -> None:
    """Read the arguments, resume or begin, and train."""
    prepare_cpu()
    args = arguments().parse_args()
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo" if args.device == "cpu" else "nccl")
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision(args.precision)
    settings = Settings.load(args.config)
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    prose = Prose.load(args.data)
    maker = Maker(prose, tokenizer, settings.seed, tokens=settings.tokens, **settings.shares())
    trainer = Trainer(settings, maker, args.device)
    if (args.out / CHECKPOINT).exists():
        trainer.load(args.out)
    elif args.begin:
        trainer.begin(args.begin)
    run(trainer, args.out, args.minutes, workers=args.workers)


if __name__ == "__main__":
    main()
