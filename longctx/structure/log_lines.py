"""A line of a log taken apart: its time, its level, and the shape of its message. Knows no files."""

import json
import re
from dataclasses import dataclass

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
_MINUTE = re.compile(r".*?\d{1,2}:\d\d(?=:\d\d)|.*\d{1,2}:\d\d")
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
_VARIES = re.compile(r"[^\s=/\[\](){}<>\"',;|]*\d[^\s=/\[\](){}<>\"',;|]*")  # whatever holds a digit
REACH = 400  # characters of a line in which its time and level are looked for
LONGEST = 300  # characters of a shape
LONGEST_MARK = 40  # characters of a time or of the name of a level


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
    beginning = line[:REACH]
    time = TIME.search(beginning)
    message = line[time.end() :] if time and time.start() < 80 else line
    if access := _ACCESS.search(line):
        asked = f"{access['method']} {access['path']}"
        return Entry(time[0].strip() if time else "", f"{access['status']}xx", asked)
    if said := _MESSAGE.search(line):
        message = said[1].strip('"')
    return Entry(time[0].strip() if time else "", _level(beginning), message.strip(" \t]|:,-"))


def minute(time: str) -> str:
    """Return a time without its seconds; empty for one that has no clock."""
    found = _MINUTE.match(time)
    return found[0] if found else ""


def shape(message: str) -> str:
    """Return a message with everything that differs from line to line written as #."""
    return _VARIES.sub("#", " ".join(message[:LONGEST].split()))


def _level(text: str) -> str:
    found = _NAMED_LEVEL.search(text) or _LEVEL.search(text)
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
