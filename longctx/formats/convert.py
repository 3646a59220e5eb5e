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
    raise NotImplementedError(kind)
