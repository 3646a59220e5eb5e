"""Fit the verifier: which copied answers the bundled model is right about, as a probability.

    python -m training.verifier --books BOOKS --natural ROWS.jsonl.xz --code PROGRAMS --out FOLDER

The bundled model answers every question of `verifier_cases`; what is known about each answer is kept in
FOLDER, one file for each group (a group that is there is not asked again). A logistic regression is fitted
on one part of the texts, its threshold chosen on that and another, and both are judged on a third. The
weights are written beside the model, the figures into FOLDER/report.json.
"""

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from longctx.engine import Engine
from longctx.hub import BUNDLED
from longctx.quotes.second_look import Look
from longctx.quotes.stems import Stems
from longctx.reading import Reading
from longctx.tasks import lookup, verifier
from longctx.tasks.questions import asks_for_all
from longctx.tasks.results import wilson
from longctx.tasks.verifier import Copied
from training.reading import prompt, reading_of
from training.verifier_cases import Asked, Case, cases

RIDGE = 5.0  # on weights of features with unit variance
ROUNDS = 3  # of fitting: which passages are read alone depends on what was not shown before
MOST_WRONG = 0.01  # of the questions
BINS = 10
MORE = 6  # words around a right answer
CERTAIN = 0.9  # attention
STEMS = Stems()
_WORD = re.compile(r"\w+(?:[-.,':/]\w+)*")


@dataclass(frozen=True)
class Row:
    """A proposal of the model, or that there is none.

    Attributes:
        stage: 0 for the whole text, from 1 on for passages read alone.
        copied: the fields of `Copied`, and of its look only the rarity; None where nothing was proposed.
        features: computed from these; empty where nothing was proposed.
    """

    group: str
    part: str
    question: str
    present: bool
    stage: int
    text: str
    right: bool
    copied: dict[str, Any] | None
    features: dict[str, float]

    @classmethod
    def load(cls, line: str) -> "Row":
        """Return a stored row, with features as they are computed today."""
        row = cls(**json.loads(line), features={})
        if row.copied is None:
            return row
        look = Look.at(row.question, row.copied["look"], STEMS.of)
        return replace(row, features=verifier.features(Copied(**{**row.copied, "look": look})))

    def store(self) -> str:
        """Return all but the features as a line of JSON."""
        values = asdict(self)
        del values["features"]
        return json.dumps(values) + "\n"


def is_right(text: str, asked: Asked) -> bool:
    """Judge an answer: it holds the whole value and little else; if not exact, most of its words will do."""
    said = _plain(text)
    for answer in map(_plain, asked.answers):
        if _within(answer, said) and len(said) <= len(answer) + MORE:
            return True
        if not asked.exact and _within(said, answer) and 2 * len(said) >= len(answer):
            return True
    return False


def _within(part: list[str], whole: list[str]) -> bool:
    return f" {' '.join(part)} " in f" {' '.join(whole)} "


