"""Folders, archives, texts and stores of strangers, and options that name what is no file."""

import gzip
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from random import Random

from bench.fuzz_inputs import PROSE, damaged, tarred, texts, zipped
from bench.hostile.case import FACT, MARKS, OUTSIDE, QUESTION, Case, ask, become
from bench.hostile.run import git, read_into


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
