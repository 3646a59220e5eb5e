"""Tokenizers and templates of strangers: patterns without end, programs, what fills the memory."""

from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from bench.fuzz_inputs import PROSE
from bench.hostile.case import FACT, MARKS, Case, ask, change_json, model

ENDLESS = [
    r"(a+)+$",
    r"(?:\S+\s?)+#",
    r"(.*)*x",
    r"((a|aa)+)+!",
    r"^",
    r"",
    r"(?=.*)",
    r"(\w+\s*)+:",
    r"[\s\S]*",
]


def tokenizer(place: Path, random: Random) -> Case:
    """A tokenizer with patterns that take for ever, that makes texts longer, or that is nested or huge."""
    path = model(place) / "tokenizer.json"
    pattern = {"Regex": random.choice(ENDLESS)}
    depth = random.choice([50, 3000])
    token = {
        "id": 0,
        "special": True,
        "content": "<|end|>",
        "normalized": False,
        "lstrip": True,
        "rstrip": True,
    }
    parts: list[tuple[str, Any]] = [
        (
            "normalizer",
            {"type": "Replace", "pattern": pattern, "content": random.choice(["", "q" * 10**6, MARKS])},
        ),
        ("normalizer", {"type": "Prepend", "prepend": "x" * random.choice([1, 10**7])}),
        ("normalizer", _nested("normalizers", depth)),
        ("pre_tokenizer", {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}),
        ("pre_tokenizer", {"type": "FixedLength", "length": random.choice([0, -1, 1, 2**63])}),
        ("pre_tokenizer", _nested("pretokenizers", depth)),
        ("decoder", {"type": "Replace", "pattern": pattern, "content": "q" * 10**5}),
        ("post_processor", {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]}),
        ("added_tokens", [{**token, "id": at, "content": "e" * at} for at in range(2000)]),
        ("added_tokens", [{**token, "content": random.choice(["", " ", "e", MARKS, "a" * 10**6])}]),
        ("truncation", {"max_length": 0, "strategy": "LongestFirst", "stride": 9, "direction": "Right"}),
        ("padding", {"strategy": {"Fixed": 10**9}, "pad_id": 0, "pad_token": "x", "direction": "Left"}),
        ("model", random.choice([{}, {"type": "BPE"}, {"type": "Unigram", "vocab": []}, [], "x"])),
    ]
    key, value = random.choice(parts)
    with suppress(RecursionError):
        change_json(path, lambda raw: raw.update({key: value}))
    (place / "a.txt").write_text("aaaa bbbb eee " * 4000 + PROSE + FACT)
    return Case([*random.choice([ask(), ["plan", "a.txt"]]), "--model", "model"])


def _nested(parts: str, depth: int) -> Any:
    """Return a sequence of one part, which is a sequence of one part ..."""
    deep: Any = {"type": "Lowercase"}
    for _ in range(depth):
        deep = {"type": "Sequence", parts: [deep]}
    return deep


TEMPLATES = [
    "{{ 'a' * 10**10 }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ '%99999999999d' % 1 }}",
    "{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}",
    "{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "{{ lipsum(n=10**6) }}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ range(10**9) | list }}",
    "{{ [1, 2] | slice(10**9) | list }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch OWNED') }}",
    "{{ self.__init__.__globals__.__builtins__.open('OWNED', 'w') }}",
    "{{ messages.append(1) }}{{ raise_exception('\\x1b]52;c;x\\x07' * 10000) }}",
    "{% include '../outside/secret.txt' %}",
    "{% import 'os' as os %}{{ os.system('touch OWNED') }}",
    "{{ '\\ud800' }}",
    "{{ document }}" * 5000,
    "{% if %}",
    "{{ messages | map(attribute='content.__class__') | list }}",
    "{% for i in range(10**6) %}<|end|>{% endfor %}{{ messages[0].content }}",
    "{{ messages[0].content }}" * 2,
    "",
]


def template(place: Path, random: Random) -> Case:
    """A chat template, or a prompt, that burns time or memory, or reaches for what is outside of it."""
    folder, source = model(place, writes=True), random.choice(TEMPLATES)
    where = random.randrange(3)
    if where == 0:
        (folder / "chat_template.jinja").write_text(source)
    elif where == 1:
        change_json(folder / "tokenizer_config.json", lambda raw: raw.update(chat_template=source))
    else:
        (place / "prompt.md").write_text(source)
    prompt = ["--prompt", "prompt.md"] if where == 2 else []
    return Case([*ask(*prompt), "--model", "model", "--max-tokens", "4"])
