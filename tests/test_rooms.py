"""The rules of docs/rules.md on the tree that a machine can check: who may import whom, and what a room may
hold."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The rooms from the ground up: a room imports the ground floor (the files directly in `recsys`) and the rooms
# below it.
ROOMS = (
    "events",
    "matrix",
    "data",
    "experiments",
    "encoders",
    "retrieval",
    "bundle",
    "answers",
    "training",
    "evaluation",
    "models",
    "testing",
    "analysis",
    "pipelines",
)
SERVED = {
    "events",
    "experiments",
    "encoders",
    "retrieval",
    "bundle",
    "answers",
}  # the rooms that the service imports
NOT_BELOW = {room: {"matrix", "data"} for room in SERVED} | {"serving": set(ROOMS) - SERVED}
HEAVY = {"torch", "pandas", "mlflow", "numba", "scipy", "sklearn"}
LEAST, MOST, SHORT = (
    3,
    12,
    60,
)  # modules of a folder; lines under which a helper of a single sibling is part of it
APART = {
    "recsys.bundle.format_1": "what is read and never written again stands apart, to be dropped one day",
    "recsys.data.split.clumped": "a subject of its own, with its source and a benchmark",
    "recsys.pipelines.service": "a subject of its own: a process, and HTTP; benchmarks start it too",
    "recsys.testing.toys": "for suites of learners and of all else",
}


def files() -> Iterator[Path]:
    for top in ("recsys", "pipelines", "serving"):
        for path in sorted((ROOT / top).rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents):
                yield path


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return name if name.startswith("recsys") else f"recsys.{name}"


def room_of(module: str) -> str:
    """The folder below `recsys`, or "ground" for what stands directly in it."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 or (len(parts) == 2 and parts[1] in (*ROOMS, "serving")) else "ground"


CODE = list(files())
MODULES = {module_of(path): path for path in CODE}
every_file = pytest.mark.parametrize("path", CODE, ids=[str(path.relative_to(ROOT)) for path in CODE])


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Every module that a file imports, anywhere in it: within functions, and for type checkers alone,
    too."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {name if name in MODULES else node.module for name in names} | names
    return frozenset(modules)


def own_imports(path: Path) -> set[str]:
    return {name for name in imports_of(path) if name in MODULES}


@every_file
def test_imports_go_down(path: Path) -> None:
    room = room_of(module_of(path))
    if room == "ground":
        allowed = {"ground"}
    else:
        below = set(ROOMS[: ROOMS.index(room)]) if room in ROOMS else set(ROOMS)
        allowed = {"ground", room} | (below - NOT_BELOW.get(room, set()))
    assert {room_of(name) for name in own_imports(path)} <= allowed


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports within functions, and for type checkers alone, are counted: they hide a circle and do not mend
    it."""
    measured = {f"benchmarks.{path.stem}": path for path in (ROOT / "benchmarks").glob("*.py")}
    graph = {name: own_imports(path) - {name} for name, path in MODULES.items()}
    graph |= {name: imports_of(path) & measured.keys() - {name} for name, path in measured.items()}
    while leaves := {name for name, imports in graph.items() if not imports & graph.keys()}:
        graph = {name: imports for name, imports in graph.items() if name not in leaves}
    assert not graph


@every_file
def test_heavy_libraries_stay_out_of_what_serves(path: Path) -> None:
    module = module_of(path)
    libraries = {name.split(".")[0] for name in imports_of(path)}
    if room_of(module) in SERVED | {"ground", "serving"}:
        assert not libraries & HEAVY
    if module != "recsys.pipelines.tracking.client":
        assert "mlflow" not in libraries


@every_file
def test_files_stay_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
    if path.name == "__init__.py":
        assert path == ROOT / "recsys/__init__.py" or not path.read_text().strip()


def folders() -> dict[str, list[str]]:
    by_folder: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        if path.name != "__init__.py":
            by_folder.setdefault(module.rpartition(".")[0], []).append(module)
    return by_folder


@pytest.mark.parametrize("folder", folders())
def test_a_folder_is_neither_a_drawer_nor_a_shelf_for_one(folder: str) -> None:
    assert LEAST <= len(folders()[folder]) <= MOST


def test_a_helper_of_one_sibling_is_part_of_it() -> None:
    users: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        for name in own_imports(path) - {module}:
            users.setdefault(name, set()).add(module)
    apart = {
        module
        for module, by in users.items()
        if len(by) == 1
        and next(iter(by)).rpartition(".")[0] == module.rpartition(".")[0]
        and len(MODULES[module].read_text().splitlines()) < SHORT
    }
    assert apart <= APART.keys()


def test_every_room_is_in_the_table() -> None:
    assert {room_of(module) for module in MODULES} - {"ground"} == {*ROOMS, "serving"}


def folders_of_the_page() -> list[str]:
    """The folders of the tree in docs/architecture.md, as modules; a folder without a sentence is left
    out."""
    block = (ROOT / "docs/architecture.md").read_text().split("## The tree")[1].split("```")[1]
    listed: list[str] = []
    parents: list[str] = []
    for line in filter(None, block.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 2
        name, sentence = line.strip().split("/", 1)
        parents = [*parents[:depth], name]
        if sentence.strip():
            listed.append(".".join(parents if parents[0] == "recsys" else ["recsys", *parents]))
    return listed


def test_the_tree_of_the_architecture_page_is_that_of_the_code() -> None:
    assert sorted(folders_of_the_page()) == sorted(folders())


def test_parallel_functions_run_from_the_code_on_disk() -> None:
    """`numba.njit(parallel=...)` runs other code in the process that compiles it
    (`recsys.matrix.compiled`)."""
    plain = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in ("njit", "jit")
        and any(keyword.arg == "parallel" for keyword in node.keywords)
    }
    assert not plain


@pytest.mark.parametrize("module", ["recsys", "recsys.pipelines.cli", "recsys.models.registry"])
def test_importing_is_cheap(module: str) -> None:
    """The command line answers --help without loading what only one command needs."""
    watched = HEAVY | {"faiss", "numpy"}
    program = f"import sys, {module}; print(*sorted({{n.split('.')[0] for n in sys.modules}} & {watched!r}))"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    allowed = {"scipy", "faiss", "numpy"} if module == "recsys.models.registry" else set()
    assert set(said.stdout.split()) <= allowed


def test_nothing_is_imported_that_is_not_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [declared["dependencies"], *declared["optional-dependencies"].values()]
    names = {"".join(c for c in line.split(">")[0] if c not in "<=! ") for group in groups for line in group}
    known = {
        "faiss-cpu": "faiss",
        "scikit-learn": "sklearn",
        "scikit-network": "sknetwork",
        "tomli-w": "tomli_w",
        "opentelemetry-sdk": "opentelemetry",
        "nvidia-ml-py": "pynvml",
        "prometheus-client": "prometheus_client",
        "universal-pathlib": "upath",
    }
    available = {known.get(name, name) for name in names} | set(sys.stdlib_module_names)
    available |= {"recsys", "starlette", "anyio"}  # the last two: FastAPI's own floor
    used = {name.split(".")[0] for path in CODE for name in imports_of(path)}
    assert used <= available
