"""A line of a log taken apart: its time, its level, and the shape of its message. Knows no files."""

import json
import re
from dataclasses import dataclass
from typing import Any

_CLOCK = r"\d{1,2}:\d\d(?P<seconds>:\d\d(?:[.,]\d+)?)?"
TIME = re.compile(
    rf"(?:\d{{4}}[-/.]\d\d[-/.]\d\d[T ]{_CLOCK}"
    r"|(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d(?:\.\d+)?"
    r"|\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d"
    r"|\d{1,2}[./]\d{1,2}[./]\d{2,4},? \d\d:\d\d:\d\d"
    r"|(?<![\d:])\d\d:\d\d:\d\d[.,]\d{3}"
    r"|\d{6} \d\d:?\d\d:?\d\d\b"
    r"|(?<=\[) *\d+\.\d{6}(?=\])"
    r"|(?<=[\"=:])1\d{9}(?:\.\d+|\d{3})?\b)"
    r"(?P<zone>Z| ?[+-]\d\d:?\d\d| UTC)?"
)
_TIMELIKE = re.compile(r"\d(?::\d\d|\d{5})")  # every time holds this, and it is quickly looked for
_MINUTE = re.compile(r".*\d{1,2}:\d\d(?=:\d\d)|.*\d{1,2}:\d\d")
_NAMED_LEVEL = re.compile(r"\b(?:level|lvl|severity|levelname|loglevel)\"?\s*[=:]\s*\"?(\w+)", re.IGNORECASE)
_LEVEL = re.compile(
    r"\b(TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|FATAL|SEVERE|ALERT|EMERG|PANIC)\b"
    r"|[\[<(](?:\w+:)?(trace|debug|info|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|alert|emerg)[\]>)]"
    r"|^(?:[DIWEF])(?=\d{4} \d\d:)|\b(error|warning|fatal)(?=: )"
)
_ONE_NAME = {
    **{"ERR": "ERROR", "SEVERE": "ERROR", "WARNING": "WARN", "CRIT": "CRITICAL"},
    **{
        "EMERG": "FATAL",
        "PANIC": "FATAL",
        "D": "DEBUG",
        "I": "INFO",
        "W": "WARN",
        "E": "ERROR",
        "F": "FATAL",
    },
}
ERRORS = frozenset({"ERROR", "CRITICAL", "FATAL", "ALERT", "5xx"})
LEVELS = (*("FATAL", "ALERT", "CRITICAL", "ERROR", "WARN", "NOTICE", "INFO", "DEBUG", "TRACE"),)
_ACCESS = re.compile(r"\"(?P<method>[A-Z]{3,8}) (?P<path>[^\s\"?]*)[^\"]*\" (?P<status>[1-5])\d\d\b")
_MESSAGE = re.compile(r"\b(?:msg|message)=(\"(?:[^\"\\]|\\.)*\"|\S+)")
_KEYS = {
    "time": ("time", "timestamp", "ts", "@timestamp", "date", "datetime", "asctime", "t"),
    "level": ("level", "severity", "levelname", "lvl", "log.level", "loglevel"),
    "message": ("message", "msg", "event", "text", "log"),
}
_WORD = r"[^\s=/\[\](){}<>\"',;|"
_VARIES = re.compile(rf"(?<!{_WORD}]){_WORD}\d]*+\d{_WORD}]*")  # whatever holds a digit
REACH = 400  # characters of a line in which its time and level are looked for
LONGEST = 300  # characters of a shape
LONGEST_MARK = 40  # characters of a time or of the name of a level
MARGIN = 80  # characters before the time, after which it belongs to the message
MOST_TEMPLATES = 1 << 14  # that are remembered
_NUMBER = re.compile(r"\b[^\W\d]*+\d\w*", re.ASCII)  # a word that holds a digit
_GLOG = len("I0301 12:")  # digits here must be so many for the first letter to be a level


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a log; what it lacks is empty."""

    time: str
    level: str
    message: str


def entry(line: str) -> Entry:
    """Take a line apart; one of JSON by its keys."""
    if line.startswith("{") and (found := _from_json(line)):
        return found
    time = find_time(line, REACH)
    level, message = _request(line) or _told(line, time)
    return Entry(time[0].strip() if time else "", level, message)


def find_time(line: str, reach: int) -> re.Match[str] | None:
    """Find the first time in as many characters of a line."""
    at_once = TIME.match(line, 0, reach)
    return at_once or (TIME.search(line, 0, reach) if _TIMELIKE.search(line, 0, reach) else None)


def _request(line: str) -> tuple[str, str] | None:
    """Return the level and the message of a line about a request."""
    found = _ACCESS.search(line)
    return (f"{found['status']}xx", f"{found['method']} {found['path']}") if found else None


def _told(line: str, time: re.Match[str] | None) -> tuple[str, str]:
    """Return the level and the message of a line that is about no request."""
    message = line[time.end() :] if time and time.start() < MARGIN else line
    if ("msg=" in line or "message=" in line) and (said := _MESSAGE.search(line)):
        message = said[1].strip('"')
    return _level(line[:REACH]), message.strip(" \t]|:,-")


class Reader:
    """Takes lines apart as `entry` and `shape` do, but those that differ only in numbers once.

    Most lines of a log come from few places of a program. The template of a line is the line with 0 for each
    word that holds a digit: it tells level and shape, which are kept by it.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}  # template -> level, shape
        self._shapes: dict[str, str] = {}  # template of a message -> its shape

    def read(self, line: str) -> tuple[str, str, str]:
        """Return a line's time, its level, and the shape of its message."""
        if line.startswith("{") and (found := _from_json(line)):
            return found.time, found.level, self._shape(found.message)
        time = find_time(line, REACH)
        if request := _request(line):
            level, message = request
            told = level, self._shape(message)
        elif len(line) > LONGEST:  # where a shape is cut depends on the length of numbers
            level, message = _told(line, time)
            told = level, self._shape(message)
        else:
            told = self._level_and_shape(line, time)
        return time[0].strip() if time else "", *told

    def _level_and_shape(self, line: str, time: re.Match[str] | None) -> tuple[str, str]:
        template = _template(line, time)
        if (known := self._known.get(template)) is None:
            level, message = _told(line, time)
            known = level, shape(message)
            if not any(map(str.isdecimal, level)):  # a number that the template does not tell
                _keep(self._known, template, known)
        return known

    def _shape(self, message: str) -> str:
        template = _NUMBER.sub("0", message[:LONGEST])
        if (known := self._shapes.get(template)) is None:
            known = shape(message)
            _keep(self._shapes, template, known)
        return known


