"""Notebooks: headings, what was computed last, errors. Reads the file, or the text it was turned into."""

import json
import re
from dataclasses import dataclass

from longctx.structure.facts import Fact, Group, NoStructure, Structure, place, plural, shortened
from longctx.structure.lines import lines
from longctx.text.document import Document
from longctx.text.places import Parts

LARGEST = 128 << 20
MOST, LAST = 200, 5
_HEADING = re.compile(r"#{1,6}\s+\S")
_IMPORT = re.compile(r"\s*(?:import|from)\s+([\w.]+)")
_ERROR = re.compile(r"\w*(?:Error|Exception|Interrupt)\b: ?.*")
OUTPUT = "Output:"


@dataclass(frozen=True, slots=True)
class _Cell:
    where: str
    source: list[str]
    output: list[str]
    prose: bool


def is_notebook(document: Document) -> bool:
    """Recognise a notebook, raw or turned into text."""
    if document.kind == "ipynb":
        return True
    beginning = next(document.blocks(1 << 15), "").lstrip()
    return beginning.startswith("{") and bool(
        re.search(r'"(?:cells|nbformat|nbformat_minor)"\s*:', beginning)
    )


def summarise_notebook(document: Document) -> Structure:
    """Tell the headings, the libraries, the errors and the last outputs."""
    cells = _from_text(document) if isinstance(document.place, Parts) else _from_json(document)
    headings, errors, outputs, libraries = list[Fact](), list[Fact](), list[Fact](), dict[str, None]()
    for cell in cells:
        for line in cell.source:
            if cell.prose and _HEADING.match(line):
                headings.append(Fact(shortened(line.lstrip("# ")), cell.where))
            elif not cell.prose and (library := _IMPORT.match(line)):
                libraries[library[1].split(".")[0]] = None
        if cell.output:
            (errors if _ERROR.match(cell.output[0]) else outputs).append(
                Fact(shortened(" / ".join(cell.output[-3:])), cell.where)
            )
    told = ", ".join((plural(len(cells), "cell"), plural(len(outputs) + len(errors), "output")))
    groups = [
        Group("Headings", headings[:MOST], max(0, len(headings) - MOST)),
        Group("Errors", errors[:MOST]),
        Group("Last outputs", outputs[: -LAST - 1 : -1], max(0, len(outputs) - LAST)),
        Group("Libraries", [Fact(", ".join(libraries))] if libraries else []),
    ]
    values = {
        "cells": len(cells),
        "outputs": len(outputs),
        "errors": len(errors),
        "libraries": list(libraries),
    }
    return Structure(
        "notebook",
        document.name,
        f"{document.name}: a notebook of {told}",
        [g for g in groups if g.facts],
        values,
    )


def _from_text(document: Document) -> list[_Cell]:
    """Take the text of a notebook apart where its cells begin."""
    assert isinstance(document.place, Parts)
    every, begin, starts = list(lines(document)), document.first_line, document.place.starts
    cells = []
    for start, end in zip(starts, [*starts[1:], begin + len(every)], strict=True):
        if end <= begin < document.place.starts[-1]:
            continue  # before the place where the user wanted the text to begin
        first = max(begin, start)
        told = [line for line in every[first - begin : end - begin] if line.strip()]
        cut = told.index(OUTPUT) if OUTPUT in told else len(told)
        prose = bool(told) and bool(_HEADING.match(told[0])) and cut == len(told)
        cells.append(_Cell(place(document, first), told[:cut], told[cut + 1 :], prose))
    return cells


def _from_json(document: Document) -> list[_Cell]:
    if document.end - document.start > LARGEST:
        raise NoStructure(f"{document.name}: a notebook of over {LARGEST >> 20} MiB; clear its outputs first")
    try:
        read = json.loads("".join(document.blocks()))
        every = (
            read["cells"] if "cells" in read else [c for sheet in read["worksheets"] for c in sheet["cells"]]
        )
        return [_cell(f"{document.name}#cell {number}", cell) for number, cell in enumerate(every, 1)]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise NoStructure(f"{document.name}: a damaged notebook ({shortened(str(error))})") from error


def _cell(where: str, cell: dict[str, object]) -> _Cell:
    told: list[str] = []
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        if output.get("output_type") in ("error", "pyerr"):
            told = [f"{output.get('ename')}: {output.get('evalue')}"]
            break
        told += _joined(output.get("text") or (output.get("data") or {}).get("text/plain"))
    source = _joined(cell.get("source", cell.get("input")))
    return _Cell(where, source, [line for line in told if line.strip()], cell.get("cell_type") != "code")


def _joined(text: object) -> list[str]:
    if isinstance(text, list):
        text = "".join(part for part in text if isinstance(part, str))
    return text.splitlines() if isinstance(text, str) else []
