"""The bars: answers shown are right, answerable questions answered, others refused."""

from collections.abc import Sequence
from typing import Any

from bench.reader.collect import Row
from bench.reader.probability import fit, left_out, surest
from bench.reader.questions import BOOKS
from longctx.tasks.results import wilson

Best = dict[str, Any] | None
BARS = {"shown right": 0.80, "answerable answered": 0.45, "unanswerable refused": 0.85}
STEPS = [step / 100 for step in range(99, 4, -1)]


def verdict(dev: Sequence[Row], test: Sequence[Row]) -> dict[str, Any]:
    """Return all figures: thresholds are chosen on dev (each text left out in turn), test is judged once."""
    apart = left_out(dev)
    bars, sure = threshold(dev, apart), at_precision(dev, apart, BARS["shown right"])
    told: dict[str, Any] = {"thresholds": {"bars": bars, "precision 80 %": sure}}
    parts = {"dev": (dev, apart)} | ({"test": (test, surest(test, fit(dev)))} if test else {})
    placed = {"dev": left_out(dev, "sentence_right")}
    if test:
        placed["test"] = surest(test, fit(dev, "sentence_right"))
    blend = best_blend(dev, placed["dev"])
    for name, (rows, best) in parts.items():
        told[name] = {
            "tool alone": counts(rows, [None] * len(rows), 1.0),
            "at the threshold of the bars": groups(rows, best, bars),
            "at the threshold of 80 % right": groups(rows, best, sure),
            "whatever is surer than refusing": counts(rows, surer(rows), 0.0),
            "curve": curve(rows, best),
            "what limits it": limits(rows, best),
            "right sentence first": ranking(rows, placed[name], blend),
            "calibration": calibration(rows, best),
            "seconds of the reader": seconds(rows),
            "wrong": examples(rows, best, bars, right=False),
            "right": examples(rows, best, bars, right=True),
        }
    return told


def counts(rows: Sequence[Row], best: Sequence[Best], least: float) -> dict[str, Any]:
    """Count what is shown: what the tool finds, or else the reader's answer from a probability on."""
    shown = [(row, _shown(row, one, least)) for row, one in zip(rows, best, strict=True)]
    there = [right for row, right in shown if row.answers]
    absent = [right for row, right in shown if not row.answers]
    given = [right for _, right in shown if right is not None]
    return {
        "shown right": _share(sum(given), len(given)),
        "answerable answered": _share(sum(right is not None for right in there), len(there)),
        "answerable answered rightly": _share(sum(right is True for right in there), len(there)),
        "unanswerable refused": _share(sum(right is None for right in absent), len(absent)),
    }


def groups(rows: Sequence[Row], best: Sequence[Best], least: float) -> dict[str, Any]:
    """Count all questions, and those about short texts and about books apart."""
    told = {"all": counts(rows, best, least)}
    for name, is_book in {"short texts": False, "books": True}.items():
        own = [pair for pair in zip(rows, best, strict=True) if pair[0].text.startswith(BOOKS) == is_book]
        if own:
            told[name] = counts([row for row, _ in own], [one for _, one in own], least)
    return told


def _shown(row: Row, best: Best, least: float) -> bool | None:
    """Return whether what is shown is right; None if nothing is."""
    if row.tool:
        return row.tool_right
    return best["right"] if best and best.get("p", 1.0) >= least else None


def _share(count: int, of: int) -> dict[str, Any]:
    interval = [round(bound, 3) for bound in wilson(count, of)] if of else []
    return {"count": count, "of": of, "share": round(count / max(1, of), 3), "interval_95": interval}


def threshold(rows: Sequence[Row], best: Sequence[Best]) -> float:
    """Return the threshold that comes closest to all bars: whose worst shortfall is least."""

    def shortfall(least: float) -> float:
        found = counts(rows, best, least)
        return max(bar - float(found[name]["share"]) for name, bar in BARS.items())

    return min(STEPS, key=shortfall)


def at_precision(rows: Sequence[Row], best: Sequence[Best], precision: float) -> float:
    """Return the lowest threshold from which on the reader's own answers are right so often; 0.99 if none."""
    chosen = STEPS[0]
    for least in STEPS:
        own = [
            one["right"]
            for row, one in zip(rows, best, strict=True)
            if one and one["p"] >= least and not row.tool
        ]
        if own and sum(own) >= precision * len(own):
            chosen = least
    return chosen


def surer(rows: Sequence[Row]) -> list[Best]:
    """Return answers without any calibration: the one that beats refusing by most, if one does."""
    found = []
    for row in rows:
        best = max(row.said, key=lambda one: one["margin"], default=None)
        found.append(best if best and best["margin"] > 0 else None)
    return found


