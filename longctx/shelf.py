"""The command `models`: what there is, what it needs, and getting it here and away again."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from longctx import cache, hub, known, preferences
from longctx.errors import DoesNotFitError, ModelError, OutputError
from longctx.machine import gib
from longctx.options import Shown, shown_options
from longctx.progress import Progress

if TYPE_CHECKING:
    from longctx.models.weight import Form
    from longctx.needs import Need

Facts = dict[str, Any]


@click.group(invoke_without_command=True)
@shown_options
@click.pass_context
def models(context: click.Context, shown: Shown) -> None:
    """List models, tell what they need, and get them.

    \b
    Examples:
      longctx models                  all that you can use
      longctx models show ring-mini   size, memory, and whether it fits here
      longctx models pull hypenet-2b  download it
      longctx models use hypenet-2b   take it when no --model is given
      longctx models quantize NAME    round it to 4 bits once, for quick starts
      longctx models rm hypenet-2b    delete the download
    """
    if context.invoked_subcommand is None:
        _list(shown)


@models.command("list")
@shown_options
def list_(shown: Shown) -> None:
    """List the models you can use: bundled, downloaded, known."""
    _list(shown)


@models.command()
@click.argument("name")
@shown_options
def show(name: str, shown: Shown) -> None:
    """Tell a model's size and needs, and whether it fits here.

    Nothing is loaded. For the models that `longctx models` lists it needs no network.
    """
    folder = hub.settings(name, to_plan=True)
    facts, wanted, _ = _facts(name, folder)
    shown.out().write(_text(facts, wanted), facts)


@models.command()
@click.argument("name")
@click.option("--revision", help="Download this commit, branch or tag instead of the newest commit.")
@click.option("--anyway", is_flag=True, help="Download it even if this machine has too little memory for it.")
@shown_options
def pull(name: str, revision: str | None, anyway: bool, shown: Shown) -> None:
    """Download a model, and never code.

    That is its configuration, its tokenizer and its safetensors files. A download that was stopped goes on
    where it was. Every large file is checked against its sha256.
    """
    from longctx import download

    if folder := hub.own_folder(name):
        raise ModelError(f"{name}: is in {folder} already; there is nothing to download")
    repo, pinned = hub.repository(name)
    with shown.out() as out:
        folder = download.fetch_settings(repo, revision or pinned)
        facts, wanted, fits = _facts(name, folder)
        size = download.download_bytes(repo, folder)
        facts["download_bytes"] = size
        out.note(_text(facts, wanted))
        if not fits and not anyway:
            raise DoesNotFitError(
                f"{name}: {'; '.join(facts['advice'])}. To download it for another machine, add --anyway"
            )
        download.fetch(repo, folder.name, out.show)
        at = f"@{revision}" if revision and "@" not in name else ""
        out.write(
            f"{repo} is here: {gib(size)} in {folder}\nuse it with: longctx ask --model {name}{at} ...",
            facts | {"command": "models pull", "folder": str(folder)},
        )


@models.command()
@click.argument("name")
@shown_options
def rm(name: str, shown: Shown) -> None:
    """Delete a download, whole or not, and say how much that freed."""
    if folder := hub.own_folder(name):
        raise ModelError(f"{folder}: was not downloaded by longctx; delete it yourself")
    repo, _ = hub.repository(name)
    freed = cache.remove(repo)
    shown.out().write(
        f"deleted {repo}: {gib(freed)} freed", {"command": "models rm", "repo": repo, "freed_bytes": freed}
    )


@models.command()
@click.argument("name")
@shown_options
def use(name: str, shown: Shown) -> None:
    """Take this model whenever no --model is given.

    --model and LONGCTX_MODEL still come first; "bundled" goes back to the model that ships.
    """
    folder = hub.own_folder(name)
    if folder is None:
        repo, revision = hub.repository(name)
        whole = _where(repo, revision) == "downloaded"
        missing = "" if whole else f"; longctx models pull {name} gets it here"
    else:
        missing = ""
        name = name if folder == hub.BUNDLED else str(folder.resolve())
    file = preferences.use(name)
    shown.out().write(
        f"{name} is the default now ({file}){missing}",
        {"command": "models use", "model": name, "file": str(file)},
    )


@models.command()
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option(
    "--quant",
    type=click.Choice(["int8", "int4", "int4-all"]),
    default="int4",
    help="Round to so many bits.",
)
@shown_options
def quantize(name: str, folder: Path | None, quant: "Form", shown: Shown) -> None:
    """Round a model once, for quicker starts.

    Each start then reads a quarter of the bytes. It goes beside the model, where it is found by itself
    whenever this model runs in that form, or into FOLDER, which --model then takes. A run that was stopped
    goes on where it was.
    """
    source = hub.settings(name)
    if source == hub.BUNDLED or not cache.is_whole(source):
        missing = f"is not here; longctx models pull {name} gets it"
        how = "is small enough" if source == hub.BUNDLED else missing
        raise ModelError(f"{name}: {how}")
    place = folder or hub.rounded_place(source, quant)
    if place.exists():
        raise ModelError(f"{place}: is there already; delete it to write it again")
    from longctx.models.quantize import Rounding

    with shown.out() as out:
        rounding = Rounding(source, quant, place)
        out.note(f"writing {gib(rounding.size)} to {place}")
        try:
            for done in rounding.run():
                out.show(Progress("rounding", done, rounding.size, 0))
        except OSError as error:
            raise OutputError(
                f"{place}: cannot be written ({error.strerror}); make room, or name another folder: "
                f"longctx models quantize {name} FOLDER; what is whole is kept"
            ) from error
        use = f"use it with: longctx ask --model {place if folder else name} --quant {quant} ..."
        values = {"command": "models quantize", "folder": str(place), "bytes": rounding.size, "form": quant}
        out.write(f"{gib(rounding.size)} in {place}\n{use}", values)


def _list(shown: Shown) -> None:
    """Write a line for each model: bundled, in the cache, known."""
    here = cache.cached()
    rows = [
        _row("bundled", "bundled", cache.checkpoint_bytes(hub.BUNDLED), "finds facts; cannot write prose")
    ]
    for model in known.known().values():
        size = here.pop(model.repo, None)
        where = "known" if size is None else _where(model.repo)
        rows.append(_row(model.name, where, size or model.bytes, model.note, model.repo, model.memory))
    rows += [_row(repo, _where(repo), size, "not known to run", repo) for repo, size in here.items()]
    default = preferences.default_model() or "bundled"
    lines = [f"  {'name':<20} {'where':<11} {'size':>10} {'memory':>10}  note"]
    for row in rows:
        mark = "*" if row["name"] == default else " "
        memory = gib(row["memory"]) if row["memory"] else ""
        lines.append(
            f"{mark} {row['name']:<20} {row['where']:<11} {gib(row['bytes']):>10} {memory:>10}  {row['note']}"
        )
    lines += [
        "",
        "memory: for 32k tokens on a CPU with --quant int4; longctx models show NAME tells more",
    ]
    lines += ["* the default; longctx models use NAME changes it"]
    shown.out().write("\n".join(lines), {"command": "models", "default": default, "models": rows})


def _where(repo: str, revision: str | None = None) -> str:
    held = cache.here(repo, revision)
    return "downloaded" if held and cache.is_whole(held) else "in part"


def _row(name: str, where: str, size: int, note: str, repo: str = "", memory: float = 0) -> Facts:
    return {"name": name, "where": where, "bytes": size, "memory": memory, "note": note, "repo": repo}


def _facts(name: str, folder: Path) -> tuple[Facts, "list[Need]", bool]:
    """Return what is known about a model, what it needs, and whether that fits here."""
    from longctx import needs
    from longctx.checkpoint import read_json
    from longctx.models.config_file import translate

    raw = read_json(folder / "config.json")
    wanted, free = needs.needs(translate(raw, folder / "config.json")), needs.free_memory()
    repo = "" if hub.own_folder(name) else hub.repository(name)[0]
    found, held = known.find(repo), cache.checkpoint_bytes(folder)
    window = int((raw.get("text_config") or raw).get("max_position_embeddings") or 0)
    facts: Facts = {
        "command": "models show",
        "name": name,
        "repo": repo,
        "licence": found.licence if found else "",
        "bytes": held or (found.bytes if found else 0),
        "parameters": found.parameters if found else 0,
        "window": window,
        "note": found.note if found else "",
        "unsure": found.unsure if found else "",
        "downloaded": bool(held) and cache.is_whole(folder),
        "needs": [
            {"form": n.form, "device": n.device, **n.bytes, "least": n.least, "experts_elsewhere": n.away}
            for n in wanted
        ],
        "free": free,
        "fits": needs.fits(wanted, free),
        "advice": needs.advice(wanted, free, window),
    }
    return facts, wanted, facts["fits"]


def _text(facts: Facts, wanted: "list[Need]") -> str:
    """Return the facts about a model for people."""
    size = gib(facts["bytes"]) if facts["bytes"] else ""
    if facts["parameters"]:
        count, unit = (
            (facts["parameters"] / 1e9, "B")
            if facts["parameters"] >= 1e9
            else (facts["parameters"] / 1e6, "M")
        )
        size += f", {count:.3g}{unit} parameters"
    rows = [
        ("model", facts["repo"] or facts["name"]),
        ("licence", facts["licence"] or "look at the model's page"),
        ("weights", f"{size}{', downloaded' if facts['downloaded'] else ''}".strip(", ")),
        ("made for", f"texts up to {facts['window']:,} tokens" if facts["window"] else ""),
        ("note", facts["note"]),
        ("unsure", facts["unsure"]),
    ]
    lines = [f"{name:<10} {value}" for name, value in rows if value]
    names = list(wanted[0].bytes)
    lines += ["", f"{'memory for':<18} " + " ".join(f"{name + ' tokens':>13}" for name in names)]
    for need in wanted:
        where = "GPU" if need.device == "cuda" else "CPU"
        sizes = " ".join(f"{gib(size):>13}" for size in need.bytes.values())
        lines.append(f"{need.form + ', ' + where:<18} {sizes}")
    free = ", ".join(
        f"{gib(size)} {'of memory' if d == 'cpu' else 'on the GPU'}" for d, size in facts["free"].items()
    )
    return "\n".join(
        [*lines, "", f"free here: {free}{'' if 'cuda' in facts['free'] else '; no GPU'}", *facts["advice"]]
    )
