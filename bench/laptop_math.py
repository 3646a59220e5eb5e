"""What `bench.laptop` computes from its clocks: the time of a long reading, its ratios and its bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

BATCH = 512  # llama.cpp's micro-batch
PEER = "Q4_0"  # which the bars are against
FORMS = ("int4", "int4-all")  # of ours: what 4 bits are here by default, and 4 bits all over as theirs
# What, after how many tokens, and how many times the peer's speed it shall be at least.
BARS = (("decode", 1024, 1.0), ("decode", 32768, 2.0), ("prefill", 4096, 2.5), ("prefill", 32768, 5.0))


@dataclass(frozen=True)
class Batch:
    """Some tokens read at once.

    Attributes:
        depth: tokens before them.
        filled: those were put into the cache, not read.
    """

    depth: int
    tokens: int
    seconds: float
    filled: bool


@dataclass
class Side:
    """What one program measured; keys are lengths in tokens.

    Attributes:
        read: seconds to read a text of a length, as a whole.
        batches: seconds of its parts, by depth.
        step: median seconds to write a token after a length.
        read_roofline, step_roofline: the least seconds the machine could take, where they are known.
        peak: most bytes of memory held.
        load: seconds to load the model.
        notes: about the program.
    """

    read: dict[int, float] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    step: dict[int, float] = field(default_factory=dict)
    read_roofline: dict[int, float] = field(default_factory=dict)
    step_roofline: dict[int, float] = field(default_factory=dict)
    peak: int = 0
    load: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Side:
        """Return what `as_json` made: JSON turns keys into text."""
        timed = {
            name: {int(length): seconds for length, seconds in raw[name].items()}
            for name in ("read", "step", "read_roofline", "step_roofline")
        }
        return cls(**raw | timed | {"batches": [Batch(**batch) for batch in raw["batches"]]})

    def seconds(self, length: int) -> float | None:
        """Return the seconds to read a text: measured, or integrated over batches; None if out of reach."""
        if length in self.read:
            return self.read[length]
        reached = max((batch.depth + batch.tokens for batch in self.batches), default=0)
        return integrated(self.batches, length) if reached >= length else None

    def method_error(self) -> tuple[int, float] | None:
        """Return the longest reading, and how far off the integral over the filled cache is from it.

        That integral knows the first batch and the filled ones alone, and no other part of the reading.
        """
        filled = [batch for batch in self.batches if batch.filled]
        if not filled or not self.read:
            return None
        longest = max(self.read)
        first = [batch for batch in self.batches if batch.depth == 0]
        return longest, integrated(first + filled, longest) / self.read[longest] - 1


def integrated(batches: Sequence[Batch], length: int) -> float:
    """Return the seconds to read `length` tokens, from the marginal cost at some depths.

    A batch's seconds per token stand for its middle. Between two middles the cost is a straight line, as it
    is for softmax attention; before the first and after the last, the nearest line goes on. With a single
    batch the cost is constant.
    """
    points = sorted((batch.depth + batch.tokens / 2, batch.seconds / batch.tokens) for batch in batches)
    if len(points) == 1:
        return length * points[0][1]
    total, start = 0.0, 0.0
    for index, (left, right) in enumerate(pairwise(points)):
        end = float(length) if index == len(points) - 2 else min(right[0], length)
        if end > start:
            total += (end - start) * _line(left, right, (start + end) / 2)
            start = end
    return total


def _line(left: tuple[float, float], right: tuple[float, float], x: float) -> float:
    share = (x - left[0]) / (right[0] - left[0])
    return left[1] + share * (right[1] - left[1])


def report(
    title: str, ours: dict[str, Side], theirs: dict[str, Side], lengths: Sequence[int]
) -> tuple[list[str], dict[str, Any]]:
    """Return a table as lines, and as JSON: tokens/s, share of the roofline, ratios, bars."""
    rows = [
        row
        for what in ("prefill", "decode")
        for length in lengths
        for form, side in ours.items()
        if (row := _row(what, length, form, side, theirs))
    ]
    bars = [_bar(bar, form, rows) for form in FORMS if form in ours for bar in BARS if bar[1] in lengths]
    heads = "".join(f"{kind:>8s} {'ratio':>6s}" for kind in theirs)
    lines = [title, f"{'':17s}{'length':>7s} {'tokens/s':>9s} {'share':>6s}  {heads}"]
    lines += [_line_of(row) for row in rows]
    for name, side in (ours | theirs).items():
        lines.append(f"  {name}: peak memory {side.peak / 1e9:.1f} GB, loaded in {side.load:.0f} s")
    lines += [f"  ceilings: {_ceilings(side)} (with {name})" for name, side in ours.items()]
    lines += [f"  longctx {form}: {side.notes.get('features', '')}" for form, side in ours.items()]
    for kind, side in theirs.items():
        lines.append(f"  llama.cpp {side.notes.get('version', '?')} {kind}: {side.notes.get('features', '')}")
        if found := side.method_error():
            lines.append(
                f"  {kind}: beyond {found[0]} tokens the cache was filled with copies, {BATCH} tokens timed"
                f" after them; their integral to {found[0]} is {found[1]:+.1%} off what was read"
            )
    lines += [
        f"bar  {bar['name']:42s} {bar['value']:6.2f}x  at least {bar['least']:.1f}x"
        f"  {'PASS' if bar['passed'] else 'MISS'}"
        for bar in bars
        if bar["value"] is not None
    ]
    return lines, {"rows": rows, "bars": bars}


def _row(what: str, length: int, form: str, side: Side, theirs: dict[str, Side]) -> dict[str, Any] | None:
    """Return one line: ours in tokens/s, its share of the roofline, and the others' tokens/s."""
    rate = _rate(side, what, length)
    if rate is None:
        return None
    floor = (side.read_roofline if what == "prefill" else side.step_roofline).get(length)
    tokens = length if what == "prefill" else 1
    peers = {kind: found for kind, peer in theirs.items() if (found := _rate(peer, what, length))}
    return {
        "what": what,
        "length": length,
        "form": form,
        "tokens_per_second": rate,
        "roofline": tokens / floor if floor else None,
        "share": rate * floor / tokens if floor else None,
        "peers": peers,
        "ratios": {kind: rate / peer for kind, peer in peers.items()},
    }


def _rate(side: Side, what: str, length: int) -> float | None:
    """Return tokens/s, if they were measured."""
    seconds = side.seconds(length) if what == "prefill" else side.step.get(length)
    if seconds is None:
        return None
    return (length if what == "prefill" else 1) / seconds


def _line_of(row: dict[str, Any]) -> str:
    share = f"{row['share']:6.0%}" if row["share"] is not None else f"{'-':>6s}"
    peers = "".join(f"{rate:8.1f} {row['ratios'][kind]:5.2f}x" for kind, rate in row["peers"].items())
    name = f"{row['what']:8s}{row['form']:>9s}{row['length']:7d}"
    return f"{name} {row['tokens_per_second']:9.1f} {share}  {peers}"


def _ceilings(side: Side) -> str:
    rates = side.notes.get("ceilings", {})
    return ", ".join(f"{name} {rate / 1e9:,.0f} G/s" for name, rate in rates.items())


def _bar(bar: tuple[str, int, float], form: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    what, length, least = bar
    wanted = (what, length, form)
    found = [row for row in rows if (row["what"], row["length"], row["form"]) == wanted]
    value = found[0]["ratios"].get(PEER) if found else None
    passed = None if value is None else value >= least
    return {
        "name": f"{what} in {form}, {length} tokens, over {PEER}",
        "value": value,
        "least": least,
        "passed": passed,
    }
