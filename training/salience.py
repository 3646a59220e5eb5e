"""Which sentences carry a passage: learned from unlabeled text, beside LexRank, lead sentences and chance.

    python -m training.salience --model models/bundled --data DATA --books BOOKS --out FILE.md

What later text says again carries a passage, and so does what compresses the rest of it. Nobody has to label
that: the label of a sentence is the weight of its words in the text after the passage and in the passage's
other sentences, per word of its own.
A ridge regression learns it from what the frozen model holds at the end of a sentence. It is judged on books
that were never read, by how much of the later text, and of the rest of the passage, the words of a summary of
120 words cover.
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from longctx.kernels.norm import rms_norm
from longctx.models.decoder import HybridModel, Layer, rotary_angles
from longctx.models.weights import load_model
from longctx.quotes.prose import words
from training.haystack import Prose, prose_ends

PASSAGE, LATER = 6_000, 18_000  # characters
BUDGET = 120  # words of a summary
RIDGE = 30.0
RESAMPLES = 1000

Score = Callable[["Passage"], list[float]]


@dataclass(frozen=True)
class Passage:
    """The sentences of a passage, the words that tell something in each, and those of the text after it."""

    sentences: list[str]
    telling: list[frozenset[str]]
    later: Counter[str]

    def rest(self, chosen: list[int]) -> Counter[str]:
        """Count the telling words of the sentences that were not chosen."""
        return Counter(w for i, said in enumerate(self.telling) if i not in chosen for w in said)


class Rarity:
    """How much a word tells: the log of how few stretches hold it; one held by a tenth tells nothing."""

    def __init__(self, prose: Prose, seed: int, stretches: int = 2000) -> None:
        rng = Random(f"{seed} rarity")
        held = Counter(w for _ in range(stretches) for w in set(words(prose.stretch(rng, 2_000).lower())))
        self.frequent = {w for w, n in held.items() if n >= stretches / 10}
        self.weights = {w: math.log(stretches / n) for w, n in held.items()}
        self.unknown = math.log(stretches)

    def telling(self, text: str) -> list[str]:
        """Return the words of a text that tell something."""
        return [w for w in words(text.lower()) if len(w) > 2 and w.isalpha() and w not in self.frequent]

    def mass(self, found: Counter[str]) -> float:
        """Weigh counted words."""
        return sum(n * self.weights.get(w, self.unknown) for w, n in found.items())


def passages(prose: Prose, rarity: Rarity, rng: Random, count: int) -> list[Passage]:
    """Cut passages with the text after them out of works."""
    made: list[Passage] = []
    while len(made) < count:
        text = " ".join(prose.stretch(rng, PASSAGE + LATER).split())
        ends = [0, *(end for end in prose_ends(text[:PASSAGE]))]
        sentences = [text[a:b].strip() for a, b in pairwise(ends)]
        sentences = [s for s in sentences if 5 <= len(s.split()) <= 60]
        if len(sentences) > 12:
            telling = [frozenset(rarity.telling(s)) for s in sentences]
            made.append(Passage(sentences, telling, Counter(rarity.telling(text[ends[-1] :]))))
    return made


def labels(passage: Passage, rarity: Rarity) -> list[float]:
    """Return, per sentence, the weight per word of what later text, and the other sentences, say again.

    Each of the two has mean 1 over the passage.
    """

    def relative(texts: list[Counter[str]]) -> list[float]:
        gains = [
            rarity.mass(Counter({w: text[w] for w in said})) / len(sentence.split())
            for sentence, said, text in zip(passage.sentences, passage.telling, texts, strict=True)
        ]
        mean = sum(gains) / len(gains) or 1.0
        return [gain / mean for gain in gains]

    count = len(passage.sentences)
    later, rest = [passage.later] * count, [passage.rest([i]) for i in range(count)]
    return [a + b for a, b in zip(relative(later), relative(rest), strict=True)]


class Features:
    """What the frozen model holds of a sentence that it has read, and the sentence's length and place."""

    def __init__(self, model: HybridModel, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def __call__(self, passage: Passage) -> Tensor:
        """Return (sentences, channels): mean and last of the last layer's inputs, length, place, one."""
        ids = [self.tokenizer.encode(" " + s).ids for s in passage.sentences]
        inputs = self.inputs([token for sentence in ids for token in sentence])
        rows = []
        for i, part in enumerate(inputs.split([len(sentence) for sentence in ids])):
            plain = torch.tensor([math.log(len(part)), i / len(ids), float(i == 0), 1.0])
            rows.append(torch.cat([part.mean(0), part[-1], plain]))
        return torch.stack(rows)

    def inputs(self, ids: list[int]) -> Tensor:
        """Return (T, hidden): what the last layer is given, normed."""
        *layers, last = (layer for layer in self.model.layers if isinstance(layer, Layer))
        angles = rotary_angles(self.model.config.rope, 0, len(ids), torch.device("cpu"))
        x = self.model.embedded(torch.tensor([ids]))
        for layer, state in zip(layers, self.model.new_state().layers, strict=False):
            x = layer(x, state, angles)
        return rms_norm(x, last.mixer_norm.weight, last.eps)[0]


def fit(features: Tensor, targets: Tensor) -> Tensor:
    """Return the weights of a ridge regression on standardised features; the last feature is the constant."""
    mean, spread = features[:, :-1].mean(0), features[:, :-1].std(0) + 1e-6
    scaled = torch.cat([(features[:, :-1] - mean) / spread, features[:, -1:]], dim=1).double()
    penalty = RIDGE * torch.eye(scaled.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0
    found = torch.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ targets.double()).float()
    weights = found[:-1] / spread
    return torch.cat([weights, (found[-1] - mean @ weights).unsqueeze(0)])


def choose(passage: Passage, scores: list[float]) -> list[int]:
    """Take the best sentences as long as they fit into the budget of words."""
    chosen: list[int] = []
    left = BUDGET
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        size = len(passage.sentences[i].split())
        if size <= left:
            chosen.append(i)
            left -= size
    return chosen


def lexrank(passage: Passage) -> list[float]:
    """Score as `longctx summarize` does: central is what is similar to many that are central."""
    import numpy
    from sumy.summarizers.lex_rank import LexRankSummarizer

    from longctx.quotes.extract import PRECISION, similarities

    scores = LexRankSummarizer.power_method(
        similarities([sorted(said) for said in passage.telling]), PRECISION
    )
    return [float(score) for score in numpy.asarray(scores)]


def covered(passage: Passage, chosen: list[int], rarity: Rarity) -> tuple[float, float]:
    """Return how much of the later text, and of the rest of the passage, a summary's words cover."""
    said = {w for i in chosen for w in passage.telling[i]}

    def share(text: Counter[str]) -> float:
        held = Counter({w: n for w, n in text.items() if w in said})
        return rarity.mass(held) / max(rarity.mass(text), 1e-9)

    return share(passage.later), share(passage.rest(chosen))


def cell(values: list[float]) -> str:
    """Write a mean with its bootstrapped 95 % interval."""
    rng, count = Random(0), len(values)
    means = sorted(sum(rng.choices(values, k=count)) / count for _ in range(RESAMPLES))
    low, high = means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]
    return f"{sum(values) / count:.3f} ({low:.3f}-{high:.3f})"


