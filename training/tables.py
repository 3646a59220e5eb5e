"""Tables of evaluation results: shares with Wilson intervals, and what the pointer's attention says.

python -m training.tables runs/eval-a.json runs/eval-b.json --counts bench/results/evaluation.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from longctx.tasks.results import wilson

Row = dict[str, Any]  # one training.evaluate.Result
COUNTED = ["asked", "right", "pointed", "refused"]
STEPS = [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99]


def cell(flags: list[bool]) -> str:
    """Write a share: right of asked, then the interval."""
    if not flags:
        return ""
    low, high = wilson(sum(flags), len(flags))
    return f"{sum(flags) / len(flags):.3f} ({sum(flags)}/{len(flags)}; {low:.3f}-{high:.3f})"


def table(rows: list[Row]) -> str:
    """Write the results by task, family and length as a Markdown table."""
    lengths = sorted({row["tokens"] for row in rows})
    lines = ["| tokens | " + " | ".join(f"{n:,}" for n in lengths) + " |", "|---" * (len(lengths) + 1) + "|"]

    def line(name: str, chosen: list[Row], what: str) -> None:
        at = [[bool(row[what]) for row in chosen if row["tokens"] == n] for n in lengths]
        lines.append(f"| {name} | " + " | ".join(map(cell, at)) + " |")

    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        line(task, mine, "right")
        families = sorted({row["family"] for row in mine})
        for family in families if len(families) > 1 else []:
            line(f"{task}: {family}", [row for row in mine if row["family"] == family], "right")
    asked = [row | {"lost": row["answer"] == "not found"} for row in rows if row["value"] != "not found"]
    line("present, but refused", asked, "lost")
    single = [row for row in asked if row["right"] and row["mass"]]
    line("pointer on the fact when right", single, "pointed")
    return "\n".join(lines)


def trust(rows: list[Row]) -> str:
    """Write, for thresholds on the pointer's attention, what would be shown: right, wrong, and lost."""
    shown = [row for row in rows if row["answer"] not in ("", "not found") and row["mass"]]
    right = [row for row in shown if row["right"]]
    lines = ["| least attention | right shown | wrong shown | right lost |", "|---|---|---|---|"]
    for least in STEPS:
        kept = [row for row in shown if row["mass"] >= least]
        good = sum(row["right"] for row in kept)
        lines.append(f"| {least} | {good} | {len(kept) - good} | {len(right) - good} |")
    return "\n".join(lines)


def counts(rows: list[Row]) -> list[Row]:
    """Count what was asked, right, pointed at and refused, by task, family and length."""
    found: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        task, family, tokens = row["task"], row["family"], row["tokens"]
        fresh = {"task": task, "family": family, "tokens": tokens} | dict.fromkeys(COUNTED, 0)
        one = found.setdefault((task, family, tokens), fresh)
        told = {"asked": 1, "refused": row["answer"] == "not found"} | row
        for name in COUNTED:
            one[name] += int(told[name])
    return list(found.values())


def main() -> None:
    """Print both tables for the results in some files, taken together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--counts", type=Path, help="JSON file to write the counts behind the table to")
    args = parser.parse_args()
    rows: list[Row] = [row for path in args.results for row in json.loads(path.read_text(encoding="utf-8"))]
    print(table(rows), trust(rows), sep="\n\n")
    if args.counts:
        lines = ",\n".join(json.dumps(row) for row in counts(rows))
        args.counts.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
