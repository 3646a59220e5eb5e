"""Mail and chat: who wrote how much, from when to when, about what."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime

from longctx.structure.facts import Fact, Group, Structure, place, plural, shortened
from longctx.structure.frequent import Frequent
from longctx.structure.lines import head, numbered
from longctx.text.document import Document

PEOPLE, SUBJECTS = 500, 2000
SHOWN = 20
_HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)")
_REPLY = re.compile(r"(?:(?:re|fwd?|aw|wg|sv|antw)(?:\[\d+\])?:\s*)+", re.IGNORECASE)
_WHEN = r"\d{1,4}[-./]\d{1,2}[-./]\d{2,4}"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d)?(?:[ \u202f\u00a0]?[AaPp]\.?[Mm]\.?)?"
CHAT = re.compile(
    rf"\[?(?P<when>{_WHEN},?[ T]{_CLOCK}|{_CLOCK})\]?(?: -)?\s+(?:<[@+ %~&]?(?P<nick>[^>\s]+)>"
    r"|(?P<name>[^:<>\[\]]{1,40}):)(?:\s|$)"
)
_LOG_WORD = re.compile(
    r"\b(?:DEBUG|INFO|WARN|WARNING|ERROR|TRACE|FATAL|CRITICAL|NOTICE)\b|\[\d+\]|\w+\.\w+\.\w+"
)


@dataclass(slots=True)
class _Mail:
    line: int
    headers: dict[str, str]

    def get(self, name: str) -> str:
        try:
            return str(make_header(decode_header(self.headers.get(name, ""))))
        except (HeaderParseError, LookupError, ValueError):
            return self.headers.get(name, "")


def is_mail(document: Document) -> bool:
    """Recognise mail by the headers at its top, raw or turned into text."""
    beginning = head(document, 40)
    if beginning and beginning[0].startswith("From "):
        beginning = beginning[1:]
    found: set[str] = set()
    for line in beginning:
        if header := _HEADER.match(line):
            found.add(header[1].lower())
        elif line[:1] not in " \t":
            break
    return (
        "from" in found
        and bool(found & {"subject", "to"})
        and bool(found & {"date", "received", "message-id"})
    )


def summarise_mail(document: Document) -> Structure:
    """Read the headers of all messages; of bodies nothing is kept."""
    people, subjects = Frequent(PEOPLE), Frequent(SUBJECTS)
    count, first, last = 0, None, None
    for mail in _mails(document):
        count += 1
        people.add(shortened(mail.get("from")) or "(nobody)", mail.line)
        subjects.add(shortened(_REPLY.sub("", mail.get("subject"))) or "(no subject)", mail.line)
        if when := _time(mail.get("date")):
            first = min(first or when, when)
            last = max(last or when, when)
    span = f", from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC" if first and last else ""
    headline = f"{document.name}: {plural(count, 'message')}{span}"
    groups = [_group("Writers", people, document), _group("Subjects", subjects, document)]
    values = {
        "messages": count,
        "first": first.isoformat() if first else None,
        "last": last.isoformat() if last else None,
    } | _counts(writers=people, subjects=subjects)
    return Structure("mail", document.name, headline, groups, values)


def _mails(document: Document) -> Iterator[_Mail]:
    """Yield each block of headers that begins a message: after a line "From ", or From: and two others."""
    headers: dict[str, str] = {}
    started, blank, name = 0, True, ""
    for number, line in numbered(document):
        if blank and not headers and ((fresh := line.startswith("From ")) or _HEADER.match(line)):
            started = number
            if fresh:
                continue
        if started and (header := _HEADER.match(line)):
            name = header[1].lower()
            headers.setdefault(name, header[2])
        elif started and headers and line[:1] in (" ", "\t") and line.strip():
            headers[name] += " " + line.strip()
        elif started:
            if "from" in headers and len(headers.keys() & {"date", "subject", "to", "message-id"}) > 1:
                yield _Mail(started, headers)
            started, headers = 0, {}
        blank = not line.strip()
    if started and "from" in headers and len(headers.keys() & {"date", "subject", "to"}) > 1:
        yield _Mail(started, headers)


def _time(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def is_chat(document: Document) -> bool:
    """Recognise a chat by a time and a name at the beginning of most lines, and few names for many lines."""
    beginning = head(document, 100)
    found = [match for line in beginning if (match := CHAT.match(line)) and not _LOG_WORD.search(line[:60])]
    if len(found) < max(3, 0.5 * len(beginning)):
        return False
    return 2 * len({match["nick"] or match["name"] for match in found}) <= len(found) + 2


def summarise_chat(document: Document) -> Structure:
    """Count the messages of each, and of each day."""
    people, days = Frequent(PEOPLE), Frequent(SUBJECTS)
    ends: list[tuple[int, str, str]] = []
    for number, line in numbered(document):
        if found := CHAT.match(line):
            who, when = (found["nick"] or found["name"]).strip(), found["when"]
            people.add(who, number)
            if day := re.match(_WHEN, when):
                days.add(day[0], number)
            ends = [*ends[:1], (number, when, line)]
    headline = f"{document.name}: a chat of {plural(people.total, 'message')}"
    if ends:
        headline += f", from {ends[0][1]} to {ends[-1][1]}"
    groups = [
        _group("Who", people, document),
        _group("Days with most messages", days, document),
        Group("First and last", [Fact(shortened(line), place(document, number)) for number, _, line in ends]),
    ]
    values = {
        "messages": people.total,
        "first": ends[0][1] if ends else None,
        "last": ends[-1][1] if ends else None,
    }
    return Structure(
        "chat",
        document.name,
        headline,
        [group for group in groups if group.facts],
        values | _counts(writers=people),
    )


def _group(title: str, counted: Frequent, document: Document) -> Group:
    kept = counted.most(SHOWN)
    about = "at least " if counted.missed else ""
    facts = [Fact(f"{shortened(key)}: {about}{count:,}", place(document, line)) for key, count, line in kept]
    return Group(title, facts, len(counted) - len(kept))


def _counts(**counted: Frequent) -> dict[str, object]:
    return {name: {key: count for key, count, _ in one.most(SHOWN)} for name, one in counted.items()}
