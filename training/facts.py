"""Facts with a question each: a statement for the text, the value in it, and how one asks for it.

Knows nothing of tokens. The value stands in its statement after a space, so that it reads the same there and
after "Answer:".
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from training import words as w
from training.words import LISTS, PHRASES, WORDINGS, Words

RULER_PREFIX = " The special magic {a} for {k} mentioned in the provided text is"
# Families of facts and how often each is drawn.
FAMILIES = {"magic": 30, "attribute": 26, "code": 15, "log": 5, "place": 9, "people": 15}
ASKED = {"person": "Who", "date": "When", "place": "Where", "address": "Where"}


@dataclass(frozen=True)
class Fact:
    """One statement and the questions that it answers.

    Attributes:
        topic: what must be unique among the facts of a text, or a question would have two answers.
        start: the character of the statement where the value begins, with the space before it.
        prefix: how a benchmark begins the answer; empty when the question has no such form.
        line: the statement ends its line, as in code, and must begin one.
    """

    family: str
    topic: str
    statement: str
    start: int
    value: str
    questions: tuple[str, ...]
    prefix: str = ""
    line: bool = False


@dataclass(frozen=True)
class Relation:
    """Wordings of one kind of fact. {k} is the key, {v} the value, {a} a word that both sides use."""

    statements: list[str]
    questions: list[str]
    kind: str = ""


def _relations(family: str) -> list[Relation]:
    listed: list[dict[str, Any]] = WORDINGS[family]
    return [Relation(**relation) for relation in listed]


RELATIONS = {family: _relations(family) for family in FAMILIES}
MAGIC, ATTRIBUTE = RELATIONS["magic"][0], RELATIONS["attribute"][0]
ATTRIBUTES: dict[str, str] = WORDINGS["attributes"]


class FactMaker:
    """Makes facts with keys that are new among all facts made so far, often sharing words with earlier ones.

    Args:
        rng: where all chance comes from.
        words: the source of words, on the training or the held-out side.
        junk: makes a value of random pieces, to practise copying of rare ones.
        junk_share: the share of such values.
        unseen: use the held-out wordings only.
    """

    def __init__(
        self,
        rng: Random,
        words: Words,
        junk: Callable[[Random], str],
        junk_share: float = 0.3,
        *,
        unseen: bool = False,
    ) -> None:
        self.rng = rng
        self.words = words
        self.junk = junk
        self.junk_share = junk_share
        self.unseen = unseen
        self.topics: set[str] = set()
        self.used_words: list[str] = []

    def draw(self) -> Fact:
        """Make a fact of any family."""
        return self.make(self.rng.choices(list(FAMILIES), list(FAMILIES.values()))[0])

    def make(self, family: str) -> Fact:
        """Make one fact of a family whose topic was not used before."""
        makers = {
            "magic": self._magic,
            "attribute": self._attribute,
            "code": self._code,
            "log": self._log,
            "place": self._place,
            "people": self._people,
        }
        for _ in range(40):
            fact = makers[family]()
            if fact.topic not in self.topics:
                self.topics.add(fact.topic)
                return fact
        return self.make("magic")

    def ruler(self, kind: str) -> Fact:
        """Make a needle in RULER's exact words."""
        key = self._two_words()
        exact = Relation(MAGIC.statements[:1], MAGIC.questions[:1])
        fact = self._tell("magic", exact, key, self.value(kind), kind)
        prefix = RULER_PREFIX.format(a=kind, k=key)
        return replace(fact, topic=f"magic {key.lower()}", prefix=prefix)

    def value(self, kind: str) -> str:
        """Draw a value of a kind; a share of all values is junk."""
        rng, words = self.rng, self.words
        if kind not in ("number", "uuid") and rng.random() < self.junk_share:
            return self.junk(rng)
        plain: dict[str, Callable[[], str]] = {
            "number": lambda: w.number(rng),
            "uuid": lambda: w.identifier(rng),
            "code": lambda: w.code(rng),
            "hex": lambda: f"0x{rng.getrandbits(32):08x}",
            "version": lambda: f"{rng.randint(0, 20)}.{rng.randint(0, 30)}.{rng.randint(0, 9)}",
            "date": lambda: w.date(rng),
            "amount": lambda: w.amount(rng),
            "word": words.noun,
            "phrase": words.phrase,
            "thing": lambda: f"{words.adjective()} {words.noun()}",
            "name": words.name,
            "person": words.person,
            "address": lambda: (
                f"{rng.randint(1, 400)} {words.name()} {rng.choice(['Street', 'Road', 'Lane'])}"
            ),
            "color": lambda: rng.choice(LISTS["colors"]),
            "job": lambda: rng.choice(LISTS["jobs"]),
            "place": lambda: rng.choice(LISTS["places"]),
            "activity": lambda: w.activity(rng, words),
            "error": lambda: rng.choice(PHRASES["errors"]),
        }
        return plain[kind]()

    def _word(self, draw: Callable[[], str]) -> str:
        """Draw a key word; a third of them come back from earlier keys, so that whole keys must be read."""
        if self.used_words and self.rng.random() < 0.3:
            return self.rng.choice(self.used_words)
        word = draw()
        self.used_words.append(word)
        return word

    def _two_words(self) -> str:
        while True:
            key = f"{self._word(self.words.adjective)}-{self._word(self.words.noun)}"
            if f"magic {key.lower()}" not in self.topics:
                return key

    def _wordings(self, wordings: list[str]) -> list[str]:
        """Keep the last of four or more wordings for evaluation."""
        if len(wordings) < 4:
            return wordings
        return wordings[-1:] if self.unseen else wordings[:-1]

    def _tell(self, family: str, relation: Relation, key: str, value: str, extra: str = "") -> Fact:
        def fill(wording: str) -> str:
            return wording.replace("{a}", extra).replace("{k}", key)

        template = fill(self.rng.choice(self._wordings(relation.statements)))
        line = template.endswith("\n")
        if not line:
            template = template[0].upper() + template[1:]
        start = template.index("{v}") - 1  # the space before the value belongs to its first token
        asked = tuple(map(fill, self._wordings(relation.questions)))
        topic = f"{relation.statements[0]} {extra.lower()} {key.lower()}"
        return Fact(family, topic, template.replace("{v}", value), start, value, asked, line=line)

    def _magic(self) -> Fact:
        kind = self.rng.choice(["number", "number", "word", "uuid", "code", "phrase", "name"])
        if self.rng.random() < 0.5 and not self.unseen:
            return self.ruler(kind)
        form = self.rng.random()
        key = (
            self._entity() if form < 0.2 else self._word(self.words.noun) if form < 0.4 else self._two_words()
        )
        return replace(self._tell("magic", MAGIC, key, self.value(kind), kind), topic=f"magic {key.lower()}")

    def _entity(self) -> str:
        rng, words = self.rng, self.words
        form = rng.random()
        if form < 0.3:
            return self._word(words.name)
        if form < 0.5:
            return f"{rng.choice(LISTS['first_names'])} {self._word(words.name)}"
        if form < 0.65:
            return f"the {self._word(words.adjective)} {self._word(words.noun)}"
        if form < 0.8:
            return f"{rng.choice(PHRASES['titles'])} {self._word(words.name)}"
        if form < 0.9:
            return f"{rng.choice(PHRASES['numbered'])} {rng.randint(2, 999)}"
        return f"the {self._word(words.noun)} of {self._word(words.name)}"

    def _attribute(self) -> Fact:
        attribute = self.rng.choice(list(ATTRIBUTES))
        kind = ATTRIBUTES[attribute]
        entity = self._entity()
        fact = self._tell("attribute", ATTRIBUTE, entity, self.value(kind), attribute)
        extra = (f"{ASKED[kind]} is the {attribute} of {entity}?",) if kind in ASKED else ()
        return replace(fact, topic=f"{attribute} {entity.lower()}", questions=fact.questions + extra)

    def _code(self) -> Fact:
        rng = self.rng
        parts = [self._word(self.words.noun) for _ in range(rng.randint(2, 3))]
        style = rng.random()
        key = "_".join(parts)
        if style < 0.5:
            key = key.upper()
        elif style < 0.65:
            key = parts[0] + "".join(part.capitalize() for part in parts[1:])
        draw: Callable[[], str] = rng.choice(
            [
                lambda: str(rng.randrange(10 ** rng.randint(1, 6))),
                lambda: f"{rng.randrange(100)}.{rng.randrange(1000)}",
                lambda: f'"{self.value("word")}"',
                lambda: f'"{self.value("code")}"',
                lambda: f"0x{rng.getrandbits(24):x}",
                lambda: f"'{self.value('phrase')}'",
                lambda: f'"{self.value("version")}"',
            ]
        )
        value = draw()
        return replace(
            self._tell("code", rng.choice(RELATIONS["code"]), key, value), topic=f"code {key.lower()}"
        )

    def _log(self) -> Fact:
        rng = self.rng
        relation = rng.choice(RELATIONS["log"])
        kind = relation.kind or rng.choice(["number", "code", "word", "hex"])
        key = self._word(self.words.noun) if rng.random() < 0.5 else w.code(rng)
        stamp = f"{rng.randint(2001, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} {w.clock(rng)}"
        fact = self._tell("log", relation, key, self.value(kind), stamp)
        return replace(fact, topic=f"{relation.statements[0]} {key}")  # the time is no part of the key

    def _place(self) -> Fact:
        places = PHRASES["held_out_places"] if self.words.held_out else LISTS["places"]
        key = self.rng.choice(places) if self.rng.random() < 0.6 else self._word(self.words.name)
        return self._tell("place", self.rng.choice(RELATIONS["place"]), key, self.value("activity"))

    def _people(self) -> Fact:
        relation = self.rng.choice(RELATIONS["people"])
        key = f"{self.rng.choice(LISTS['first_names'])} {self._word(self.words.name)}"
        if self.rng.random() < 0.4:
            key = self._word(self.words.name)
        return self._tell("people", relation, key, self.value(relation.kind))
