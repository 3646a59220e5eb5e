"""Compiles every Triton kernel for the chips it is meant for, without having one: `python -m bench.compiled`.

The public wrappers are called on CPU tensors while `JITFunction.run` is replaced by a recorder, so what is
compiled is exactly what production would launch: arguments, specialisation, tile sizes, warps and stages.
The numbers come from ptxas: registers, spills, shared memory; and from the PTX: which tensor cores are used.

    python -m bench.compiled                  # print the table
    python -m bench.compiled --write          # and keep it in bench/results
    python -m bench.compiled --check          # exit with 1 on a compile error, a spill, or a missed rule
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import multiprocessing
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from longctx.kernels import chips

RESULTS = Path(__file__).parent / "results" / "kernels-compiled.json"
CHIPS = {10 * major: facts for major, facts in chips.CHIPS.items()}  # by the name of the target
INSTRUCTIONS = (("tcgen05.mma", "tcgen05"), ("wgmma.mma_async", "wgmma"), ("mma.sync", "mma.sync"))
REGISTERS_PER_SM = 65536


@dataclass(frozen=True)
class Case:
    """A call that production makes.

    Attributes:
        name: family, dtype and what the call does.
        call: runs the public wrapper on CPU tensors.
        wgmma: on sm_90 every product of this call must run on wgmma, and there must be one.
        rare: a variant that --check compiles for sm_80 alone, whose limits are the tightest.
    """

    name: str
    call: Callable[[], object]
    wgmma: bool = False
    rare: bool = False


@dataclass(frozen=True)
class Launch:
    """One recorded launch: what `triton.compile` takes, before it is compiled."""

    case: Case
    chip: int
    kernel: str
    grid: tuple[int, ...]
    source: Any  # ASTSource, which is untyped
    options: dict[str, Any]


@dataclass
class Row:
    """What became of one launch."""

    case: str
    kernel: str
    chip: int
    warps: int = 0
    stages: int = 0
    registers: int = 0
    spills: int = 0  # bytes stored and loaded
    shared: int = 0  # bytes
    instruction: str = ""
    grid: tuple[int, ...] = ()
    triton: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def blocks(self) -> int:
        """Return how many blocks fit on one multiprocessor at once."""
        threads = 32 * self.warps
        by_registers = REGISTERS_PER_SM // (threads * -(-max(self.registers, 1) // 8) * 8)
        by_shared = CHIPS[self.chip].shared // (self.shared + 1024)
        return min(by_registers, by_shared, 2048 // threads, 32)


@contextlib.contextmanager
def recording(case: Case, chip: int) -> Iterator[list[Launch]]:
    """Replace launching by recording; the wrappers believe they run on `chip`, such as 90."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, make_backend
    from triton.runtime.jit import JITFunction, create_function_from_signature

    launches: list[Launch] = []
    backend = make_backend(GPUTarget("cuda", chip, 32))

    def record(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        binder = create_function_from_signature(self.signature, self.params, backend)
        bound, specialization, options = binder(*args, **kwargs)
        options, signature, constants, attributes = self._pack_args(
            backend, kwargs, bound, specialization, options
        )
        shape = tuple(grid(bound)) if callable(grid) else tuple(grid)
        source = ASTSource(self, signature, constants, attributes)
        launches.append(Launch(case, chip, self.fn.__name__, shape, source, dict(vars(options))))

    def capability(device: object) -> tuple[int, int]:
        return divmod(chip, 10)

    with patch.object(JITFunction, "run", record), patch.object(chips, "capability", capability):
        yield launches


def record(case: Case, chip: int) -> list[Launch] | Row:
    """Return the launches of a case, or the row of its failure."""
    import torch

    with recording(case, chip) as launches, torch.inference_mode():
        try:
            case.call()
        except Exception:  # whatever a wrapper raises is what this check is for
            return Row(case.name, "-", chip, triton=version(), problems=[f"call: {_last_line()}"])
    if not launches:
        return Row(case.name, "-", chip, triton=version(), problems=["launched no kernel"])
    return launches


def compile_launch(launch: Launch) -> Row:
    """Compile one launch and judge it."""
    import triton
    from triton.backends.compiler import GPUTarget

    row = Row(
        case=launch.case.name,
        kernel=launch.kernel,
        chip=launch.chip,
        warps=launch.options["num_warps"],
        stages=launch.options["num_stages"],
        grid=launch.grid,
        triton=version(),
    )
    log = io.StringIO()
    try:
        with contextlib.redirect_stdout(log):
            target = GPUTarget("cuda", launch.chip, 32)
            compiled = triton.compile(launch.source, target=target, options=launch.options)
    except Exception:  # triton raises a dozen kinds, all of which mean the same here
        row.problems.append(f"compile: {_last_line()}")
        return row
    row.shared = compiled.metadata.shared
    row.registers, row.spills = resources(log.getvalue())
    ptx = compiled.asm["ptx"]
    row.instruction = "+".join(name for text, name in INSTRUCTIONS if text in ptx)
    if row.spills:
        row.problems.append(f"spills {row.spills} bytes")
    limit = CHIPS[launch.chip].shared - 1024
    if row.shared > limit:
        row.problems.append(f"needs {row.shared} bytes of shared memory, {limit} at most")
    if launch.case.wgmma and launch.chip == 90 and row.instruction == "mma.sync":
        row.problems.append("uses mma.sync where wgmma is due")
    return row


def resources(log: str) -> tuple[int, int]:
    """Return registers per thread and bytes spilled (stores and loads) from what `ptxas -v` says.

    Raises:
        ValueError: when the log holds no figures; without them nothing could be checked.
    """
    used = re.findall(r"Used (\d+) registers", log)
    spilled = re.findall(r"(\d+) bytes spill (?:stores|loads)", log)
    if not used or not spilled:
        raise ValueError(f"ptxas said nothing about registers and spills: {log!r}")
    return max(map(int, used)), sum(map(int, spilled))


def survey(cases: list[Case], chips: list[int], processes: int, everything: bool = True) -> list[Row]:
    """Record the cases for the chips, compile each different launch once, and return the rows."""
    rows: list[Row] = []
    launches: dict[str, Launch] = {}
    for chip in chips:
        for case in cases:
            if case.rare and chip != 80 and not everything:
                continue
            found = record(case, chip)
            if isinstance(found, Row):
                rows.append(found)
                continue
            for launch in found:
                # The same kernel with the same arguments comes in several calls; it is compiled once.
                key = f"{chip} {launch.kernel} {launch.source.hash()} {launch.options} {launch.case.wgmma}"
                launches.setdefault(key, launch)
    work = list(launches.values())
    with _fresh_compiles():
        # Sources hold functions, which cannot be sent to another process; children of a fork have them.
        _WORK[:] = work
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            rows += pool.map(_compile_numbered, range(len(work)))
    order = {case.name: index for index, case in enumerate(cases)}
    rows.sort(key=lambda row: (order[row.case], row.kernel, row.chip))
    return rows + _without_wgmma(cases, chips, rows, work)


_WORK: list[Launch] = []


def _compile_numbered(index: int) -> Row:
    return compile_launch(_WORK[index])


def _without_wgmma(cases: list[Case], chips: list[int], rows: list[Row], work: list[Launch]) -> list[Row]:
    """Return a failed row for each case that must use wgmma on sm_90 and has no kernel that does."""
    if 90 not in chips:
        return []
    compiled = {row.case for row in rows if row.chip == 90 and row.registers}
    using = {row.case for row in rows if row.chip == 90 and "wgmma" in row.instruction}
    return [
        Row(case.name, "-", 90, triton=version(), problems=["no wgmma in any kernel"])
        for case in cases
        if case.wgmma and case.name in compiled and case.name not in using
    ]


@contextlib.contextmanager
def _fresh_compiles() -> Iterator[None]:
    """Make triton print what ptxas says, which it only has when it compiles anew."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = {"TRITON_DUMP_PTXAS_LOG": "1", "TRITON_CACHE_DIR": folder}
        with patch.dict(os.environ, wanted):
            yield


def version() -> str:
    """Return triton's version."""
    import triton

    return str(triton.__version__)


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    titles = "case|kernel|chip|warps|stages|grid|registers|spills|shared KB|blocks/SM|tensor cores|triton|"
    lines = [f"|{titles}", "|" + "---|" * titles.count("|")]
    for row in rows:
        cells = (
            *(row.case, row.kernel, f"sm_{row.chip}", row.warps, row.stages, "x".join(map(str, row.grid))),
            *(row.registers, row.spills, f"{row.shared / 1024:.1f}", row.blocks if row.registers else "-"),
            *(row.instruction or "-", row.triton),
        )
        problem = f" **{'; '.join(row.problems)}**" if row.problems else ""
        lines.append("|" + "|".join(map(str, cells)) + "|" + problem)
    return "\n".join(lines)


def write(rows: list[Row], path: Path) -> None:
    """Keep the rows, beside those of other versions of triton that are there."""
    kept: list[Row] = []
    if path.exists():
        known = [Row(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
        kept = [row for row in known if row.triton not in {new.triton for new in rows}]
    rows = sorted([*kept, *rows], key=lambda row: row.triton)
    text = "[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n"
    path.write_text(text, encoding="utf-8")
    title = (
        "# The Triton kernels as compiled\n\nWritten by `python -m bench.compiled --write`. No GPU was used."
    )
    path.with_suffix(".md").write_text(f"{title}\n\n{table(rows)}\n", encoding="utf-8")


def main() -> int:
    """Compile and report; with --check, 1 when anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.compiled", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="print problems only; exit with 1 when there are any"
    )
    parser.add_argument("--write", action="store_true", help="keep the table in bench/results")
    parser.add_argument("--cases", default="bench.compiled_cases", help="module with a list CASES")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--chips", type=int, nargs="+", default=list(CHIPS), choices=list(CHIPS))
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        parser.error("TRITON_INTERPRET is set, and interpreted kernels are never compiled: unset it")
    # Triton asks a driver for the target when this is unset; there is none here.
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    cases = [case for case in importlib.import_module(args.cases).CASES if args.only in case.name]
    rows = survey(cases, args.chips, args.processes, everything=args.write or not args.check)
    failed = [row for row in rows if row.problems]
    if args.write:
        write(rows, RESULTS)
    if not args.check:
        print(table(rows))
    for row in failed:
        print(f"FAIL {row.case}, {row.kernel}, sm_{row.chip}: {'; '.join(row.problems)}")
    print(f"{len(rows)} kernels of {len(cases)} cases compiled with triton {version()}, {len(failed)} failed")
    return 1 if failed or not rows else 0


def _last_line() -> str:
    lines = [line.strip() for line in traceback.format_exc().strip().splitlines() if line.strip()]
    return lines[-1][:300]


if __name__ == "__main__":
    sys.exit(main())
