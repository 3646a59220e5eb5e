"""The command `store`: what was read and kept, whether it is sound, and removing it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from longctx import preferences
from longctx.formats.kinds import counted
from longctx.machine import gib
from longctx.options import Age, Length, Shown, Size, shown_options
from longctx.text.document import printable

if TYPE_CHECKING:
    from longctx.store.listing import Entry

Facts = dict[str, Any]
SHORTEST = 8  # letters of a name
UNITS = (("years", 31557600), ("months", 2629800), ("days", 86400), ("h", 3600), ("min", 60), ("s", 1))

place_option: Callable[..., Any] = click.option(
    "--store",
    "place",
    envvar="LONGCTX_STORE",
    default=preferences.store,
    show_envvar=True,
    show_default="in your own data folder",
    help="The store to look at.",
)


@click.group(invoke_without_command=True)
@place_option
@shown_options
@click.pass_context
def store(context: click.Context, shown: Shown, place: str | None) -> None:
    """List what was read and kept, check it, and remove it.

    A reading is named by the beginning of its name, or by the text: a file or folder that it is of.

    \b
    Examples:
      longctx store                       all readings, the last used first
      longctx store show book.txt         what is kept of a text
      longctx store verify                read some windows again, and compare
      longctx store rm 3f2a               remove a reading
      longctx store prune --older 30d --budget 5GiB
    """
    if context.invoked_subcommand is None:
        _list(shown, place)
    elif context.get_parameter_source("place") is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"put --store behind {context.invoked_subcommand}")


@store.command("list")
@place_option
@shown_options
def list_(shown: Shown, place: str | None) -> None:
    """List what is kept, by text and model, and when it was used last."""
    _list(shown, place)


@store.command()
@click.argument("names", nargs=-1, required=True, metavar="READING...")
@place_option
@shown_options
def show(names: tuple[str, ...], shown: Shown, place: str | None) -> None:
    """Tell all about readings: texts, models, snapshots, files."""
    from longctx.store import listing

    _, found = _selected(place, names)
    facts = [listing.details(one) for one in found]
    text = "\n\n".join(map(_shown, facts))
    shown.out().write(text, {"command": "store show", "readings": facts})


@store.command()
@click.argument("names", nargs=-1, required=True, metavar="READING...")
@place_option
@shown_options
def rm(names: tuple[str, ...], shown: Shown, place: str | None) -> None:
    """Remove readings; the texts themselves stay.

    READING is what `store list` shows, or a file or folder: then all that are of texts in it.
    """
    _, found = _selected(place, names)
    _remove(found, shown, "store rm")


@store.command()
@click.option("--older", type=Age(), help="Remove what was not used for so long, such as 12h, 30d or 2w.")
@click.option("--budget", type=Size(), help="Remove what was not used for longest, until so much is left.")
@place_option
@shown_options
def prune(older: float | None, budget: int | None, shown: Shown, place: str | None) -> None:
    """Remove what cannot be used any more, and more if told to.

    What a later longctx has written counts, but is kept unless --older or --budget takes it.
    """
    from longctx.store import listing

    held = listing.entries(_root(place))
    before = None if older is None else time.time() - older
    _remove(listing.in_excess(held, before, budget), shown, "store prune")


@store.command()
@click.argument("names", nargs=-1, metavar="[READING]...")
@click.option("--windows", type=click.IntRange(0), default=3, help="Read so many windows of each again.")
@click.option(
    "--tokens", type=Length(), default="32k", help="Read at most so many tokens for each window, or a chunk."
)
@click.option("--model", help="The folder of the model that has read it, if it has moved since.")
@place_option
@shown_options
def verify(
    names: tuple[str, ...], windows: int, tokens: int, model: str | None, shown: Shown, place: str | None
) -> None:
    """Check readings, or all, against their texts and models.

    Every file is hashed, some windows are read again and compared. A window begins at a snapshot. Its tokens
    are read again with the same model, on the CPU, in the same chunks and in finer ones. Logs, states and
    logits are compared with what is kept: by how much they differ, and by how much rounding lets them. The
    exit code is 1 if something is damaged, differs by more, or could not be compared.
    """
    from longctx import proof

    root, found = _selected(place, names)
    with shown.out() as out:
        results = [proof.verified(one, root, out, windows, tokens, model) for one in found]
        text = "\n\n".join(map(_verdict, results)) or f"there is no reading to check in {root}"
        out.write(text, {"command": "store verify", "store": str(root), "readings": results})
    if any(one["damage"] or one["skipped"] or not one["sound"] for one in results):
        raise SystemExit(1)


def _root(place: str | None) -> Path:
    from longctx.store.folder import default_root

    return Path(place).absolute() if place else default_root()


def _selected(place: str | None, names: Sequence[str]) -> tuple[Path, "list[Entry]"]:
    """Return a store, and the readings in it that were named, or all; each once."""
    from longctx.store import listing

    root = _root(place)
    held = listing.entries(root)
    if not names:
        return root, [one for one in held if not one.index]
    found = {one.folder: one for name in names for one in listing.select(held, name)}
    return root, list(found.values())


def _list(shown: Shown, place: str | None) -> None:
    """Write a line for each reading."""
    from longctx.store import listing

    root = _root(place)
    held = listing.entries(root)
    rows = [listing.facts(one) for one in held]
    total = sum(one.bytes for one in held)
    values = {"command": "store", "store": str(root), "bytes": total, "readings": rows}
    if not rows:
        shown.out().write(f"nothing is kept in {root}", values)
        return
    length = _telling([row["name"] for row in rows])
    models = max(5, *(len(_short(row["model"])) for row in rows))
    lines = [f"{'name':<{length}} {'tokens':>13} {'size':>10} {'last used':>10}  {'model':<{models}}  text"]
    for row in rows:
        text = f"{row['text']}  [{row['damage']}]" if row["damage"] else row["text"]
        line = (
            f"{row['name'][:length]:<{length}} {row['tokens']:>13,} {gib(row['bytes']):>10} "
            f"{_age(row['age_seconds']):>10}  {_short(row['model']):<{models}}  {text}"
        )
        lines.append(printable(line.rstrip()))
    count = sum(not one.index for one in held)
    readings = "1 reading" if count == 1 else f"{count} readings"
    readings += (
        f" and {len(rows) - count} {'index' if len(rows) - count == 1 else 'indexes'} of passages"
        if len(rows) > count
        else ""
    )
    shown.out().write("\n".join([*lines, "", f"{readings}, {gib(total)} in {root}"]), values)


def _remove(found: "Sequence[Entry]", shown: Shown, command: str) -> None:
    """Remove readings, say what went, and what could not.

    Raises:
        InputError: for the first that could not be removed, once all others are.
    """
    from longctx.errors import InputError
    from longctx.store import listing

    gone, failures = [], []
    for one in found:
        try:
            listing.remove(one)
            gone.append(listing.facts(one))
        except InputError as error:
            failures.append(error)
    freed = sum(row["bytes"] for row in gone)
    lines = [
        f"removed {row['name'][:SHORTEST]}: {printable(row['text'])}, {gib(row['bytes'])}" for row in gone
    ]
    lines.append(f"{gib(freed)} freed" if gone else "nothing was removed")
    failed = [str(error) for error in failures]
    values = {"command": command, "removed": gone, "freed_bytes": freed, "failed": failed}
    out = shown.out()
    out.write("\n".join(lines), values)
    if failures:
        raise InputError("; ".join(failed))


def _shown(facts: Facts) -> str:
    """Return the details of a reading for people."""
    rows = [("reading", facts["name"]), ("damage", facts["damage"]), ("folder", facts["folder"])]
    size = gib(facts["bytes"])
    if "dtype" not in facts:
        return _rows([*rows, ("size", size)])
    logs = f", keys and values {facts['kv']}" if facts["kv"] else ""
    logs += "" if facts["kv_pages"] is None else f", {facts['kv_pages']:,} pages chosen"
    numbers = f"{facts['dtype']}, {facts['form']}{logs}, on {facts['device']}"
    numbers += f", chunks of {facts['chunk']:,} tokens"
    rows += [
        ("model", facts["model"] or "not known"),
        ("numbers", numbers),
        ("tokens", f"{facts['tokens']:,}, {facts['prompt_tokens']:,} of them of the prompt"),
        ("size", f"{size} in {counted('a segment', facts['segments'])}"),
        ("snapshots", ", ".join(f"{one:,}" for one in facts["snapshots"])),
        ("read", f"{facts['created']}, in {facts['seconds']:,.1f} s, by longctx {facts['longctx']}"),
        ("last used", f"{facts['used']} ({_age(facts['age_seconds'])} ago)"),
        *(("text", f"{one['place']} ({one['since']})") for one in facts["documents"]),
    ]
    return _rows(rows)


def _verdict(result: Facts) -> str:
    """Return what was found of a reading, for people."""
    head = printable(f"{result['name']}  {result['text']}".rstrip())
    lines = [f"  damaged: {printable(one)}" for one in result["damage"]]
    lines += [f"  not compared: {result['skipped']}"] if result["skipped"] else []
    for window in result["windows"]:
        lines.append(
            f"  tokens {window['start']:,} to {window['end']:,}, also in chunks of {window['chunk']:,}"
        )
        lines += [_amount(window, kind) for kind in window["differences"]] or ["    nothing to compare"]
        lines += [f"    differs: {', '.join(window['wrong'])}"] if window["wrong"] else []
    if result["windows"]:
        again = f"{result['tokens_compared']:,} of {result['tokens']:,} tokens read again"
        lines.append(f"  {again}; differences are shares of the largest value")
    sound = result["sound"] and not result["damage"]
    files = "all files are as they were written" if result["skipped"] else "sound"
    return "\n".join([f"{head}: {files if sound else 'NOT SOUND'}", *lines])


def _amount(window: Facts, kind: str) -> str:
    by, other, most = (window[one][kind] for one in ("differences", "others", "bounds"))
    found = f"differ by {by:.1e}" if by else "have the same bits"
    return f"    {kind:<6} {found}; in the other chunks {other:.1e}, up to {most:.1e} is rounding"


def _rows(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<10} {printable(value)}" for name, value in rows if value)


def _telling(names: Sequence[str]) -> int:
    """Return how many letters tell names apart."""
    longest = max(map(len, names))
    return next((n for n in range(SHORTEST, longest) if len({x[:n] for x in names}) == len(names)), longest)


def _short(model: str) -> str:
    """Return a model's name without the commit, or the last folder of its path."""
    return model.partition("@")[0] if not Path(model).is_absolute() else Path(model).name


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    name, unit = next(((name, unit) for name, unit in UNITS if seconds >= 2 * unit), ("s", 1))
    return f"{seconds / unit:.0f} {name}"
