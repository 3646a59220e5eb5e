"""Cells of tables, by what names their row and the head of their column."""

import re
from collections.abc import Iterable, Iterator, Sequence

from longctx.quotes.exact.asked import UNSAID, Asked
from longctx.quotes.exact.fact import TIME_FORM, Exact, looks_right
from longctx.quotes.exact.rows import Row
from longctx.quotes.exact.words import cover, stem, stems
from longctx.quotes.prose import common_words

_TITLES = ("dr", "mr", "mrs", "ms", "prof", "sir")
_COMMON = frozenset(map(stem, (*common_words(), *_TITLES)))
_PERSON = frozenset(
    map(stem, ("name", "person", "who", "contact", "member", "employee", "customer", "client"))
)
_FULL_NAME = re.compile(
    r"(?:[A-ZÀ-Þ][\w.'’-]* ){1,3}[A-ZÀ-Þ][a-zà-ÿ'’-]+$"
)  # whom a table without a head for names is of
_NAMED = re.compile(r"(?:[A-ZÀ-Þ][\w.'’&-]*(?:,? |$))+$|\S+@\S+$|[\w.-]+$")
_PLACE = frozenset(map(stem, ("place", "location", "city", "town", "country", "room", "site", "address")))
_PRICE = frozenset(map(stem, ("price", "cost", "amount", "fee", "charge", "total", "sum")))
_BEGUN = frozenset(map(stem, ("start", "begin", "since", "created", "joined", "launched", "opened")))
_SINCE = re.compile(r"since when\b|when did .* (?:start|begin)", re.IGNORECASE)
_NUMBERING = frozenset(map(stem, ("number", "no", "id", "code", "key")))
LONGEST_KEY = 60  # characters of a cell, a part of which names its row
_WHEN = frozenset(map(stem, ("date", "time", "day", "year", "when")))
_DEFINED = re.compile(
    r"what(?: (?:is|are|does|do|means?)\b|['’]s )|(?:[\w-]+ ){0,2}[\w.-]+\W*$|meaning of", re.I
)
_NOT_WHEN = re.compile(r"what\b|[a-z]+ \S+$", re.IGNORECASE)
_WHICH = re.compile(r"(?:which|what) (?P<head>[\w-]+)", re.IGNORECASE)


def cells(asked: Asked, rows: Iterable[Row]) -> list[Exact]:
    """Return the cells that a question asks for by the name of a row and the head of a column.

    A row is named by a cell whose words are all in the question, or if no other row is, by part of a cell
    that holds all that the question says of it. The words that are left have to be those of a head. Words of
    the file's name and of the heading above may be in the question too. Where no head is named, the only cell
    of the kind that is asked for counts, and of "what does E9 mean" the rest of the row.
    """
    whole: dict[int, list[Exact]] = {}  # by the column that names the row
    partly: list[tuple[list[Exact], bool]] = []
    named = 0
    for row in rows:
        keys = _keys(asked, row, whole=True)
        named += bool(keys[0])
        at = min(keys[0], default=0) if row.partly else 0
        whole.setdefault(at, []).extend(_asked_for(asked, row, *keys))
        if row.partly and not any(whole.values()) and len(partly) < 2:
            found = list(_asked_for(asked, row, *_keys(asked, row, whole=False)))
            partly += [(found, bool(keys[0]))] * bool(found)
    # A person's own row comes before those that name them further on: as the manager of somebody.
    first = min((at for at, found in whole.items() if found), default=-1)
    # A row that is named in part counts unless another one is named.
    alone = len(partly) == 1 and named == partly[0][1]
    return whole.get(first) or (partly[0][0] if alone else [])


