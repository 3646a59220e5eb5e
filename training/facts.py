"""Facts with a question each: a statement for the text, the value in it, and how one asks for it.

Knows nothing of tokens. The value stands in its statement after a space or an opening bracket, or begins
with one, so that it reads the same there and after "Answer:".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from training import words as w
from training.words import LISTS, PHRASES, WORDINGS, Words, filled

RULER_PREFIX = " The special magic {a} for {k} mentioned in the provided text is"
# Families of facts and how often each is drawn.
FAMILIES = {
    "magic": 28, "attribute": 25, "code": 13, "log": 5,
    "place": 8, "people": 13, "arguments": 5, "defined": 3,
}  # fmt: skip
MAGIC_KINDS = ["number", "number", "word", "uuid", "uuid", "code", "phrase", "name", "sentence"]
NEVER_JUNK = {"number", "uuid", "arguments", "signature", "braced"}
ANY_WORD = re.compile(r"(?<![\w'-])[a-z]{2,10}(?![\w'-])")
LIST_QUESTION = "What are all the special magic {a}s for {k} mentioned in the provided text?"
ASKED = {"person": "Who", "date": "When", "place": "Where", "address": "Where"}


@dataclass(frozen=True)
class Fact:
    """One statement and the questions that it answers.

    Attributes:
        topic: what must be unique among the facts of a text, or a question would have two answers.
        start: the character of the statement where the value begins, with a space before it if there is one.
        prefix: how a benchmark begins the answer; empty when the question has no such form.
        line: the statement ends its line, as in code, and must begin one.
        relation, key, extra, kind: what the fact was told from, to tell one like it.
        several: the key has more than one value in the text, told in other statements of the same topic.
    """

    family: str
    topic: str
    statement: str
    start: int
    value: str
    questions: tuple[str, ...]
    prefix: str = ""
    line: bool = False
    relation: "Relation | None" = None
    key: str = ""
    extra: str = ""
    kind: str = ""
    several: bool = False


@dataclass(frozen=True)
class Relation:
    """Wordings of one kind of fact. {k} is the key, {v} the value, {a} a word that both sides use."""

    statements: list[str]
    questions: list[str]
    kind: str = ""


def _relations(family: str) -> list[Relation]:
    listed: list[dict[str, Any]] = WORDINGS[family]
    return [Relation(**({"questions": listed[0]["questions"]} | relation)) for relation in listed]


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
        open_share: the share of attributes that are any noun instead of a listed one.
    """

    def __init__(
        self,
        rng: Random,
        words: Words,
        junk: Callable[[Random], str],
        junk_share: float = 0.3,
        *,
        unseen: bool = False,
        open_share: float = 0.0,
    ) -> None:
        self.rng = rng
        self.words = words
        self.junk = junk
        self.junk_share = junk_share
        self.unseen = unseen
        self.open_share = open_share
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
            "arguments": self._call,
            "defined": self._call,
        }
        for _ in range(40):
            fact = makers[family](family)
            if fact.topic not in self.topics:
                self.topics.add(fact.topic)
                return fact
        return self.make("magic")

    def rival(self, fact: Fact) -> Fact:
        """Make a fact of a new topic, told like another one: a word of the key, or the attribute, differs."""
        for _ in range(20):
            key, extra, kind = self._alter(fact.key), fact.extra, fact.kind
            if fact.family == "attribute" and self.rng.random() < 0.4:
                key, extra = fact.key, self.rng.choice(list(ATTRIBUTES))
                kind = ATTRIBUTES[extra]
            assert fact.relation is not None  # every fact made here has one
            told = self._tell(fact.family, fact.relation, key, kind, extra)
            if told.topic not in self.topics:
                self.topics.add(told.topic)
                return told
        return self.make(fact.family)

    def ruler(self, kind: str) -> Fact:
        """Make a needle in RULER's exact words about a key that was not used before."""
        fact = self._ruler(kind)
        self.topics.add(fact.topic)
        return fact

    def _ruler(self, kind: str) -> Fact:
        exact = Relation(MAGIC.statements[:1], MAGIC.questions[:1])
        fact = self._tell("magic", exact, self._two_words(), kind, kind, plain=True)
        return replace(fact, relation=MAGIC, prefix=RULER_PREFIX.format(a=kind, k=fact.key))

    def several(self, count: int, kind: str) -> list[Fact]:
        """Make RULER needles that give one key several different values, and the question for all of them."""
        first = self.ruler(kind)
        asked = (LIST_QUESTION.format(a=kind, k=first.key),)
        exact = Relation(MAGIC.statements[:1], MAGIC.questions[:1])
        facts = [self._tell("magic", exact, first.key, kind, kind, plain=True) for _ in range(count)]
        different = {fact.value: fact for fact in facts}
        return [replace(fact, questions=asked, several=True) for fact in different.values()]

    def value(self, kind: str) -> str:
        """Draw a value of a kind; a share of all values is junk."""
        rng, words = self.rng, self.words
        if kind not in NEVER_JUNK and rng.random() < self.junk_share:
            return self.junk(rng)
        plain: dict[str, Callable[[], str]] = {
            "number": lambda: self._signs(w.number(rng)),
            "uuid": lambda: self._signs(w.identifier(rng)),
            "code": lambda: w.code(rng),
            "hex": lambda: f"0x{rng.getrandbits(32):08x}",
            "version": lambda: f"{rng.randint(0, 20)}.{rng.randint(0, 30)}.{rng.randint(0, 9)}",
            "date": lambda: w.date(rng),
            "amount": lambda: w.amount(rng),
            "word": words.noun,
            "phrase": words.phrase,
            "sentence": words.sentence,
            "constant": self._constant,
            "arguments": self._arguments,
            "signature": self._signature,
            "braced": lambda: f"({self._arguments()}){rng.choice([' {', ';'])}",
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

    def _signs(self, value: str) -> str:
        """Make some values harder to copy in training; evaluation has them as benchmarks do."""
        return value if self.words.held_out else w.stutter(self.rng, value)

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
        """Keep the last of four or more wordings for evaluation, and those with any words for training."""
        if self.words.held_out:
            wordings = [wording for wording in wordings if "{w}" not in wording.lower()]
        if len(wordings) < 4:
            return wordings
        if self.unseen:
            return wordings[-1:]
        # Those with any words come twice as often: a model that knows its wordings well refuses all others.
        return wordings[:-1] + [wording for wording in wordings[:-1] if "{w}" in wording.lower()]

    def any_word(self) -> str:
        """Draw a word of the text that does not make a held-out wording out of a trained one."""
        while True:
            word = self.words.from_text(ANY_WORD, "found")
            if word not in LISTS["of_held_out_wordings"]:
                return word

    def _tell(
        self, family: str, relation: Relation, key: str, kind: str, extra: str = "", *, plain: bool = False
    ) -> Fact:
        """Tell one fact; `plain` keeps the wording as it is listed."""

        def fill(wording: str) -> str:
            return filled(wording, self.any_word).replace("{a}", extra).replace("{k}", key)

        value = self.value(kind)
        template = fill(self.rng.choice(self._wordings(relation.statements)))
        line = template.endswith("\n")
        if not line:
            plain = plain or self.unseen
            template = template if plain else self._dress(template, key)
            template = template[0].upper() + template[1:]
        start = template.index("{v}")
        start -= template[start - 1] == " "  # the space before the value belongs to its first token
        asked = tuple(map(fill, self._wordings(relation.questions)))
        if family == "attribute" and kind in ASKED:
            asked = (*asked, f"{ASKED[kind]} is the {extra} of {key}?")
        statement = template.replace("{v}", value)
        topic = {
            "magic": "magic",
            "code": "code",
            "defined": "defined",
            "place": "place",  # what one should do there is what is best to do there
            "attribute": extra,
            "log": relation.statements[0],  # the time in `extra` is no part of the key
        }.get(family, f"{relation.statements[0]} {extra}")
        topic = f"{topic} {key}".lower()
        told_from = (relation, key, extra, kind)
        return Fact(family, topic, statement, start, value, asked, "", line, *told_from)

    def _dress(self, template: str, key: str) -> str:
        """Put something before a statement or in place of its full stop, now and then."""
        if self.rng.random() < 0.12:
            first = template if template.startswith(key) else template[0].lower() + template[1:]
            template = self.rng.choice(PHRASES["openers"]) + first
        if template.endswith(".") and self.rng.random() < 0.15:
            template = template[:-1] + self.rng.choice(PHRASES["tails"])
        return template

    def _alter(self, key: str) -> str:
        """Change one word or number of a key."""
        parts = re.split(r"([-_ ]|(?<=[a-z])(?=[A-Z]))", key)
        places = [i for i, part in enumerate(parts) if part.isalnum() and part not in ("the", "of")]
        place = self.rng.choice(places) if places else 0
        old = parts[place]
        if any(sign.isdigit() for sign in old):
            new = "".join(str(self.rng.randrange(10)) if sign.isdigit() else sign for sign in old)
        elif old.isupper():
            new = self.words.noun().upper()
        elif old in LISTS["first_names"]:
            new = self.rng.choice(LISTS["first_names"])
        elif old[:1].isupper():
            new = self.words.name()
        else:
            new = self.rng.choice([self.words.noun, self.words.adjective])()
        return "".join([*parts[:place], new, *parts[place + 1 :]])

    def _magic(self, family: str) -> Fact:
        kind = self.rng.choice(MAGIC_KINDS)
        if self.rng.random() < 0.35 and not self.unseen:
            return self._ruler(kind)
        form = self.rng.random()
        key = (
            self._entity() if form < 0.2 else self._word(self.words.noun) if form < 0.4 else self._two_words()
        )
        return self._tell(family, MAGIC, key, kind, kind)

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

    def _attribute(self, family: str) -> Fact:
        attribute = self.rng.choice(list(ATTRIBUTES))
        kind = ATTRIBUTES[attribute]
        if self.rng.random() < self.open_share:
            # Any noun can be what is asked for, or only the listed ones would be understood.
            noun = self.words.noun()
            attribute = attribute if noun in MAGIC_KINDS else noun
        return self._tell(family, ATTRIBUTE, self._entity(), kind, attribute)

    def _name_in_code(self, least: int = 2) -> str:
        parts = [self._word(self.words.noun) for _ in range(self.rng.randint(least, 3))]
        style = self.rng.random()
        if style < 0.2:
            return parts[0] + "".join(part.capitalize() for part in parts[1:])
        return "_".join(parts)

    def _code(self, family: str) -> Fact:
        key = self._name_in_code()
        if self.rng.random() < 0.5:
            key = key.upper()
        return self._tell(family, self.rng.choice(RELATIONS["code"]), key, "constant")

    def _constant(self) -> str:
        rng = self.rng
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
        return draw()

    def _call(self, family: str) -> Fact:
        relation = self.rng.choice(RELATIONS[family])
        return self._tell(family, relation, self._name_in_code(1), relation.kind or "arguments")

    def _signature(self) -> str:
        arguments = self._arguments() if self.rng.random() < 0.7 else ""
        return f"({arguments}){self.rng.choice(['', f' -> {self.words.noun()}'])}:"

    def _arguments(self) -> str:
        rng = self.rng
        names = [self._name_in_code(1) for _ in range(rng.choice([1, 1, 2, 2, 3]))]
        return ", ".join(map(self._argument, names))

    def _argument(self, name: str) -> str:
        form = self.rng.random()
        if form < 0.5:
            return name
        if form < 0.75:
            return f"{name}: {self._type()}" + (f" = {self._constant()}" if form < 0.57 else "")
        return f"{name}={self._constant()}" if form < 0.87 else self._constant()

    def _type(self) -> str:
        rng = self.rng
        one = rng.choice([*LISTS["types"], self.words.noun().capitalize()])
        return rng.choice([one, one, f"list[{one}]", f"{one} | None", f"Sequence[{one}]"])

    def _log(self, family: str) -> Fact:
        rng = self.rng
        relation = rng.choice(RELATIONS["log"])
        kind = relation.kind or rng.choice(["number", "code", "word", "hex"])
        key = self._word(self.words.noun) if rng.random() < 0.5 else w.code(rng)
        stamp = f"{rng.randint(2001, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02} {w.clock(rng)}"
        return self._tell(family, relation, key, kind, stamp)

    def _place(self, family: str) -> Fact:
        places = PHRASES["held_out_places"] if self.words.held_out else LISTS["places"]
        key = self.rng.choice(places) if self.rng.random() < 0.6 else self._word(self.words.name)
        return self._tell(family, self.rng.choice(RELATIONS["place"]), key, "activity")

    def _people(self, family: str) -> Fact:
        relation = self.rng.choice(RELATIONS["people"])
        key = f"{self.rng.choice(LISTS['first_names'])} {self._word(self.words.name)}"
        if self.rng.random() < 0.4:
            key = self._word(self.words.name)
        return self._tell(family, relation, key, relation.kind)
