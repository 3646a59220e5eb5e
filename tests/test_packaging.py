"""What is installed is what is in the repository."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_folder_of_modules_is_installed() -> None:
    """If this fails an installed longctx lacks modules, though all tests of a checkout pass."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {settings["package-dir"].get(name, name.replace(".", "/")) for name in settings["packages"]}
    modules = [path for top in ("longctx", "models", "kernels") for path in (ROOT / top).rglob("*.py")]
    found = {str(path.parent.relative_to(ROOT)) for path in modules}
    linked = {"longctx/models", "longctx/kernels", "longctx/prompts"}  # in a checkout
    needed = {folder for folder in found if not any(folder.startswith(link) for link in linked)}
    assert needed <= folders, f"add to [tool.setuptools] packages: {sorted(needed - folders)}"
