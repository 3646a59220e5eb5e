"""From prose to a model that longctx loads: a tokenizer, all stages of training in order, and the export.

    python -m training.recipe --data DATA --out OUT

OUT gets the tokenizer, a folder for each stage with its checkpoint and log, and the model. Killed at any time
and started again with the same arguments, the command goes on, and the model is the same to the bit.
"""

import argparse
from collections.abc import Callable
from functools import cache
from multiprocessing import parent_process
from pathlib import Path

import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from torch.multiprocessing.spawn import spawn

from longctx.machine import prepare_cpu
from training import export
from training import tokenizer as tokenizer_training
from training.data import Maker
from training.haystack import Prose
from training.settings import Recipe, Stage
from training.train import CHECKPOINT, Precision, Trainer, mean_of, run, steps_done

RECIPE = Path(__file__).with_name("recipe.toml")
load_prose = cache(Prose.load)


def make(recipe: Recipe, data: Path, out: Path, device: str = "cpu", workers: int = 0) -> None:
    """Do what is not done yet: the tokenizer, every stage, the model.

    Args:
        workers: processes that make batches ahead, for a device that does not compute on the CPU.

    Raises:
        ValueError: there is no prose in `data`, or `out` was begun with another recipe.
    """

    def learn(folder: Path) -> None:
        chosen = recipe.tokenizer
        texts = tokenizer_training.samples(load_prose(data), chosen.seed, chosen.megabytes)
        tokenizer_training.save(tokenizer_training.train(texts, chosen.entries), folder)

    def write(folder: Path) -> None:
        shape = next(stage.shape for stage in recipe.stages if stage.name == recipe.export[-1])
        weights = mean_of([out / name for name in recipe.export], shape)
        export.write(folder, weights, shape, out / "tokenizer")

    whole(out / "tokenizer", learn)
    for stage in recipe.stages:
        if steps_done(out / stage.name, stage) < stage.steps:
            print(f"stage {stage.name}: {stage.steps} steps", flush=True)
            (out / stage.name / "meet").unlink(missing_ok=True)
            job = (stage, data, out, device, workers)
            if stage.processes == 1:
                train(0, *job)
            else:  # they end with this process
                spawn(train, job, nprocs=stage.processes)
    whole(out / "model", write)


def whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Have a folder written under another name first, so that it is there only when it is whole."""
    if not folder.exists():
        unfinished = folder.with_suffix(".new")
        write(unfinished)
        unfinished.rename(folder)


@Precision()
def train(rank: int, stage: Stage, data: Path, out: Path, device: str, workers: int) -> None:
    """Train a stage to its end, as one of its processes, from its checkpoint if there is one."""
    folder = out / stage.name
    if stage.processes > 1:
        parent = parent_process()
        if parent and not parent.is_alive():  # killed before this process could be told to end with it
            return
        folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        meet = f"file://{folder.resolve()}/meet"
        dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=stage.processes)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer" / "tokenizer.json"))
    trainer = Trainer(stage, Maker(load_prose(data), tokenizer, stage), device)
    if (folder / CHECKPOINT).exists():
        trainer.load(folder)
    elif stage.begin:
        trainer.begin([out / name for name in stage.begin])
    run(trainer, folder, workers)


def main() -> None:
    """Read the arguments and make the model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with *.jsonl.xz or *.txt prose")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is made")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that make batches for a GPU (default 0)"
    )
    args = parser.parse_args()
    prepare_cpu()
    torch.set_num_threads(1)
    try:
        make(Recipe.load(args.recipe), args.data, args.out, args.device, args.workers)
    except (OSError, ValueError) as error:
        raise SystemExit(f"training.recipe: {error}") from error


if __name__ == "__main__":
    main()
