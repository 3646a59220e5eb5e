"""Compares longctx with llama.cpp on laptop models of equal size, random weights: `python -m bench.laptop`.

    python -m bench.laptop --llama-python VENV/bin/python
    python -m bench.laptop --only hypenet-2b --lengths 1024 4096     # a few minutes

Ring-mini-linear-2.0 runs beside Ling-mini-2.0, HypeNet-2B beside Qwen3-1.7B. Each side has a process of its
own, one after the other. What was measured is written at once: the same command with the same --out goes on
where it was stopped. Needs Linux, and llama-cpp-python, numpy and gguf in the interpreter given.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.laptop_math import Side, report
from longctx.machine import NO_AMX, ONEDNN_LIMIT, available_memory, gib, usable_threads

RESULTS = Path(__file__).parent / "results"
KINDS = ["Q4_0", "Q8_0"]
LENGTHS = [1024, 4096, 32768]
ROOM = 3 << 30  # bytes beside the weights for the cache of 32k tokens and the products
WITHOUT_AMX = (
    "CMAKE_ARGS='-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON"
    " -DGGML_AVX512_BF16=ON' pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python"
    " llama-cpp-python"
)


@dataclass(frozen=True)
class Pair:
    """Two models of equal size: a shape of `full_shape` and a twin of `laptop_gguf`, each in some forms."""

    ours: str
    forms: tuple[str, ...]
    twin: str
    kinds: tuple[str, ...] = ("Q4_0", "Q8_0")


PAIRS = (
    Pair("hypenet-2b", ("int4", "int4-all", "int8"), "qwen3-1.7b"),
    Pair("ring-mini", ("int4", "int4-all"), "ling-mini"),
)


class Run:
    """One run: where it writes, and what is already there.

    Args:
        options: of the command.
        work: a folder for GGUF files, one at a time.
    """

    def __init__(self, options: argparse.Namespace, work: Path):
        self.options, self.work = options, work
        self.environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        settings = {"threads": options.threads, "lengths": options.lengths}
        self.data: dict[str, Any] = {"settings": settings, "sides": {}, "notes": []}
        if options.out.exists():
            self.data = json.loads(options.out.read_text(encoding="utf-8"))
            if self.data["settings"] != settings:
                raise SystemExit(f"{options.out}: measured with {self.data['settings']}; use another --out")

    def pair(self, pair: Pair) -> None:
        """Measure all sides of a pair that have not been: ours and theirs in turn."""
        for index in range(max(len(pair.forms), len(pair.kinds))):
            for form in pair.forms[index : index + 1]:
                self._side(f"{pair.ours} {form}", lambda form=form: self._ours(pair.ours, form))
            for kind in pair.kinds[index : index + 1]:
                self._side(f"{pair.twin} {kind}", lambda kind=kind: self._theirs(pair.twin, kind))
        sides = {name: Side.from_json(raw) for name, raw in self.data["sides"].items() if raw}
        ours = {form: sides[f"{pair.ours} {form}"] for form in pair.forms}
        theirs = {kind: sides[name] for kind in pair.kinds if (name := f"{pair.twin} {kind}") in sides}
        lines, rows = report(f"{pair.ours} beside {pair.twin}", ours, theirs, self.options.lengths)
        self.data.setdefault("rows", {})[pair.ours] = rows
        print("\n".join(["", *lines]), flush=True)
        self.save()

    def save(self) -> None:
        """Write what there is."""
        self.options.out.parent.mkdir(parents=True, exist_ok=True)
        self.options.out.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")

    def _side(self, name: str, measure: Any) -> None:
        if name in self.data["sides"]:
            return
        print(f"{name}:", file=sys.stderr, flush=True)
        began = time.perf_counter()
        self.data["sides"][name] = measure()
        print(f"  {time.perf_counter() - began:.0f} s in all", file=sys.stderr, flush=True)
        self.save()

    def _ours(self, shape: str, form: str) -> dict[str, Any]:
        return self._child(sys.executable, "bench.laptop_ours", shape, "--quant", form, *self._settings())

    def _theirs(self, twin: str, kind: str) -> dict[str, Any] | None:
        """Write the file, measure, delete it; None if it does not fit."""
        python, path = self.options.llama_python, self.work / f"{twin}-{kind}.gguf"
        size = self._child(python, "bench.laptop_gguf", twin, kind)["bytes"]
        if (free := available_memory()) < size + ROOM:
            self._note(
                f"{twin} {kind}: left out, {gib(size)} and {gib(ROOM)} beside do not fit in {gib(free)}"
            )
            return None
        try:
            self._child(python, "bench.laptop_gguf", twin, kind, "--out", path)
            return self._child(python, "bench.laptop_peer", path, *self._settings())
        finally:
            path.unlink(missing_ok=True)

    def _settings(self) -> list[object]:
        return ["--threads", self.options.threads, "--lengths", *self.options.lengths]

    def _child(self, python: str | Path, module: str, *arguments: object) -> dict[str, Any]:
        command = [str(python), "-m", module, *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=self.environment)
        if done.returncode == -signal.SIGILL:
            raise SystemExit(_died(module))
        if done.returncode:
            raise SystemExit(f"{module} failed with exit status {done.returncode}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def _note(self, text: str) -> None:
        self.data["notes"].append(text)
        print(f"note: {text}", file=sys.stderr, flush=True)


def _died(module: str) -> str:
    """Return what to say, and to do, when a side ended with SIGILL."""
    cause = "this processor, or the machine that it is virtual on, does not run an instruction (SIGILL)"
    if module == "bench.laptop_ours":
        return f"longctx: {cause}; keep oneDNN off AMX and start again:\n  export {ONEDNN_LIMIT}={NO_AMX}"
    return (
        f"llama.cpp: {cause} that it was built for, most likely of AMX. Build it without, and run the same"
        f" command again; what was measured is kept:\n  {WITHOUT_AMX}\n"
        f"longctx still uses AMX then. To measure both without: export {ONEDNN_LIMIT}={NO_AMX}"
    )


def main() -> int:
    """Measure the pairs, print the tables, write the JSON file; 1 when a bar is missed."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        run = Run(options, Path(work))
        run.data |= {
            "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
            "machine": _machine(),
        }
        for pair in PAIRS:
            if options.only in (None, pair.ours):
                run.pair(replace(pair, kinds=tuple(options.kinds)))
    bars = [bar for rows in run.data["rows"].values() for bar in rows["bars"]]
    return int(any(bar["passed"] is False for bar in bars))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.laptop", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--llama-python", type=Path, default=Path(sys.executable), metavar="PATH")
    parser.add_argument("--only", choices=[pair.ours for pair in PAIRS])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of weights of llama.cpp")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="multiples of 512")
    parser.add_argument("--long", type=int, metavar="N", help="instead of the longest of --lengths")
    parser.add_argument("--threads", type=int, default=usable_threads())
    parser.add_argument("--work", type=Path, metavar="DIR", help="room for GGUF files, 18 GB (default: /tmp)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file (bench/results/laptop-DATE.json)")
    options = parser.parse_args()
    lengths = sorted(options.lengths)
    options.lengths = sorted({*lengths[:-1], options.long}) if options.long else lengths
    if any(length <= 0 or length % 512 for length in options.lengths):
        parser.error("--lengths: llama.cpp reads 512 tokens at once; take multiples of that")
    options.out = options.out or RESULTS / f"laptop-{datetime.datetime.now(datetime.UTC):%Y-%m-%d}.json"
    return options


def _machine() -> dict[str, object]:
    from bench.report import machine  # imports torch, which the children need the memory of

    return machine()


if __name__ == "__main__":
    sys.exit(main())
