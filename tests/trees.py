"""Folders of small files that tests make, and what a corpus says of them."""

from pathlib import Path

from longctx.text.source import Corpus, Document


def make(root: Path, files: dict[str, str | bytes]) -> Path:
    """Write files below `root` and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def text(document: Document) -> str:
    """Return the whole text of a document."""
    return "".join(document.blocks())


def names(corpus: Corpus, root: Path) -> list[str]:
    """Return the names of all documents, relative to `root`."""
    return [document.name.removeprefix(f"{root}/") for document in corpus.documents]


def skipped(corpus: Corpus, root: Path) -> dict[str, str]:
    """Return what was skipped, relative to `root`, and why."""
    return {skip.name.removeprefix(f"{root}/"): skip.reason for skip in corpus.skipped}
