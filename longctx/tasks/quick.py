"""What `ask --quick` reads: the passages of an index that match a question best, under a budget of tokens."""

from collections.abc import Callable
from dataclasses import dataclass

from longctx.errors import InputError
from longctx.plan import count_tokens
from longctx.quotes.index import PassageIndex
from longctx.text.source import Corpus, Document
from longctx.text.span import Span
from longctx.tokens.tokenizer import Tokenizer

FEWEST_TOKENS = 40  # that a passage has, about: so many more are ranked than can be read


@dataclass(frozen=True)
class Choice:
    """Passages in text order, each a document of its own.

    Attributes:
        documents: the passages. header: names the place of each.
        tokens_in_all: of the whole corpus; `exact` when they were counted, not estimated.
    """

    documents: list[Document]
    header: Callable[[Document], str]
    tokens_in_all: int
    exact: bool


def choose(
    index: PassageIndex, corpus: Corpus, question: str, tokenizer: Tokenizer, budget: int
) -> Choice | None:
    """Return the best passages that have at most `budget` tokens with their headers; None if all is no more.

    Raises:
        InputError: when no passage has a word of the question, or the best one is longer than the budget.
    """
    in_all, exact = count_tokens(tokenizer, corpus)
    if in_all <= budget:
        return None
    found = index.search(question, 1 + budget // FEWEST_TOKENS)
    if not found:
        raise InputError("no passage shares a word with the question; ask in other words, or without --quick")
    places: dict[Document, Span] = {}
    for passage in found:
        span = passage.span
        tokens = len(tokenizer.encode(_header(span) + passage.text))
        if tokens <= budget:
            places[span.alone()] = span
            budget -= tokens
    if not places:
        raise InputError("the budget is smaller than any passage that matches; raise --budget")
    order = {document.name: number for number, document in enumerate(corpus.documents)}
    documents = sorted(places, key=lambda part: (order[part.name], part.start))
    return Choice(documents, lambda document: _header(places[document]), in_all, exact)


def _header(span: Span) -> str:
    return f"\n\n==> {span} <==\n"
