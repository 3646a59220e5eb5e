"""What strangers may put in front of longctx: one function for each kind, which makes it in an empty folder.

Each draws what it makes from a random generator, so that a campaign is the same again. SECRET lies beside the
folder, in ../outside: where its number comes out, something led there.
"""

import gzip
import json
import os
import shutil
import socket
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from bench.fuzz_inputs import PROSE, VALUES, damaged, tarred, texts, zipped
from bench.hostile_run import git, read_into

ROOT = Path(__file__).parents[1]
BUNDLED = ROOT / "models" / "bundled"
KNOWN = ROOT / "models" / "known"
QUESTION = "What is the special magic number for quiet-lantern?"
FACT = "One of the special magic numbers for quiet-lantern is: 4031775.\n"
SECRET = "9090909"
HIDDEN = f"One of the special magic numbers for quiet-lantern is: {SECRET}.\n"
OUTSIDE = "../outside/secret.txt"
MARKS = "\x1b]52;c;x\x07\u202e\u061c\u2028"


class Case(NamedTuple):
    """A command about what was made.

    Attributes:
        words: the command's arguments; it runs in the folder.
        meanwhile: called again and again while it runs; changes what is read.
        made: the names that the command itself may leave in the folder.
        fresh: to be run in a process of its own, for what happens before anything is imported.
    """

    words: list[str]
    meanwhile: Callable[[], object] | None = None
    made: tuple[str, ...] = ()
    fresh: bool = False


def ask(*words: str) -> list[str]:
    """Return a command that asks about a.txt with a model in `model`."""
    return ["ask", QUESTION, "a.txt", "--deep", "--no-store", "--threads", "1", *words]


def model(place: Path, writes: bool = False) -> Path:
    """Copy the bundled model, and a text with a fact; it writes answers if it does not point at them."""
    folder = place / "model"
    folder.mkdir()
    for path in BUNDLED.glob("*.*"):
        shutil.copyfile(path, folder / path.name)
    if writes:
        change_json(folder / "config.json", lambda raw: raw.pop("pointer_heads"))
    (place / "a.txt").write_text(PROSE + FACT)
    return folder


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file holds."""
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return each place of a JSON object, inner ones too."""
    found = [(value, key) for key in value] if isinstance(value, dict) else []
    return found + [place for inner, key in found for place in places(inner[key])]


def settings(place: Path, random: Random) -> Case:
    """Hostile values in config.json, of the bundled model or of a published one."""
    folder = model(place)
    published = random.random() < 0.5
    if published:
        shutil.copyfile(random.choice(sorted(KNOWN.glob("*/config.json"))), folder / "config.json")

    def change(raw: Any) -> None:
        for _ in range(random.randint(1, 4)):
            where, key = random.choice(places(raw))
            where[key] = random.choice(VALUES)

    change_json(folder / "config.json", change)
    command = random.choice([ask(), ["plan", "a.txt"], ["doctor"]])
    return Case([*command, "--model", "model"])


def weights(place: Path, random: Random) -> Case:
    """A safetensors file that is cut, or whose header lies: overlapping, reversed, beyond the end, huge."""
    path = model(place) / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    tensors = [name for name in header if name != "__metadata__"]
    one, other = random.sample(tensors, 2)
    end = len(numbers)
    kind = random.randrange(9)
    if kind == 0:
        path.write_bytes(content[: random.randrange(len(content))])
    elif kind == 1:
        path.write_bytes(random.choice([1 << 63, len(content), (1 << 27) + 1, 0]).to_bytes(8, "little"))
    elif kind == 2:
        path.write_bytes((99_000_000).to_bytes(8, "little") + b" " * 99_000_000)
    else:
        lies: dict[int, tuple[str, Any]] = {
            3: ("data_offsets", header[other]["data_offsets"]),
            4: ("data_offsets", random.choice([[end, 0], [-1, 4], [end, end + 4], [1 << 62, 1 << 63], [0]])),
            5: ("shape", random.choice([[1 << 40, 1 << 40], [-1, 4], [], [0], [2**63], [1] * 10_000, "x"])),
            6: ("dtype", random.choice(["F8_E4M3", "U64", "BOOL", "x" * 10**6, MARKS, None, 7])),
        }
        if kind in lies:
            key, value = lies[kind]
            header[one][key] = value
        elif kind == 7:
            header[MARKS + "x" * random.choice([1, 10**6])] = header.pop(one)
        else:
            header["__metadata__"] = {"format": "pt", MARKS: random.choice(["x" * 10**6, {"a": 1}])}
        text = json.dumps(header).encode("utf-8", "surrogatepass")
        path.write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    return Case([*random.choice([ask(), ["doctor"]]), "--model", "model"])


