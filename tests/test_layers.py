"""The house rules of docs/design.md that a machine can check: who may import whom, and how large a room may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASE = {"recsys", "recsys.errors", "recsys.arrays", "recsys.progress", "recsys.seeding", "recsys.config", "recsys.ids"}
SERVABLE = BASE | {"recsys.retrieval"}
# who -> what of our own it may import, besides itself
ALLOWED = {
    "recsys.errors": set(),
    "recsys.arrays": set(),
    "recsys.progress": set(),
    "recsys.seeding": set(),
    "recsys.config": {"recsys.errors"},
    "recsys.ids": {"recsys.errors", "recsys.arrays"},
    "recsys.data": BASE,
    "recsys.retrieval": BASE,
    "recsys.training": BASE | {"recsys.retrieval"},
    "recsys.models": BASE | {"recsys.data", "recsys.retrieval", "recsys.training"},
    "recsys.evaluation": BASE | {"recsys.data", "recsys.retrieval", "recsys.models"},
    "serving": SERVABLE,
    "pipelines": BASE | {"recsys.data", "recsys.retrieval", "recsys.training", "recsys.models", "recsys.evaluation"},
}
HEAVY = {"torch", "pandas", "mlflow", "numba", "scipy", "sklearn"}
CODE = [path for room in ("recsys", "pipelines", "serving") for path in sorted((ROOT / room).rglob("*.py"))]
every_file = pytest.mark.parametrize("path", CODE, ids=[str(path.relative_to(ROOT)) for path in CODE])


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "recsys" else parts[0]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {m if (ROOT / (m.replace(".", "/") + ".py")).exists() else node.module for m in modules}
    return found


@every_file
def test_imports_flow_one_way(path: Path) -> None:
    room = room_of(module_of(path))
    if room == "recsys":
        return
    own = {room_of(name) for name in imported(path) if name.split(".")[0] in ("recsys", "pipelines", "serving")}
    assert own - {room} <= ALLOWED[room]


@every_file
def test_heavy_libraries_stay_out_of_what_serves(path: Path) -> None:
    module = module_of(path)
    libraries = {name.split(".")[0] for name in imported(path)}
    if room_of(module) in SERVABLE | {"serving"}:
        assert not libraries & HEAVY
    if module != "pipelines.tracking":
        assert "mlflow" not in libraries


@every_file
def test_files_stay_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
    if path.name == "__init__.py":
        assert path == ROOT / "recsys/__init__.py" or not path.read_text().strip()


def test_every_room_is_in_the_table() -> None:
    rooms = {room_of(module_of(path)) for path in CODE} - {"recsys"}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize("module", ["recsys", "pipelines.cli", "recsys.models.registry"])
def test_importing_is_cheap(module: str) -> None:
    """The command line answers --help without loading what only one command needs."""
    program = f"import sys, {module}; print(*sorted({{n.split('.')[0] for n in sys.modules}} & {HEAVY | {'faiss'}!r}))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    allowed = {"scipy", "faiss"} if module == "recsys.models.registry" else set()
    assert set(said.stdout.split()) <= allowed


def test_nothing_is_imported_that_is_not_declared() -> None:
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [declared["dependencies"], *declared["optional-dependencies"].values()]
    names = {"".join(c for c in line.split(">")[0] if c not in "<=! ") for group in groups for line in group}
    known = {"faiss-cpu": "faiss", "scikit-learn": "sklearn"}
    available = {known.get(name, name) for name in names} | set(sys.stdlib_module_names)
    available |= {"recsys", "pipelines", "serving", "starlette", "anyio"}  # the last two: FastAPI's own floor
    used = {name.split(".")[0] for path in CODE for name in imported(path)}
    assert used <= available
