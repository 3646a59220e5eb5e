"""Takes the figures of the GPU tables, prints each as it comes, and keeps all of them in one JSON file.

The file is written anew after every figure: a run that is stopped at its time limit loses nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from bench.gpu.bars import BARS, bar
from bench.gpu.roofline import Ceilings, Work
from bench.gpu.timing import HERE, Timing, ceilings, guarded, need_cuda
from bench.report import versions

RESULTS = Path(__file__).parents[1] / "results"
LIBRARIES = ("torch", "triton", "transformers", "fla-core")
T = TypeVar("T")


class Table:
    """One table of a GPU run.

    Args:
        name: of the table, the stage that makes it.
        out: the JSON file that all tables of a run share.
        measured: the ceilings; None takes those of the file, or measures them.
    """

    def __init__(self, name: str, out: Path, measured: Ceilings | None = None):
        self.name, self.out = name, out
        self._lines: list[dict[str, Any]] = []
        self._values: dict[str, float] = {}
        self._notes: list[str] = []
        known = read(out)
        earlier = known.get("ceilings")
        self.ceilings = measured or (Ceilings(**earlier) if earlier else ceilings())
        known["ceilings"] = asdict(self.ceilings)
        known.setdefault("machine", machine())
        known.setdefault("tables", {})[name] = {}
        _write(out, known)
        c = self.ceilings
        print(f"\n## {name}")
        print(
            f"ceilings: {c.bandwidth / 1e12:.2f} TB/s, {c.rate / 1e12:.0f} TFLOP/s,"
            f" launch {c.launch * 1e6:.1f} us"
        )
        print(f"{'what':52s} {'median':>10s} {'best':>10s} {'tok/s':>11s} {'roofline':>10s} share  peers")

    def line(
        self,
        what: str,
        timing: Timing,
        *,
        tokens: int,
        least: Work | float | None,
        peers: dict[str, Timing | None] | None = None,
    ) -> None:
        """Take one measurement.

        Args:
            what: operation and shape.
            timing: of it.
            tokens: it worked through.
            least: its work, or the least seconds it could take; None when there is no roofline.
            peers: timings of others on the same inputs in this run; None for one that could not run.
        """
        floor = least.seconds(self.ceilings) if isinstance(least, Work) else least
        rate = tokens / timing.median
        ratios = {name: peer.median / timing.median for name, peer in (peers or {}).items() if peer}
        shares = f"{_time(floor):>10s} {floor / timing.median:5.0%}" if floor else " " * 16
        ratio = ", ".join(f"{value:.2f}x {name}" for name, value in ratios.items())
        print(
            f"{what:52s} {_time(timing.median):>10s} {_time(timing.best):>10s} {rate:11.4g} {shares}  {ratio}"
        )
        self._lines.append(
            {
                "what": what,
                "seconds": timing.median,
                "best": timing.best,
                "runs": timing.runs,
                "tokens_per_second": rate,
                "roofline_seconds": floor,
                "share": floor and floor / timing.median,
                "bytes": least.bytes if isinstance(least, Work) else None,
                "flops": least.flops if isinstance(least, Work) else None,
                "peers": {name: peer and peer.median for name, peer in (peers or {}).items()},
            }
        )
        self._keep()

    def attempt(self, what: str, job: Callable[[], Timing], *, tokens: int, least: Work) -> Timing | None:
        """Take a measurement that may not be possible here; when it is not, note why."""
        timing = self.guard(what, job)
        if timing:
            self.line(what, timing, tokens=tokens, least=least)
        return timing

    def guard(self, name: str, job: Callable[[], T]) -> T | None:
        """Return what a peer or a step returns; when it fails, note why, so that the rest goes on."""
        result, why = guarded(job)
        if why:
            self.note(f"{name}: {why}")
        return result

    def value(self, name: str, value: float | None) -> None:
        """Take the value of a bar, in the bar's unit; None says that it could not be measured."""
        judged = bar(name)
        if value is not None:
            self._values[name] = value
        print(f"  bar: {bar_line(name, value, judged.passed(value))}")
        self._keep()

    def note(self, text: str) -> None:
        """Take and print a remark."""
        self._notes.append(text)
        print(f"  note: {text}")
        self._keep()

    def _keep(self) -> None:
        known = read(self.out)
        known.setdefault("tables", {})[self.name] = {
            "lines": self._lines,
            "values": self._values,
            "notes": self._notes,
        }
        _write(self.out, known)


