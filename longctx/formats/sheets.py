"""Excel tables, by openpyxl (the extra `xlsx`): a line for each row, tabs between cells. Places are cells."""

from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from longctx.formats import zips
from longctx.formats.draft import Draft
from longctx.formats.limits import Unreadable, check_ratio
from longctx.formats.xml import Events, parse
from longctx.regular import open_regular

MOST_COLUMNS = 16_384
LARGEST_STRINGS = 256 << 20  # bytes of the parts that openpyxl holds in memory


def convert(path: Path, draft: Draft) -> None:
    """Write the values of all sheets, formulas as what they last gave; empty rows are passed over."""
    try:
        import openpyxl
    except ImportError:
        raise Unreadable("an Excel table", "pip install 'longctx-lightning[xlsx]'") from None
    draft.left_out["a formula, never computed"] += _check(path)
    with open_regular(path) as file:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        for number, sheet in enumerate(book.worksheets):
            draft.at(number, len(book.worksheets), "sheets")
            _sheet(sheet, draft)
        draft.left_out["a chart sheet"] += len(book.chartsheets)
        book.close()


class _Formulas(Events):
    """Counts the formulas without a value: programs that only write tables compute nothing."""

    def __init__(self) -> None:
        self.count = 0
        self.formula = self.in_value = self.valued = False  # of the cell that is open

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "c":
            self.formula = self.valued = False
        self.formula |= tag == "f"
        self.in_value = tag in ("v", "t")

    def text(self, text: str) -> None:
        self.valued |= self.in_value

    def end(self, tag: str) -> None:
        self.in_value = False
        self.count += tag == "c" and self.formula and not self.valued


def _check(path: Path) -> int:
    """Refuse what openpyxl would not survive: bombs, and XML that declares entities; count bare formulas."""
    formulas = _Formulas()
    with zips.opened(path) as archive:
        for member in archive.infolist():
            check_ratio(member.file_size, member.compress_size)
            if member.filename.endswith((".xml", ".rels")):
                is_sheet = "worksheets/" in member.filename
                if not is_sheet and member.file_size > LARGEST_STRINGS:
                    raise Unreadable("an Excel table too large for memory", "save its sheets as CSV")
                parse(zips.blocks(archive, member), formulas if is_sheet else Events())
    return formulas.count


def _sheet(sheet: Any, draft: Draft) -> None:
    sheet.reset_dimensions()  # what the file says of its size need not be true
    title = " ".join(str(sheet.title).split())
    name = title if title.replace("_", "").isalnum() else "'" + title.replace("'", "''") + "'"
    draft.mark(name)
    draft.row(0)
    draft.write(f"{title}\n")
    for number, row in enumerate(sheet.iter_rows(max_col=MOST_COLUMNS, values_only=True), 1):
        line = "\t".join(_shown(value) for value in row).rstrip("\t")
        if line:
            draft.row(number)
            draft.write(f"{line}\n")


def _shown(value: object) -> str:
    """Write a value as a person would see it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return str(value.date()) if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:.15g}"
    return " ".join(str(value).split())
