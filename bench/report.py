"""Takes the numbers, prints each as it comes, judges the bars and writes the JSON file."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.measure import Timing

LIBRARIES = ("torch", "transformers", "llama-cpp-python", "gguf")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
RESULTS = Path(__file__).parent / "results"


class Report:
    """The numbers of one run.

    Args:
        threads: of every engine.
        out: the JSON file; None names it by date.
    """

    def __init__(self, threads: int, out: Path | None):
        now = datetime.datetime.now(datetime.UTC)
        self.out = out or RESULTS / f"cpu-{now:%Y%m%d-%H%M}.json"
        self.ceilings: dict[str, float] = {}
        self._rows: list[dict[str, object]] = []
        self._rates: dict[tuple[str, int], dict[str, float]] = {}
        date = f"{now:%Y-%m-%d %H:%M} UTC"
        self._data: dict[str, object] = {"date": date, "threads": threads, **machine()}
        self._notes: list[str] = []
        self._agreement: dict[str, object] = {}
        self._memory: list[dict[str, object]] = []

    def machine(self, measured: dict[str, float]) -> None:
        """Take the measured ceilings (GFLOP/s and GB/s) and print what the run stands on."""
        self._data["ceilings"] = measured
        products = [measured[name] for name in ("mm", "onednn") if name in measured]
        self.ceilings = {
            "flops": max(products) * 1e9,
            "bytes": max(measured["copy"], measured["read"]) * 1e9,
        }
        for name, value in self._data.items():
            print(f"{name}: {value}")
        flops, transfer = (self.ceilings[name] / 1e9 for name in ("flops", "bytes"))
        print(f"roofline: {flops:.0f} GFLOP/s float32, {transfer:.1f} GB/s\n")

    def agreement(self, name: str, error: float, greedy: bool) -> None:
        """Take the largest difference from another engine's logits, and whether greedy tokens are equal."""
        self._agreement[name] = {"largest_difference": error, "greedy_equal": greedy}
        print(f"agreement  {name:24s} logits within {error:.1e}, greedy {'equal' if greedy else 'DIFFERENT'}")

    def row(
        self, section: str, length: int, name: str, *, tokens: int, timing: Timing, roofline: float | None
    ) -> None:
        """Take one measurement: `tokens` in the timing's seconds, against a roofline in tokens/s."""
        rate = tokens / timing.best
        self._rates.setdefault((section, length), {})[name] = rate
        self._rows.append(
            {
                "section": section,
                "length": length,
                "name": name,
                "tokens_per_second": round(rate, 1),
                "slowest": round(tokens / timing.worst, 1),
                "repeats": timing.repeats,
                "roofline": roofline and round(roofline, 1),
            }
        )

    def end(self, section: str, length: int) -> None:
        """Print the rows of a section, each with its ratio to the others of interest."""
        rates = self._rates[section, length]
        title = f"{section}, {length} tokens"
        print(f"\n{title:36s} {'tok/s':>10s} {'slowest':>9s} {'roofline':>9s} {'share':>5s}  ratio")
        for row in self._rows:
            if (row["section"], row["length"]) != (section, length):
                continue
            name, rate, roofline = str(row["name"]), rates[str(row["name"])], row["roofline"]
            share = f"{roofline:9.0f} {rate / roofline:5.0%}" if isinstance(roofline, float) else " " * 15
            print(f"  {name:34s} {rate:10.1f} {row['slowest']:9.1f} {share}  {_ratios(name, rates)}")

    def memory(self, tokens: int, measured: dict[str, float]) -> None:
        """Take and print the peak of a process that read `tokens`."""
        growth = measured["peak"] - measured["before"]
        self._memory.append({"tokens": tokens, **measured})
        print(
            f"memory, {tokens} tokens: peak {measured['peak'] / 1e6:.0f} MB, of which growth"
            f" {growth / 1e6:.0f} MB, of which state and KV {measured['state'] / 1e6:.0f} MB"
        )

    def note(self, text: str) -> None:
        """Take and print a remark."""
        self._notes.append(text)
        print(f"\nnote: {text}")

    def rate(self, section: str, length: int, name: str) -> float:
        """Return tokens/s of an earlier row."""
        return self._rates[section, length][name]

    def finish(self) -> int:
        """Print the bars, write the file; return 1 when a bar is missed."""
        print()
        bars = [_bar(*bar) for bar in self._bars()]
        self._data |= {
            "agreement": self._agreement,
            "rows": self._rows,
            "memory": self._memory,
            "notes": self._notes,
            "bars": bars,
        }
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self._data, indent=1) + "\n", encoding="utf-8")
        return int(any(bar["passed"] is False for bar in bars))

    def _bars(self) -> list[tuple[str, float | None, float]]:
        prefill = _with_best(self._rates.get(("prefill", 4096), {}))
        decode = self._rates.get(("decode", 1024), {})
        trained = self._rates.get(("trained model", 1 << 20), {})
        streamed = [
            rate / rates["one pass"]
            for (section, _), rates in self._rates.items()
            if section.startswith("streamed")
            for name, rate in rates.items()
            if name != "one pass"
        ]
        one_text = _over(trained, "one text", "texts of 4096")
        return [
            ("prefill 4k over transformers", _over(prefill, "longctx", "transformers"), 1.4),
            ("prefill 4k over the best llama.cpp", _over(prefill, "longctx", "best llama.cpp"), 3.0),
            ("decode after 1k over transformers", _over(decode, "longctx", "transformers"), 2.0),
            ("streamed over one pass, worst", min(streamed, default=None), 0.95),
            ("trained model, one text of 1M over texts of 4096", one_text, 0.95),
        ]


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """Return the version of each library, or that it is missing."""
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def machine() -> dict[str, object]:
    """Return what the numbers were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in cpuinfo.split("\n\n", 1)[0].splitlines() if ":" in line)
    named = {name.strip(): value.strip() for name, value in fields.items()}
    flags = named.get("flags", "").split()
    return {
        "cpu": named.get("model name", platform.machine()),
        "family": f"{named.get('vendor_id')} family {named.get('cpu family')} model {named.get('model')}",
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"python": platform.python_version()} | versions(LIBRARIES),
    }


def _ratios(name: str, rates: dict[str, float]) -> str:
    """Say how `name` compares: longctx to its peers, streaming to one pass."""
    for base in ("one pass", "texts of 4096"):
        if base in rates:
            return f"{rates[name] / rates[base]:.2f}x {base}"
    if not name.startswith("longctx"):
        return ""
    rates = _with_best(rates)
    peers = [peer for peer in ("transformers", "best llama.cpp") if peer in rates]
    return ", ".join(f"{rates[name] / rates[peer]:.2f}x {peer}" for peer in peers)


def _with_best(rates: dict[str, float]) -> dict[str, float]:
    """Add the fastest llama.cpp under a name of its own, if there is one."""
    llamas = [rate for name, rate in rates.items() if name.startswith("llama.cpp")]
    return rates | ({"best llama.cpp": max(llamas)} if llamas else {})


def _over(rates: dict[str, float], name: str, other: str) -> float | None:
    return rates[name] / rates[other] if name in rates and other in rates else None


def _bar(name: str, value: float | None, least: float) -> dict[str, object]:
    passed = None if value is None else value >= least
    verdict = {None: "not measured", True: "PASS", False: "FAIL"}[passed]
    shown = "-" if value is None else f"{value:.2f}"
    print(f"bar  {name:48s} {shown:>6s}  at least {least:.2f}  {verdict}")
    return {"name": name, "value": value, "least": least, "passed": passed}
