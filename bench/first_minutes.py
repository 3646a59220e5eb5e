"""What a stranger gets in the first minutes: natural questions over ordinary texts, asked of the bare tool.

    python -m bench.first_minutes --out FILE.json

The texts in first_minutes/texts and the questions in first_minutes/*.toml were written for this, before the
rules that answer them: a first set of all kinds, and later sets of exact look-ups, each reported by itself.
Each question goes through the command itself (`longctx ask --json`). Books are read from --books FOLDER, and
left out without it. The exit status is 1 if a bar is missed.
"""

import argparse
import html
import json
import re
import sys
import sysconfig
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from longctx.cli import main as command
from longctx.engine import Engine
from longctx.tasks.results import wilson

HERE = Path(__file__).parent / "first_minutes"
TEXTS = HERE / "texts"
SETS = {
    "first": "questions.toml",
    "second": "second.toml",
    "third": "third.toml",
    "fourth": "fourth.toml",
    "fifth": "fifth.toml",
    "sixth": "sixth.toml",
    "seventh": "seventh.toml",
    "eighth": "eighth.toml",
    "ninth": "ninth.toml",
    "tenth": "tenth.toml",
    "eleventh": "eleventh.toml",
    "twelfth": "twelfth.toml",
}
LOOK_UPS = ("exact", "reworded")
KINDS = ("natural", *LOOK_UPS)


@dataclass(frozen=True)
class Question:
    """A question about files or a folder.

    Attributes:
        kind: natural, exact, reworded (a look-up in other words), or absent: nothing answers it.
        answers: any of them is right; none where the place itself is the answer.
        every: what must be shown together, where a text holds more than one answer.
        at: words of the line that answers it; empty if absent.
    """

    kind: str
    ask: str
    paths: tuple[Path, ...]
    answers: tuple[str, ...] = ()
    at: str = ""
    every: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of a question.

    Attributes:
        found: an answer was shown as found. read: as read by the small reader. right: and it is right.
        first: the sentence or line shown first holds the place. in_three: one of the first three quotes does.
    """

    kind: str
    ask: str
    paths: list[str]
    found: bool
    right: bool
    first: bool
    in_three: bool
    answer: str
    confidence: float | None
    seconds: float
    read: bool = False


def load(books: Path | None, chosen: str = "first") -> list[Question]:
    """Return all questions of a set whose texts are there."""
    questions = []
    for text in tomllib.loads((HERE / SETS[chosen]).read_text(encoding="utf-8"))["text"]:
        paths = tuple(_path(name, books) for name in text["files"])
        if not all(path.exists() for path in paths):
            print(f"left out, not there: {', '.join(text['files'])}", file=sys.stderr)
            continue
        for kind in KINDS:
            rows = text.get(kind, [])
            questions += [
                Question(
                    kind, r["ask"], paths, tuple(r.get("answers", ())), r["at"], tuple(r.get("every", ()))
                )
                for r in rows
            ]
        questions += [Question("absent", ask, paths) for ask in text.get("absent", [])]
    return questions


def _path(name: str, books: Path | None) -> Path:
    if name.startswith("books/"):
        return (books or Path("books")) / name.removeprefix("books/")
    if name.startswith("python/"):  # of the standard library; later versions lack some
        return Path(sysconfig.get_path("stdlib")) / name.removeprefix("python/")
    return HERE.parents[1] / name if name.startswith("tests/") else TEXTS / name


def one_line(text: str) -> str:
    """Return text with single spaces for white space, and the signs that entities of HTML mean."""
    return " ".join(html.unescape(text).split())


def place(question: Question) -> tuple[Path, int] | None:
    """Return the file and the line (from 1) where the answer stands; None if it does not, just once."""
    files = [f for path in question.paths for f in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    found = [
        (file, number)
        for file in files
        if file.is_file()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if one_line(question.at) in one_line(line).replace('\\"', '"')
    ]
    return found[0] if len(found) == 1 else None


def judge(question: Question, values: dict[str, Any], seconds: float) -> Outcome:
    """Compare what the command printed with where the answer stands."""
    at = one_line(question.at)
    holds = [bool(at) and at in one_line(quote["quote"]) for quote in _quotes(values)]
    found = values["how"] == "found"
    shown = " / ".join(
        dict.fromkeys(map(one_line, (values["answer"], *(p["text"] for p in values["parts"]))))
    )
    read = values["how"] == "read"
    right = (found or read) and any(_says(shown, answer) for answer in question.answers)
    right = right and all(_says(shown, answer) for answer in question.every)
    if found and question.at and not question.answers:
        right = _says_place(shown, question) or (holds[:1] == [True])
    return Outcome(
        question.kind,
        question.ask,
        ["/".join(path.parts[-2:]) for path in question.paths],
        found,
        right,
        bool(at) and at in one_line(_first_line(values)),
        any(holds[:3]),
        shown,
        values["confidence"],
        round(seconds, 2),
        read,
    )


def _quotes(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what is shown, in its order: the line of an answer, the closest sentence, the passages."""
    sources = [values["source"], *(part["source"] for part in values["parts"]), values.get("closest")]
    seen = set()
    for quote in filter(None, [*sources, *values["evidence"]]):
        if quote["quote"] not in seen:
            seen.add(quote["quote"])
            yield quote


