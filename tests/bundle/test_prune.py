"""Old bundles are listed and deleted where they are asked to be: never the current one, never the way
back."""

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
from click.testing import CliRunner

from recsys.bundle import bundle
from recsys.bundle.manifest import verify
from recsys.bundle.prune import list_bundles, prune
from recsys.bundle.root import current, point_to
from recsys.bundle.write import publish
from recsys.errors import BundleError
from recsys.pipelines.cli import main
from tests.helpers.bundles import content


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    for seed in range(5):
        publish(root, content(seed=seed))
    (root / "notes").mkdir()
    (root / "20260101T000000000000Z-zzzzzzzz").mkdir()  # no name of a bundle: not ours to delete
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(copytree(original, tmp_path / "root"))


def names(root: Path) -> list[str]:
    return [one.bundle_id for one in list_bundles(root)]


@pytest.mark.parametrize(
    ("rolled_to", "keep", "left"),
    [
        (0, 1, [0, 1]),  # the newest is current: it and the one before it
        (0, 3, [0, 1, 2]),
        (0, 9, [0, 1, 2, 3, 4]),
        (2, 1, [0, 2, 3]),  # rolled back: the newest, the current one, and the one before that
        (4, 1, [0, 3, 4]),  # rolled back as far as can be: the way on
        (3, 2, [0, 1, 3, 4]),
    ],
)
def test_the_newest_the_current_and_the_one_before_stay(
    root: Path, rolled_to: int, keep: int, left: list[int]
) -> None:
    before = list_bundles(root)
    assert [one.bundle_id for one in before] == sorted((one.bundle_id for one in before), reverse=True)
    point_to(root, before[rolled_to].bundle_id)
    would = prune(root, keep, dry_run=True)
    assert len(names(root)) == 5
    gone = prune(root, keep)
    assert [one.bundle_id for one in gone] == [one.bundle_id for one in would]
    assert names(root) == [before[at].bundle_id for at in left]
    assert bundle.load(current(root)).bundle_id == before[rolled_to].bundle_id
    assert {path.name for path in root.iterdir() if path.is_dir()} - set(names(root)) == {
        "notes",
        "20260101T000000000000Z-zzzzzzzz",
    }
    assert prune(root, keep) == []


def test_what_cannot_be_pruned_safely_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="keep must be at least 1, got 0"):
        prune(root, 0)
    (root / "current").unlink()
    with pytest.raises(BundleError, match="5 bundles and none of them is current"):
        prune(root, 1)
    assert len(names(root)) == 5
    for dry_run in (True, False):
        with pytest.raises(BundleError, match=r"nowhere .*Name a folder of bundles"):
            prune(tmp_path / "nowhere", 1, dry_run=dry_run)
    assert not (tmp_path / "nowhere").exists()


def test_a_bundle_that_is_open_answers_on_after_it_is_deleted(root: Path) -> None:
    oldest = list_bundles(root)[-1].bundle_id
    opened = bundle.load(root / oldest)
    assert oldest in {one.bundle_id for one in prune(root, 1)}
    assert not (root / oldest).exists()
    assert opened.item_ids[3] == "i3"
    assert len(opened.histories.items.row(2)) == 6


DIES = """
import os, shutil, sys
from pathlib import Path
from recsys import durable
from recsys.bundle import prune
root, point, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls = [0]
def dying(name, real):
    def call(*arguments, **more):
        calls[0] += name == point.split()[0]
        if name == point.split()[0] and calls[0] == at:
            if point.endswith("half"):
                next(path for path in sorted(arguments[0].rglob("*")) if path.is_file()).unlink()
            if point.endswith("after"):
                real(*arguments, **more)
            os._exit(77)
        return real(*arguments, **more)
    return call
os.replace = dying("replace", os.replace)
shutil.rmtree = dying("rmtree", shutil.rmtree)
prune.prune(root, 1)
"""


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("point", ["replace before", "replace after", "rmtree half", "rmtree after"])
def test_killed_at_any_moment_it_leaves_whole_bundles_and_can_be_called_again(
    root: Path, point: str, at: int
) -> None:
    before, stays = names(root), current(root)
    died = subprocess.run([sys.executable, "-c", DIES, str(root), point, str(at)], check=False, timeout=60)
    assert died.returncode == 77
    left = names(root)
    assert left[:2] == before[:2]
    for name in left:
        verify(root / name)
    assert current(root) == stays
    prune(root, 1)
    assert names(root) == before[:2]
    assert not list(root.glob("*.partial"))


def test_the_command_lists_and_prunes(root: Path) -> None:
    listed = CliRunner().invoke(main, ["bundles", "list", str(root), "--json"])
    bundles = json.loads(listed.stdout)["bundles"]
    assert [one["bundle_id"] for one in bundles] == names(root)
    assert [one["current"] for one in bundles] == [True, False, False, False, False]
    size = sum(file.stat().st_size for file in (root / bundles[0]["bundle_id"]).rglob("*") if file.is_file())
    assert bundles[0]["size"] == size
    shown = CliRunner().invoke(main, ["bundles", "list", str(root)]).stdout
    assert shown.count("current") == 1
    assert "seconds" in shown
    dry = CliRunner().invoke(main, ["bundles", "prune", str(root), "--keep", "3", "--dry-run"])
    assert "Would delete 2 bundles" in dry.stdout
    done = CliRunner().invoke(main, ["bundles", "prune", str(root), "--keep", "3", "--json"])
    assert [one["bundle_id"] for one in json.loads(done.stdout)["deleted"]] == [
        one["bundle_id"] for one in bundles[3:]
    ]
    assert len(names(root)) == 3
    assert CliRunner().invoke(main, ["bundles", "prune", str(root), "--keep", "0"]).exit_code == 2
    nowhere = CliRunner().invoke(main, ["bundles", "list", os.fspath(root / "notes" / "none")])
    assert (nowhere.exit_code, "cannot be listed" in nowhere.output) == (2, True)


def test_the_command_goes_back_to_an_earlier_bundle_and_refuses_what_is_none(root: Path) -> None:
    newest, earlier = names(root)[:2]
    said = CliRunner().invoke(main, ["bundles", "use", earlier, str(root)])
    assert said.exit_code == 0
    assert said.stdout == f"{earlier} is the current bundle of {root}, after {newest}.\n"
    assert current(root).name == earlier
    for wrong in (earlier[:-1] + "x", "../elsewhere"):
        refused = CliRunner().invoke(main, ["bundles", "use", wrong, str(root)])
        assert refused.exit_code == 2
        assert f"holds no bundle '{wrong}'" in refused.stderr
    assert (
        "did you mean" in CliRunner().invoke(main, ["bundles", "use", earlier[:-1] + "x", str(root)]).stderr
    )
    (root / newest / "fallback.npy").write_bytes(b"x")
    damaged = CliRunner().invoke(main, ["bundles", "use", newest, str(root)])
    assert damaged.exit_code == 2
    assert "fallback.npy is damaged" in damaged.stderr
    assert current(root).name == earlier
