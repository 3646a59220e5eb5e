"""Words brought to a common form, so that "игрока" in a question meets "игроки" in a text.

English words are cut by SQLite's Porter stemmer, as in the index of passages. Words of alphabets with spaces
between words but another grammar are cut to their first letters, and so are those of Latin-script
documents in another language than English. Snowball's stems find no more (see bench/evidence.py).
"""

import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

# Combining marks are parts of words: without them Hindi falls apart.
TOKENIZER = "porter unicode61 remove_diacritics 2 categories 'L* N* Co M*'"
LETTERS, ARABIC_LETTERS = 5, 6  # that are kept
LONG_ARABIC = 4  # letters; only longer words have prefixes and endings taken off
JUDGED = 20_000  # characters at the start of a document that show its language
LEAST_COMMON = 0.08  # share of its words that are among the commonest of a language

# Greek, Cyrillic, Armenian, Hebrew, Arabic; the scripts of India.
_CUT = re.compile(
    r"[\u0370-\u052f\u0531-\u05ff\u0620-\u06ff\u0750-\u077f\u0900-\u0dff\u1f00-\u1fff"
    r"\ufb1d-\ufb4f\ufb50-\ufdff\ufe70-\ufeff]+"
)
_ARABIC = re.compile(r"[\u0620-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff]")
_BEFORE = ("وال", "بال", "كال", "فال", "لل", "ال", "و")
_AFTER = ("ها", "ان", "ات", "ون", "ين", "يه", "ية", "ه", "ة", "ي")
_LATIN_WORD = re.compile(r"[a-zß-öø-ɏ\u1e00-\u1eff]+")  # of text in lower case
_WORD = re.compile(r"[^\W\d_]+")
_COMMON = {
    "en": "the of and to in is that was for with",
    "de": "der die das und ist nicht von den mit ein",
    "es": "de la que el en y los se del las",
    "fr": "de la le et les des est en du une",
    "it": "di che il la e per un del della non",
    "pt": "de que o a e do da em um os",
    "nl": "de het een van en in is dat op te",
    "sv": "och att det i en som på är av för",
    "pl": "w i na z się nie do że jest o",
    "tr": "bir ve bu da de için ile olarak çok daha",
}


def cut_foreign(text: str) -> str:
    """Cut every word of an alphabet other than Latin that puts spaces between words."""
    return text if text.isascii() else _CUT.sub(lambda found: _cut_foreign(found[0]), text)


def cut_latin(text: str) -> str:
    """List a text's words of Latin letters, each cut to its first letters."""
    return " ".join(word[:LETTERS] for word in _LATIN_WORD.findall(text.lower()))


def is_foreign_latin(text: str) -> bool:
    """Tell whether the start of a document is in a language of Latin letters other than English."""
    count = Counter(_WORD.findall(text.lower()))
    shares = {language: sum(count[word] for word in common) for language, common in _common().items()}
    english = shares.pop("en")
    return max(shares.values()) > max(english, LEAST_COMMON * count.total())


class Stems:
    """SQLite's stems of words, remembered."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.execute(
            f"CREATE VIRTUAL TABLE one USING fts5(text, content='', tokenize=\"{TOKENIZER}\")"
        )
        self._database.execute("CREATE VIRTUAL TABLE stems USING fts5vocab(one, instance)")

    def of(self, words: Iterable[str]) -> dict[str, str]:
        """Return the stem of each word, lower case."""
        wanted = set(words)
        new = [word for word in wanted if word not in self._known]
        if new:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO one(rowid, text) VALUES (?, ?)", enumerate(new))
            for stem, row in self._database.execute("SELECT term, doc FROM stems WHERE offset = 0"):
                self._known[new[row]] = stem
            self._database.execute("INSERT INTO one(one) VALUES ('delete-all')")
            self._database.execute("COMMIT")
        return {word: self._known.get(word, word.lower()) for word in wanted}

    def close(self) -> None:
        """Free the database."""
        self._database.close()


def _cut_foreign(word: str) -> str:
    word = word.lower()
    if _ARABIC.match(word):
        word = "".join(letter for letter in word if unicodedata.category(letter) != "Mn")
        return _without_ends(word)[:ARABIC_LETTERS]
    kept, letters = "", 0
    for sign in word:
        letters += unicodedata.category(sign)[0] == "L"
        if letters > LETTERS:
            break
        kept += sign
    return kept


def _without_ends(word: str) -> str:
    if len(word) <= LONG_ARABIC:
        return word
    for beginning in _BEFORE:
        if word.startswith(beginning):
            word = word.removeprefix(beginning)
            break
    for ending in _AFTER:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix(ending)
    return word


@cache
def _common() -> dict[str, list[str]]:
    return {language: words.split() for language, words in _COMMON.items()}
