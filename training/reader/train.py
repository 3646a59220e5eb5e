r"""Train the reader: MiniLM-L6 learns to point at the words of a passage that answer, or at none.

    python -m training.reader.train --base FOLDER --data TRAIN.jsonl [MORE.jsonl ...] \
        --validation V.jsonl --out OUT

Each file is read once, in that order. The rate falls to zero at the last step, or, with --minutes, then.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from longctx.models.encoder import Encoder, from_bert
from training.reader.batches import Encoded, Example, batches, encode_all, tensors
from training.reader.validate import validate

TOKENS = 3072  # of a step, with padding
RATE, HEAD_RATE, WARMUP, DECAY = 1e-4, 5e-4, 150, 0.01
DROP = 0.1
EVERY = 400  # steps between validations, each followed by a checkpoint


def loss_of(net: Encoder, batch: Sequence[Encoded], drop: float) -> Tensor:
    """Return minus the log-probability of the right starts and ends, the mean over questions."""
    ids, parts, mask, allowed, right = tensors(batch)
    with torch.autocast("cpu", torch.bfloat16):
        scores = net(ids, parts, mask, drop)
    scores = scores.float().masked_fill(~allowed[:, None], -1e4)
    chosen = scores.masked_fill(~right, -1e4)
    loss: Tensor = (scores.logsumexp(2) - chosen.logsumexp(2)).mean()
    return loss


def steps(files: Sequence[Path], tokenizer: Tokenizer, seed: int) -> Iterator[list[Encoded]]:
    """Yield batches of each file in turn; a file is opened when its turn comes."""
    for number, file in enumerate(files):
        examples = encode_all(Example.read(file), tokenizer)
        print(
            f"{file}: {len(examples)} questions, {sum(len(one.ids) for one in examples)} tokens", flush=True
        )
        yield from batches(examples, TOKENS, seed + number)


def groups(net: Encoder) -> list[dict[str, object]]:
    """Return the weights that are trained, with their rates; the embedding of words is kept as it is."""
    net.words.weight.requires_grad_(False)
    head = list(net.span.parameters())
    rest = [p for name, p in net.named_parameters() if p.requires_grad and not name.startswith("span")]
    return [{"params": rest, "lr": RATE, "peak": RATE}, {"params": head, "lr": HEAD_RATE, "peak": HEAD_RATE}]


def main() -> None:
    """Train, validate, and write OUT/reader.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    tokenizer = Tokenizer.from_file(str(args.base / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    net = Encoder()
    net.load_state_dict(from_bert(load_file(args.base / "model.safetensors")), strict=False)
    optimizer = torch.optim.AdamW(groups(net), weight_decay=DECAY, betas=(0.9, 0.98), fused=True)
    held = Example.read(args.validation)
    began, done, mean, read = time.time(), 0.0, 3.0, 0
    for step, batch in enumerate(steps(args.data, tokenizer, args.seed)):
        done = (time.time() - began) / (60 * args.minutes) if args.minutes else step / args.steps
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(1.0, (step + 1) / WARMUP) * (1 - done)
        loss = loss_of(net, batch, DROP)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        read += sum(len(one.ids) for one in batch)
        mean += (loss.item() - mean) / 50
        if step % 50 == 49:
            took = f"{time.time() - began:.0f} s, {time.process_time():.0f} CPU s"
            print(f"step {step + 1} loss {mean:.3f} tokens {read} {took} done {done:.3f}", flush=True)
        if step % EVERY == EVERY - 1:
            report(net, tokenizer, held, step + 1, args.out)
    report(net, tokenizer, held, step, args.out)


def report(net: Encoder, tokenizer: Tokenizer, held: Sequence[Example], step: int, out: Path) -> None:
    """Validate, print it, and keep the weights."""
    out.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"step": step, **validate(net, tokenizer, held)}), flush=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in net.state_dict().items()}, out / "reader.safetensors"
    )


if __name__ == "__main__":
    main()