def calibrate(dev: Sequence[Row]) -> dict[str, Any]:
    """Return what the program needs: weights and bias fitted on dev, and the threshold."""
    fitted = fit(dev)
    weights = {name: round(weight, 5) for name, weight in fitted.weights.items()}
    least = at_precision(dev, left_out(dev), BARS["shown right"])
    return {"bias": round(fitted.bias, 5), "weights": weights, "threshold": least}


def curve(rows: Sequence[Row], best: Sequence[Best]) -> list[dict[str, Any]]:
    """Return, by threshold, how many of the reader's own answers are shown and right."""
    there, told = sum(bool(row.answers) for row in rows), []
    for least in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
        own = [
            (row, one)
            for row, one in zip(rows, best, strict=True)
            if one and one["p"] >= least and not row.tool
        ]
        right = sum(one["right"] for _, one in own)
        told.append(
            {
                "threshold": least,
                "right": _share(right, len(own)),
                "of the answerable, answered": round(sum(bool(row.answers) for row, _ in own) / there, 3),
            }
        )
    return told


def limits(rows: Sequence[Row], best: Sequence[Best]) -> dict[str, Any]:
    """Return where answers are lost: the passage, the words in it, refusing, choosing among passages."""
    there = [(row, one) for row, one in zip(rows, best, strict=True) if row.answers]
    read = [row for row, _ in there if any(one["passage_right"] for one in row.said)]
    own = [next(one for one in row.said if one["passage_right"]) for row in read]
    other = [one for row in rows for one in row.said if not one["passage_right"]]
    return {
        "the passage is read": _share(len(read), len(there)),
        "of these, its surest words are right": _share(sum(one["right"] for one in own), len(own)),
        "of these, it is not refused": _share(sum(one["margin"] > 0 for one in own), len(own)),
        "other passages refused": _share(sum(one["margin"] <= 0 for one in other), len(other)),
        "right from any passage": _share(
            sum(any(one["right"] for one in row.said) for row, _ in there), len(there)
        ),
        "the surest is right": _share(sum(bool(one and one["right"]) for _, one in there), len(there)),
    }


def best_blend(rows: Sequence[Row], best: Sequence[Best]) -> float:
    """Return from which probability on the reader's sentence should go before the closest one."""

    def right(least: float) -> int:
        return sum(_first(row, one, least) for row, one in zip(rows, best, strict=True) if row.answers)

    return max(STEPS, key=right)


def _first(row: Row, best: Best, least: float) -> bool:
    if row.tool or not best or best["p"] < least:
        return row.first_right
    return bool(best["sentence_right"])


def ranking(rows: Sequence[Row], best: Sequence[Best], blend: float) -> dict[str, Any]:
    """Return how often the sentence shown first is the right one: today, the reader's, and both."""
    there = [(row, one) for row, one in zip(rows, best, strict=True) if row.answers]
    chosen = {"today": 2.0, "the reader's": 0.0, "the reader's if sure, else today's": blend}
    told: dict[str, Any] = {
        name: _share(sum(_first(row, one, least) for row, one in there), len(there))
        for name, least in chosen.items()
    }
    pairs = [(row.first_right, _first(row, one, blend)) for row, one in there]
    told["threshold"] = blend
    told["only today right"] = sum(was and not now for was, now in pairs)
    told["only with the reader right"] = sum(now and not was for was, now in pairs)
    told["in the passages"] = _share(sum(row.in_three for row, _ in there), len(there))
    return told


def calibration(rows: Sequence[Row], best: Sequence[Best]) -> dict[str, Any]:
    """Return how far the probabilities can be believed."""
    pairs = [(one["p"], one["right"]) for one in best if one]
    bins, error = [], 0.0
    for number in range(5):
        own = [pair for pair in pairs if number == min(4, int(pair[0] * 5))]
        if own:
            said, was = sum(p for p, _ in own) / len(own), sum(right for _, right in own) / len(own)
            error += abs(said - was) * len(own) / len(pairs)
            bins.append({"count": len(own), "said": round(said, 3), "right": round(was, 3)})
    return {"bins": bins, "ece": round(error, 3), "brier": round(_brier(pairs), 3)}


def _brier(pairs: Sequence[tuple[float, bool]]) -> float:
    return sum((p - right) ** 2 for p, right in pairs) / max(1, len(pairs))


def seconds(rows: Sequence[Row]) -> dict[str, float]:
    """Return the middle and the slowest of the questions."""
    taken = sorted(row.seconds for row in rows)
    return {"median": taken[len(taken) // 2], "p95": taken[len(taken) * 95 // 100], "most": taken[-1]}


def examples(rows: Sequence[Row], best: Sequence[Best], least: float, *, right: bool) -> list[str]:
    """Return some of what the reader shows: the question, its answer, its probability."""
    own = [
        (one["p"], f"{row.ask} [{row.text}] -> {one['text']} ({one['p']:.2f})")
        for row, one in zip(rows, best, strict=True)
        if one and one["p"] >= least and one["right"] == right and not row.tool
    ]
    return [text for _, text in sorted(own, reverse=True)[:25]]
