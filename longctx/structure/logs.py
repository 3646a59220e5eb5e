"""Logs: from when to when, which levels, the commonest messages, first and last error, bursts."""

from collections import Counter
from statistics import median

from longctx.structure.facts import Fact, Group, Structure, place, plural, shortened
from longctx.structure.frequent import Frequent
from longctx.structure.lines import head, numbered
from longctx.structure.log_lines import ERRORS, LEVELS, TIME, Reader, entry, minute
from longctx.text.document import Document

LOOKED_AT = 200  # lines that tell a log from other text
TIMED = 0.5  # of them begin with a time; fewer where traces lie between
SHAPES = 2000
SHOWN = 10
MOST_LEVELS, OTHER = 100, "OTHER"  # names; of a text that has more, they are no levels
MOST_MINUTES = 20_000  # then hours are counted, then days
BURST, FEWEST = 10, 20  # times the usual lines of a minute; lines


def is_log(document: Document) -> bool:
    """Recognise a log by the times at the beginning of its lines, or by the levels there."""
    beginning = head(document, LOOKED_AT)
    if not beginning:
        return False
    timed = sum(bool((at := TIME.search(line[:200])) and at.start() < 100) for line in beginning)
    levels = sum(bool(entry(line).level) for line in beginning)
    if len(beginning) == 1:
        return timed == 1 and levels == 1
    enough = TIMED * len(beginning)
    return (
        timed >= enough or (levels >= enough and levels > 2) or (timed >= enough / 3 and levels >= enough / 3)
    )


class _Tally:
    """What is counted line by line."""

    def __init__(self) -> None:
        self.lines = self.entries = 0
        self.reader = Reader()
        self.first = self.last = ""
        self.levels: Counter[str] = Counter()
        self.shapes, self.errors = Frequent(SHAPES), Frequent(SHAPES)
        self.error_lines: list[tuple[int, str]] = []  # the first and the last one
        self.minutes: dict[str, list[int]] = {}  # lines, the first one's number
        self.unit = "minute"
        self.now = ""  # the minute of the line before

    def add(self, number: int, line: str) -> None:
        time, level, message = self.reader.read(line)
        if time:
            self.first, self.last = self.first or time, time
            self._count_minute(self._minute(time), number)
        if not time and not level and self.first:
            return  # goes on with the entry before: a trace, a long message
        self.entries += 1
        known = level in self.levels or len(self.levels) < MOST_LEVELS
        self.levels[level if known else OTHER] += 1
        self.shapes.add(message, number)
        if level in ERRORS:
            self.errors.add(message, number)
            self.error_lines = [*self.error_lines[:1], (number, line)]

    def _minute(self, time: str) -> str:
        """Return the minute of a time: mostly that of the line before."""
        seconds = time[len(self.now) :] if self.now and time.startswith(self.now) else ""
        if seconds[:1] != ":" or len(seconds) < 3 or not seconds[1:3].isdecimal():
            self.now = minute(time)
        return self.now

    def _count_minute(self, key: str, number: int) -> None:
        if self.unit != "minute":
            key = key[: -3 if self.unit == "hour" else -6]
        if key in self.minutes:
            self.minutes[key][0] += 1
            return
        self.minutes[key] = [1, number]
        if len(self.minutes) > MOST_MINUTES:
            self.unit = "hour" if self.unit == "minute" else "day"
            wider: dict[str, list[int]] = {}
            for old, (count, first) in self.minutes.items():
                wider.setdefault(old[:-3], [0, first])[0] += count
            self.minutes = wider


def summarise_log(document: Document) -> Structure:
    """Read a log once, in memory that does not grow with it."""
    tally = _Tally()
    for number, line in numbered(document):
        tally.lines += 1
        if line.strip():
            tally.add(number, line)
    span = f", from {tally.first} to {tally.last}" if tally.first else ", without times"
    groups = [
        Group("Levels", [Fact(_levels(tally.levels))] if set(tally.levels) - {""} else []),
        Group(
            "First and last error",
            [Fact(shortened(text), place(document, n)) for n, text in tally.error_lines],
        ),
        _shapes("Commonest errors", tally.errors, document),
        _shapes("Commonest messages", tally.shapes, document),
        Group("Bursts", _bursts(tally, document)),
    ]
    values = {
        "lines": tally.lines,
        "entries": tally.entries,
        "first_time": tally.first or None,
        "last_time": tally.last or None,
        "levels": {level or "none": count for level, count in tally.levels.items()},
        "errors": tally.errors.total,
        "shapes": [
            {"shape": key, "count": count, "line": line} for key, count, line in tally.shapes.most(SHOWN)
        ],
        "counts_missed_at_most": tally.shapes.missed,
    }
    headline = f"{document.name}: a log of {plural(tally.lines, 'line')}{span}"
    return Structure("log", document.name, headline, [group for group in groups if group.facts], values)


def _levels(levels: Counter[str]) -> str:
    known = [level for level in LEVELS if level in levels]
    other = sorted(set(levels) - set(LEVELS) - {""})
    parts = [f"{level} {levels[level]:,}" for level in (*known, *other[:SHOWN])]
    return ", ".join(parts) + (f", none {levels['']:,}" if levels[""] else "")


def _shapes(title: str, shapes: Frequent, document: Document) -> Group:
    about = "at least " if shapes.missed else ""
    kept = shapes.most(SHOWN)
    facts = [
        Fact(f"{about}{count:,} x {shortened(key) or '(empty)'}", place(document, line))
        for key, count, line in kept
    ]
    return Group(title, facts, len(shapes) - len(kept))


def _bursts(tally: _Tally, document: Document) -> list[Fact]:
    """Name the minutes with far more lines than is usual."""
    if len(tally.minutes) < 3:
        return []
    usual = median(count for count, _ in tally.minutes.values())
    crowded = [(count, key, line) for key, (count, line) in tally.minutes.items()]
    crowded = sorted(one for one in crowded if one[0] >= max(FEWEST, BURST * usual))[::-1]
    return [
        Fact(f"{count:,} lines in the {tally.unit} of {key} (usual: {usual:,.0f})", place(document, line))
        for count, key, line in crowded[:3]
    ]
