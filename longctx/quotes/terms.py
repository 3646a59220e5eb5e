"""The words of a question as FTS5 takes them: terms and phrases, quoted so that nothing is query syntax."""

import itertools

from longctx.quotes.prose import common_words, humps, unspaced_characters, words
from longctx.quotes.stems import cut_foreign


def terms_of(question: str) -> list[str]:
    """Write a question as FTS5 terms: its telling words, and its dotted or dashed names as a whole.

    Every term is quoted, so that nothing in the question is query syntax.
    """
    terms: dict[str, None] = {}
    for token in cut_foreign(_plain(question)).split():
        inside = words(token)
        if len(inside) > 1 and token.isascii():
            terms[f'"{token}"'] = None
        for word in (*inside, *humps(token).split()):
            # A single character without word spaces around it stands at the start of a pair.
            terms[f'"{word}"*' if len(word) == 1 and unspaced_characters(word) else f'"{word}"'] = None
    telling = [term for term in terms if term.strip('"*').lower() not in common_words()]
    return telling or list(terms)


def phrases_of(question: str) -> list[str]:
    """Return the pairs of telling words that stand side by side in a question, as FTS5 phrases."""
    pairs: dict[str, None] = {}
    telling = [
        None if word.lower() in common_words() else word for word in words(cut_foreign(_plain(question)))
    ]
    for one, two in itertools.pairwise(telling):
        if one and two:
            pairs[f'"{one} {two}"'] = None
    return list(pairs)


def _plain(question: str) -> str:
    return question.encode("utf-8", "replace").decode("utf-8").replace('"', " ").replace("\0", " ")
