"""Source trees: languages, what each part says of itself, where to start. Reads the top of each file."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from longctx.quotes.candidates import Candidate, candidates
from longctx.quotes.docstring import about
from longctx.quotes.outline import Section
from longctx.structure.diffs import NAME
from longctx.structure.facts import Fact, Group, Structure, place, plural, shortened
from longctx.structure.lines import numbered
from longctx.text.document import Document
from longctx.text.stretches import whole

_SUFFIXES = {
    "Python": ".py .pyi",
    "C": ".c .h",
    "C++": ".cc .cpp .cxx .hpp .hh",
    "Java": ".java",
    "Go": ".go",
    "Rust": ".rs",
    "JavaScript": ".js .mjs .cjs .jsx",
    "TypeScript": ".ts .tsx",
    "Ruby": ".rb",
    "PHP": ".php",
    "C#": ".cs",
    "Kotlin": ".kt .kts",
    "Swift": ".swift",
    "Scala": ".scala",
    "Shell": ".sh .bash .zsh",
    "Perl": ".pl .pm",
    "Lua": ".lua",
    "R": ".r",
    "SQL": ".sql",
    "Haskell": ".hs",
    "HTML": ".html .htm",
    "CSS": ".css .scss",
    "Markdown": ".md .markdown",
    "reStructuredText": ".rst",
    "YAML": ".yml .yaml",
    "TOML": ".toml",
    "JSON": ".json",
    "text": ".txt",
    "configuration": ".ini .cfg .conf",
    "XML": ".xml",
}
_NO_PROGRAMS = frozenset(
    ("HTML", "CSS", "Markdown", "reStructuredText", "YAML", "TOML", "JSON", "text", "configuration", "XML")
)
LANGUAGES = {suffix: language for language, them in _SUFFIXES.items() for suffix in them.split()}
_START = re.compile(
    r"if __name__ == [\"']__main__[\"']|(?:async )?def main\(|func main\(|(?:pub )?(?:async )?fn main\("
    r"|(?:int|void) main\s*\(|public static void main\(|\[project\.scripts\]|\s*\"(?:bin|main)\":"
    r"|ENTRYPOINT|#!/\S+"
)
_README = re.compile(r"readme(?:\.\w+)?", re.IGNORECASE)
MOST_FACTS = 500


def summarise_programs(documents: Sequence[Document]) -> Structure:
    """Tell what a folder of programs, or one program, holds."""
    sizes: Counter[str] = Counter()
    files: Counter[str] = Counter()
    starts: list[Fact] = []
    names: list[Fact] = []
    for document in documents:
        language = LANGUAGES.get(PurePath(document.name).suffix.lower(), "other")
        files[language] += 1
        alone = len(documents) == 1
        for number, line in numbered(document):
            sizes[language] += 1
            if len(starts) < MOST_FACTS and (number == 1 or line[:2] != "#!") and _START.match(line):
                starts.append(Fact(shortened(line), place(document, number)))
            if alone and line[:1] not in (" ", "\t") and (name := NAME.match(line)):
                names.append(Fact(f"{name['what']} {name['name']}", place(document, number)))
    folder, parts = _parts(documents)
    groups = [
        Group("It says of itself", _readme(documents)),
        Group("Parts", [_told(part, inside) for part, inside in parts.items()])
        if len(parts) > 1
        else Group("", []),
        Group("Where to start", starts[:MOST_FACTS]),
        _files(documents),
        Group("Names", names[:MOST_FACTS], max(0, len(names) - MOST_FACTS)),
    ]
    values = {
        "files": dict(files),
        "lines": dict(sizes),
        "parts": {part: len(them) for part, them in parts.items()},
    }
    headline = f"{folder}: {_what(len(parts), files, sizes)}"
    return Structure("programs", folder, headline, [group for group in groups if group.facts], values)


def _what(parts: int, files: Counter[str], sizes: Counter[str]) -> str:
    """Say how much there is, in which languages."""
    if files.total() == 1:
        (language,) = files
        program = language if language in _NO_PROGRAMS else f"a program in {language}"
        return f"{program}, {plural(sizes[language], 'line')}"
    languages = ", ".join(
        f"{language} {files[language]:,} ({plural(count, 'line')})"
        for language, count in sizes.most_common(8)
    )
    return f"{plural(files.total(), 'file')} in {plural(parts, 'part')}, {languages}"


def _parts(documents: Sequence[Document]) -> tuple[str, dict[str, list[Document]]]:
    """Return the folder that all lie in, and the documents by the first folder below it."""
    split = [PurePath(document.name).parts for document in documents]
    common = 0
    while all(len(one) > common + 1 and one[common] == split[0][common] for one in split):
        common += 1
    parts: dict[str, list[Document]] = {}
    for one, document in zip(split, documents, strict=True):
        parts.setdefault(one[common] + "/" if len(one) > common + 1 else "(top)", []).append(document)
    folder = str(PurePath(*split[0][:common])) if common else "."
    return (folder if len(documents) > 1 else documents[0].name), parts


def _readme(documents: Sequence[Document]) -> list[Fact]:
    """Quote the first sentences of the topmost README; of one program, those of its docstring."""
    readmes = [document for document in documents if _README.fullmatch(PurePath(document.name).name)]
    if readmes:
        document = min(readmes, key=lambda one: len(PurePath(one.name).parts))
        everything = Section("", 0, (whole(document),))
        said = [one.quote for one in _first(everything, 3)]
    else:
        said = about(documents[0]) if len(documents) == 1 else []
    return [Fact(shortened(quote.text), str(quote.span)) for quote in said]


def _first(section: Section, count: int) -> list[Candidate]:
    return [one for one, _ in zip(candidates(section), range(count), strict=False)]


def _told(part: str, documents: list[Document]) -> Fact:
    """Say how large a part is, and what its main file says of it."""
    said, where = "", ""
    rank = {"__init__": 0, "mod": 0, "lib": 0, "index": 0, "main": 1, "__main__": 1}
    order = sorted(
        documents, key=lambda one: (len(PurePath(one.name).parts), rank.get(PurePath(one.name).stem, 2))
    )
    for document in order[:20] if part != "(top)" else ():
        if quotes := about(document):
            said, where = f": {shortened(quotes[0].text)}", str(quotes[0].span)
            break
    return Fact(f"{part} {plural(len(documents), 'file')}{said}", where)


def _files(documents: Sequence[Document]) -> Group:
    """Quote what each file says of itself, files near the top first."""
    order = sorted(documents, key=lambda one: len(PurePath(one.name).parts))
    said = ((document, about(document)) for document in (order if len(documents) > 1 else ())[:MOST_FACTS])
    facts = [
        Fact(f"{PurePath(document.name).name}: {shortened(quotes[0].text)}", str(quotes[0].span))
        for document, quotes in said
        if quotes
    ]
    return Group("Files", facts)
