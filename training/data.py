"""Batches: documents with facts hidden in them, question branches, and where every answer token stands.

A batch is a function of (seed, step) alone, so a resumed run sees what an unbroken run would have seen.
"""

from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from training import haystack
from training.facts import Fact, FactMaker
from training.haystack import Prose
from training.words import Words

NOT_FOUND = " not found"
QUESTIONS = {128: 2, 256: 3, 512: 5, 1024: 8, 2048: 12}
TAIL_STEP = 8  # tails are padded to a multiple of this


@dataclass
class Hidden:
    """A document's tokens with the facts that survive whole in it and their token of origin."""

    tokens: list[int]
    facts: list[tuple[Fact, int, list[int]]]  # fact, token where the value starts, the value's tokens
    statements: list[tuple[int, int]]  # token spans that are facts, asked or not


@dataclass
class Branch:
    """A question, its answer and, per answer token, the document token it is copied from.

    A source of -1 is the end of the branch's own prompt: where the pointer rests when the key is not there.
    """

    prompt: list[int]
    answer: list[int]
    sources: list[int]


@dataclass
class Batch:
    """What one step needs. M is the number of answer tokens in the batch."""

    documents: Tensor  # (B, T)
    hay: Tensor  # (B, T) true where a token belongs to no fact
    tails: Tensor  # (B * Q, L) prompts and answers, padded at the end
    row: Tensor  # (M,) tail of each answer token
    position: Tensor  # (M,) place in the tail from which it is predicted
    target: Tensor  # (M,)
    source: Tensor  # (M,) index into the flattened documents, or B * T + place in the tail
    absent: Tensor  # (M,) true where the key is not in the document
    first: Tensor  # (M,) true at the first token of each answer
    weight: Tensor  # (M,) share of the loss, so that long values do not drown short ones
    copied: Tensor  # (M,) document tokens of M different kinds, to practise copying on
    amplify: Tensor  # (B,) log of how many times each haystack key counts
    pooled: Tensor  # (B,) true where a document's questions also see the other documents


