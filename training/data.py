"""Batches: documents with facts hidden in them, question branches, and where every answer token stands.

A batch is a function of (seed, step) alone, so a resumed run sees what an unbroken run would have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from training import gaps, haystack, programs
from training.facts import LIST_QUESTION, Fact, FactMaker
from training.haystack import Prose
from training.settings import Stage
from training.words import PHRASES, Words

NOT_FOUND = " not found"
BEFORE = "\n"  # what the program reads before the text; of a fact at the very start 3 % were lost without
QUESTIONS = {128: 2, 256: 3, 512: 5, 1024: 8, 2048: 12}
TAIL_STEP = 8  # tails are padded to a multiple of this
LISTED = ["number", "number", "word", "uuid", "phrase"]  # kinds of values in lists


@dataclass
class Hidden:
    """A document's tokens with the facts that survive whole in it and their token of origin."""

    tokens: list[int]
    facts: list[tuple[Fact, int, list[int]]]  # in order, with the value's first place and its tokens
    statements: list[tuple[int, int]]  # token spans that are facts, asked or not
    text: str  # of which the tokens are a part, from token `first` of its encoding on
    encoding: Encoding
    first: int
    ends: list[int]  # characters of the text at which sentences of the document end
    program: bool = False  # whether the haystack is program text from disk


@dataclass
class Branch:
    """A question, its answer and, per answer token, the tokens it may be copied from.

    A source is a document token, or ~p for token p of the branch itself. The pointer rests on the end of the
    prompt when the key is not there. The last layer does not see the document tokens from `gone`: they are
    what was found when the question was asked before.
    """

    prompt: list[int]
    answer: list[int]
    sources: list[list[int]]
    gone: list[range] = field(default_factory=list)


@dataclass
class Batch:
    """What one step needs. M is the number of answer tokens in the batch."""

    documents: Tensor  # (B, T)
    hay: Tensor  # (B, T) true where a token belongs to no fact
    tails: Tensor  # (B * Q, L) prompts and answers, padded at the end
    row: Tensor  # (M,) tail of each answer token
    position: Tensor  # (M,) place in the tail from which it is predicted
    target: Tensor  # (M,)
    source: Tensor  # (M, S) indices into the flattened documents, or B * T + place in the tail; -1 is none
    absent: Tensor  # (M,) true where the key is not in the document
    first: Tensor  # (M,) true at the first token of each answer
    weight: Tensor  # (M,) share of the loss, so that long values do not drown short ones
    copied: Tensor  # (M,) document tokens of M different kinds, to practise copying on
    amplify: Tensor  # (B,) log of how many times each haystack key counts
    pooled: Tensor  # (B,) true where a document's questions also see the other documents
    gone: Tensor  # (B * Q, T) true for the tokens of its document that the last layer hides from a branch

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})