def _asked_for(asked: Asked, row: Row, keys: set[int], named: set[int]) -> Iterator[Exact]:
    if not named & asked.required:
        yield from _described(asked, row)
        return
    rest = asked.required - named - cover(asked.terms, stems(row.around))[0] - _spoken(asked, row)
    rest -= asked.implied_by_looks
    beside = {i for key in keys for i in _beside(asked, row, key)}
    rest -= beside
    fitting = {
        j: fits
        for j, head in enumerate(row.names)
        if j < len(row.cells)
        and j not in keys
        and (fits := _fits(asked, named | beside, rest, head, row.cells[j])) is not None
    }
    if asked.wanted == "name":  # "who placed the order" wants no thing that was ordered
        fitting = {
            j: fits
            for j, fits in fitting.items()
            if _PERSON & set(row.names[j]) or _NAMED.match(row.cells[j])
        }
    if asked.wanted == "place":
        fitting = _of_place(asked, row, keys, rest) or fitting
    fitting = {j: fits for j, fits in fitting.items() if _looks_right(asked, row.cells[j])}
    chosen = [j for j, one in fitting.items() if one == min(fitting.values())]
    if not fitting and not rest:
        chosen = _of_kind(asked, row, keys)
    if asked.wanted == "name" and not rest and not fitting:
        chosen = _persons(row, keys) or chosen
    for j in chosen:
        if row.cells[j] and _looks_right(asked, row.cells[j]):
            yield Exact(row.cells[j], row.quote(j))
    everything = {i for i, one in enumerate(asked.terms) if not one.carries}
    everything -= named | beside | cover(asked.terms, stems(row.around))[0]
    if not chosen and not everything and asked.wanted == "" and _DEFINED.match(asked.text):
        yield Exact(_told(row, keys), row.quote(min(keys)))


def _told(row: Row, keys: set[int]) -> str:
    """Return all that a row says, but for what names it; with the heads, if there are many."""
    few = len(row.cells) < 5
    pairs = enumerate(zip(row.heads, row.cells, strict=False))
    told = [(head, cell) for j, (head, cell) in pairs if cell and j not in keys]
    return " | ".join(cell if few or not head else f"{head}: {cell}" for head, cell in told)


def _keys(asked: Asked, row: Row, *, whole: bool) -> tuple[set[int], set[int]]:
    """Return the cells that name a row, and which words of the question these are.

    Args:
        whole: all telling words of such a cell have to be in the question; else it has to hold all that the
            question says and no head does.
    """
    keys: set[int] = set()
    named: set[int] = set()
    heads = cover(asked.terms, [*stems(row.around), *(form for head in row.names for form in head)])[0]
    for i, cell in enumerate(row.cells):
        if i in row.listed:
            continue
        tail = cell.rstrip("/").rsplit("/", 1)[-1]
        if _of_other_head(asked, row, i):
            continue
        for text in dict.fromkeys((cell, tail if re.search(r"[^\W\d]", tail) else cell)):
            forms = stems(text)
            there, used = cover(asked.terms, forms)
            unsaid = {form for j, form in enumerate(forms) if j not in used} - _COMMON
            fits = not unsaid if whole else not asked.required - heads - there and len(text) <= LONGEST_KEY
            if forms and fits and there & asked.required:
                keys.add(i)
                named |= there
    # "the root of admin.example" is named by its host, not by its root /srv/admin.
    asked_for = (
        {i for i in keys if cover(asked.terms, row.names[i])[0] & asked.required - named}
        if row.names
        else set()
    )
    return (keys - asked_for or keys), named


def _of_other_head(asked: Asked, row: Row, at: int) -> bool:
    """Tell whether a number of the question is none of this column: "PID 1" names no row by 1.1."""
    cell = row.cells[at]
    if not re.fullmatch(r"\d[\d.,:]*", cell):
        return False
    found = re.search(rf"(?<![\w.])(?:([\w%-]+) +)?{re.escape(cell)}(?![\w]|[.,]\d)", asked.text)
    if not found:
        return True
    said = set(stems(found[1] or ""))
    heads = [bool(said & set(names)) for names in row.names]
    return any(heads) and at < len(heads) and not (heads[at] or _NUMBERING & set(row.names[at]))


def _spoken(asked: Asked, row: Row) -> set[int]:
    """Return the words for which a head of the table stands by its meaning: "lives" for a city."""
    heads = {form for head in row.names for form in head}
    return {i for i, one in enumerate(asked.terms) if one.forms & heads and not set(stems(one.word)) & heads}


