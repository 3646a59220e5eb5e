"""Passages for a question whose own words are not in the text: "how heavy" where it says "weighs"."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from longctx.quotes.index import PassageIndex
from longctx.quotes.prose import common_words, words
from longctx.text.span import Quote

# Irregular verbs first, whose forms no stemmer brings together.
_GROUPS = """
go goes went gone leave left
pay paid cost costs price fee charge rate rent euro euros dollar dollars pounds amount
buy bought purchase order ordered
sell sold sale
write wrote written author signed from
send sent post
give gave given
take took taken
bring brought
find found
lose lost missing
win won winner
meet met meeting present attended
eat ate eaten food serves feeds
drink drank
drive drove driven car
fly flew flight
grow grew grown
know knew known
speak spoke spoken talk said
steal stole stolen thief
break broke broken crack cracked damaged fault defective
build built construction
choose chose chosen
begin began begun start starts opens
end ends finish until closes expires
wear wore worn
teach taught teacher
think thought
keep kept keeps store stored
hold held
sing sang sung song
swim swam
fall fell fallen
forget forgot forgotten
hide hid hidden
born birth native
die died dead death buried
marry married wife husband wedding
child children son daughter kid
phone telephone tel mobile call
email mail contact
heavy weight weigh weighs kg grams kilos
long length lasts lasting duration takes hours minutes
tall high height
big large size
wide width
deep depth
fast speed
old age aged years
hot cold temperature degrees
loud noise sound
picture pictures photo photos photograph photographed camera
film movie
dog dogs pet pets animals
wet water waterproof rain
sick ill illness disease
doctor hospital clinic
job work profession employed
boss manager head director
owner owns belongs
live lives lived home house address
where place location street
website url web
allowed permitted forbidden may must
free gratis charge
auth authentication login password passwords logged session sessions
backup backups copies bucket archive
error errors failed failure exception
run runs schedule cron daily
"""


def widened(index: PassageIndex, question: str, found: Sequence[Quote], limit: int) -> list[Quote]:
    """Return the passages found, and up to `limit` in all more that hold related words, of score 0.

    Of a short text, passages from the start follow.
    """
    wider = list(found)
    more = " ".join(related(question))
    others = index.search(more, limit) if more and len(wider) < limit else []
    for other in (*others, *(index.beginning(limit) if len(wider) < limit else ())):
        if len(wider) < limit and not any(_overlap(one, other) for one in wider):
            wider.append(replace(other, score=0.0))
    return wider


def _overlap(one: Quote, other: Quote) -> bool:
    a, b = one.span, other.span
    return a.document is b.document and a.byte_start < b.byte_end and b.byte_start < a.byte_end


def related(question: str) -> list[str]:
    """Return the words that may stand in a text for those of a question, without the question's own."""
    asked = dict.fromkeys(word.lower() for word in words(question))
    found = dict.fromkeys(other for word in asked for group in _groups().get(word, ()) for other in group)
    return [word for word in found if word not in asked and word not in common_words()]


@cache
def _groups() -> dict[str, list[list[str]]]:
    groups: dict[str, list[list[str]]] = {}
    for line in _GROUPS.split("\n"):
        for word in line.split():
            groups.setdefault(word, []).append(line.split())
    return groups
