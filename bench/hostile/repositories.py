"""Repositories of strangers: an index, settings and pieces made for whoever lists them."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from random import Random

from bench.fuzz_inputs import PROSE, damaged
from bench.hostile.case import FACT, MARKS, OUTSIDE, QUESTION, Case, become
from bench.hostile.run import git


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
