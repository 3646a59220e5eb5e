"""Summaries, checked answers and retrieval proofs over long texts, from local hybrid-lightning models.

    with longctx.read("book.txt") as book:
        print(book.ask("What is the special magic number for quiet-lantern?").text)

Importing longctx loads nothing else; what you use is imported then, and torch only once a model is needed.
"""

TYPE_CHECKING = False  # typing takes 10 ms, in which a Ctrl-C would not be obeyed yet
if TYPE_CHECKING:
    from longctx.book import Book as Book
    from longctx.book import read as read
    from longctx.errors import DoesNotFitError as DoesNotFitError
    from longctx.errors import InputError as InputError
    from longctx.errors import LongctxError as LongctxError
    from longctx.errors import ModelError as ModelError
    from longctx.progress import Progress as Progress
    from longctx.progress import Usage as Usage
    from longctx.sampling import Sampling as Sampling
    from longctx.tasks.results import Answer as Answer
    from longctx.tasks.results import Part as Part
    from longctx.tasks.results import Quotation as Quotation
    from longctx.text.span import Quote as Quote
    from longctx.text.span import Span as Span

__version__ = "0.1.0"

_HOME = {
    "Answer": "tasks.results",
    "Book": "book",
    "DoesNotFitError": "errors",
    "InputError": "errors",
    "LongctxError": "errors",
    "ModelError": "errors",
    "Part": "tasks.results",
    "Progress": "progress",
    "Quotation": "tasks.results",
    "Quote": "text.span",
    "Sampling": "sampling",
    "Span": "text.span",
    "Usage": "progress",
    "read": "book",
}
__all__ = [  # noqa: PLE0604  # the names above, each imported on first use
    *_HOME,
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'longctx' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"longctx.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
