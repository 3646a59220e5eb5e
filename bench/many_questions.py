"""A hundred questions off one reading: side by side, in another order, and one by one.

    python -m bench.many_questions --out results/NAME.json

A hybrid of random weights (31 M parameters unless --layers and --hidden say otherwise) reads one text. Its
answers mean nothing, but they are as hard to reproduce as any: the likeliest of 8,192 tokens each time.
The same questions are answered side by side, in reversed order, and one by one, in one process and in turn.
Then a hundred branches are held at a time, and what the process grows by is compared with their states.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch

import longctx
from bench.kill_campaign import made_text
from bench.random_model import Shape, write_checkpoint
from longctx.engine import Engine, Session
from longctx.machine import give_back_memory, resident_memory
from longctx.models.kv_log import FIRST_PAGE, KVLog
from longctx.sampling import Sampling
from longctx.together import write_together

BUNDLED = Path(longctx.__file__).parent / "models" / "bundled"


Tokens = list[int]


def answers(session: Session, prompts: list[Tokens], sampling: Sampling) -> tuple[list[Tokens], float]:
    """Return the tokens of the answers to prompts that are given together, and the seconds that took."""
    written: list[Tokens] = [[] for _ in prompts]
    began = time.perf_counter()
    for number, piece in write_together(session, prompts, sampling):
        written[number] += [] if piece.token is None else [piece.token]
    return written, time.perf_counter() - began


def memory_of(sessions: list[Session]) -> int:
    """Return the bytes that all states of some sessions take, what they share counted once."""
    held: dict[int, int] = {}
    for layer in (layer for session in sessions for layer in session.state.layers):
        tensors = list(layer.constants().values())
        if isinstance(layer, KVLog):
            tensors += [x for piece in layer._pieces() for x in piece.page.tensors or ()]
        held |= {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}
    return sum(held.values())


def held(session: Session, prompts: list[Tokens]) -> dict[str, float]:
    """Return what a branch for each prompt takes, all held at once, beside the log that they share.

    What was freed before is given back first: branches put there would not let the process grow.
    """
    give_back_memory()
    before, alone = resident_memory(), memory_of([session])
    branches = []
    for prompt in prompts:
        branches.append(session.fork())
        branches[-1].read(prompt)
    give_back_memory()
    grown = resident_memory() - before
    state = sum(tensor.nbytes for tensor in session.state.constants().values())
    log = session.state.nbytes - state
    page = log // session.position * FIRST_PAGE  # what a branch reserves for its own tokens
    return {
        "branches": len(branches),
        "grown_bytes": grown,
        "held_bytes": memory_of([session, *branches]) - alone,
        "planned_bytes": len(branches) * (state + page),
        "state_bytes": state,
        "page_bytes": page,
        "log_bytes": log,
        "reserved_log_bytes": alone - state,
        "grown_per_branch": grown / len(branches),
        "if_logs_were_copied": len(branches) * log,
    }


def begun(folder: Path, given: argparse.Namespace) -> Session:
    """Write a checkpoint of random weights, load it, and let it read a text of so many tokens."""
    write_checkpoint(folder, Shape(layers=given.layers, hidden=given.hidden, ffn=2 * given.hidden))
    shutil.copy(BUNDLED / "tokenizer.json", folder)
    engine = Engine.load(folder, "cpu", "float32")
    session = engine.session()
    ids = engine.tokenizer.encode(made_text(given.tokens, seed=1))[: given.tokens]
    for _ in session.read_chunks(ids[at : at + 2048] for at in range(0, len(ids), 2048)):
        pass
    return session


def three_ways(session: Session, prompts: list[Tokens], sampling: Sampling, runs: int) -> dict[str, object]:
    """Ask side by side, in reversed order and one by one, in turn; return seconds, and whether all agree."""
    times: dict[str, list[float]] = {"together": [], "reversed": [], "one_by_one": []}
    same, together = True, list[Tokens]()
    for _ in range(runs):
        together, seconds = answers(session, prompts, sampling)
        times["together"].append(seconds)
        turned, seconds = answers(session, prompts[::-1], sampling)
        times["reversed"].append(seconds)
        each = [answers(session, [prompt], sampling) for prompt in prompts]
        times["one_by_one"].append(sum(seconds for _, seconds in each))
        same = same and together == turned[::-1] == [one[0] for one, _ in each]
    middle = {key: statistics.median(found) for key, found in times.items()}
    return {
        "same_answers": same,
        "different_answers": len(set(map(tuple, together))),
        "ratio": middle["one_by_one"] / middle["together"],
        "seconds": times,
    }


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, default=16384, help="of the text")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--write", type=int, default=32, help="tokens of each answer")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="0: only hold the branches, and answer nothing")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Ask in all three ways, and print what they take."""
    given = arguments()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as name:
        session = begun(Path(name), given)
        asked = made_text(12 * given.questions, seed=2).splitlines()[: given.questions]
        prompts = [session.engine.tokenizer.encode(f"What of {one}?") for one in asked]
        sampling = Sampling(max_tokens=given.write)
        told = {
            **(three_ways(session, prompts, sampling, given.runs) if given.runs else {}),
            "memory": held(session, prompts),
            "given": {key: value for key, value in vars(given).items() if key != "out"},
            "load": os.getloadavg()[0],
        }
    print(json.dumps(told, indent=1))
    if given.out:
        given.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