def index(place: Path, random: Random) -> Case:
    """An index of weights that leads outside, in a circle, to a pipe, a device, or to nothing."""
    folder = model(place)
    path = folder / "model.safetensors.index.json"
    content = (folder / "model.safetensors").read_bytes()
    names = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    shutil.move(folder / "model.safetensors", folder / "one.safetensors")
    target: Any = random.choice(
        [
            "../outside/w.safetensors",
            "/dev/zero",
            "loop",
            "pipe",
            "zero",
            "folder",
            "x" * 5000,
            MARKS,
            "..",
            "",
        ]
    )
    (folder / "loop").symlink_to("loop")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    table: Any = {name: "one.safetensors" for name in names if name != "__metadata__"}
    table[random.choice(sorted(table))] = target
    odd: list[Any] = [None, [], [["a", "b"]], {"a": {}}, {"a": None}, "x"]
    path.write_text(json.dumps({"weight_map": table if random.random() < 0.8 else random.choice(odd)}))
    if random.random() < 0.1:
        path.unlink()
        path.symlink_to(path.name)
    return Case([*random.choice([ask(), ["doctor"], ["plan", "a.txt"]]), "--model", "model"])


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
    deep: Any = {"type": "Lowercase"}
    for _ in range(random.choice([50, 3000])):
        deep = {"type": "Sequence", "normalizers": [deep], "pretokenizers": [deep]}
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
        ("normalizer", deep),
        ("pre_tokenizer", {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}),
        ("pre_tokenizer", {"type": "FixedLength", "length": random.choice([0, -1, 1, 2**63])}),
        ("pre_tokenizer", deep),
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


def odd_files(place: Path, random: Random) -> Case:
    """A file of the checkpoint that is a pipe, a device, a folder, a socket, a circle, or that is closed."""
    folder = model(place)
    names = [path.name for path in folder.iterdir()] + ["chat_template.jinja", "model.safetensors.index.json"]
    path = folder / random.choice(sorted(names))
    become(path, random)
    return Case([*random.choice([ask(), ["doctor"], ["plan", "a.txt"]]), "--model", "model"])


def become(path: Path, random: Random, leads: bool = True) -> None:
    """Make a path something that is no file; if it may, a link that leads outside."""
    path.unlink(missing_ok=True)
    kind = random.randrange(7 if leads else 6)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(random.choice(["/dev/zero", "/dev/random", "/dev/full", "/dev/tty"]))
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        path.mkdir()
    elif kind == 4:
        with socket.socket(socket.AF_UNIX) as server, suppress(OSError):  # a name may be too long
            server.bind(os.path.relpath(path))
    elif kind == 5:
        path.write_bytes(b"x")
        path.chmod(0)
    else:
        path.symlink_to(
            next(room / "outside" / "secret.txt" for room in path.parents if (room / "outside").is_dir())
        )


SMALL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "verifier.json",
)


def damaged_model(place: Path, random: Random) -> Case:
    """Damage at random in one of the small files of a checkpoint."""
    folder = model(place)
    path = folder / random.choice(SMALL_FILES)
    path.write_bytes(damaged(path.read_bytes(), path.name, random))
    return Case([*ask(), "--model", "model"])


def repository(place: Path) -> Path:
    """Make a work tree with a text in it; return its .git."""
    folder = place / "tree"
    folder.mkdir()
    (folder / "a.txt").write_text(PROSE + FACT)
    git(folder, "init", "-q")
    git(folder, "add", "a.txt")
    return folder / ".git"


ABOUT_TREE = ["ask", QUESTION, "tree", "--no-store", "--threads", "1"]


def entry(name: bytes) -> bytes:
    """Return an entry of git's index, of version 2."""
    start = bytes(40) + bytes(20) + min(len(name), 0xFFF).to_bytes(2, "big") + name
    start = start[:24] + (0o100644).to_bytes(4, "big") + start[28:]
    return start + bytes(8 - len(start) % 8)


