"""What strangers may put in front of longctx: one function for each kind, which makes it in an empty folder.

Each draws what it makes from a random generator, so that a campaign is the same again.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random

from bench.hostile.case import Case
from bench.hostile.checkpoints import (
    changing_model,
    damaged_model,
    index,
    modules,
    odd_files,
    settings,
    weights,
)
from bench.hostile.repositories import git_index, git_pieces, git_settings, rules
from bench.hostile.texts import awkward, changing, kept, outputs, packed, specials
from bench.hostile.tokenizers import template, tokenizer

KINDS: dict[str, Callable[[Path, Random], Case]] = {
    each.__name__: each
    for each in (
        *(settings, weights, index, tokenizer, template, odd_files, damaged_model, git_index, git_settings),
        *(git_pieces, rules, specials, changing, changing_model, packed, awkward, outputs, modules, kept),
    )
}