def _first_line(values: dict[str, Any]) -> str:
    """Return what is read first: the answer's line, the closest sentence, or a passage's first line."""
    if led := [quote for quote in (values["source"], values.get("closest")) if quote]:
        return str(led[0]["quote"])
    return next((quote["quote"].strip().split("\n")[0] for quote in values["evidence"]), "")


def _says(shown: str, answer: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(one_line(answer))}(?!\w)", shown, re.IGNORECASE))


def _says_place(shown: str, question: Question) -> bool:
    where = place(question)
    return where is not None and _says(shown, f"{where[0].name}:{where[1]}")


def ask(question: Question) -> Outcome:
    """Ask as a person does, but for JSON."""
    started = time.perf_counter()
    paths = [str(path) for path in question.paths]
    result = CliRunner().invoke(command, ["ask", "--json", "--quiet", question.ask, *paths])
    seconds = time.perf_counter() - started
    if not result.stdout.startswith("{"):
        raise RuntimeError(f"{question.ask} {paths}: exit {result.exit_code}: {result.stderr}")
    return judge(question, json.loads(result.stdout), seconds)


def load_models_once() -> None:
    """Keep an engine between questions, as a process that asks many would; nothing else is changed."""
    loaded: dict[tuple[str, ...], Engine] = {}
    load_one = Engine.of

    def of(*args: Any, **kwargs: Any) -> Engine:
        key = tuple(map(str, (args[0], *args[4:], kwargs)))
        if key not in loaded:
            loaded[key] = load_one(*args, **kwargs)
        return loaded[key]

    Engine.of = of  # type: ignore[method-assign]


def bars(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return each bar of the project with what was counted, its 95 % interval, and whether it holds."""
    there = [one for one in outcomes if one.kind != "absent"]
    exact = [one for one in outcomes if one.kind in LOOK_UPS]
    reworded = [one for one in outcomes if one.kind == "reworded"]
    rows = [
        (
            "wrong shown as found",
            sum(one.found and not one.right for one in outcomes),
            len(outcomes),
            "<=",
            0.01,
        ),
        ("place in the first three quotes", sum(one.in_three for one in there), len(there), ">=", 0.90),
        ("exact look-ups right", sum(one.found and one.right for one in exact), len(exact), ">=", 0.90),
        ("the same, or read rightly", sum(one.right for one in exact), len(exact), "", None),
        ("wrongly read", sum(one.read and not one.right for one in outcomes), len(outcomes), "", None),
        ("right answer shown", sum(one.right for one in there), len(there), "", None),
        ("right sentence first", sum(one.first for one in there), len(there), "", None),
        ("reworded look-ups right", sum(one.right for one in reworded), len(reworded), "", None),
    ]
    return [
        {
            "name": name,
            "count": count,
            "of": of,
            "share": round(count / of, 4),
            "interval_95": [round(bound, 4) for bound in wilson(count, of)],
            "bar": f"{sign} {bar:.0%}" if bar is not None else None,
            "holds": None if bar is None else count / of <= bar if sign == "<=" else count / of >= bar,
        }
        for name, count, of, sign, bar in rows
        if of
    ]


def report(outcomes: list[Outcome], counted: list[dict[str, Any]]) -> None:
    """Print the bars of a set, what was wrong, and which exact look-ups were missed."""
    print(", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in outcomes).items()))
    for row in counted:
        verdict = {None: "", True: f"pass ({row['bar']})", False: f"MISS ({row['bar']})"}[row["holds"]]
        low, high = row["interval_95"]
        share = f"{row['count']:>4} of {row['of']:<4} {row['share']:6.1%} ({low:.1%}-{high:.1%})"
        print(f"{row['name']:<32} {share}  {verdict}")
    for one in outcomes:
        if one.read and not one.right:
            print(f"  wrongly read: {one.ask} -> {one.answer[:80]!r}")
        elif one.found and not one.right:
            print(f"  wrong: {one.ask} -> {one.answer[:80]!r}")
        elif one.kind in LOOK_UPS and not one.right:
            print(f"  missed: {one.ask} ({', '.join(one.paths)})")


def main() -> None:
    """Ask all questions, print the bars of each set, and write every outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--books", type=Path, help="folder of public-domain books")
    parser.add_argument("--out", type=Path, help="write every outcome to this file")
    parser.add_argument("--only", default="", help="ask only about texts whose path holds this")
    parser.add_argument("--set", choices=SETS, help="ask only the questions of this set")
    args = parser.parse_args()
    load_models_once()
    values: dict[str, Any] = {}
    for chosen in [args.set] if args.set else SETS:
        questions = [q for q in load(args.books, chosen) if any(args.only in str(path) for path in q.paths)]
        if not questions:
            continue
        started = time.perf_counter()
        outcomes = [ask(question) for question in questions]
        counted = bars(outcomes)
        print(f"\n{chosen} set, {SETS[chosen]}: ", end="")
        report(outcomes, counted)
        values[chosen] = {
            "questions": len(outcomes),
            "kinds": Counter(one.kind for one in outcomes),
            "bars": counted,
            "seconds": round(time.perf_counter() - started, 1),
            "outcomes": [asdict(o) for o in outcomes],
        }
    if args.out:
        args.out.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.exit(any(row["holds"] is False for part in values.values() for row in part["bars"]))


if __name__ == "__main__":
    main()
