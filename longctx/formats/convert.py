"""From a file of some kind to its text: a row for each kind. Converters are imported when needed."""

import warnings
from pathlib import Path

from longctx.formats.draft import Draft
from longctx.formats.limits import Damaged, Plain, Unreadable, reason


def convert(kind: str, path: Path, draft: Draft) -> Unreadable | None:
    """Write the text of the file at `path` into `draft`; return why it, or the rest of it, was not read.

    Raises:
        Plain: when the file is better read as it is.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries warn of oddities in the file
            _convert(kind, path, draft)
    except Plain:
        raise
    except Unreadable as error:
        return error
    except OSError as error:
        if error.errno is not None:  # a full disk is not the fault of the file
            raise
        return Damaged(f"damaged or cut short ({reason(error)})")
    except Exception as error:  # parsers raise whatever they like over a damaged file
        return Damaged(f"damaged or cut short ({reason(error)})")
    return None


def _convert(kind: str, path: Path, draft: Draft) -> None:
    match kind:
        case "html":
            from longctx.formats import html

            html.convert(path, draft)
        case "epub":
            from longctx.formats import epub

            epub.convert(path, draft)
        case "docx" | "odt":
            from longctx.formats import office

            (office.docx if kind == "docx" else office.odt)(path, draft)
        case "ipynb":
            from longctx.formats import notebook

            notebook.convert(path, draft)
        case "mbox" | "eml":
            from longctx.formats import mail

            mail.convert(path, draft, mailbox=kind == "mbox")
        case "pdf":
            from longctx.formats import pdf

            pdf.convert(path, draft)
        case "xlsx":
            from longctx.formats import sheets

            sheets.convert(path, draft)
