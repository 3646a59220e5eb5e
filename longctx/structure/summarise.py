"""Which documents have a structure, of which kind, and what to tell of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from longctx.quotes.outline import is_program
from longctx.structure.diffs import is_diff, summarise_diff
from longctx.structure.facts import NoStructure, Structure
from longctx.structure.json_shape import summarise_json, summarise_json_lines
from longctx.structure.lines import head
from longctx.structure.logs import is_log, summarise_log
from longctx.structure.messages import is_chat, is_mail, summarise_chat, summarise_mail
from longctx.structure.notebooks import is_notebook, summarise_notebook
from longctx.structure.programs import LANGUAGES, summarise_programs
from longctx.structure.tables import SUFFIXES, mark_of, summarise_table
from longctx.text.document import Document

TREE = 0.3  # share of programs from which a folder is a source tree


@dataclass
class Sorted:
    """Documents by what can be told of them.

    Attributes:
        structures: of those that have one.
        prose: all others.
        refused: why some of those that have one cannot be summarised.
    """

    structures: list[Structure] = field(default_factory=list)
    prose: list[Document] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def summarise_structures(documents: Sequence[Document]) -> Sorted:
    """Summarise each document that is no prose; programs together, with all that lies beside them."""
    result = Sorted()
    programs = [document for document in documents if _is_code(document)]
    if len(programs) > 1 and len(programs) >= TREE * len(documents):
        result.structures.append(summarise_programs(documents))
        return result
    for document in documents:
        try:
            structure = summarise_one(document)
        except NoStructure as error:
            result.refused.append(str(error))
            continue
        if structure:
            result.structures.append(structure)
        elif document not in programs:
            result.prose.append(document)
    if programs := [
        document for document in programs if document.name not in {s.name for s in result.structures}
    ]:
        result.structures.append(summarise_programs(programs))
    return result


def _is_code(document: Document) -> bool:
    suffix = PurePath(document.name).suffix.lower()
    plain = suffix in (".md", ".markdown", ".rst", ".txt", ".json", ".csv", ".html", ".htm", ".xml", ".log")
    return suffix in LANGUAGES and not plain and is_program(document)


def summarise_one(document: Document) -> Structure | None:
    """Summarise a document by its kind, the surest sign first; None for prose and programs."""
    return next((summarise(document) for looks, summarise in _KINDS if looks(document)), None)


def _is_named_table(document: Document) -> bool:
    named = PurePath(document.name).suffix.lower() in SUFFIXES or document.kind in ("csv", "tsv")
    return named and bool(mark_of(document))


def _is_table(document: Document) -> bool:
    return not _is_code(document) and bool(mark_of(document))


def _json_kind(document: Document) -> str:
    """Tell a value on each line from one value; text in brackets or braces alone is neither."""
    beginning = head(document, 3)
    if not beginning or beginning[0].strip()[:1] not in ("{", "["):
        return ""
    whole = [line.strip()[-1:] in ("}", "]") and line.strip()[:1] in ("{", "[") for line in beginning]
    if len(beginning) > 1 and all(whole):
        return "jsonl"
    named = PurePath(document.name).suffix.lower() in (".json", ".jsonl", ".geojson")
    said = "".join(beginning).replace(" ", "")[1:2]
    return "json" if named or document.kind == "json" or said in ('"', "{", "[", "}", "]") else ""


_KINDS: tuple[tuple[Callable[[Document], bool], Callable[[Document], Structure]], ...] = (
    (_is_named_table, summarise_table),
    (is_notebook, summarise_notebook),
    (is_diff, summarise_diff),
    (is_mail, summarise_mail),
    (is_chat, summarise_chat),
    (lambda document: not _is_code(document) and is_log(document), summarise_log),
    (lambda document: _json_kind(document) == "json", summarise_json),
    (lambda document: _json_kind(document) == "jsonl", summarise_json_lines),
    (_is_table, summarise_table),
)