def _template(line: str, time: re.Match[str] | None) -> str:
    """Return a line without its time and its numbers; equal ones have one level and one shape."""
    if time is None or time.start() >= MARGIN:
        template = _NUMBER.sub("0", line)
    else:
        before, after = line[: time.start()], line[time.end() :]
        owned = f"{time[0]}\n" if "=" in before or ":" in before else ""  # perhaps the value of a key
        template = _NUMBER.sub("0", f"{before}\n{owned}{after}")
    return f"{line[:_GLOG]}\n{template}" if line[1:2].isdecimal() and line[0] in "DIWEF" else template


def _keep(known: dict[str, Any], template: str, value: object) -> None:
    if len(known) >= MOST_TEMPLATES:
        known.clear()
    known[template] = value


def minute(time: str) -> str:
    """Return a time without its seconds; empty for one that has no clock."""
    found = _MINUTE.match(time)
    return found[0] if found else ""


def shape(message: str) -> str:
    """Return a message with everything that differs from line to line written as #."""
    return _VARIES.sub("#", " ".join(message[:LONGEST].split()))


def _level(text: str) -> str:
    small = text.lower()
    named = not text.isascii() or "level" in small or "lvl" in small or "severity" in small
    found = (_NAMED_LEVEL.search(text) if named else None) or _LEVEL.search(text)
    level = next((group for group in found.groups() if group), found[0]) if found else ""
    return level_name(level[:LONGEST_MARK])


def level_name(level: str) -> str:
    """Return the one name for a level: WARNING is WARN."""
    level = level.upper()
    return _ONE_NAME.get(level, level)


def _from_json(line: str) -> Entry | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    time, level, message = (
        next((str(values[key]) for key in keys if isinstance(values.get(key), (str, int, float))), "")
        for keys in _KEYS.values()
    )
    return Entry(time[:LONGEST_MARK], level_name(level[:LONGEST_MARK]), message)