class Maker:
    """Builds batches from prose with a tokenizer; keeps no state between steps.

    Args:
        prose: where haystacks and words come from.
        tokenizer: of the model.
        seed: decides, with the step, everything in a batch.
        tokens: of documents in a batch.
        absent: the share of questions about keys that are not there.
        junk: the share of values made of random pieces of the vocabulary.
        pool: the share of documents whose questions also see the other documents of the batch.
        openings: the share of documents that begin with a text's beginning and have a fact there.
    """

    def __init__(
        self,
        prose: Prose,
        tokenizer: Tokenizer,
        seed: int,
        *,
        tokens: int = 4096,
        absent: float = 0.2,
        junk: float = 0.3,
        pool: float = 0.7,
        openings: float = 0.15,
    ) -> None:
        self.prose = prose
        self.tokenizer = tokenizer
        self.seed = seed
        self.tokens = tokens
        self.absent = absent
        self.junk_share = junk
        self.pool = pool
        self.openings = openings
        self.newline = tokenizer.encode("\n").ids[0]
        texts = [tokenizer.decode([i]) for i in range(tokenizer.get_vocab_size())]
        self.starts = [t for t in texts if len(t) > 1 and t[0] == " " and t[1:].isalpha()]
        self.rests = [t for t in texts if t.isprintable() and " " not in t and "\ufffd" not in t and t]

    def junk(self, rng: Random) -> str:
        """Join random pieces of the whole vocabulary into one value."""
        return rng.choice(self.starts)[1:] + "".join(rng.choices(self.rests, k=rng.randint(0, 4)))

    def batch(self, step: int, length: int, most_copies: float) -> Batch:
        """Make the batch of a step: documents of one length, the same number of questions for each."""
        rng = Random(f"{self.seed} {step}")
        count = max(1, self.tokens // length)
        questions = QUESTIONS.get(length, max(1, length // 170))
        words = Words(rng, "")
        maker = FactMaker(rng, words, self.junk, self.junk_share)
        documents, branches = [], []
        for _ in range(count):
            hidden = self.document(rng, maker, length)
            documents.append(hidden)
            branches += [self.branch(rng, maker, hidden) for _ in range(questions)]
        return self._tensors(rng, documents, branches, most_copies)

    def document(self, rng: Random, maker: FactMaker, length: int) -> Hidden:
        """Hide facts in a haystack and cut a window of exactly `length` tokens."""
        characters = int(length * 4.3) + 300
        maker.words.text = self.prose.stretch(rng, 20_000)
        # A window cut at random almost never begins with a fact, but a user's text may.
        opens = rng.random() < self.openings
        if rng.random() < 0.06:
            pieces = [""] * (length // 18 + 2)
            facts = {i: maker.draw() for i in range(len(pieces))}
        else:
            pieces = haystack.pieces(rng, self.prose, maker.words, characters)
            most = max(2, length // rng.choice([40, 80, 160]))
            places = rng.sample(range(len(pieces)), min(len(pieces), rng.randint(1, most)))
            if opens:
                places[0] = rng.randrange(min(3, len(pieces)))
            facts = {place: maker.draw() for place in places}
        text, spans = weave(rng, pieces, facts)
        encoding = self.tokenizer.encode(text)
        if len(encoding.ids) < length:
            return self.document(rng, maker, length)
        first = 0 if opens else rng.randint(0, len(encoding.ids) - length)
        ids = encoding.ids[first : first + length]
        hidden = Hidden(ids, [], [])
        for fact, start in spans:
            begin = _token_at(encoding, start) - first
            end = _token_at(encoding, start + len(fact.statement) - 1) - first + 1
            if end > 0 and begin < length:
                hidden.statements.append((max(0, begin), min(length, end)))
            value = self.tokenizer.encode(" " + fact.value).ids
            place = _token_at(encoding, start + fact.start) - first
            if begin >= 0 and place + len(value) < length and ids[place : place + len(value)] == value:
                hidden.facts.append((fact, place, value))
        return hidden

    def branch(self, rng: Random, maker: FactMaker, hidden: Hidden) -> Branch:
        """Ask about a fact of the document or, for a share, about one that is not in it."""
        if not hidden.facts or rng.random() < self.absent:
            prompt = self.tokenizer.encode(ask(rng, maker.draw())).ids
            answer = self.tokenizer.encode(NOT_FOUND + "\n").ids
            return Branch(prompt, answer, [-1] * len(answer))
        fact, place, value = rng.choice(hidden.facts)
        prompt = self.tokenizer.encode(ask(rng, fact)).ids
        return Branch(prompt, [*value, self.newline], list(range(place, place + len(value) + 1)))

    def _tensors(
        self, rng: Random, documents: list[Hidden], branches: list[Branch], most_copies: float
    ) -> Batch:
        count, length = len(documents), len(documents[0].tokens)
        each = len(branches) // count
        longest = max(len(b.prompt) + len(b.answer) for b in branches)
        width = -(-longest // TAIL_STEP) * TAIL_STEP
        tails = torch.zeros(len(branches), width, dtype=torch.long)
        hay = torch.ones(count, length, dtype=torch.bool)
        for i, hidden in enumerate(documents):
            for begin, end in hidden.statements:
                hay[i, begin:end] = False
        row, position, target, source, absent, first, weight = [], [], [], [], [], [], []
        for i, branch in enumerate(branches):
            end = len(branch.prompt)
            tails[i, : end + len(branch.answer)] = torch.tensor(branch.prompt + branch.answer)
            for j, (token, origin) in enumerate(zip(branch.answer, branch.sources, strict=True)):
                row.append(i)
                position.append(end - 1 + j)
                target.append(token)
                source.append(count * length + end - 1 if origin < 0 else (i // each) * length + origin)
                absent.append(origin < 0)
                first.append(j == 0)
                weight.append(len(branch.answer) ** -0.5)
        share = torch.tensor(weight)
        most = torch.log(torch.tensor(max(1.0, most_copies)))
        amplify = torch.tensor([rng.random() for _ in documents]) * most
        pooled = torch.tensor([rng.random() < self.pool for _ in documents])
        flat = [token for hidden in documents for token in hidden.tokens]
        kinds = {token: place for place, token in enumerate(flat)}
        return Batch(
            documents=torch.tensor([hidden.tokens for hidden in documents]),
            hay=hay,
            tails=tails,
            row=torch.tensor(row),
            position=torch.tensor(position),
            target=torch.tensor(target),
            source=torch.tensor(source),
            absent=torch.tensor(absent),
            first=torch.tensor(first),
            weight=share / share.sum(),
            copied=torch.tensor(rng.choices(list(kinds.values()), k=len(target))),
            amplify=amplify,
            pooled=pooled,
        )


def _token_at(encoding: Encoding, character: int) -> int:
    token = encoding.char_to_token(character)
    assert token is not None  # every character belongs to a token in a byte-level tokenizer
    return token


def weave(rng: Random, pieces: list[str], facts: dict[int, Fact]) -> tuple[str, list[tuple[Fact, int]]]:
    """Put each fact before its piece; return the text and the character at which each statement starts."""
    parts: list[str] = []
    spans: list[tuple[Fact, int]] = []
    total = 0
    last = "\n"
    for i, piece in enumerate(pieces):
        if i in facts:
            fact = facts[i]
            before = "" if last.endswith("\n") or (not fact.line and last[-1:].isspace()) else "\n"
            after = "" if fact.line else "\n" if last.endswith("\n") else " "
            spans.append((fact, total + len(before)))
            woven = before + fact.statement + after
            parts.append(woven)
            total += len(woven)
            last = woven
        if piece:
            parts.append(piece)
            total += len(piece)
            last = piece
    return "".join(parts), spans


def ask(rng: Random, fact: Fact) -> str:
    """Put a question about a fact the way the program asks, now and then the way benchmarks do."""
    question = rng.choice(fact.questions)
    if fact.prefix and rng.random() < 0.3:
        return f"\n{question}{fact.prefix}"
    if rng.random() < 0.05:
        question = question.rstrip("?.")
    elif rng.random() < 0.05:
        question = question[0].lower() + question[1:]
    prefix = fact.prefix if rng.random() < 0.4 else ""
    return f"\n\nQuestion: {question}\nAnswer:{prefix}"
