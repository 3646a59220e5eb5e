"""Train the same model with other mixers: softmax only, lightning only, hybrid; measure retrieval and speed.

    python -m training.experiments.ablations --data DATA --books BOOKS --out runs/ablations

Sizes, seed, batches, number of steps and optimizers are those of the recipe's first stage. Documents are at
most 512 tokens long in training, nothing pretends a longer text, and the evaluation goes far beyond. Softmax
layers have rotary positions when there is no other source of order. The loss on the pointer needs softmax
attention in the last layer: lightning alone has none to supervise. Killed and started again, it goes on.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from longctx.engine import Engine
from longctx.machine import prepare_cpu
from training.answering import Reader
from training.evaluate import Evaluation, Haystack
from training.haystack import Prose
from training.recipe import RECIPE, make
from training.settings import Phase, Recipe, Stage
from training.tables import cell

VARIANTS = {"hybrid": ("LLLS", 0.0), "lightning": ("LLLL", 0.0), "softmax": ("SSSS", 10_000.0)}
LENGTHS = [128, 256, 512, 512]


def stage_of(variant: str, first: Stage, steps: int) -> Stage:
    """Return the recipe's first stage with other mixers, fewer steps, and no pretended length."""
    mixers, theta = VARIANTS[variant]
    return replace(
        first,
        steps=steps,
        shape=replace(first.shape, mixers=mixers, theta=theta),
        data=replace(first.data, pool=0.0, copies=1),
        phases=[Phase(1.0, LENGTHS)],
    )


def measure(folder: Path, books: Prose, length: int, documents: int) -> str:
    """Ask for 16 look-alike facts in every document and time the reading of one; return both as cells."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    haystack = Haystack(books, tokenizer)
    evaluation = Evaluation(Reader(Engine.load(folder, "cpu", "float32")), haystack, seed=7)
    for index in range(documents):
        evaluation.many("mixed", ["magic"], length=length, index=index, count=16, absent=0)
    ids = haystack.ids(Random(length), length)
    begun = time.perf_counter()
    evaluation.reader.read(ids)
    speed = length / (time.perf_counter() - begun)
    return f"{cell([result.right for result in evaluation.results])} | {speed:,.0f}"


def main() -> None:
    """Train every variant, then measure them, printing a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--books", type=Path, required=True, help="folder with *.txt that DATA does not have")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 16384, 65536])
    parser.add_argument("--documents", type=int, default=6, help="documents measured per length")
    args = parser.parse_args()
    prepare_cpu()
    torch.set_num_threads(1)
    recipe = Recipe.load(RECIPE)
    for variant in args.variants:
        stage = stage_of(variant, recipe.stages[0], args.steps)
        make(replace(recipe, stages=[stage], export=[stage.name]), args.data, args.out / variant)
    books = Prose.load(args.books)
    print("| tokens | " + " | ".join(f"{variant}: right | tokens/s" for variant in args.variants) + " |")
    print("|---" * (2 * len(args.variants) + 1) + "|")
    for length in args.lengths:
        models = [args.out / variant / "model" for variant in args.variants]
        cells = [measure(folder, books, length, args.documents) for folder in models]
        print(f"| {length:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
