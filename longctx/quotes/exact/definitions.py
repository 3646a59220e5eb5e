"""Where a name is defined: in programs, in SQL, in a Makefile."""

import re
from collections.abc import Iterable, Iterator

from longctx.quotes.exact.fact import Exact
from longctx.quotes.exact.lines import Line

_NAME = r"[`\"']?(?P<name>[A-Za-z_$][\w$.:-]*\w|\w)[`\"']?(?:\(\))?"
_KIND = (
    r"(?:(?:data )?class|function|func|method|constant|variable|type|struct|macro|enum|interface|trait|table"
    r"|view|index|target|procedure|trigger|module|rule|property|decorator|dataclass|component|hook"
    r"|alias|union|protocol|typedef)"
)
_DONE = r"(?:defined|declared|implemented|created|introduced|written)"
_ASKED = [
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"where(?:['’]s| is| are| do (?:we|you|they|I)) (?:the )?(?:(?P<kind>{_KIND}) )?{_NAME}(?:"
        rf" (?P<after>{_KIND}))? {_DONE}\W*$",
        rf"where (?:is|are) (?:the )?(?P<kind>{_KIND}) {_NAME}\W*$",
        rf"where (?:is|are) (?:the )?{_NAME} (?P<kind>{_KIND})\W*$",
        rf"(?:which|what) (?:file|line|place|module) (?:defines|declares|implements|creates|sets"
        rf"|assigns|has|holds|contains) (?:the"
        rf" )?(?:(?P<kind>{_KIND}) )?{_NAME}\W*$",
        rf"(?:(?:in |on |at )?(?:which|what) )?line (?:number )?(?:of|has|is|does) (?:the"
        rf" )?(?:(?P<kind>{_KIND}) )?{_NAME}"
        r"(?: (?:begin|start|defined|in))?\W*$",
        rf"(?:(?:find|show)(?: me)? )?(?:the )?definition of (?:the )?(?:(?P<kind>{_KIND}) )?{_NAME}\W*$",
    )
]
_WHERE = re.compile(rf"where(?:'s| is| are) (?:the )?{_NAME}\W*$", re.IGNORECASE)
_CODED = re.compile(r"[a-z][A-Z]|\w_\w")  # what only a program calls a thing
_BEFORE = (
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|declare"
    r"|pub(?:\([\w ]+\))?|unsafe|inline|virtual|override|sealed|data|extern|const|partial) +)*"
)
_KEYWORDS = (
    r"(?:def|class|func|fun|fn|function\*?|const|let|var|val|static|struct|enum|union|trait|interface|type"
    r"|module|mod|namespace|object|record|protocol|macro_rules!|typedef(?: [\w *]+)?|sub|proc|defn?"
    r"|macro|impl)"
)
_STATEMENT = re.compile(
    r"\s*(?:return|throw|new|else|await|yield|raise|case|delete|in|not|and|or"
    r"|with|if|elif|for|while|assert|print|del|using|defer|go)\b"
)


def defined_name(question: str) -> str:
    """Return the name whose definition is asked for; empty if none is."""
    for form in _ASKED:
        if found := form.match(" ".join(question.split())):
            return re.split(r"\.|::", found["name"])[-1]
    alone = _WHERE.match(" ".join(question.split()))
    return alone["name"] if alone and _CODED.search(alone["name"]) else ""


def mentioned(question: str) -> str:
    """Return the words whose file is asked for: "which file mentions the moon"; empty if none is."""
    found = re.match(
        r"(?:in )?(?:which|what)(?: one)?(?: of the)? (?:files?|documents?|notes?)(?: is| are)?"
        r" (?:mentions?|contains?|talks? about"
        r"|speaks? of|has|holds|names|about)(?: the (?:words?|text|string))? (?P<words>.+)",
        " ".join(question.split()),
        re.IGNORECASE,
    )
    return found["words"] if found else ""


def definitions(name: str, lines: Iterable[Line], file: str) -> Iterator[Exact]:
    """Yield the lines that define a name."""
    pattern = _pattern(name, makefile=bool(re.search(r"makefile$|\.mk$", file, re.IGNORECASE)))
    sure = re.compile(
        rf"\s*{_BEFORE}{_KEYWORDS} +(?:\([^)]*\) *)?(?:[\w.]+[.:]+)?{re.escape(name)}(?![\w$-])"
    )
    found = [line for line in lines if pattern.match(line.text) and not _STATEMENT.match(line.text)]
    # "char *name(" looks like a definition in C, and like a use in a table of commands.
    for line in [line for line in found if sure.match(line.text)] or found:
        yield Exact(line.text.strip(), line.quote())


def _pattern(name: str, *, makefile: bool) -> re.Pattern[str]:
    word = re.escape(name)
    target = rf"|(?:[\w./-]+ +)*{word}(?: +[\w./-]+)*\s*:(?!=)" if makefile else ""
    return re.compile(
        rf"\s*(?:{_BEFORE}{_KEYWORDS} +(?:\([^)]*\) *)?(?:[\w.]+[.:]+)?{word}(?![\w$-])"
        rf"|\s*{word} *\(\) *\{{"
        rf"|\s*#\s*define +{word}(?!\w)"
        rf"|(?:export +)?{word}\s*(?::\s*[\w\[\]., |]+)?(?::=|=(?!=))"
        rf"|\}}\s*\*?{word}\s*;"
        rf"|(?i:create +(?:or +replace +)?(?:(?:unique|temp|temporary|materialized|global) +)*(?:table"
        rf"|view|index|function"
        rf"|procedure|trigger|type|sequence|schema|domain) +(?:if +not +exists +|concurrently"
        rf" +)?(?:\w+\.)?[\"`\[]?{word}(?![\w$-]))"
        rf"|\s+(?:async +|static +|get +|set +|\*)*{word} *\([^;{{]*\) *(?:: *[^;{{]+)?\{{\s*$"
        rf"|(?:func +\([^)]*\) +){word}\b"
        rf"|{_BEFORE}[A-Za-z_][\w:<>,*&\[\] ]*[ *&]+(?:\w+::)?{word} *\([^;]*${target})"
    )
