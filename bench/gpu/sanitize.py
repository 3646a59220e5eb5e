"""Runs every kernel once on small inputs under compute-sanitizer: bad memory accesses and races.

python -m bench.gpu.sanitize           # starts itself under memcheck and racecheck
python -m bench.gpu.sanitize --child   # the kernels alone
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

import torch

from bench.gpu.report import Table, default_out
from bench.gpu.timing import need_cuda

TOOLS = ("memcheck", "racecheck")
SECONDS = 40  # for each tool


def small_calls() -> dict[str, Callable[[], object]]:
    """Return calls of every public wrapper on small inputs: the tools slow them a hundred times."""
    from bench import compiled_cases as cases

    bf16, fp32 = torch.bfloat16, torch.float32
    return {
        "prefill": lambda: cases.prefill(cases.RING, 200, bf16),
        "prefill fp32": lambda: cases.prefill(cases.BUNDLED, 200, fp32),
        "absorb": lambda: cases.absorb(cases.BUNDLED, 200, bf16),
        "decode": lambda: cases.decode(cases.RING, 2, bf16),
        "softmax decode": lambda: cases.softmax_decode(cases.BUNDLED, 2, bf16),
        "merge": lambda: cases.merge(cases.BUNDLED, 70, bf16),
        "experts": lambda: cases.experts(cases.SMALL, 3, bf16),
        "norm": lambda: cases.norm(96, 5, bf16),
        "int4 matrix": lambda: cases.rounded_linear(70, 160, 4),
        "int8 matrix": lambda: cases.rounded_linear(70, 160, 8),
        "int4 experts": lambda: cases.rounded_experts(cases.SMALL, 4),
        "int4 experts, rows": lambda: cases.grouped(cases.SMALL, 10, 4),
    }


def child() -> None:
    """Run the calls on the device."""
    torch.set_default_device("cuda")
    for name, call in small_calls().items():
        with torch.inference_mode():
            call()
        torch.cuda.synchronize()
        print(f"ran {name}", flush=True)


def errors_in(output: str) -> int | None:
    """Return how many errors the tool reports in its last line; None when it has not come to one."""
    found = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", output)
    return int(found[-1]) if found else None


def main() -> int:
    """Run the tools and report; a tool that is missing or refuses the device is a line, not a failure."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.sanitize", description=__doc__)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    need_cuda()
    if args.child:
        child()
        return 0
    table = Table("sanitize", default_out())
    tool, total = shutil.which("compute-sanitizer"), 0
    if tool is None:
        table.note("compute-sanitizer is not on the PATH")
        return 0
    for kind in TOOLS:
        command = [tool, "--tool", kind, sys.executable, "-m", "bench.gpu.sanitize", "--child"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            table.note(f"{kind}: not done after {SECONDS} s")
            continue
        found = errors_in(done.stdout + done.stderr)
        ran = done.stdout.count("ran ")
        if found is None or ran < len(small_calls()):
            table.note(
                f"{kind}: {ran} of {len(small_calls())} calls ran: {done.stdout[-300:]}{done.stderr[-300:]}"
            )
            continue
        total += found
        table.note(f"{kind}: {found} errors in {ran} calls")
        if found:
            print(done.stdout[-6000:])
        table.value("memory errors and races found", total)
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
