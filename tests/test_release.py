"""`make release`: what it refuses, what it would do, and, with --release, one of a copy of the repository."""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", "venv", "mlruns", "build", "dist", "*.egg-info", "__pycache__"
)
CHANGELOG = "# Changelog\n\n## Unreleased\n\n### Added\n- A thing.\n\n## 0.1.0\n- The first.\n"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree as a repository of its own, with one commit."""
    copy = tmp_path_factory.mktemp("release") / "source"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
    (copy / "CHANGELOG.md").write_text(CHANGELOG)
    git(copy, "init", "--quiet")
    git(copy, "add", ".")
    git(copy, "commit", "--quiet", "--message", "All of it")
    return copy


@pytest.fixture
def repository(source: Path, tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    git(source, "clone", "--quiet", str(source), str(clone))
    for key, value in (("user.name", "A"), ("user.email", "a@example.org")):
        git(clone, "config", key, value)
    return clone


def release_of(repository: Path) -> ModuleType:
    """The program of a repository, as a module."""
    spec = importlib.util.spec_from_file_location("release", repository / ".ci/release.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def release() -> ModuleType:
    return release_of(ROOT)


def run(repository: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, str(repository / ".ci/release.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_dry_run_says_each_step_and_changes_nothing(repository: Path, tmp_path: Path) -> None:
    before = git(repository, "rev-parse", "HEAD")
    status, said = run(repository, "0.3.0", "--out", str(tmp_path / "out"), "--tag", "--dry-run")
    assert status == 0, said
    for step in ("All of it", "under 0.3.0", "wheel[serve,train]", "SHA256SUMS", "tag v0.3.0"):
        assert step in said
    assert not (tmp_path / "out").exists()
    assert (git(repository, "rev-parse", "HEAD"), git(repository, "status", "--porcelain")) == (before, "")


def test_a_version_is_released_once_from_a_clean_tree_into_an_empty_folder(
    repository: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "old.whl").touch()
    for words, reason in (
        (["0.3"], "is no version"),
        (["0.3.0", "--out", str(full)], "not empty"),
    ):
        status, said = run(repository, *words, "--dry-run")
        assert (status, reason in said) == (1, True), said
    (repository / "new.txt").touch()
    assert "not clean" in run(repository, "0.3.0")[1]
    (repository / "new.txt").unlink()
    git(repository, "tag", "v0.3.0")
    assert "tagged already" in run(repository, "0.3.0", "--dry-run")[1]
    assert run(repository, "0.3.1", "--dry-run")[0] == 0


def test_the_changelog_is_cut_at_its_first_section(release: ModuleType) -> None:
    text, notes = release.cut(CHANGELOG, "0.3.0", "2026-12-24")
    assert notes == "### Added\n- A thing."
    assert text == CHANGELOG.replace("## Unreleased\n", "## Unreleased\n\n## 0.3.0 (2026-12-24)\n")
    named = CHANGELOG.replace("Unreleased", "0.3.0 (not released)")
    assert release.cut(named, "0.3.0", "2026-12-24")[0] == text
    with pytest.raises(ValueError, match=r"begins with '0\.3\.0 \(not released\)'"):
        release.cut(named, "0.4.0", "2026-12-24")
    with pytest.raises(ValueError, match="says nothing"):
        release.cut(text, "0.4.0", "2026-12-24")
    with pytest.raises(ValueError, match="begins with"):
        release.cut("# Changelog\n", "0.4.0", "2026-12-24")


def test_the_changelog_of_the_repository_can_be_cut_once_it_says_something(release: ModuleType) -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    head, mark, rest = text.partition("\n## Unreleased\n")  # empty after a release, and not to be cut then
    cut, notes = release.cut(f"{head}{mark}\n- A line that says something.\n{rest}", "9.9.9", "2026-12-24")
    assert notes.startswith("- A line that says something.")
    assert f"\n## Unreleased\n\n## 9.9.9 (2026-12-24)\n\n{notes}" in cut
    assert "\n## 0.1.0\n" in cut


def test_a_licence_is_what_a_package_declares(release: ModuleType) -> None:
    materials = [
        {"name": "b", "version": "2", "licenses": [{"expression": "MIT AND 0BSD"}]},
        {"name": "A", "version": "1", "licenses": [{"license": {"id": "MIT"}}, {"license": {"id": "MIT"}}]},
        {"name": "c", "version": "3"},
    ]
    rows = release.licence_table(materials, "0.3.0", ["serve"]).splitlines()
    assert rows[-3:] == ["| A | 1 | MIT |", "| b | 2 | MIT AND 0BSD |", "| c | 3 | not declared |"]


def test_the_version_is_set_wherever_it_stands(repository: Path, tmp_path: Path) -> None:
    clone = release_of(repository).prepare_clone(tmp_path / "made", "0.3.0", "# Cut\n", commit=True)
    changed = git(clone, "show", "--name-only", "--format=%an: %s").splitlines()
    assert changed == [
        "A: Release 0.3.0",
        "",
        "CHANGELOG.md",
        "deploy/kubernetes.yaml",
        "pyproject.toml",
        "recsys/__init__.py",
    ]
    for line in ('+version = "0.3.0"', '+__version__ = "0.3.0"', "+          image: recsys:0.3.0"):
        assert line in git(clone, "show").splitlines()
    assert git(repository, "status", "--porcelain") == ""


def test_a_release_has_all_its_parts_and_is_the_commit_that_is_tagged(
    repository: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With what the core needs alone: the extras would bring a gigabyte."""
    if not request.config.getoption("--release"):
        pytest.skip("a whole release installs two environments: --release, as make soak does")
    out = tmp_path / "out"
    status, said = run(repository, "0.3.0", "--out", str(out), "--extras", "", "--tag")
    assert status == 0, said
    stem = "recsys_embeddings-0.3.0"
    assert {path.name for path in out.iterdir()} == {
        f"{stem}-py3-none-any.whl",
        f"{stem}.tar.gz",
        "recsys-0.3.0.cdx.json",
        "LICENCES.md",
        "NOTES.md",
        "SHA256SUMS",
    }
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert b"Version: 0.3.0\n" in ZipFile(out / f"{stem}-py3-none-any.whl").read(f"{stem}.dist-info/METADATA")
    with tarfile.open(out / f"{stem}.tar.gz") as packed:
        assert f"{stem}/pyproject.toml" in packed.getnames()
    materials = json.loads((out / "recsys-0.3.0.cdx.json").read_text())
    assert materials["bomFormat"] == "CycloneDX"
    assert materials["metadata"]["component"]["name"] == "recsys-embeddings"
    names = {one["name"].lower() for one in materials["components"]}
    assert {"numpy", "faiss-cpu", "pyarrow"} <= names
    assert not names & {"pip", "torch", "cyclonedx-bom"}
    assert "| numpy | 2.4.6 | BSD-3-Clause" in (out / "LICENCES.md").read_text()
    assert "- A thing." in (out / "NOTES.md").read_text()
    assert git(repository, "tag", "--points-at", "HEAD") == "v0.3.0"
    assert git(repository, "log", "-1", "--format=%s") == "Release 0.3.0"
    assert git(repository, "status", "--porcelain") == ""
    assert "image: recsys:0.3.0" in (repository / "deploy/kubernetes.yaml").read_text()
    assert "## Unreleased\n\n## 0.3.0 (2" in (repository / "CHANGELOG.md").read_text()
