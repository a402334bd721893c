"""The experiments that come with the package, by name: "quickstart", "albef/finetune_vqa"."""

import ast
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# setup.py puts configs/ inside of an installed package; in a checkout it stands beside it.
_FOLDERS = (_PACKAGE / "_configs", _PACKAGE.parent / "configs")
_SHARED_CODE = "common/"


def shipped_configs() -> dict[str, Path]:
    """Returns name -> file of every experiment that comes with the package."""
    folder = next((f for f in _FOLDERS if f.is_dir()), _FOLDERS[0])
    files = sorted(folder.rglob("*.py"))
    named = {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}
    return {name: f for name, f in named.items() if not name.startswith(_SHARED_CODE)}


def summary(file: Path) -> str:
    """Returns the first line of the text at the top of a config file."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