def git_index(place: Path, random: Random) -> Case:
    """A .git/index that names files outside, is cut or damaged, or says that it has millions of entries."""
    from hashlib import sha1

    path = repository(place) / "index"
    secret = (place / OUTSIDE).resolve()
    names = [
        b"../" + OUTSIDE.encode(),
        str(secret).encode(),
        b"a.txt/../../" + OUTSIDE.encode(),
        *(
            b"..",
            b".git/config",
            MARKS.encode(),
            b"x" * 70_000,
            b"\xff\xfe",
            b"/dev/zero",
            b"./a.txt",
            b"a//b",
        ),
    ]
    if random.random() < 0.6:
        chosen = sorted(random.sample(names, random.randint(1, 4)))
        count = random.choice([len(chosen)] * 4 + [10**9])
        body = b"DIRC" + (2).to_bytes(4, "big") + count.to_bytes(4, "big") + b"".join(map(entry, chosen))
        path.write_bytes(body + sha1(body).digest())
    else:
        path.write_bytes(damaged(path.read_bytes(), "index", random))
    return Case(ABOUT_TREE)


def git_settings(place: Path, random: Random) -> Case:
    """A repository whose settings would start programs, lead elsewhere, or wait for ever."""
    inner = repository(place)
    run = "!touch OWNED; touch ../OWNED"
    lines = [
        f'[core]\n\tfsmonitor = "{run[1:]}"\n',
        "[core]\n\thooksPath = hooks\n",
        f'[core]\n\tsshCommand = "{run[1:]}"\n',
        '[remote "origin"]\n\turl = ext::sh -c "touch OWNED"\n\tpromisor = true\n',
        f'[core]\n\tpager = "{run[1:]}"\n\teditor = "{run[1:]}"\n[pager]\n\tls-files = true\n\tlog = true\n',
        f'[alias]\n\tls-files = "{run}"\n\tlog = "{run}"\n',
        f"[core]\n\tworktree = {place.parent / 'outside'}\n",
        "[core]\n\texcludesFile = ../pipe\n",
        "[include]\n\tpath = ../../pipe\n",
        f'[diff]\n\texternal = "{run[1:]}"\n[filter "x"]\n\tclean = "{run[1:]}"\n\tsmudge = "{run[1:]}"\n',
        "[core]\n\tattributesFile = /dev/zero\n[include]\n\tpath = /dev/zero\n",
        "[core]\n\trepositoryFormatVersion = 99\n[extensions]\n\tx = true\n",
        "[" * 100_000,
    ]
    with (inner / "config").open("a") as config:
        config.writelines(random.sample(lines, random.randint(1, 2)))
    os.mkfifo(place / "pipe")
    (inner / "hooks").mkdir(exist_ok=True)
    for name in ("fsmonitor-watchman", "post-index-change", "pre-commit"):
        (inner / "hooks" / name).write_text("#!/bin/sh\ntouch OWNED\n")
        (inner / "hooks" / name).chmod(0o755)
    (place / "tree" / ".gitattributes").write_text("* filter=x diff=x\n")
    return Case(ABOUT_TREE)


def git_pieces(place: Path, random: Random) -> Case:
    """A repository with a piece that is no file, or that is elsewhere."""
    inner = repository(place)
    if random.random() < 0.2:
        shutil.rmtree(inner)
        target = random.choice(["../../outside/.git", "/dev/zero", ".git", "../pipe"])
        inner.write_text(f"gitdir: {target}\n")
    elif random.random() < 0.2:
        (inner / "objects" / "info").mkdir(exist_ok=True)
        (inner / "objects" / "info" / "alternates").write_text("../../../outside\n/dev/zero\n")
        (inner / "commondir").write_text("../../outside\n")
    else:
        names = ["index", "HEAD", "config", "info/exclude", "../.gitignore", "packed-refs", "objects"]
        path = inner / random.choice(names)
        if path.is_dir():
            shutil.rmtree(path)
        become(path, random)
    return Case(ABOUT_TREE)


def rules(place: Path, random: Random) -> Case:
    """A .gitignore that takes for ever to match, with and without git, and names made for it."""
    folder = place / "tree"
    deep = folder
    for _ in range(random.choice([3, 60, 400])):
        deep = deep / "a"
        with suppress(OSError):
            deep.mkdir(parents=True)
            (deep / ("a" * 100)).write_text(FACT)
    for number in range(300):
        (folder / f"{'a' * 60}{number}.txt").write_text(PROSE + FACT)
    lines = [
        "**/a/" * 30 + "b",
        "*a" * 30 + "b",
        "[" * 5000,
        "\\" * 999,
        "!" * 999,
        "**/**/**/a*a*a*b",
        MARKS,
    ]
    kind = random.randrange(3)
    lines = random.sample(lines, 2) if kind else [f"{number}*x" for number in range(100_000)]
    (folder / ".gitignore").write_text("\n".join(lines))
    if random.random() < 0.5:
        git(folder, "init", "-q")
    return Case(ABOUT_TREE)


