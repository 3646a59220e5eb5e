"""Train the same model with other mixers: softmax only, lightning only, hybrid; measure retrieval and speed.

    python -m training.ablations --data DATA --tokenizer models/bundled --books BOOKS --out runs/ablations

Sizes, seed, batches, number of steps and optimizers are the same. Documents are at most 512 tokens long in
training, nothing pretends a longer text, and the evaluation goes far beyond. Softmax layers have rotary
positions when there is no other source of order. The loss on the pointer needs softmax attention in the last
layer: lightning alone has none to supervise. Runs that are finished are not made again.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from longctx.machine import prepare_cpu
from longctx.models.weights import load_model
from training import export
from training.data import Maker
from training.evaluate import Evaluation, Haystack
from training.haystack import Prose
from training.reader import Reader
from training.settings import Settings
from training.train import CHECKPOINT, Trainer, run

VARIANTS = {"hybrid": ("LLLS", 0.0), "lightning": ("LLLL", 0.0), "softmax": ("SSSS", 10_000.0)}
LENGTHS = [128, 256, 512, 512]


def settings_of(variant: str, shipped: Settings, steps: int) -> Settings:
    """Return the shipped run's settings with other mixers, fewer steps, and no pretended length."""
    mixers, theta = VARIANTS[variant]
    return replace(
        shipped,
        steps=steps,
        shape=replace(shipped.shape, mixers=mixers, theta=theta),
        data=shipped.data | {"pool": 0.0, "copies": 1},
        phases=[{"until": 1.0, "lengths": LENGTHS}],
    )


def train(settings: Settings, prose: Prose, tokenizer: Tokenizer, folder: Path) -> None:
    """Train one variant to its end, going on where an earlier call stopped."""
    maker = Maker(prose, tokenizer, settings.seed, tokens=settings.tokens, **settings.shares())
    trainer = Trainer(settings, maker)
    if (folder / CHECKPOINT).exists():
        trainer.load(folder)
    run(trainer, folder, minutes=1e9)


def measure(folder: Path, haystack: Haystack, lengths: list[int], documents: int) -> dict[str, object]:
    """Ask for 16 look-alike facts in every document; time the reading of a document alone."""
    model = load_model(folder, torch.float32, torch.device("cpu"))
    model.pack()
    reader = Reader(model, haystack.tokenizer)
    evaluation = Evaluation(reader, haystack, seed=7)
    speed: dict[int, float] = {}
    for length in lengths:
        for index in range(documents):
            evaluation.many("mixed", ["magic"], length=length, index=index, count=16, absent=0)
        ids = haystack.ids(Random(length), length)
        begun = time.perf_counter()
        reader.read(ids)
        speed[length] = length / (time.perf_counter() - begun)
        print(folder, length, round(speed[length]), flush=True)
    answers = [asdict(result) | {"right": result.right} for result in evaluation.results]
    return {"speed": speed, "answers": answers}


def main() -> None:
    """Train and measure every variant, writing a JSON file for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument(
        "--books", type=Path, required=True, help="folder with *.txt that training did not read"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 16384, 65536])
    parser.add_argument("--documents", type=int, default=6, help="documents measured per length")
    args = parser.parse_args()
    prepare_cpu()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    shipped = Settings.load(args.config)
    prose = Prose.load(args.data)
    torch.set_float32_matmul_precision("medium")
    for variant in args.variants:
        train(settings_of(variant, shipped, args.steps), prose, tokenizer, args.out / variant)
    torch.set_float32_matmul_precision("highest")
    haystack = Haystack(Prose.load(args.books), tokenizer)
    for variant in args.variants:
        weights, shape, progress = export.read_run(args.out / variant)
        export.write(args.out / variant / "model", weights, shape, args.tokenizer, sharpen=1.0)
        with torch.inference_mode():
            found = measure(args.out / variant / "model", haystack, args.lengths, args.documents)
        text = json.dumps({"settings": progress["settings"], **found})
        (args.out / f"{variant}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
