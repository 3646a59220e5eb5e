"""Imports go one way: cli -> tasks -> engine -> models -> kernels; torch is imported when it is used."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Every module, from the lowest to the highest: each imports only modules that stand before it.
TABLE = """
signals  errors  regular  checkpoint  machine  sampling  chat  progress
text  text.cyrillic  text.encoding  text.packed  text.walk  text.places
formats  formats.limits  formats.zips  formats.kinds  formats.unpack
formats.draft  formats.xml  formats.html  formats.epub
formats.office  formats.notebook  formats.mail  formats.pdf  formats.sheets  formats.convert
text.document  text.opening  text.source  text.offsets  text.span  text.stretches  text.points
tokens  tokens.files  tokens.boundaries  tokens.tokenizer  tokens.stream
quotes  quotes.prose  quotes.sentences  quotes.kinds  quotes.stems  quotes.second_look  quotes.passages
structure  structure.log_lines
quotes.exact  quotes.exact.words  quotes.exact.values  quotes.exact.asked  quotes.exact.lines
quotes.meanings  quotes.exact.fact  quotes.exact.sentences  quotes.exact.units  quotes.exact.eligible
quotes.exact.attached
quotes.exact.copula  quotes.exact.settings
quotes.exact.aligned  quotes.exact.rows  quotes.exact.declared  quotes.exact.json_facts
quotes.exact.requirements  quotes.exact.cells
quotes.exact.options  quotes.exact.definitions  quotes.exact.logs  quotes.exact.mail  quotes.exact.named
quotes.exact.contacts  quotes.exact.prose  quotes.exact.spelling  quotes.exact.releases
quotes.exact.look_up
quotes.terms
quotes.index  quotes.scan  quotes.related  quotes.closest  quotes.outline  quotes.docstring  quotes.candidates
quotes.coverage  quotes.extract
structure.facts  structure.lines  structure.frequent  structure.logs
structure.tables  structure.json_shape  structure.diffs  structure.messages  structure.notebooks
structure.programs  structure.summarise
kernels.chips  kernels.select  kernels.triton_math
kernels.differentiable
kernels.norm_triton  kernels.norm
kernels.quantized  kernels.int4  kernels.rounded  kernels.rounded_triton  kernels.linear
kernels.lightning  kernels.lightning_triton  kernels.lightning_decode_triton
kernels.mixer
kernels.pages_triton  kernels.attention_triton  kernels.attention_merge_triton  kernels.attention
kernels.pointing
kernels.moe_triton  kernels.moe
models.config  models.target  models.published  models.families.common  models.families.minimax
models.families.transnormer  models.families.hypenet  models.families.sala  models.families.llama
models.families.bailing  models.config_file
models.encoder  models.rotary  models.weight  models.lane  models.slots  models.offload  models.feedforward
models.mixers.memory  models.kv_page  models.kv_chosen
models.kv_file  models.kv_room  models.kv_form  models.kv_log
models.mixers.branches  models.mixers.device_log
models.mixers.lightning  models.mixers.softmax
models.mixers.block_sparse  models.mixers.latent
models.state  models.decoder  models.step  models.shards  models.rounded
models.weights  models.quantize
known  cache  download  hub  preferences  writing  engine  together  rates  plan  away  needs
store  store.files  store.manifest  store.fingerprint  store.thin  store.match  store.segment  store.folder
store.kept  store.writer  store.passages  store.keeper  store.portable  store.listing  store.verify  reading
tasks  tasks.results
styles  output  manners  failures  options  launch
tasks.questions  tasks.quick  tasks.quoted  tasks.templates  tasks.frame  tasks.prompt  tasks.haystack
tasks.verifier  tasks.spans  tasks.reader  tasks.lookup  tasks.parts  tasks.ask  tasks.conversation
tasks.many  tasks.niah  tasks.summarize  tasks.extract
book
render  examine  doctor  shelf  proof  keep  guide  begin  finish  asking  following  talk  cli  __main__
"""
ORDER = TABLE.split()
# Configurations are read without torch; all other modules of models/ and kernels/ compute with it.
LIGHT = ["models.config_file", *(m for m in ORDER if not m.startswith(("models.", "kernels.")))]
HEAVY = ("torch", "transformers", "triton")


def name_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(part for part in parts if part not in ("longctx", "__init__"))


SOURCES = {
    name_of(path): path
    for part in ("longctx", "kernels", "models")
    for path in sorted((ROOT / part).rglob("*.py"))
    if name_of(path)
}


def statements(nodes: list[ast.stmt], at_import: bool) -> Iterator[ast.AST]:
    """Yield all that stands in a module, or what runs when it is imported."""
    for node in nodes:
        if not at_import:
            yield from ast.walk(node)
        elif isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            yield from statements(node.body, at_import)
        else:
            yield node


@cache
def imported(module: str, at_import: bool = False) -> set[str]:
    """Return what a module imports: our modules by their name here, others by that of their package."""
    names: set[str] = set()
    for node in statements(ast.parse(SOURCES[module].read_text()).body, at_import):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name.removeprefix("longctx.") for name in names if name.startswith("longctx.")}
    known = {name if name in SOURCES else name.rpartition(".")[0] for name in ours} & SOURCES.keys()
    return known | {name.split(".")[0] for name in names} - {"longctx"}


def way_to_heavy(module: str, seen: set[str]) -> list[str]:
    """Return the imports that lead from a module to torch, or nothing."""
    for name in sorted(imported(module, at_import=True) - seen):
        if name in HEAVY:
            return [module, name]
        if name in SOURCES:
            seen.add(name)
            if way := way_to_heavy(name, seen):
                return [module, *way]
    return []


def test_every_module_has_its_place() -> None:
    """If this fails a new module can import whatever it likes, and nobody sees where it belongs."""
    assert sorted(ORDER) == sorted(SOURCES)


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_one_way(module: str) -> None:
    """If this fails a kernel starts to know commands, and nothing can be changed alone any more."""
    above = [name for name in imported(module) & SOURCES.keys() if ORDER.index(name) >= ORDER.index(module)]
    assert not above
    if module.startswith(("models.", "kernels.")):
        assert not imported(module) & {"click", "rich"}


@pytest.mark.parametrize("module", LIGHT)
def test_nothing_imports_torch_before_it_needs_it(module: str) -> None:
    """If this fails `longctx --help`, a mistyped file name or an extracted summary takes seconds."""
    assert not way_to_heavy(module, set())


def test_the_three_folders_are_namespace_packages() -> None:
    """If this fails `import transformers` breaks for anyone who works in this repository."""
    assert not [p for p in ("kernels", "models", "prompts") if (ROOT / p / "__init__.py").exists()]


@pytest.mark.parametrize("module", [name for name in ORDER if "triton" not in name])
def test_triton_is_imported_when_it_is_used(module: str) -> None:
    """If this fails longctx does not start where PyTorch came without Triton, as its builds for CPUs do."""
    assert not [name for name in imported(module, at_import=True) if "triton" in name]