def run(
    name: str,
    description: str | None,
    measure: Callable[[Table, argparse.Namespace], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Be the main function of a table's module: parse, check for a device, measure."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.gpu.{name}", description=description)
    parser.add_argument("--out", type=Path, default=default_out(), help="JSON file that the tables share")
    parser.add_argument("--quick", action="store_true", help="the smallest shapes only")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU: does the code run?")
    args = parser.parse_args(arguments)
    HERE.rehearsal = args.rehearse
    if not args.rehearse:
        need_cuda()
    table = Table(name, args.out)
    with torch.inference_mode():
        measure(table, args)
    return 0


def default_out() -> Path:
    """Return the file of today's run."""
    folder = os.environ.get("OUT") or RESULTS / f"gpu-{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    return Path(folder, "results.json")


def summary(known: dict[str, Any], stages: Sequence[str]) -> str:
    """Return the bars of some stages as a Markdown table, and how many passed."""
    values: dict[str, float] = {}
    for table in known.get("tables", {}).values():
        values |= table.get("values", {})
    rows, counts = [], {True: 0, False: 0, None: 0}
    for each in BARS:
        if each.stage in stages:
            passed = each.passed(values.get(each.name))
            counts[passed] += 1
            rows.append(f"| {each.stage} | {bar_line(each.name, values.get(each.name), passed, ' | ')} |")
    head = ["| stage | bar | value | limit | verdict |", "|---|---|---|---|---|"]
    tail = f"{counts[True]} passed, {counts[False]} failed, {counts[None]} not measured"
    notes = [
        f"- {name}: {note}"
        for name, table in known.get("tables", {}).items()
        for note in table.get("notes", [])
    ]
    return "\n".join([*head, *rows, "", *notes, "", tail])


def bar_line(name: str, value: float | None, passed: bool | None, between: str = "  ") -> str:
    """Return a bar with its value, limit and verdict."""
    judged = bar(name)
    shown = "-" if value is None else f"{value:.4g}"
    verdict = {True: "pass", False: "FAIL", None: "not measured"}[passed]
    word = {"most": "at most", "least": "at least"}[judged.kind]
    return between.join((name, shown, f"{word} {judged.limit:g} {judged.unit}", verdict))


def machine() -> dict[str, Any]:
    """Return the device, its driver's version and the libraries'."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "versions": versions(LIBRARIES),
        "cuda": torch.version.cuda,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory": properties.total_memory,
        }
    return facts


def read(path: Path) -> dict[str, Any]:
    """Return what the file holds; nothing when there is no such file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _write(path: Path, known: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".tmp")
    whole.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    whole.replace(path)


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1 or unit == "us":
            return f"{seconds * scale:.3g} {unit}"
    raise AssertionError


def main() -> int:
    """Print and write the summary of a folder; 1 when a bar of the given stages failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.report", description="Summary of a GPU run.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("stages", nargs="*", help="default: all")
    args = parser.parse_args()
    known = read(args.folder / "results.json")
    stages = args.stages or sorted({each.stage for each in BARS})
    text = summary(known, stages)
    args.folder.mkdir(parents=True, exist_ok=True)
    facts = json.dumps({name: known.get(name) for name in ("machine", "ceilings")})
    (args.folder / "summary.md").write_text(f"# GPU run\n\n{facts}\n\n{text}\n", encoding="utf-8")
    print(text)
    return int("FAIL" in text)


if __name__ == "__main__":
    sys.exit(main())