def _plain(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def proposals(reading: Reading, case: Case, asked: Asked) -> Iterator[Row]:
    """Yield what the model proposes for a question: from the whole text, then from passages.

    Where it is certain of the whole text, no passage is read: what it says of that is seldom looked at.
    """
    after = prompt(reading.engine, asked.question).after
    found = [lookup.propose(reading, asked.question, after)]
    certain = found[0] is not None and found[0].copied.mean >= CERTAIN and not found[0].copied.refused
    if reading.index and not certain and not asks_for_all(asked.question):
        likely = reading.index.search(asked.question, lookup.CLOSER)
        found += lookup.propose_closer(reading, likely, asked.question, after)
    common = (case.group, case.part, asked.question, bool(asked.answers))
    for stage, one in enumerate(found):
        if one:
            known = {field.name: getattr(one.copied, field.name) for field in fields(Copied)}
            known["look"] = dict(one.copied.look.rarity)
            right = is_right(one.copied.text, asked) or is_right(one.text, asked)
            yield Row(*common, stage, one.text, right, known, {})
        else:
            yield Row(*common, stage, "", False, None, {})


def collect(engine: Engine, made: Sequence[Case]) -> Iterator[Row]:
    """Ask all questions of the cases."""
    for case in made:
        with reading_of(engine, case.text) as reading:
            for asked in case.asked:
                yield from proposals(reading, case, asked)


def fit(rows: Sequence[Row]) -> dict[str, Any]:
    """Fit a logistic regression by Newton's method, with a ridge; return its bias and weights."""
    names = sorted(rows[0].features)
    x = torch.tensor([[row.features[name] for name in names] for row in rows], dtype=torch.float64)
    y = torch.tensor([row.right for row in rows], dtype=torch.float64)
    mean, spread = x.mean(0), x.std(0).clamp_min(1e-6)
    x = torch.cat([(x - mean) / spread, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
    ridge = torch.diag(torch.tensor([RIDGE] * len(names) + [0.0], dtype=torch.float64))
    w = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(30):
        p = torch.sigmoid(x @ w)
        gradient = x.T @ (p - y) + ridge @ w
        curvature = (x * (p * (1 - p))[:, None]).T @ x + ridge + 1e-9 * torch.eye(len(w), dtype=torch.float64)
        w -= torch.linalg.solve(curvature, gradient)
    slopes = w[:-1] / spread
    bias = float(w[-1] - (slopes * mean).sum())
    return {"bias": bias, "weights": dict(zip(names, slopes.tolist(), strict=True))}


def score(fitted: dict[str, Any], row: Row) -> float:
    """Return the probability of a proposal; 0 where there is none."""
    if not row.features:
        return 0.0
    total = fitted["bias"] + sum(weight * row.features[name] for name, weight in fitted["weights"].items())
    return float(torch.sigmoid(torch.tensor(total, dtype=torch.float64)))


def by_question(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the proposals of each question together."""
    return [list(own) for _, own in groupby(rows, key=lambda row: (row.group, row.part, row.question))]


def seen(fitted: dict[str, Any], rows: Sequence[Row], least: float) -> list[Row]:
    """Return the proposals that are looked at: all of a question until one is shown."""
    found = []
    for own in by_question(rows):
        for row in own:
            if row.features:
                found.append(row)
            if score(fitted, row) >= least:
                break
    return found


def shown(fitted: dict[str, Any], own: Sequence[Row], least: float) -> Row | None:
    """Return the proposal that is shown for a question."""
    return next((row for row in own if score(fitted, row) >= least), None)


def counts(fitted: dict[str, Any], rows: Sequence[Row], least: float) -> dict[str, dict[str, Any]]:
    """Count by group what is shown at a threshold, and what of it is right."""
    found: dict[str, dict[str, Any]] = {}
    for own in by_question(rows):
        one = found.setdefault(own[0].group, {"questions": 0, "present": 0, "right": 0, "wrong": 0})
        one["questions"] += 1
        one["present"] += own[0].present
        if answer := shown(fitted, own, least):
            one["right" if answer.right else "wrong"] += 1
    for one in found.values():
        one["wrong_95"] = [round(bound, 4) for bound in wilson(one["wrong"], one["questions"])]
        one["precision_95"] = [round(b, 4) for b in wilson(one["right"], one["right"] + one["wrong"])]
    return found


def choose_threshold(fitted: dict[str, Any], rows: Sequence[Row]) -> float:
    """Return the least threshold with few wrong answers to all questions, and to natural ones."""
    chosen = 0.99
    for step in range(99, 49, -1):
        groups = counts(fitted, rows, step / 100)
        for some in (list(groups.values()), [groups[name] for name in groups if name == "natural"]):
            if sum(one["wrong"] for one in some) > MOST_WRONG * sum(one["questions"] for one in some):
                return chosen
        chosen = step / 100
    return chosen


def calibration(fitted: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Return how far the probabilities can be believed: bins, expected calibration error, Brier, AUC."""
    pairs = sorted((score(fitted, row), row.right) for row in rows if row.features)
    bins, error = [], 0.0
    for number in range(BINS):
        own = [
            pair for pair in pairs if number <= pair[0] * BINS < number + 1 or (pair[0] == 1 and number == 9)
        ]
        if own:
            said, was = sum(p for p, _ in own) / len(own), sum(right for _, right in own) / len(own)
            error += abs(said - was) * len(own) / len(pairs)
            bins.append({"count": len(own), "said": round(said, 3), "right": round(was, 3)})
    ranks = [rank for rank, (_, right) in enumerate(pairs, 1) if right]
    good, bad = len(ranks), len(pairs) - len(ranks)
    return {
        "proposals": len(pairs),
        "bins": bins,
        "ece": round(error, 4),
        "brier": round(sum((p - right) ** 2 for p, right in pairs) / len(pairs), 4),
        "auc": round((sum(ranks) - good * (good + 1) / 2) / (good * bad), 4),
    }


def main() -> None:
    """Collect, fit, choose, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("books", "natural", "code", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the texts")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    engine, rows = Engine.load(BUNDLED, "cpu", "float32"), list[Row]()
    made = cases(args.books, args.natural, args.code, args.scale)
    for group, own in groupby(made, key=lambda case: case.group):
        path = args.out / f"{group}.jsonl"
        if not path.exists():
            lines = [row.store() for row in collect(engine, list(own))]
            path.write_text("".join(lines), encoding="utf-8")
        rows += map(Row.load, path.read_text(encoding="utf-8").splitlines())
    train, develop, test = (
        [row for row in rows if row.part == part] for part in ("train", "develop", "test")
    )
    fitted, least = fit([row for row in train if row.features]), 0.9
    for _ in range(ROUNDS):
        fitted = fit(seen(fitted, train, least))
        least = choose_threshold(fitted, train + develop)  # few are natural: on one part, chance would choose
    fitted["threshold"] = least
    verifier.WEIGHTS.write_text(json.dumps(fitted, indent=1) + "\n", encoding="utf-8")
    report = {
        "threshold": least,
        "develop": counts(fitted, develop, least),
        "test": counts(fitted, test, least),
        "calibration_test": calibration(fitted, seen(fitted, test, least)),
    }
    (args.out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