def specials(place: Path, random: Random) -> Case:
    """Pipes, devices, sockets, circles, links that lead outside, closed folders, names of every sort."""
    folder = place / "tree"
    folder.mkdir()
    (folder / "a.txt").write_text(PROSE + FACT)
    names = ["b.txt", "c.md", f"{MARKS}.txt", "-rf", "--json", "d.zip", "e.epub", "f.pdf", "g.eml", "x" * 250]
    for name in random.sample(names, 4):
        become(folder / name, random, leads=name != "b.txt")
    (folder / "out").symlink_to("../../outside")
    (folder / "up").symlink_to("..")
    os.mkdir(os.fsencode(folder) + b"/\xff\xfe")  # noqa: PTH102 - bytes that are no text
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0)
    if random.random() < 0.5:
        git(folder, "init", "-q")
    name = random.choice(["tree", "tree/", ".", "tree/b.txt", "tree/closed"])
    return Case(["ask", QUESTION, name, "--no-store", "--threads", "1"])


def changing(place: Path, random: Random) -> Case:
    """Files that grow, shrink, vanish and become others while they are read."""
    folder = place / "tree"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text((PROSE + FACT) * 20)

    def change() -> None:
        path = folder / f"{random.randrange(40)}.txt"
        kind = random.randrange(6)
        with suppress(OSError):
            if path.is_symlink() or not path.is_file():  # what it leads to is not ours; a pipe would wait
                path.unlink()
            if kind == 0:
                path.unlink()
            elif kind == 1:
                os.truncate(path, random.randrange(100_000))
            elif kind == 2:
                path.write_text("Other words.\n\n" * random.randrange(2000))
            elif kind == 3:
                with path.open("a") as file:
                    file.write(PROSE)
            else:
                become(path, random)

    command = random.choice([["ask", QUESTION], ["ask", QUESTION, "--deep", "--no-store"], ["summarize"]])
    return Case([*command, "tree"], change)


def changing_model(place: Path, random: Random) -> Case:
    """Small files of a checkpoint that change while it is loaded."""
    folder = model(place)

    def change() -> None:
        path = folder / random.choice(SMALL_FILES)
        with suppress(OSError):
            path.unlink()
            if random.random() < 0.5:
                path.write_bytes(damaged((BUNDLED / path.name).read_bytes(), path.name, random))
            else:
                become(path, random)

    return Case([*ask(), "--model", "model"], change)


