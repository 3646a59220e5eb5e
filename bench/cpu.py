"""Compares longctx, transformers and llama.cpp on one random hybrid: `python -m bench.cpu`.

One run measures everything that is compared; numbers of different runs should not be.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from longctx.machine import prepare_cpu


def main() -> int:
    """Run the comparison, print the table, write the JSON file; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.cpu", description=__doc__)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--quick", action="store_true", help="1k and 4k tokens only, fewer repeats")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file (bench/results/cpu-DATE.json)")
    parser.add_argument(
        "--retrieval-model", type=Path, metavar="DIR", help="for 4k against 1M (default: the bundled model)"
    )
    parser.add_argument("--trained-only", action="store_true", help="only the small trained model")
    options = parser.parse_args()
    _prepare(options.threads)
    from bench.report import Report  # both import torch, which reads the environment when it is loaded
    from bench.suite import Suite

    report = Report(options.threads, options.out)
    suite = Suite(report, options.threads, options.quick, options.retrieval_model)
    if options.trained_only:
        suite.trained()
    else:
        suite.run()
    return report.finish()


def _prepare(threads: int) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # The decay tables of its lightning layers are not in checkpoints; transformers warns, then computes them.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    prepare_cpu()


if __name__ == "__main__":
    sys.exit(main())
