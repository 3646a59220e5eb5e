"""Lists of changes: when a version was released, and in which one something was added, fixed or removed."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.fact import Exact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.values import kind
from longctx.quotes.exact.words import cover, stem, stems

_HEADING = re.compile(
    r"(?:#{1,4} )?(?:version |release )?\[?v?(?P<version>\d+\.\d+(?:[\w.+-]*\w)?)\]?(?P<rest>\W.{0,40})?$",
    re.IGNORECASE,
)
_VERSION = re.compile(r"(?<![\w.])v?(\d+(?:\.\d+)+[\w.+-]*\w|\d+\.\d+)(?![\w.]*\w)")
_WHICH = re.compile(
    r"(?:in |since |with |from )?(?:which|what) (?:version|release)"
    r" (?:did|was|were|has|have|is|are|added|introduced|fixed|removed|dropped|brought)\b",
    re.IGNORECASE,
)
_WHEN = re.compile(r"(?:since |on )?(?:when|(?:what|which) (?:date|day))\b", re.IGNORECASE)
_ITEM = re.compile(r"\s*[-*+•] ")
_TITLE = re.compile(r"#+ |(?:Added|Changed|Fixed|Removed|Deprecated|Security|New|Features|Bug fixes):?\s*$")
_RELEASED = frozenset(
    map(stem, ("release", "released", "publish", "published", "come", "out", "ship", "shipped"))
)
_CAME = frozenset(
    map(stem, ("add", "introduce", "come", "came", "appear", "arrive", "get", "got", "new", "support"))
)
_WENT = frozenset(map(stem, ("remove", "drop", "deprecate", "fix", "revert", "rename", "no", "not")))
_VERSIONED = frozenset(map(stem, ("version", "release")))
LEAST = 2  # versions that a list of changes has


@dataclass
class Release:
    """A version, what else its heading says, and what changed: each item under its title."""

    version: str
    rest: str
    heading: Line
    changes: list[str] = field(default_factory=list)


def releases(lines: Iterable[Line]) -> list[Release]:
    """Return the versions of a list of changes; nothing of another text."""
    found: list[Release] = []
    title, goes_on = "", False
    for line in lines:
        text = line.text.strip()
        if heading := _HEADING.match(text):
            found.append(Release(heading["version"], heading["rest"] or "", line))
            title, goes_on = "", False
        elif _TITLE.match(text):
            title, goes_on = text, False
        elif found and text and (goes_on and not _ITEM.match(line.text)):
            found[-1].changes[-1] += f" {text}"
        elif found and text:
            found[-1].changes.append(f"{title} {text}")
            goes_on = True
        else:
            goes_on = False
    return found if len(found) >= LEAST else []


def released(asked: Asked, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield when the version came that is asked for, or the version that brought a change."""
    if _WHICH.match(asked.text):
        yield from _brought(asked, releases(lines))
    elif _WHEN.match(asked.text) and (version := _VERSION.search(asked.text)):
        rest = {form for i in asked.required for form in asked.terms[i].forms}
        if rest - set(stems(version[1])) - _RELEASED - _VERSIONED:
            return
        for one in releases(lines):
            date = next(kind("time").find(one.rest), None)
            if one.version == version[1] and date:
                yield Exact(date[0], one.heading.quote())


def _brought(asked: Asked, every: Iterable[Release]) -> list[Exact]:
    """Return the version whose changes hold all that is asked for; none of several."""
    went = any(one.forms & _WENT for one in asked.terms)
    told = {i for i in asked.required if asked.terms[i].forms & (_VERSIONED | _CAME)}
    found = [
        Exact(one.version, one.heading.quote())
        for one in every
        for text in one.changes
        if asked.required > told
        and not asked.required - told - cover(asked.terms, stems(text))[0]
        and (went or not _WENT & set(stems(text)))
    ]
    return found if len({one.text for one in found}) == 1 else []
