"""The files below a folder that a person would read: as git lists them, or else by the rules of .gitignore.

Knows names only; what a file holds is for others, except for marks that programs leave in what they generate.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from longctx.errors import InputError
from longctx.regular import open_regular

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    _Rules = tuple[tuple[str, GitIgnoreSpec], ...]  # (folder, its .gitignore), outermost first

LARGEST_IGNORE_FILE = 1 << 20
MOST_RULES = 2000  # of one .gitignore
MOST_WILDCARDS = 16  # of one rule
LONGEST_WALK = 15  # seconds, for git's listing or for our own
RECENT, OFTEN = 100, 2  # of so many commits, at least so many have changed a file that is changed often

GENERATED_FOLDERS = {
    *("node_modules", "bower_components", "jspm_packages", "vendor", "dist"),
    *("site-packages", "venv", "__pycache__", "Pods"),
}
GENERATED_FILES = re.compile(
    r"(?:package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|go\.sum|Package\.resolved|gradle\.lockfile"
    r"|packages\.lock\.json|.+\.lock|.+\.min\.(?:js|mjs|css)|.+\.(?:js|css)\.map|.+_pb2(?:_grpc)?\.pyi?|.+\.pb\.go)"
)
GENERATED_MARK = re.compile(rb"(?m)^\W{0,6}(?:Code generated .{0,200}DO NOT EDIT\.?|@generated\b)")
MINIFIABLE = (".js", ".mjs", ".cjs", ".css")

# What pathspec writes for "*", for what else may stand in a name, and for "**".
_STAR = r"\[\^/\]\*"
_LITERALS = rf"(?:(?!{_STAR})\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|[^\[/()\\])+"
_STARS = re.compile(f"(?:{_STAR})+")
_STAR_BEFORE_STAR = re.compile(f"{_STAR}({_LITERALS})(?={_STAR})")
_FOLDERS = r"\(\?:(\.\+|/\.\+)(/?)\)\?"
_FOLDERS_BEFORE_FOLDERS = re.compile(rf"{_FOLDERS}((?:(?!\(\?:/?\.\+).)*)(?=\(\?:/\.\+\)\?)", re.DOTALL)
_WILDCARDS = re.compile(r"\*+")


def unwanted_by_name(relative: str) -> tuple[str, str]:
    """(the hidden or generated file or folder that the path is in, the reason to skip it), or (path, "")."""
    parts = relative.split("/")
    for index, part in enumerate(parts):
        inner = index < len(parts) - 1
        prefix = "/".join(parts[: index + 1]) + "/" * inner
        if part.startswith("."):
            return prefix, "hidden"
        if inner and part in GENERATED_FOLDERS:
            return prefix, "generated or vendored"
    return relative, "generated" if GENERATED_FILES.fullmatch(parts[-1]) else ""


def generated(path: Path) -> str:
    """The reason why nobody wrote this file by hand: "generated", "minified", or ""."""
    with open_regular(path) as file:
        head = file.read(1 << 16)
    if GENERATED_MARK.search(head[:2048]):
        return "generated"
    lines = head.count(b"\n") + 1
    return "minified" if path.suffix in MINIFIABLE and len(head) > 2000 and len(head) > 500 * lines else ""


def listed_by_git(root: str) -> list[str]:
    """Files of a git work tree that are tracked or not ignored; empty without a work tree or git.

    Raises:
        InputError: when git does not finish, or names files outside the folder.
    """
    try:
        listing = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    except TimeoutError as error:
        hint = f"git did not list its files in {LONGEST_WALK} seconds; name them one by one"
        raise InputError(f"{root}: {hint}") from error
    found = [os.fsdecode(name) for name in listing.split(b"\0") if name]
    if any(name.startswith("/") or ".." in name.split("/") for name in found):
        raise InputError(f"{root}: its .git/index names files outside the folder; remove .git or name files")
    return found


def often_changed(root: str) -> set[str]:
    """Files of a git work tree that several of its last commits have changed; none if git does not tell."""
    names = ("--no-renames", "--no-ext-diff", "--no-show-signature", "--name-only", "--relative", "-z")
    with contextlib.suppress(TimeoutError):
        listing = _git(root, "log", f"--max-count={RECENT}", "--format=", *names)
        counts = Counter(os.fsdecode(name.strip(b"\n")) for name in listing.split(b"\0"))
        return {name for name, count in counts.items() if name and count >= OFTEN}
    return set()


def _git(root: str, *words: str) -> bytes:
    """Return what git says of a work tree; nothing without one, or without git.

    Raises:
        TimeoutError: when it takes too long.
    """
    # The repository is not trusted: its configuration must not start programs or reach out for objects.
    settings = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "safe.bareRepository=explicit")
    options = [part for setting in settings for part in ("-c", setting)]
    command = ["git", "--no-pager", *options, *words]
    # A hook's environment would lead git to a different repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
    if watch := shutil.which("timeout"):  # git would outlive us, if we are killed while it waits for a pipe
        command = [watch, "--foreground", "--signal=KILL", str(LONGEST_WALK), *command]
    try:
        listing = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, check=False, timeout=LONGEST_WALK + 5
        )
        killed = listing.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    except subprocess.TimeoutExpired:
        killed = True
    except OSError:
        return b""
    if killed:
        raise TimeoutError
    return b"" if listing.returncode else listing.stdout


def walk(root: str) -> Iterator[str]:
    """Files below `root` that no .gitignore hides; a skipped folder is yielded itself, with a "/".

    Raises:
        InputError: when a .gitignore makes that take too long.
    """
    end = monotonic() + LONGEST_WALK
    waiting: list[tuple[str, _Rules]] = [("", ())]
    while waiting:
        folder, rules = waiting.pop()
        try:
            with os.scandir(Path(root, folder)) as scan:
                entries = list(scan)
        except OSError:
            yield folder
            continue
        rules = (*rules, (folder, _read_rules(Path(root, folder, ".gitignore"))))
        for entry in entries:
            if monotonic() > end:
                raise InputError(f"{root}: its .gitignore files take over {LONGEST_WALK} seconds; name files")
            is_folder = entry.is_dir(follow_symlinks=False)
            relative = folder + entry.name + "/" * is_folder
            if entry.name == ".git" or _is_ignored(relative, rules):
                continue
            if is_folder and not unwanted_by_name(relative)[1]:
                waiting.append((relative, rules))
            else:
                yield relative


def _read_rules(path: Path) -> "GitIgnoreSpec":
    """Read a .gitignore; without one, no rules.

    Raises:
        InputError: when it has too many rules, or too many wildcards in one.
    """
    from pathspec import GitIgnoreSpec

    lines: list[str] = []
    if path.is_file() and not path.is_symlink():
        with contextlib.suppress(OSError), open_regular(path) as file:
            content = file.read(LARGEST_IGNORE_FILE + 1)
            lines = content.decode("utf-8", "surrogateescape").splitlines()
            if len(content) > LARGEST_IGNORE_FILE or len(lines) > MOST_RULES:
                raise InputError(f"{path}: it has more than {MOST_RULES} rules; name files instead")
    patterns = []
    for line in lines:
        if len(_WILDCARDS.findall(line)) > MOST_WILDCARDS:
            raise InputError(f"{path}: a rule has more than {MOST_WILDCARDS} wildcards; name files instead")
        with contextlib.suppress(ValueError, re.error):  # git, too, skips invalid patterns
            (rule,) = GitIgnoreSpec.from_lines([line]).patterns
            if rule.regex:
                patterns.append(type(rule)(re.compile(linear(rule.regex.pattern)), rule.include))
    return GitIgnoreSpec(patterns)


def linear(regex: str) -> str:
    """Commit each wildcard of a rule, but the last, to its first match.

    What can follow a later match can follow the first as well: nothing is lost. Otherwise names can be made
    for which each wildcard multiplies the time to tell that a rule does not match.
    """
    regex = _STAR_BEFORE_STAR.sub(r"(?>[^/]*?\1)", _STARS.sub("[^/]*", regex))
    return _FOLDERS_BEFORE_FOLDERS.sub(r"(?>(?:\1?\2)??\3(?=/))", regex)


def _is_ignored(relative: str, rules: "_Rules") -> bool:
    """Whether the innermost .gitignore that matches hides the path; patterns are relative to its folder."""
    for folder, patterns in reversed(rules):
        verdict = patterns.check_file(relative.removeprefix(folder)).include
        if verdict is not None:
            return verdict
    return False