def packed(place: Path, random: Random) -> Case:
    """Archives and documents that are bombs, lead outside, are nested, or are damaged."""
    kind = random.randrange(6)
    name = "a.zip"
    if kind == 0:
        name = "a.gz"
        (place / name).write_bytes(gzip.compress(bytes(1 << 20), mtime=0) * 3000)
    elif kind == 1:
        with zipfile.ZipFile(place / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(30):
                archive.writestr(f"{number}.txt", bytes(30 << 20))
    elif kind == 2:
        content = zipped({"a.txt": FACT.encode()})
        for _ in range(40):
            content = zipped({"a.zip": content, "b.zip": content}) if len(content) < 1 << 20 else content
        (place / name).write_bytes(content)
    elif kind == 3:
        (place / name).write_bytes(zipped({f"{number}/" * 60 + MARKS: b"x" for number in range(5000)}))
    elif kind == 4:
        name = "a.tar"
        content = tarred({"../outside/new.txt": b"x", "/tmp/new.txt": b"x", "l": b""})
        at = content.index(b"l\0")
        link = bytearray(content)
        link[at + 156 : at + 157] = b"2"
        link[at + 157 : at + 157 + len(OUTSIDE)] = OUTSIDE.encode()
        (place / name).write_bytes(bytes(link))
    else:
        name, content = random.choice(sorted(texts().values()))
        (place / name).write_bytes(damaged(content, name, random))
    return Case([*random.choice([["ask", QUESTION, "--no-store"], ["summarize"]]), name])


def awkward(place: Path, random: Random) -> Case:
    """Texts without spaces, without lines, of marks alone, of one line, of many files packed in one."""
    size = 3 << 20
    made = [
        " " * size,
        "a" * size,
        "\n" * size,
        MARKS * (size // 9),
        "(" * size,
        "a b " * (size // 4),
        '{"a":' * (size // 5),
        "Is it? " * (size // 7),
        "=" * 64 + "\n" + "".join(f"{'=' * 48}\nFILE: {n}.py\n{'=' * 48}\nx = {n}\n" for n in range(20_000)),
        "|".join(map(str, range(size // 8))),
        "0" * 5000 + "." + "9" * size,
        "a@b.c " * (size // 6),
        "\ufeff\u200d" * (size // 6),
        "".join(f"key_{n} = {n}\n" for n in range(200_000)),
    ]
    (place / "a.txt").write_text(random.choice(made) + FACT)
    command = random.choice(
        [["ask", QUESTION, "--no-store"], ["ask", MARKS * 99, "--no-store"], ["summarize"]]
    )
    return Case([*command, "a.txt", "--threads", "1"])


def outputs(place: Path, random: Random) -> Case:
    """Options that name pipes, devices, circles and folders, or what is outside of the store."""
    (place / "a.txt").write_text(PROSE + FACT)
    path = place / "odd"
    become(path, random, leads=False)
    if path.is_fifo():  # for an output, a pipe without a reader is the user's own wish
        path.unlink()
        path.symlink_to("/dev/full")
    words = [
        ["--prompt", "odd", "--deep", "--no-store"],
        ["--store", str(path)],
        ["--store", str(place / "store" / "x" / ".." / "odd")],
        ["--questions", "odd", "--no-store"],
        ["--model", "odd", "--no-store"],
        ["--since", "(a+)+$", "--no-store"],
        ["--until", "(" * 9999, "--no-store"],
        ["--model", random.choice(["~nobody/x", "x" * 300, MARKS, "a/b/../c", "../outside"]), "--no-store"],
        ["-o", random.choice(["odd/x", "x" * 300, ".", "/", "/proc/self/mem"]), "--no-store"],
    ]
    chosen = random.choice(words)
    question = [] if "--questions" in chosen else [QUESTION]
    return Case(["ask", *question, "a.txt", "--threads", "1", *chosen], made=("store", "odd"))


def modules(place: Path, random: Random) -> Case:
    """A current folder with modules and settings that bear the names of others."""
    model(place, writes=True)
    (place / "model" / "chat_template.jinja").write_text("{{ messages[0].content }}")
    names = [
        "torch",
        "json",
        "jinja2",
        "tokenizers",
        "longctx",
        "numpy",
        "sitecustomize",
        "usercustomize",
        "click",
    ]
    for name in random.sample(names, 5):
        (place / f"{name}.py").write_text("open('OWNED', 'w').close()\nraise SystemExit('owned')\n")
    for name in ("longctx.toml", "pyproject.toml", ".longctx", "config.toml", ".env"):
        (place / name).write_text(
            f'[ask]\nmodel = "../outside"\noutput = "{MARKS}"\n[tool.longctx]\nmodel = "x"\n'
        )
    extra = random.choice([[], ["--dtype", "bfloat16"], ["--dtype", "float16"], ["--quant", "int8"]])
    command = random.choice([ask("--max-tokens", "4"), ["plan", "a.txt"], ["doctor"]])
    return Case([*command, "--model", "model", *extra], fresh=True)


def kept(place: Path, random: Random) -> Case:
    """A store whose files were damaged, or put there by somebody else."""
    (place / "a.txt").write_text((PROSE + FACT) * 60)
    store = place / "store"
    read_into(store, place / "a.txt")
    files = sorted(path for path in store.rglob("*") if path.is_file())
    for path in random.sample(files, min(len(files), random.randint(1, 2))):
        if random.random() < 0.5:
            path.write_bytes(damaged(path.read_bytes(), path.name, random))
        else:
            become(path, random)
    command = random.choice([ask()[:-3], ["store", "list"], ["store", "verify"], ["read", "a.txt"]])
    return Case([*command, "--store", str(store)], made=("store",))


KINDS: dict[str, Callable[[Path, Random], Case]] = {
    each.__name__: each
    for each in (
        *(settings, weights, index, tokenizer, template, odd_files, damaged_model, git_index, git_settings),
        *(git_pieces, rules, specials, changing, changing_model, packed, awkward, outputs, modules, kept),
    )
}
