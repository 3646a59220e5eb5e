"""Patches: which files change, by how much, and which names are new."""

import re
from dataclasses import dataclass, field

from longctx.structure.facts import Fact, Group, Structure, place, plural, shortened
from longctx.structure.lines import head, numbered
from longctx.text.document import Document

MOST_FILES, MOST_NAMES = 2000, 200
_FILE = re.compile(r"diff --git \"?a/(?P<old>.*?)\"? \"?b/(?P<new>.*?)\"?$|\+\+\+ (?P<plain>[^\t]+)")
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_COMMIT = re.compile(r"(?:commit|From) ([0-9a-f]{7,40})\b")
_SUBJECT = re.compile(r"Subject: (?:\[PATCH[^\]]*\] )?(.+)|    (\S.*)")
NAME = re.compile(
    r"\s*(?:export\s+|default\s+|pub(?:\([a-z]+\))?\s+|public\s+|private\s+|protected\s+|static\s+|abstract\s+"
    r"|final\s+|async\s+|unsafe\s+|const\s+(?=fn))*"
    r"(?P<what>def|class|function|func|fn|struct|enum|interface|trait|type|module|macro_rules!)\s+"
    r"(?:\([^)]*\)\s*)?(?P<name>[A-Za-z_]\w*)"
)


@dataclass(slots=True)
class _File:
    name: str
    line: int
    how: str = ""
    hunks: int = 0
    added: int = 0
    removed: int = 0


@dataclass(slots=True)
class _Patch:
    """What a patch says; of very many files the most changed are kept, with the sums of the others."""

    files: list[_File] = field(default_factory=list)
    dropped: _File = field(default_factory=lambda: _File("", 0))
    more_files: int = 0
    commits: list[Fact] = field(default_factory=list)
    more_commits: int = 0
    names: list[Fact] = field(default_factory=list)
    more_names: int = 0
    waiting: Fact | None = None  # a commit whose subject is to come

    def begin(self, file: _File) -> None:
        """Add a file, of which nothing was counted yet."""
        if len(self.files) >= 2 * MOST_FILES:
            ranked = sorted(self.files, key=lambda one: -(one.added + one.removed))
            self.files, dropped = ranked[:MOST_FILES], ranked[MOST_FILES:]
            self.more_files += len(dropped)
            self.dropped.added += sum(one.added for one in dropped)
            self.dropped.removed += sum(one.removed for one in dropped)
        self.files.append(file)


def is_diff(document: Document) -> bool:
    """Recognise a patch by its hunks, below the line that names a file."""
    beginning = head(document, 400)
    named = any(line.startswith(("diff --git ", "+++ ")) for line in beginning)
    return named and any(_HUNK.match(line) for line in beginning)


def summarise_diff(document: Document) -> Structure:
    """Count by hunks, so that a removed line that begins with -- is no file."""
    patch, old, new = _Patch(), 0, 0
    for number, line in numbered(document):
        if old > 0 or new > 0:
            old -= line[:1] in ("-", " ", "")
            new -= line[:1] in ("+", " ", "")
            _count(patch, document, number, line)
        elif hunk := _HUNK.match(line):
            old, new = (1 if size is None else int(size) for size in hunk.groups())
            if patch.files:
                patch.files[-1].hunks += 1
        else:
            _header(patch, document, number, line)
    added, removed = (
        sum(getattr(one, side) for one in (*patch.files, patch.dropped)) for side in ("added", "removed")
    )
    commits = f" of {plural(len(patch.commits) + patch.more_commits, 'commit')}" if patch.commits else ""
    size = f"{plural(len(patch.files) + patch.more_files, 'file')}, +{added:,} -{removed:,} lines"
    headline = f"{document.name}: a patch{commits}; {size}"
    ranked = sorted(patch.files, key=lambda one: -(one.added + one.removed))
    groups = [
        Group("Commits", patch.commits, patch.more_commits),
        Group(
            "Files",
            [_told(one, document) for one in ranked[:MOST_FILES]],
            max(0, len(ranked) - MOST_FILES) + patch.more_files,
        ),
        Group("New names", patch.names, patch.more_names),
    ]
    values = {
        "added": added,
        "removed": removed,
        "files": [
            {"name": one.name, "line": one.line, "how": one.how or "changed", "hunks": one.hunks}
            | {"added": one.added, "removed": one.removed}
            for one in ranked[:MOST_FILES]
        ],
    }
    return Structure("diff", document.name, headline, [group for group in groups if group.facts], values)


def _count(patch: _Patch, document: Document, number: int, line: str) -> None:
    """Count a line of a hunk."""
    if not patch.files:
        return
    patch.files[-1].added += line.startswith("+")
    patch.files[-1].removed += line.startswith("-")
    if line.startswith("+") and (name := NAME.match(line, 1)):
        if len(patch.names) < MOST_NAMES:
            patch.names.append(Fact(f"{name['what']} {name['name']}", place(document, number)))
        else:
            patch.more_names += 1


def _header(patch: _Patch, document: Document, number: int, line: str) -> None:
    """Read a line between hunks: a commit, its subject, or what is said of a file."""
    if commit := _COMMIT.match(line):
        patch.waiting = Fact(commit[1][:12], place(document, number))
    elif patch.waiting and (subject := _SUBJECT.match(line)):
        said = shortened(subject[1] or subject[2])
        if len(patch.commits) < MOST_FILES:
            patch.commits.append(Fact(f"{patch.waiting.text} {said}", patch.waiting.place))
        else:
            patch.more_commits += 1
        patch.waiting = None
    elif found := _FILE.match(line):
        name = found["new"] or (found["plain"] or "").removeprefix("b/").strip()
        if found["plain"] and patch.files and patch.files[-1].hunks == 0:
            if name != "/dev/null":
                patch.files[-1].name = name
        elif name:
            patch.begin(_File(name, number))
    elif patch.files:
        for mark in ("new file", "deleted file", "rename from", "Binary files"):
            if line.startswith(mark):
                patch.files[-1].how = (
                    mark.removesuffix(" file").removesuffix(" from").removesuffix(" files").lower()
                )


def _told(one: _File, document: Document) -> Fact:
    how = {"new": ", new", "deleted": ", deleted", "rename": ", renamed", "binary": ", binary"}.get(
        one.how, ""
    )
    return Fact(
        f"{one.name}: +{one.added:,} -{one.removed:,} in {plural(one.hunks, 'hunk')}{how}",
        place(document, one.line),
    )
