"""Settings and checkpoints that all tests share."""

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    # Read when a kernel is defined, so before anything imports one: Triton then runs on the CPU.
    os.environ.setdefault("TRITON_INTERPRET", "1")

from checkpoints import write_checkpoint
from documents import Write
from hypothesis import settings
from tiny_tokenizers import SPLITS, train

from longctx.text.source import Document
from longctx.tokens.tokenizer import Tokenizer

# Timing of single examples varies with the machine's load; correctness does not.
settings.register_profile("default", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("default")
torch.set_num_threads(1)

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what tests read apart from what the user has read."""
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("data"))


def pytest_configure() -> None:
    """Give each worker cores of its own: threads of two workers on one core spin while they wait."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        own = cores[int(worker.removeprefix("gw")) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]
        os.sched_setaffinity(0, own or cores)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-lightning, one-softmax model and its tokenizer."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each small tokenizer, by the way that it splits text."""
    return {name: train(split, tmp_path_factory.mktemp(name)) for name, split in SPLITS.items()}


@pytest.fixture(scope="session")
def tokenizers(folders: dict[str, Path]) -> dict[str, Tokenizer]:
    """The small tokenizers themselves."""
    return {name: Tokenizer.load(folder, 400) for name, folder in folders.items()}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Make a document of a text."""

    def make(name: str, text: str) -> Document:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return Document(name, path, 0, path.stat().st_size, "utf-8")

    return make
