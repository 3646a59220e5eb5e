"""What `store verify` does with a reading: the model that has read it is loaded, and windows are compared."""

import random
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longctx import cache, hub
from longctx.errors import LongctxError, ModelError
from longctx.launch import Launch
from longctx.options import Options
from longctx.progress import Progress
from longctx.store.files import Unusable
from longctx.store.fingerprint import fingerprint
from longctx.store.kept import KeptReading
from longctx.store.listing import Entry, facts, held
from longctx.store.manifest import Manifest, differences, in_words, read_manifest
from longctx.store.verify import Verifier, damages

if TYPE_CHECKING:
    from longctx.engine import Engine
    from longctx.output import Output

# Of these, numbers differ by rounding alone.
ALIKE = {"device", "kernels"}
Found = dict[str, Any]


def verified(entry: Entry, root: Path, out: "Output", windows: int, tokens: int, model: str | None) -> Found:
    """Return what is right and wrong with a reading.

    Args:
        root: of the store. windows: to read again. tokens: of each, at most.
        model: that has read it, if not the one it names.
    """
    manifest = entry.manifest
    found: Found = {
        **{key: facts(entry)[key] for key in ("name", "text", "tokens")},
        "damage": [entry.damage] if entry.damage and manifest is None else [],
        "skipped": "",
        "windows": [],
        "tokens_compared": 0,
        "sound": True,
    }
    if entry.index:
        found["skipped"] = "an index is proven whenever it is used"
    if manifest is None:
        return found
    try:
        with held(entry.folder) as free:
            if free:
                _look(entry, root, out, windows, tokens, model, found)
            else:
                found["skipped"] = "another longctx uses it"
    except OSError:  # a disk that cannot be written, where nobody else can write either
        _look(entry, root, out, windows, tokens, model, found)
    return found


def _look(
    entry: Entry, root: Path, out: "Output", windows: int, tokens: int, model: str | None, found: Found
) -> None:
    """Check the files of a reading, then windows of it."""
    try:
        kept = KeptReading(entry.folder, *read_manifest(entry.folder))
        found["damage"] = list(damages(kept))
        if found["damage"] or not windows:
            return
        engine = _engine(kept.manifest, out, tokens, model)
        _check_same(kept.manifest, engine, root)
    except (LongctxError, Unusable) as reason:
        found["skipped"] = str(reason)
        return
    total = 2 * windows * min(tokens, kept.manifest.tokens)
    done = 0

    def show(count: int) -> None:
        nonlocal done
        done += count
        out.show(Progress("comparing", done, max(done, total), done, unit="tokens"))

    try:
        for window in Verifier(kept, engine, tokens, show).windows(windows, random.Random()):
            found["windows"].append(asdict(window))
            found["tokens_compared"] += window.end - window.start
            found["sound"] = found["sound"] and not window.wrong
    except Unusable as reason:
        found["damage"].append(str(reason))


def _engine(manifest: Manifest, out: "Output", tokens: int, model: str | None) -> "Engine":
    """Load the model of a reading on the CPU, with the numbers it was read with; nothing is downloaded."""
    name, marks = model or manifest.model or None, manifest.fingerprint
    if hub.own_folder(name) is None:
        repo, revision = hub.repository(name or "")
        here = cache.here(repo, revision)
        if here is None or not cache.is_whole(here):
            raise ModelError(f"{name} is not here; longctx models pull {name} gets it, --model names another")
    form = str(marks["form"])
    options = Options(
        as_json=False,
        output=None,
        quiet=out.quiet,
        verbose=out.verbose,
        model=name,
        device="cpu",
        dtype=str(marks["dtype"]),
        quant=form if form.startswith("int") else "none",
        threads=None,
        chunk=int(marks["chunk"]),
        kv_quant=str(marks.get("kv", "none")),
        kv_pages=marks.get("kv_pages"),
    )
    return Launch(options).engine(out, min(tokens, manifest.tokens), 1)


def _check_same(manifest: Manifest, engine: "Engine", root: Path) -> None:
    """Raise Unusable unless an engine is what has read it, but for what only rounds in another way."""
    marks = manifest.fingerprint
    now = fingerprint(engine, list(marks["prompt"]), int(marks["chunk"]), root)
    if {now["form"], marks["form"]} == {"plain", "packed"}:
        now["form"] = marks["form"]  # the same weights, in another order
    if other := [name for name in differences(marks, now) if name not in ALIKE]:
        raise Unusable(f"it was read with {in_words(other)}; --model names the right one")
