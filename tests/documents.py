"""Documents that tests write."""

from collections.abc import Callable

from longctx.text.source import Document

Write = Callable[[str, str], Document]  # a name and a text -> the document
