"""Jupyter notebooks: the cells as they stand, with the text they put out; pictures are counted."""

import json
import re
from pathlib import Path
from typing import Any

from longctx.formats.draft import Draft
from longctx.formats.limits import Plain
from longctx.regular import open_regular

LARGEST = 128 << 20  # bytes; most of a large notebook are its pictures
LONGEST_OUTPUT = 1 << 20  # characters of one output
OLD_PICTURES = ("png", "jpeg", "svg")  # as IPython named them until 2015
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def convert(path: Path, draft: Draft) -> None:
    """Write the cells of a notebook; places are `#cell 4:2`."""
    if path.stat().st_size > LARGEST:
        raise Plain
    try:
        with open_regular(path) as file:
            notebook = json.loads(file.read().decode("utf-8-sig"))
        cells = notebook.get("cells") or _of_sheets(notebook)
    except (ValueError, RecursionError, AttributeError):
        raise Plain from None
    if not isinstance(cells, list):
        raise Plain
    for number, cell in enumerate((cell for cell in cells if isinstance(cell, dict)), 1):
        draft.at(number - 1, len(cells), "cells")
        draft.mark(f"cell {number}")
        draft.write(_heading(cell) + _joined(cell.get("source") or cell.get("input")))
        draft.fresh_line()
        for output in cell.get("outputs") or ():
            if isinstance(output, dict):
                _write_output(output, draft)


def _heading(cell: dict[str, Any]) -> str:
    """Return what marks a heading, which was a kind of cell until 2015."""
    level = cell.get("level") if cell.get("cell_type") == "heading" else None
    return "#" * min(level, 6) + " " if isinstance(level, int) else ""


def _of_sheets(notebook: dict[str, Any]) -> Any:
    """Return the cells of a notebook as IPython wrote it until 2015: in worksheets, of which there is one."""
    return [
        cell
        for sheet in notebook.get("worksheets") or ()
        for cell in (sheet.get("cells") if isinstance(sheet, dict) else None) or ()
    ]


def _write_output(output: dict[str, Any], draft: Draft) -> None:
    data = output.get("data")
    data = data if isinstance(data, dict) else {f"image/{kind}": 1 for kind in OLD_PICTURES if kind in output}
    draft.left_out["a picture"] += any(str(kind).startswith("image/") for kind in data)
    if output.get("output_type") in ("error", "pyerr"):
        text = f"{output.get('ename')}: {output.get('evalue')}"
    else:
        text = _joined(output.get("text") or data.get("text/plain"))
        if any(str(kind).startswith("image/") for kind in data) and re.fullmatch(r"<[^\n>]*>", text.strip()):
            text = ""  # <Figure size 640x480 with 1 Axes>: the name of the picture's object
    text = _COLOURS.sub("", text).strip("\n")
    if len(text) > LONGEST_OUTPUT:
        draft.left_out["a long output"] += 1
    elif text:
        draft.write(f"\nOutput:\n{text}\n")


def _joined(lines: Any) -> str:
    if isinstance(lines, list):
        return "".join(line for line in lines if isinstance(line, str))
    return lines if isinstance(lines, str) else ""
