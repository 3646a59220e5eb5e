"""llama.cpp's side of `bench.laptop`: one GGUF file in a process of its own, its numbers as JSON on stdout.

    python -m bench.laptop_peer FILE.gguf --threads 2 --lengths 1024 4096 32768

Runs where llama-cpp-python is installed, and imports neither torch nor longctx.

A softmax model reads 32k tokens on two cores in a quarter of an hour, so only the first 4,096 are really
read. To measure at a depth, that prefix is put into the cache as often as it takes, each copy moved to its
own positions. There one batch is timed; `bench.laptop` integrates these marginal times over the depth.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from bench.laptop_math import BATCH, Batch, Side

PREFIX = 4096  # tokens that are really read
WARM_STEPS, STEPS = 4, 32  # tokens written before the clock, and on it


class Peer:
    """A context of llama.cpp and the tokens in its cache.

    Args:
        path: the GGUF file.
        longest: the longest text.
        threads: for batches and for single tokens.
    """

    def __init__(self, path: Path, longest: int, threads: int):
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), _model_parameters())
        if not self.model:
            raise SystemExit(f"{path}: llama.cpp cannot load it")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = -(-longest // PREFIX) * PREFIX + BATCH  # copies are put in whole, then cut
        parameters.n_batch = parameters.n_ubatch = BATCH
        parameters.n_seq_max, parameters.kv_unified = 2, True
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)
        if not self.context:
            raise SystemExit(f"{path}: llama.cpp cannot make a context of {parameters.n_ctx} tokens")
        self.memory: Any = llama_cpp.llama_get_memory(self.context)
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.random = np.random.default_rng(0)

    @property
    def depth(self) -> int:
        """Return the tokens in the cache."""
        return int(llama_cpp.llama_memory_seq_pos_max(self.memory, 0)) + 1

    def feed(self, count: int) -> float:
        """Read random tokens in one batch; return the seconds."""
        ids = (llama_cpp.llama_token * count)(*self.random.integers(0, self.vocab, count).tolist())
        batch = llama_cpp.llama_batch_get_one(ids, count)  # points to ids, and does not keep them
        began = time.perf_counter()
        if code := llama_cpp.llama_decode(self.context, batch):
            raise SystemExit(f"llama_decode: {code} at depth {self.depth}")
        llama_cpp.llama_synchronize(self.context)
        return time.perf_counter() - began

    def cut(self, depth: int) -> None:
        """Forget everything from a depth on."""
        llama_cpp.llama_memory_seq_rm(self.memory, 0, depth, -1)

    def steps(self) -> float:
        """Return the median seconds of a token, written after what is in the cache, which stays as it was."""
        depth = self.depth
        seconds = [self.feed(1) for _ in range(WARM_STEPS + STEPS)]
        self.cut(depth)
        return statistics.median(seconds[WARM_STEPS:])

    def filler(self) -> Callable[[int], None]:
        """Return what fills the cache up to a depth with copies of the tokens that are in it now."""
        size, piece = llama_cpp.llama_state_seq_get_size(self.context, 0), self.depth
        saved = (ctypes.c_uint8 * size)()
        llama_cpp.llama_state_seq_get_data(self.context, saved, size, 0)

        def fill(depth: int) -> None:
            while (start := self.depth) < depth:
                if not llama_cpp.llama_state_seq_set_data(self.context, saved, size, 1):
                    raise SystemExit(f"llama.cpp cannot put {piece} more tokens after {start}")
                llama_cpp.llama_memory_seq_add(self.memory, 1, 0, -1, start)
                llama_cpp.llama_memory_seq_cp(self.memory, 1, 0, -1, -1)
                llama_cpp.llama_memory_seq_rm(self.memory, 1, -1, -1)
            self.cut(depth)
            self.feed(1)  # moves the copies
            self.cut(depth)

        return fill


def measure(peer: Peer, lengths: list[int], say: Callable[[str], None]) -> Side:
    """Read a prefix, decode at each length that it holds, then fill and measure at greater depths."""
    side = Side()
    peer.feed(BATCH)  # pages the weights in
    peer.cut(0)
    prefix = min(PREFIX, max(lengths))
    while (depth := peer.depth) < prefix:
        side.batches.append(Batch(depth, BATCH, peer.feed(BATCH), filled=False))
        side.peak = _peak_bytes()  # with the whole cache, but without what filling it takes
        if peer.depth in lengths:
            say(f"read {peer.depth} tokens in {sum(batch.seconds for batch in side.batches):.1f} s")
            side.read[peer.depth] = sum(batch.seconds for batch in side.batches)
            side.step[peer.depth] = peer.steps()
    fill = peer.filler()
    for depth in _depths(prefix, lengths):
        fill(depth)
        side.batches.append(Batch(depth, BATCH, peer.feed(BATCH), filled=True))
        say(f"{BATCH} tokens after {depth}: {side.batches[-1].seconds:.1f} s")
        if peer.depth in lengths:
            side.step[peer.depth] = peer.steps()
    return side


def _depths(prefix: int, lengths: list[int]) -> list[int]:
    """Return where a batch is timed: twice as deep each time, and at the end of each longer text."""
    depths = {length - BATCH for length in lengths if length > prefix}
    depth = 2 * prefix
    while depth + BATCH < max(lengths):
        depths.add(depth)
        depth *= 2
    return sorted(depths)


def _model_parameters() -> Any:
    parameters = llama_cpp.llama_model_default_params()
    parameters.use_mmap = True
    return parameters


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Measure, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 32768])
    args = parser.parse_args()
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    began = time.perf_counter()
    peer = Peer(args.path, max(args.lengths), args.threads)
    loading = time.perf_counter() - began
    side = measure(peer, args.lengths, lambda text: print(f"  {text}", file=sys.stderr, flush=True))
    side.load = loading
    features = llama_cpp.llama_print_system_info().decode()
    side.notes |= {"version": llama_cpp.__version__, "features": features}
    print(json.dumps(side.as_json()))


if __name__ == "__main__":
    main()
