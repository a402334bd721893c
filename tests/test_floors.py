"""Each room imports only from floors below its own and from its own floor."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "vlp_jax"

FLOORS = (
    ("config", "pickles"),
    ("layers", "parallel"),
    ("encoders", "fusion", "heads", "detectors"),
    ("model", "data"),
    ("losses", "metrics", "weights"),
    ("tasks", "verify"),
    ("training", "inference", "report", "sweep"),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def rooms_imported(file: Path) -> set[str]:
    """Returns the rooms that a file imports from, wherever in it."""
    nodes = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
    modules = [node.module for node in nodes if (node.module or "").startswith("vlp_jax.")]
    return {module.split(".")[1] for module in modules}


def test_every_room_has_a_floor():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == set(FLOOR)


def test_no_room_imports_from_a_floor_above():
    upwards = [
        f"{file.relative_to(PACKAGE)} imports from {room}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.parent != PACKAGE
        for room in sorted(rooms_imported(file))
        if FLOOR[room] > FLOOR[file.relative_to(PACKAGE).parts[0]]
    ]
    assert not upwards, "\n".join(upwards)


def test_orbax_is_imported_in_one_file():
    files = [f for f in PACKAGE.rglob("*.py") if "import orbax" in f.read_text()]
    assert [str(f.relative_to(PACKAGE)) for f in files] == ["training/checkpoint.py"]
