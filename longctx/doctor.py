"""What `models` lists and `doctor` checks."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from longctx.errors import LongctxError
from longctx.hub import BUNDLED, KNOWN, cached
from longctx.machine import available_memory, usable_threads
from longctx.plan import gib

if TYPE_CHECKING:
    from longctx.options import Options

NEEDLE = "One of the special magic numbers for velvet-harbor is: 7391846.\n"
FILLER = "The ferry left the quay at noon and came back before the lamps were lit.\n"


@dataclass(frozen=True)
class Model:
    """A line of `models`."""

    name: str
    where: str
    size: str
    note: str


@dataclass(frozen=True)
class Check:
    """A line of `doctor`."""

    name: str
    ok: bool
    value: str


def models() -> list[Model]:
    """Return the bundled model, those in the hub cache, and the published ones that are known to run."""
    from longctx.models.weights import checkpoint_bytes

    here = dict(cached())
    found = [Model("bundled", "bundled", gib(checkpoint_bytes(BUNDLED)), "finds facts; cannot write prose")]
    for known in KNOWN:
        where = "cached" if known.name in here else "hub"
        found.append(Model(known.name, where, gib(here.pop(known.name, known.weights_bytes)), known.note))
    return found + [Model(name, "cached", gib(size), "not known to run") for name, size in here.items()]


def check(options: "Options") -> list[Check]:
    """Return what matters on this machine, and whether the model finds a fact on it."""
    import torch

    from longctx.engine import pick_device
    from longctx.kernels.select import describe, failures

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    checks = [
        Check("python", True, platform.python_version()),
        Check("torch", True, f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"),
        Check("tokenizers", True, version("tokenizers")),
        Check("threads", True, str(options.threads or usable_threads())),
        Check("memory", True, f"{gib(available_memory())} available"),
        Check("devices", True, ", ".join(["cpu", *devices])),
    ]
    try:
        checks.append(_retrieval(options))
    except LongctxError as error:
        checks.append(Check("model", False, str(error)))
    # Last, because a kernel that cannot be built is found out by running it.
    return [*checks, Check("kernels", not failures, describe(pick_device(options.device)))]


def _retrieval(options: "Options") -> Check:
    """Hide a fact in a page of text and look whether the answer holds it."""
    import torch

    from longctx.engine import Engine
    from longctx.sampling import Sampling
    from longctx.tasks.prompt import build_prompt, read_template

    torch.set_num_threads(options.threads or usable_threads())
    engine = Engine.load(options.folder(), options.device, options.dtype)
    retriever = bool(engine.model.config.pointer_heads)
    template = read_template(None, "lookup.md" if retriever else "ask.md")
    question = "What is the special magic number for velvet-harbor?"
    prompt = build_prompt(engine.tokenizer, engine.folder, template, question=question)
    session = engine.session()
    session.read(prompt.before + engine.tokenizer.encode(FILLER * 20 + NEEDLE + FILLER * 20))
    answer = "".join(p.text for p in session.generate(prompt.after, Sampling(max_tokens=32, stop=("\n",))))
    return Check(
        "model", "7391846" in answer, f"{engine.folder} answers {answer.strip()!r}, 7391846 is right"
    )
