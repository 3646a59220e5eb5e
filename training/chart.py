"""Draw what training.ablations measured: a table and a figure, retrieval and reading speed by length.

    python -m training.chart runs/ablations/*.json --out bench/results/ablations

The figure is plain SVG, written by hand: a drawing library would be a dependency for one picture.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from training.tables import cell

COLOURS = ["#1b6ca8", "#c8553d", "#3c7a3a"]
WIDTH, HEIGHT, LEFT, TOP, GAP = 380, 220, 60, 30, 90
Series = dict[str, dict[int, float]]


def shares(run: dict[str, Any]) -> dict[int, list[bool]]:
    """Collect, by length, which answers were right."""
    found: dict[int, list[bool]] = {}
    for row in run["answers"]:
        found.setdefault(row["tokens"], []).append(row["right"])
    return found


def table(runs: dict[str, dict[str, Any]]) -> str:
    """Write right answers and tokens per second, one row per length."""
    head = [f"{name}, {what}" for what in ("right", "tokens/s") for name in runs]
    lines = ["| tokens | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for length in sorted({int(n) for run in runs.values() for n in run["speed"]}):
        right = [cell(shares(run).get(length, [])) for run in runs.values()]
        speed = [run["speed"].get(str(length)) for run in runs.values()]
        told = ["" if value is None else f"{value:,.0f}" for value in speed]
        lines.append(f"| {length:,} | " + " | ".join(right + told) + " |")
    return "\n".join(lines)


def panel(title: str, series: Series, top: float, bottom: float, ticks: list[float], x0: int) -> list[str]:
    """Draw one plot with a logarithmic x axis; the y axis is linear when it begins at 0, else logarithmic."""
    lengths = sorted({n for line in series.values() for n in line})
    first, last = math.log2(lengths[0]), math.log2(lengths[-1])

    def x(length: int) -> float:
        return x0 + (math.log2(length) - first) / (last - first) * WIDTH

    def y(value: float) -> float:
        share = math.log(value / bottom) / math.log(top / bottom) if bottom else value / top
        return TOP + HEIGHT * (1 - share)

    parts = [f'<text x="{x0}" y="{TOP - 12}" font-weight="bold">{title}</text>']
    parts += [
        f'<path d="M{x0} {y(tick):.1f}h{WIDTH}" stroke="#ddd"/>'
        f'<text x="{x0 - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in ticks
    ]
    for length in lengths:
        name = f"{length // 1024}k" if length >= 1024 else str(length)
        parts.append(f'<text x="{x(length):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{name}</text>')
    for colour, (name, line) in zip(COLOURS, series.items(), strict=False):
        points = " ".join(f"{x(n):.1f},{y(value):.1f}" for n, value in sorted(line.items()))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        end, value = max(line.items())
        parts.append(f'<text x="{x(end) + 6:.1f}" y="{y(value) + 4:.1f}" fill="{colour}">{name}</text>')
    return parts


def figure(runs: dict[str, dict[str, Any]]) -> str:
    """Return the SVG of both panels."""
    right = {name: {n: sum(f) / len(f) for n, f in shares(run).items()} for name, run in runs.items()}
    speed = {name: {int(n): float(v) for n, v in run["speed"].items()} for name, run in runs.items()}
    values = [value for line in speed.values() for value in line.values()]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
    ticks = [low * 10.0**i for i in range(round(math.log10(high / low)) + 1)]
    second = LEFT + WIDTH + 2 * GAP
    parts = panel("facts found", right, 1.0, 0.0, [0, 0.25, 0.5, 0.75, 1], LEFT)
    parts += panel("tokens read per second, one core", speed, high, low, ticks, second)
    size = f'width="{second + WIDTH + GAP}" height="{TOP + HEIGHT + 30}"'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    """Read one JSON file per variant; write OUT.md and OUT.svg."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="path without an ending")
    args = parser.parse_args()
    runs = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in args.results}
    args.out.with_suffix(".svg").write_text(figure(runs), encoding="utf-8")
    args.out.with_suffix(".md").write_text(table(runs) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
