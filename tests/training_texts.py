"""Prose, program text, a tokenizer and a tiny stage of training, for the tests of training/."""

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from training import export
from training import tokenizer as tokenizer_training
from training.data import Batch, Maker
from training.haystack import Prose
from training.recipe import RECIPE
from training.settings import Phase, Recipe, Stage
from training.shape import Shape, Weights, new_weights
from training.train import Trainer

SHAPE = Shape(
    hidden=32, mixers="LLS", heads=4, kv_heads=2, ffn=48, vocab=700, alpha=3.0, pointers=2, theta=0.0
)
PHASES = [Phase(0.5, [64, 128]), Phase(1.0, [128, 256])]
STAGE = replace(Recipe.load(RECIPE).stages[0], steps=6, tokens=256, shape=SHAPE, phases=PHASES)
SENTENCES = (
    "The old harbor lay quiet under a pale morning sky. Nobody spoke of Farnham or of what had happened. "
    "Along the narrow street a wagon rolled slowly, and Mr. Tolliver saw it pass. It had rained all night; "
    "the gardens were heavy with it, and the river stood high against the wooden bridge.\n\n"
    "“You will remember the letter,” said Harriet, looking up from her needle. He answered that he did, "
    "though every word of it had been forgotten long before. In the evening they walked to Wexley together, "
    "counting windows, naming stars, and laughing at everything that came into their heads.\n\n"
)
SHORT_FUNCTIONS = "".join(f"def name_{i}_of(first, second={i}):\n    pass\n\n\n" for i in range(300))
PROGRAM = """
class Reader(Base):
    def read_page(self, path: Path, *, limit: int = 20) -> list[str]:
        self.timeout = 2.5  # seconds
        return open_file(path)

    def close_all(self):
        self.timeout = None
        LARGEST_PAGE = "4 MiB"

    async def close_page() -> None:
        close_all()
"""

PROSE = Prose([SENTENCES * 60, SENTENCES[200:] * 40])
TOKENIZER = tokenizer_training.train(tokenizer_training.samples(PROSE, seed=3, megabytes=0.1), SHAPE.vocab)


def stage_with(seed: int = 5, tokens: int = 512, **data: float) -> Stage:
    """Return a stage with other data."""
    usual = {"absent": 0.2, "openings": 0.15, "rivals": 0.25}
    return replace(STAGE, seed=seed, tokens=tokens, data=replace(STAGE.data, **(usual | data)))


MAKER = Maker(PROSE, TOKENIZER, stage_with(listing=0.4))


def new_trainer(stage: Stage = STAGE) -> Trainer:
    """Begin the tiny stage."""
    return Trainer(stage, Maker(PROSE, TOKENIZER, stage))


def exported(folder: Path, shape: Shape = SHAPE) -> tuple[Path, Weights]:
    """Write a model of random weights; return its folder and the weights."""
    weights = new_weights(shape, seed=2)
    tokenizer_training.save(TOKENIZER, folder / "tokenizer")
    export.write(folder / "model", weights, shape, folder / "tokenizer")
    return folder / "model", weights


def alone(batch: Batch) -> Batch:
    """Make every document see itself only, every key once: the conditions at inference."""
    none = torch.zeros_like(batch.amplify)
    gone = torch.zeros_like(batch.gone)
    return replace(batch, amplify=none, pooled=torch.zeros_like(batch.pooled), gone=gone)


def in_processes(work: Callable[..., None], *arguments: tuple[object, ...]) -> list[int | None]:
    """Run `work` in processes side by side, one for each tuple of arguments; return their exit codes.

    They are forked from one process that has imported torch and nothing else has happened in.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hypothesis", "pytest", "torch._dynamo", "training.recipe"])
    processes = [context.Process(target=work, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]
