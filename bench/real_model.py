"""A real model end to end: greedy answers against transformers', and the perplexity of a chapter per form.

    python -m bench.real_model /tmp/smollm2 -o bench/results/smollm2-2026-11-27.json

Chats are framed by the checkpoint's own template and encoded by its tokenizer, on both sides apart.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers

from longctx.engine import Engine
from longctx.sampling import Sampling
from longctx.tasks.prompt import build_prompt

CHATS = [
    "What is the capital of France?",
    "Write a short poem about a lighthouse.",
    "Explain in two sentences why the sky is blue.",
    "Give me a Python function that returns the sum of the squares of a list.",
    "List three fruits that are yellow, one on each line.",
    "Translate to French: Good morning, my friend. It is 7:45, naïve café!",
    "Summarize: {}",
]
STEP = 256  # tokens whose logits are held at once


def chapter(path: Path, number: int) -> str:
    """Return one chapter of the book."""
    found = re.split(r"(?m)^(?=Chapter \d+ - )", path.read_text(encoding="utf-8"))
    return next(part for part in found if part.startswith(f"Chapter {number} -"))


def compare(folder: Path, chats: list[str], tokens: int) -> list[dict[str, Any]]:
    """Answer each chat greedily with both, in float32; tell where they part."""
    engine = Engine.load(folder, "cpu", "float32")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = []
    for chat in chats:
        message = [{"role": "user", "content": chat}]
        framed = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        wanted = tokenizer(framed, add_special_tokens=False)["input_ids"]
        prompt = build_prompt(engine.tokenizer, folder, "{{ document }}")
        ids = [*prompt.before, *engine.tokenizer.encode(chat), *prompt.after]
        with torch.inference_mode():
            answer = theirs.generate(
                torch.tensor([wanted]),
                attention_mask=torch.ones(1, len(wanted), dtype=torch.int64),
                do_sample=False,
                max_new_tokens=tokens,
            )[0, len(wanted) :].tolist()
        pieces = list(engine.session().generate(ids, Sampling(max_tokens=tokens)))
        ours = [piece.token for piece in pieces if piece.token is not None]
        answer = answer[:-1] if answer[-1] in engine.model.config.stop_ids else answer
        rows.append(
            {
                "chat": chat[:80],
                "prompt_tokens": len(ids),
                "prompts_equal": ids == wanted,
                "answer_tokens": len(answer),
                "answers_equal": ours == answer,
                "answer": "".join(piece.text for piece in pieces),
            }
        )
    return rows


def perplexity(folder: Path, form: str, text: str) -> dict[str, float]:
    """Read a text and return exp of the mean negative log-likelihood of its tokens but the first."""
    started = time.perf_counter()
    engine = Engine.load(folder, "cpu", "float32", "none" if form == "float32" else form)
    ids = torch.tensor([engine.tokenizer.encode(text)])
    loaded, state, loss = time.perf_counter(), engine.model.new_state(), 0.0
    with torch.inference_mode():
        for start in range(0, ids.shape[1] - 1, STEP):
            part = ids[:, start : start + STEP]
            logits = engine.model.logits(engine.model(part, state))[0]
            targets = ids[0, start + 1 : start + STEP + 1]
            loss += float(F.cross_entropy(logits[: len(targets)], targets, reduction="sum"))
    count = ids.shape[1] - 1
    return {
        "tokens": count,
        "perplexity": round(math.exp(loss / count), 4),
        "load_seconds": round(loaded - started, 2),
        "read_seconds": round(time.perf_counter() - loaded, 2),
    }


def main() -> None:
    """Print the findings, and save them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--book", type=Path, default=Path("tests/data/alice.txt"))
    parser.add_argument("--chapter", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer, at most")
    parser.add_argument("--forms", nargs="*", default=["float32", "int8", "int4"])
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    text = chapter(args.book, args.chapter)
    chats = [chat.format(text[:3000]) for chat in CHATS]
    report = {
        "model": args.folder.name,
        "device": f"CPU, {torch.get_num_threads()} threads",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "text": f"{args.book.name}, chapter {args.chapter}",
        "perplexity": {form: perplexity(args.folder, form, text) for form in args.forms},
        "greedy": compare(args.folder, chats, args.tokens),
    }
    print(written := json.dumps(report, indent=2))
    if args.output:
        args.output.write_text(written + "\n")


if __name__ == "__main__":
    main()