def main() -> None:
    """Learn on the training prose, measure on the books, write a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="prose to learn from")
    parser.add_argument("--books", type=Path, required=True, help="books that training did not read")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--passages", type=int, default=2500, help="to learn from")
    parser.add_argument("--tests", type=int, default=400, help="passages to judge by")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    prose, books = Prose.load(args.data), Prose.load(args.books)
    rarity = Rarity(prose, args.seed)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    features = Features(load_model(args.model, torch.float32, torch.device("cpu")), tokenizer)
    learnt = passages(prose, rarity, Random(f"{args.seed} learn"), args.passages)
    with torch.inference_mode():
        table = torch.cat([features(passage) for passage in learnt])
        targets = torch.tensor([label for passage in learnt for label in labels(passage, rarity)])
        probe, lengths = fit(table, targets), fit(table[:, -4:], targets)
        rng = Random(f"{args.seed} chance")
        systems: dict[str, Score] = {
            "first sentences": lambda p: [-float(i) for i in range(len(p.sentences))],
            "chance": lambda p: [rng.random() for _ in p.sentences],
            "LexRank": lexrank,
            "learned from length and place alone": lambda p: (features(p)[:, -4:] @ lengths).tolist(),
            "learned from the model": lambda p: (features(p) @ probe).tolist(),
            "the labels themselves (a ceiling)": lambda p: labels(p, rarity),
        }
        judged = passages(books, rarity, Random(f"{args.seed} judge"), args.tests)
        lines = [
            "| sentences chosen by | later text covered | rest of the passage covered |",
            "|---|---|---|",
        ]
        for name, score in systems.items():
            shares = [covered(p, choose(p, score(p)), rarity) for p in judged]
            later, rest = ([share[i] for share in shares] for i in range(2))
            lines.append(f"| {name} | {cell(later)} | {cell(rest)} |")
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
