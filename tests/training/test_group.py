"""Several processes under a real torchrun learn what one does, within float error, and one bundle comes of
it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from recsys.bundle.bundle import load
from recsys.models.registry import make_model
from recsys.pipelines.cli import main
from recsys.pipelines.machine.distributed import refuse_alone
from recsys.pipelines.run.settings import RunSettings
from tests.helpers.towers import BOTH, SMALL, colour_checkerboard, everyone

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SEQUENCE = {  # two windows a batch, so that one of three processes has none
    "dim": 8,
    "epochs": 1,
    "batch_size": 40,
    "longest_history": 20,
    "dropout": 0.0,
    "domains": False,  # which domain is asked for is drawn in each process, as dropout is
    "item_features": BOTH["item_features"],
    "precision": "float32",
}
TOY = """
import sys
import numpy as np
import torch

torch.set_num_threads(1)
sys.path.insert(0, {root!r})
from tests.training.test_group import vectors
from recsys.training.group import group

items, users = vectors({more!r})
np.savez({out!r} + f"-{{group().rank}}.npz", items=items, users=users)
"""


def vectors(more: dict[str, Any]) -> tuple[Any, Any]:
    """Of items and users, with features, a layer, places of the history, batches that do not divide by three;
    of a sequence model, where a net is named."""
    if "net" in more:
        learned: Any = make_model("sequence", SEQUENCE | more).fit(colour_checkerboard(cold=3), seed=1)
        return learned.items, learned.encoder.encode(everyone(colour_checkerboard()))[0]
    settings = SMALL | BOTH | {"epochs": 4, "batch_size": 47, "history": "before", "hidden": 6} | more
    learned = make_model("two_tower", settings).fit(colour_checkerboard(cold=3), seed=1)
    return learned.items, learned.encoder.encode(everyone(colour_checkerboard()))[0]


def torchrun(size: int, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={size}",
        *arguments,
    ]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=os.environ | environment
    )


@pytest.mark.parametrize("more", [{"negatives": 20}, {"net": "transformer", "negatives": 9}])
def test_several_processes_learn_what_one_does(more: dict[str, Any], tmp_path: Path) -> None:
    size = 3
    script = tmp_path / "toy.py"
    script.write_text(TOY.format(root=str(ROOT), out=str(tmp_path / "rank"), more=more))
    done = torchrun(size, str(script))
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [np.load(tmp_path / f"rank-{rank}.npz") for rank in range(size)]
    for side, alone in zip(("items", "users"), vectors(more), strict=True):
        for other in ranks[1:]:
            np.testing.assert_array_equal(other[side], ranks[0][side])
        np.testing.assert_allclose(ranks[0][side], alone, atol=2e-4)


def test_a_run_under_torchrun_ends_in_one_run_and_one_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["train", "world", "world.users=300", "world.items=120", "threads=1", "refit=true"]
    small += ['model={name="two_tower", dim=8, epochs=2}', "--json"]
    for name in ("alone", "both"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "alone"))
    outputs = {"alone": CliRunner().invoke(main, small).stdout}
    done = torchrun(2, "-m", "recsys.pipelines.cli", *small, RECSYS_HOME=str(tmp_path / "both"))
    assert done.returncode == 0, done.stderr[-3000:]
    outputs["both"] = done.stdout
    vectors, ndcg = {}, {}
    for name, output in outputs.items():
        lines = [line for line in output.splitlines() if line.startswith("{")]
        assert len(lines) == 1
        answer = json.loads(lines[0])
        vectors[name] = load(Path(answer["bundle"])).item_vectors
        ndcg[name] = answer["metrics"]["two_tower"]["ndcg_at_10"]["mean"]
        assert not list(tmp_path.glob(f"{name}/mlruns/checkpoints/*"))
    assert len(list(tmp_path.glob("both/mlruns/**/manifest.json"))) == 1
    np.testing.assert_allclose(vectors["both"], vectors["alone"], atol=2e-4)
    assert ndcg["both"] == pytest.approx(ndcg["alone"], rel=0.02)


def test_a_model_that_learns_alone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "RECSYS_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    said = CliRunner().invoke(main, ["train", "world", "model.name=als"])
    assert said.exit_code == 2
    assert "als learns in one; two_tower shares its batches" in said.output
    mixture = {"name": "mixture", "parts": [{"name": "als"}, {"name": "two_tower"}]}
    for model in (mixture, {"name": "narrowed", "wide": {"name": "als"}, "narrow": {"name": "two_tower"}}):
        refuse_alone(RunSettings(model=model))
    assert not (tmp_path / "mlruns").exists()
