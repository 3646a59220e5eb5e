"""Which version of a package is needed: lists of requirements, and versions beside names in prose."""

import re
from collections.abc import Iterable, Iterator

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.fact import VERSION, Exact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.sentences import denies
from longctx.quotes.exact.words import cover, stems

_ASKED = re.compile(
    r"(?:\b(?:versions?|release) (?:of|for) (?:the )?[`\"']?(?P<after>@?[\w][\w./@-]*\w|\w)[`\"']?"
    r"|\b(?:which|what|the|minimum|required) (?P<before>@?[\w][\w./@-]*\w) versions?\b"
    r"|^(?P<alone>@?[\w][\w./@-]*\w) versions?\W*$)",
    re.IGNORECASE,
)
# click>=8.1, psycopg[binary]==3.1 ; python_version < "3.9"
_REQUIREMENT = re.compile(
    r"\s*(?:- |RUN pip install )?[\"']?(?P<name>[A-Za-z][\w.-]*?)(?:\[[\w, -]*\])?\s*\(?"
    r"(?P<version>(?:[~=!<>]=?=?"
    r"|===)\s*\d[\w.*+!-]*(?:\s*,\s*(?:[~=!<>]=?=?)\s*\d[\w.*+!-]*)*)\)?(?=[\s\"',;#\\]|$)"
)
_SET_TO = re.compile(r"=\s*\d+")  # requests=90 is a setting, numpy=1.26 may be a version
# require github.com/x/y v1.2.3 / go 1.22 / gem "x", "~> 1.2" / <artifact>:1.2
_BESIDE = re.compile(
    r"\s*(?:require |gem |go get )?[\"']?(?P<name>[A-Za-z@][\w./@-]*)[\"']?,?\s+[\"']?(?P<version>(?:~>"
    r" ?|>= ?)?v?\d+(?:\.\w+)+[\w.+-]*)"
    r"[\"']?\s*(?:(?://|#).*)?$"
)
# FROM node:20.11-alpine, image: "registry.example/team/redis:7.2", pip install quaywatch==2.3.1
_IMAGE = re.compile(
    r"\s*(?:- )?(?:FROM|image:)\s+[\"']?(?:[\w.:-]+/)*(?P<name>[\w.-]+):(?P<version>v?\d[\w.-]*)"
)
_INSTALLED = re.compile(
    r".*\binstall\s+(?:-\S+ )*[\"']?(?P<name>@?[\w./-]+)(?:==|@)(?P<version>v?\d[\w.+-]*)"
)
# "Python 3.10 or newer", "firmware 4.0.7": a name, perhaps the word, and the number
_PROSE_VERSION = (
    r"[`\"*]*(?:,? (?:version|v\.|release))?[ :]*(?:>= ?|at least |from )?"
    r"(?P<version>v?\d+(?:\.\d+)*(?:[a-z]\d*)?(?:\+| or (?:newer|later|higher|above|greater)| and"
    r" (?:newer|later|up))?)(?![\w%:/]|\.\d| ?[-–] ?\d)"
)


def package(asked: Asked) -> str:
    """Return the package whose version is asked for; empty if none is."""
    found = _ASKED.search(asked.text)
    name = next((name for name in found.groups() if name), "") if found else ""
    return (
        ""
        if name.lower() in ("the", "which", "what", "minimum", "required", "current", "latest", "it", "this")
        else name
    )


def requirements(name: str, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield the versions that lines ask of a package."""
    for line in lines:
        for form in (_REQUIREMENT, _BESIDE, _IMAGE, _INSTALLED):
            found = _quoted(form, name, line.text)
            if found:
                yield Exact(found, line.quote())
                break


def _quoted(form: re.Pattern[str], name: str, text: str) -> str:
    """Return the version that a form finds for a package, in a line or in one of its strings."""
    pieces = re.findall(r"\"[^\"]*\"|'[^']*'", text) if text.count('"') + text.count("'") > 2 else []
    for piece in [text, *(piece[1:-1] for piece in pieces)]:
        found = form.match(piece)
        if found and _same(found["name"], name) and not _SET_TO.fullmatch(found["version"]):
            return (
                " ".join(found["version"].split()) if form is _BESIDE else found["version"].replace(" ", "")
            )
    return ""


def _same(found: str, asked: str) -> bool:
    """Tell whether a package is meant: psycopg2_binary is psycopg2-binary, chi is go-chi/chi/v5."""
    found, asked = (re.sub(r"[-_.]+", "-", name.lower()) for name in (found, asked))
    bare = re.sub(r"/v\d+$", "", found)
    return asked in (found, bare) or ("/" in bare and asked == bare.rsplit("/", 1)[1])


def said(asked: Asked, name: str, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield the versions that prose gives beside a name, in lines that hold all else that is asked for."""
    form = re.compile(rf"(?<![\w-]){re.escape(name)}(?=[^\w-]){_PROSE_VERSION}", re.IGNORECASE)
    for line in lines:
        if asked.required - cover(asked.terms, stems(line.text))[0]:
            continue
        for said in re.split(r"[.;] ", line.text):
            if not denies(said) and (found := form.search(said)) and VERSION.match(found["version"]):
                yield Exact(found["version"], line.quote())
                break
