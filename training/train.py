"""Train the small bundled model.

    python -m training.train --data DIR --tokenizer models/bundled --out runs/tiny --minutes 75

A run stopped at any checkpoint and started again with the same command goes on as if it had never stopped.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from longctx.machine import prepare_cpu
from training.data import Maker
from training.haystack import Prose
from training.network import Network, Weights, new_weights
from training.settings import Settings

COPYING = 0.5  # weight of the copying loss
CHECKPOINT, PROGRESS, LOG = "checkpoint.safetensors", "progress.json", "log.jsonl"


class Trainer:
    """Weights, two optimizers and the number of steps done."""

    def __init__(self, settings: Settings, maker: Maker) -> None:
        self.settings = settings
        self.maker = maker
        self.network = Network(settings.shape)
        self.weights: Weights = new_weights(settings.shape, settings.seed)
        self.step = 0
        matrix = {name: "embed" not in name and p.ndim == 2 for name, p in self.weights.items()}
        self.names = [[n for n in matrix if matrix[n]], [n for n in matrix if not matrix[n]]]
        groups = [[self.weights[name] for name in names] for names in self.names]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(groups[0], lr=1.0, weight_decay=0.0),
            torch.optim.AdamW(groups[1], lr=1.0, betas=(0.9, 0.98), weight_decay=0.0),
        ]

    def advance(self) -> dict[str, float]:
        """Do one step and return its figures."""
        settings, step = self.settings, self.step
        batch = self.maker.batch(step, settings.length(step), settings.copies(step))
        for optimizer, name in zip(self.optimizers, ("muon", "adam"), strict=True):
            optimizer.param_groups[0]["lr"] = settings.rates[name] * settings.rate(step)
            optimizer.zero_grad(set_to_none=True)
        answer, pointer, copying, figures = self.network.losses(self.weights, batch)
        torch.autograd.backward(answer + pointer + COPYING * copying)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        figures |= {"loss": answer.item(), "pointer": pointer.item(), "copying": copying.item()}
        return figures | {"length": batch.documents.shape[1], "tokens": batch.documents.numel()}

    def tensors(self) -> dict[str, Tensor]:
        """Name every tensor a resumed run needs."""
        found = {name: weight.detach() for name, weight in self.weights.items()}
        for names, optimizer in zip(self.names, self.optimizers, strict=True):
            for name, parameter in zip(names, optimizer.param_groups[0]["params"], strict=True):
                for kind, value in optimizer.state[parameter].items():
                    found[f"optimizer.{kind}.{name}"] = torch.as_tensor(value)
        return {name: tensor.contiguous() for name, tensor in found.items()}

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
                optimizer.state[parameter] = {key.split(".")[1]: saved.pop(key) for key in kinds}

    def begin(self, folders: list[Path]) -> None:
        """Take the mean of the weights of other runs, but neither their steps nor their optimizers."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.zero_()
                for folder in folders:
                    with safe_open(folder / CHECKPOINT, framework="pt") as file:
                        weight.add_(file.get_tensor(name), alpha=1 / len(folders))


def run(trainer: Trainer, folder: Path, minutes: float, every: int = 20, save_every: int = 250) -> None:
    """Step until the schedule or the time is over, logging means and saving checkpoints."""
    begun = time.monotonic()
    recent: list[dict[str, float]] = []
    marked, read = begun, 0.0
    folder.mkdir(parents=True, exist_ok=True)
    while trainer.step < trainer.settings.steps and time.monotonic() - begun < minutes * 60:
        recent.append(trainer.advance())
        read += recent[-1]["tokens"]
        if trainer.step % every == 0:
            now = time.monotonic()
            entry: dict[str, Any] = {
                "step": trainer.step,
                **mean(recent),
                "tokens_per_second": round(read / (now - marked)),
            }
            with (folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
            recent, marked, read = [], now, 0.0
        if trainer.step % save_every == 0:
            trainer.save(folder)
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
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision(args.precision)
    settings = Settings.load(args.config)
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    prose = Prose.load(args.data)
    trainer = Trainer(
        settings, Maker(prose, tokenizer, settings.seed, tokens=settings.tokens, **settings.shares())
    )
    if (args.out / CHECKPOINT).exists():
        trainer.load(args.out)
    elif args.begin:
        trainer.begin(args.begin)
    run(trainer, args.out, args.minutes)


if __name__ == "__main__":
    main()
