"""Where sentences end, by rules. Knows no files.

An end that is missed joins two sentences, which reads well; one that is made up begins a sentence in its
middle. So a doubtful full stop ends nothing.
"""

import re
from collections.abc import Iterator

from longctx.quotes.prose import common_words

_ABBREVIATIONS = {
    # Before a name, or in the middle of a sentence: these never end one.
    "never": (
        "Mr Mrs Ms Dr Prof St Mt Ft Rev Hon Gen Col Maj Capt Cpt Lt Sgt Cpl Adm Cmdr Gov Sen Rep Pres "
        "Supt Messrs Mme Mlle MM Hr Fr Frl Herr Sra Srta Dña Sig Dott vs cf viz al approx esp incl resp "
        "ca bzw vgl evtl ggf sog inkl geb gest zzgl Abs Art им ул пр см ср напр гр"
    ),
    # Before a number only.
    "number": (
        "No Nos Nr Fig Figs Eq Eqs Ref Refs Vol Vols Ch Chap Sec Sect Art Par Para Pt Bk Ex p pp vol ch "
        "sec art fig no nos nr ll vv S Bd Kap Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec № стр гл "
        "рис табл"
    ),
    # At the end of a sentence as often as inside it: only a word that begins sentences tells.
    "doubtful": (
        "Jr Sr Esq Inc Ltd Co Corp Bros Ave Rd Blvd Dept Univ Sra Ph.D Ph M.D B.A M.A a.m p.m A.M P.M e.g "
        "i.e E.g I.e z.B d.h u.a o.ä т.е т.д т.п г гг"
    ),
}
_KIND = {word: kind for kind, words in _ABBREVIATIONS.items() for word in words.split()}
_MONTHS = "Januar Jänner Februar März April Mai Juni Juli August September Oktober November Dezember"

# A mark, what closes after it, and white space; East Asian and Indic marks need no space.
_END = re.compile(
    r"[.!?…؟।॥۔։。！？｡]+[\"'”’»›)\]*_」』）]*(?P<gap>\s*)(?=[\"'“‘„«‹([*_¿¡—–-]*(?P<next>\w*))"
)
_UNSPACED_MARKS = "。！？｡"
_LAST_WORD = re.compile(r"[^\s\"'“‘„«‹()\[\]*_—–]*\Z")
_INITIAL = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_REACH = 24  # characters before a full stop that hold its word


def split_sentences(text: str) -> Iterator[str]:
    """Cut a text into sentences; joined, they are the text. White space belongs to the sentence before it."""
    start = 0
    for end in _END.finditer(text):
        if end.end() < len(text) and _ends(text, start, end):
            yield text[start : end.end()]
            start = end.end()
    if start < len(text):
        yield text[start:]


def _ends(text: str, start: int, end: re.Match[str]) -> bool:
    """Tell whether a mark that may end a sentence does."""
    mark, following = end[0][0], end["next"]
    if mark in _UNSPACED_MARKS:
        return True
    if not end["gap"] or following[:1].islower():
        return False
    if mark != "." or end[0].startswith(".."):
        return True
    word = _LAST_WORD.search(text, max(start, end.start() - _REACH), end.start())
    return _ends_word(word[0] if word else "", following, first=not word or word.start() <= start)


def _ends_word(word: str, following: str, first: bool) -> bool:
    """Tell whether the full stop after `word`, which may be the sentence's first, ends the sentence."""
    begins = following.lower() in common_words()
    if word.isdecimal():
        return not (first or (len(word) <= 2 and following in _MONTHS.split()))
    kind = _KIND.get(word) or ("doubtful" if _INITIAL.fullmatch(word) else None)
    if kind == "never":
        return False
    if kind == "number":
        return not following[:1].isdecimal()
    return begins if kind else True