class Maker:
    """Builds batches from prose with a tokenizer; keeps no state between steps.

    Args:
        prose: where haystacks and words come from.
        tokenizer: of the model.
        stage: its seed decides, with the step, everything in a batch.
    """

    def __init__(self, prose: Prose, tokenizer: Tokenizer, stage: Stage) -> None:
        self.prose = prose
        self.tokenizer = tokenizer
        self.seed = stage.seed
        self.tokens = stage.tokens
        self.data = stage.data
        self.newline = tokenizer.encode("\n").ids[0]
        texts = [tokenizer.decode([i]) for i in range(tokenizer.get_vocab_size())]
        self.starts = [t for t in texts if len(t) > 1 and t[0] == " " and t[1:].isalpha()]
        self.rests = [t for t in texts if t.isprintable() and " " not in t and "\ufffd" not in t and t]

    def junk(self, rng: Random) -> str:
        """Join random pieces of the whole vocabulary into one value."""
        pieces = rng.choices(self.rests, k=rng.randint(0, 4))
        if rng.random() < 0.1:
            # The same pieces again and again: only a long look back tells where in the value one is.
            pieces = rng.choices([*rng.choices(self.rests, k=3), " ", "-"], k=rng.randint(5, 14))
        return (rng.choice(self.starts)[1:] + "".join(pieces)).strip()

    def batch(self, step: int, length: int, most_copies: float) -> Batch:
        """Make the batch of a step: documents of one length, the same number of questions for each."""
        rng = Random(f"{self.seed} {step}")
        count = max(1, self.tokens // length)
        questions = QUESTIONS.get(length, max(1, length // 170))
        words = Words(rng, "")
        maker = FactMaker(rng, words, self.junk, self.data.junk, open_share=self.data.open)
        listing = rng.random() < self.data.listing
        documents, branches = [], []
        for _ in range(count):
            hidden = self.document(rng, maker, length, listing)
            documents.append(hidden)
            branches += [self.branch(rng, maker, hidden, listing) for _ in range(questions)]
        return self._tensors(rng, documents, branches, most_copies)

    def draw(self, rng: Random, maker: FactMaker, count: int, listing: bool) -> list[Fact]:
        """Make the facts of a document."""
        facts: list[Fact] = []
        if listing:
            kind = rng.choice(LISTED)
            facts += [maker.ruler(kind) for _ in range(rng.randint(2, 5))]
            facts += maker.several(rng.randint(2, 4), kind) if rng.random() < 0.6 else []
        while len(facts) < count:
            told = [fact for fact in facts if not fact.several]
            like = told and rng.random() < self.data.rivals
            facts.append(maker.rival(rng.choice(told)) if like else maker.draw())
        rng.shuffle(facts)
        return facts

    def document(self, rng: Random, maker: FactMaker, length: int, listing: bool = False) -> Hidden:
        """Hide facts in a haystack and cut a window of exactly `length` tokens."""
        characters = int(length * 4.3) + 300
        maker.words.text = self.prose.stretch(rng, 20_000)
        # A window cut at random almost never begins with a fact, but a user's text may.
        opens = listing or rng.random() < self.data.openings
        program = bool(self.data.programs and self.prose.code and rng.random() < self.data.programs)
        if rng.random() < 0.06:
            pieces = [""] * (length // 18 + 2)
            places = list(range(len(pieces)))
        else:
            if program and self.prose.code:
                pieces = haystack.lines(rng, self.prose.code, characters)
            else:
                pieces = haystack.pieces(rng, self.prose, maker.words, characters, self.data.foreign)
            most = max(2, length // rng.choice([40, 80, 160]))
            places = rng.sample(range(len(pieces)), min(len(pieces), rng.randint(max(1, most // 3), most)))
            if listing:
                places = [int(i * len(pieces) / 10) for i in range(9)] if len(pieces) > 20 else places
            if opens:
                places[0] = 0 if rng.random() < 0.5 else rng.randrange(min(3, len(pieces)))
        facts = self.draw(rng, maker, len(places), listing)
        text, spans = weave(rng, pieces, dict(zip(places, facts, strict=False)))
        if opens:
            text, spans = BEFORE + text, [(fact, start + len(BEFORE)) for fact, start in spans]
        encoding = self.tokenizer.encode(text)
        if len(encoding.ids) < length:
            return self.document(rng, maker, length, listing)
        first = 0 if opens else rng.randint(0, len(encoding.ids) - length)
        ids = encoding.ids[first : first + length]
        offsets = encoding.offsets[first : first + length]
        window = text[offsets[0][0] : offsets[-1][1]]
        ends = [offsets[0][0] + end for end in haystack.prose_ends(window)]
        hidden = Hidden(ids, [], [], text, encoding, first, ends, program)
        for fact, start in spans:
            begin = _token_at(encoding, start) - first
            end = _token_at(encoding, start + len(fact.statement) - 1) - first + 1
            if end > 0 and begin < length:
                hidden.statements.append((max(0, begin), min(length, end)))
            space = fact.statement[fact.start] == " "
            value = self.tokenizer.encode(" " * space + fact.value).ids
            place = _token_at(encoding, start + fact.start) - first
            if begin >= 0 and place + len(value) < length and ids[place : place + len(value)] == value:
                hidden.facts.append((fact, place, value))
        return hidden

    def branch(self, rng: Random, maker: FactMaker, hidden: Hidden, listing: bool = False) -> Branch:
        """Ask about a fact of the document or, for a share, about one that is not in it."""
        if hidden.program and rng.random() < 0.5:
            asked = self.code_branch(rng, maker, hidden)
            if asked:
                return asked
        if rng.random() < self.data.gaps:
            asked = self.gap_branch(rng, maker, hidden)
            if asked:
                return asked
        if not hidden.facts or rng.random() < self.data.absent:
            near = hidden.facts and rng.random() < self.data.near
            fact = maker.rival(rng.choice(hidden.facts)[0]) if near else maker.draw()
            prompt = ask(rng, fact)
            if listing and fact.family == "magic" and rng.random() < 0.5:
                prompt = frame(LIST_QUESTION.format(a=fact.extra, k=fact.key))
            return self.refusal(prompt)
        fact, place, value = hidden.facts[0] if rng.random() < 0.12 else rng.choice(hidden.facts)
        if fact.several or (listing and fact.prefix and rng.random() < 0.5):
            return self.value_branch(rng, hidden, fact)
        sources = [[p] for p in range(place, place + len(value) + 1)]
        return Branch(self.tokenizer.encode(ask(rng, fact)).ids, [*value, self.newline], sources)

    def refusal(self, prompt: str, gone: Sequence[range] = ()) -> Branch:
        """Answer that the text does not say it."""
        ids, answer = (self.tokenizer.encode(text).ids for text in (prompt, NOT_FOUND + "\n"))
        return Branch(ids, answer, [[~(len(ids) - 1)]] * len(answer), list(gone))

    def gap_branch(self, rng: Random, maker: FactMaker, hidden: Hidden) -> Branch | None:
        """Ask for a word left out of a sentence of the document or, for a share, of another text."""
        if rng.random() < self.data.absent:
            other = maker.words.text
            gap = gaps.draw(rng, other, haystack.prose_ends(other))
            return self.refusal(frame(gaps.ask(rng, gap))) if gap and gap.word not in hidden.text else None
        gap = gaps.draw(rng, hidden.text, hidden.ends)
        if not gap:
            return None
        # The space before it is part of the value.
        return self.copy(hidden, frame(gaps.ask(rng, gap)), " " + gap.word, gap.start - 1)

    def code_branch(self, rng: Random, maker: FactMaker, hidden: Hidden) -> Branch | None:
        """Ask about a name of program text or, for a share, about one that is not told of there."""
        assert self.prose.code is not None
        if rng.random() < self.data.absent:
            question = programs.absent(rng, hidden.text, self.prose.code.stretch(rng, 4000), maker.any_word)
            return self.refusal(frame(question)) if question else None
        start, end = (hidden.encoding.offsets[hidden.first + i][0] for i in (0, len(hidden.tokens) - 1))
        named = programs.draw(rng, hidden.text, start, end)
        if not named:
            return None
        return self.copy(hidden, frame(programs.ask(rng, named, maker.any_word)), named.answer, named.start)

    def copy(self, hidden: Hidden, prompt: str, answer: str, start: int) -> Branch | None:
        """Answer with what stands at a character of the document, if it is there of the same tokens."""
        value = self.tokenizer.encode(answer).ids
        place = _token_at(hidden.encoding, start) - hidden.first
        if place < 0 or place + len(value) >= len(hidden.tokens):
            return None
        if hidden.tokens[place : place + len(value)] != value:
            return None
        sources = [[p] for p in range(place, place + len(value) + 1)]
        return Branch(self.tokenizer.encode(prompt).ids, [*value, self.newline], sources)

    def value_branch(self, rng: Random, hidden: Hidden, fact: Fact) -> Branch:
        """Ask for a value of a key when some of its values, or all, were found before."""
        values = [(place, value) for other, place, value in hidden.facts if other.topic == fact.topic]
        rng.shuffle(values)
        found = rng.randint(0, len(values))
        gone = [range(place, place + len(value)) for place, value in values[:found]]
        prompt = frame(LIST_QUESTION.format(a=fact.extra, k=fact.key))
        if found == len(values):
            return self.refusal(prompt, gone)
        place, value = values[found]
        # Which value comes next cannot be known: while they read alike, all places are as good.
        sources = [[p + j for p, told in values[found:] if told[:j] == value[:j]] for j in range(len(value))]
        ids = self.tokenizer.encode(prompt).ids
        return Branch(ids, [*value, self.newline], [*sources, [place + len(value)]], gone)

    def _tensors(
        self, rng: Random, documents: list[Hidden], branches: list[Branch], most_copies: float
    ) -> Batch:
        count, length = len(documents), len(documents[0].tokens)
        hay = torch.ones(count, length, dtype=torch.bool)
        for i, hidden in enumerate(documents):
            for begin, end in hidden.statements:
                hay[i, begin:end] = False
        gone = torch.zeros(len(branches), length, dtype=torch.bool)
        for i, branch in enumerate(branches):
            for span in branch.gone:
                gone[i, span.start : span.stop] = True
        asked = _answers(branches, count, length)
        most = torch.log(torch.tensor(max(1.0, most_copies)))
        amplify = torch.tensor([rng.random() for _ in documents]) * most
        pooled = torch.tensor([rng.random() < self.data.pool for _ in documents])
        flat = [token for hidden in documents for token in hidden.tokens]
        kinds = {token: place for place, token in enumerate(flat)}
        return Batch(
            documents=torch.tensor([hidden.tokens for hidden in documents]),
            hay=hay,
            **asked,
            copied=torch.tensor(rng.choices(list(kinds.values()), k=len(asked["target"]))),
            amplify=amplify,
            pooled=pooled,
            gone=gone,
        )


def _answers(branches: list[Branch], count: int, length: int) -> dict[str, Tensor]:
    """Return what a batch of `count` documents of `length` tokens says of its answer tokens."""
    each = len(branches) // count
    longest = max(len(b.prompt) + len(b.answer) for b in branches)
    tails = torch.zeros(len(branches), -(-longest // TAIL_STEP) * TAIL_STEP, dtype=torch.long)
    for tail, branch in zip(tails, branches, strict=True):
        both = torch.tensor(branch.prompt + branch.answer)
        tail[: len(both)] = both
    tokens = [(i, j, branch) for i, branch in enumerate(branches) for j in range(len(branch.answer))]
    source = [
        [count * length + ~p if p < 0 else i // each * length + p for p in branch.sources[j]]
        for i, j, branch in tokens
    ]
    most = max(map(len, source))
    share = torch.tensor([len(branch.answer) ** -0.5 for *_, branch in tokens])
    return {
        "tails": tails,
        "row": torch.tensor([i for i, *_ in tokens]),
        "position": torch.tensor([len(branch.prompt) - 1 + j for _, j, branch in tokens]),
        "target": torch.tensor([branch.answer[j] for _, j, branch in tokens]),
        "source": torch.tensor([places + [-1] * (most - len(places)) for places in source]),
        "absent": torch.tensor([branch.sources[j] == [~(len(branch.prompt) - 1)] for _, j, branch in tokens]),
        "first": torch.tensor([j == 0 for _, j, _ in tokens]),
        "weight": share / share.sum(),
    }


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


def frame(question: str) -> str:
    """Put a question as the program does, after BEFORE and the text."""
    return f"\n\nQuestion: {question}\nAnswer:"


def ask(rng: Random, fact: Fact) -> str:
    """Put a question about a fact the way the program asks, now and then the way benchmarks do."""
    question = rng.choice(fact.questions)
    if fact.prefix and rng.random() < 0.3:
        return f"\n{question}{fact.prefix}"
    if rng.random() < 0.08:
        first = question if question.startswith(fact.key) else question[0].lower() + question[1:]
        question = rng.choice(PHRASES["asking"]) + first
    elif rng.random() < 0.05:
        question = question.rstrip("?.")
    elif rng.random() < 0.05:
        question = question[0].lower() + question[1:]
    prefix = fact.prefix if rng.random() < 0.4 else ""
    return frame(question) + prefix