def _beside(asked: Asked, row: Row, key: int) -> set[int]:
    """Return the words of the question that are the head of a key, and stand beside it: "room C01"."""
    if key >= len(row.names):
        return set()
    cell = row.cells[key].split()
    first, last = re.escape(cell[0]), re.escape(cell[-1])
    near = (
        re.search(rf"([\w-]+)(?: is| are| was)? +{first}", asked.text, re.I),
        re.search(rf"{last} +([\w-]+)", asked.text, re.I),
    )
    said = [form for one in near if one for form in stems(one[1])]
    return cover(asked.terms, said)[0] if set(said) & set(row.names[key]) else set()


def _fits(
    asked: Asked, named: set[int], rest: set[int], head: Sequence[str], cell: str
) -> tuple[int, int] | None:
    """Return how many words of a head are asked for, less than 0, and how many not; None if another is."""
    covered, used = cover(asked.terms, head)
    missing = rest - covered
    if missing:
        missing -= cover(asked.terms, stems(cell))[0]
    if not covered - named or missing:
        return None
    unsaid = [form for j, form in enumerate(head) if j not in used and form not in UNSAID]
    dated = TIME_FORM.match(cell) and asked.wanted != "time" and not _WHEN & set(head)
    if dated and _NOT_WHEN.match(asked.text):
        return None  # "what is planted there" does not want to know when
    if (set(head) - {head[j] for j in used}) & _NUMBERING and re.match(
        r"what (?:did|does|do)\b", asked.text, re.IGNORECASE
    ):
        return None  # "what did she order" does not want the number of the order
    return -len(covered - named), len(unsaid)


def _of_place(asked: Asked, row: Row, keys: set[int], rest: set[int]) -> dict[int, tuple[int, int]]:
    """Return the columns of places, if but a verb is unsaid: "where was the wren ringed?"."""
    verbs = {i for i in rest if i == len(asked.terms) - 1}
    there = [j for j, head in enumerate(row.names) if _PLACE & set(head) and j not in keys]
    return {j: (-1, 0) for j in there if j < len(row.cells)} if not rest - verbs else {}


def _looks_right(asked: Asked, cell: str) -> bool:
    if asked.wanted == "number" and (TIME_FORM.match(cell) or (cell[:1].isalpha() and len(cell) >= 12)):
        return False
    if asked.wanted == "place" and any(map(str.isdigit, cell)) and not re.search(r"[/\\]|\w \d|\d ", cell):
        return False  # a code
    return looks_right(asked, cell)


def _of_kind(asked: Asked, row: Row, keys: set[int]) -> list[int]:
    """Return the only column of the kind that is asked for, where no head is named."""
    if asked.kind is not None and asked.kind.name == "amount":
        prices = [j for j, head in enumerate(row.names[: len(row.cells)]) if _PRICE & set(head)]
        return prices if len(prices) == 1 and prices[0] not in keys else []
    if asked.wanted != "time":
        return []
    since = [j for j, head in enumerate(row.names[: len(row.cells)]) if _BEGUN & set(head) and j not in keys]
    if _SINCE.match(asked.text):  # a clock in another column is how long it took
        return since
    found = [j for j, cell in enumerate(row.cells) if j not in keys and TIME_FORM.match(cell)]
    return found if len(found) == 1 else []


def _persons(row: Row, keys: set[int]) -> list[int]:
    found = [j for j, head in enumerate(row.names) if _PERSON & set(head) and j not in keys]
    return found or ([0] if _FULL_NAME.match(row.cells[0]) and 0 not in keys else [])


def _described(asked: Asked, row: Row) -> Iterator[Exact]:
    """Yield the first cell of a row that a description beside it names: "which command lists pictures?"."""
    which = _WHICH.match(asked.text)
    if not which or not set(stems(which["head"])) & set(row.names[0] if row.names else ()):
        return
    rest = asked.required - cover(asked.terms, stems(which["head"]))[0]
    if rest and not rest - cover(asked.terms, stems(" ".join(row.cells[1:])))[0]:
        yield Exact(row.cells[0], row.quote(0))
