"""The loop and its checkpoints: what is saved, what is refused, and that a stopped run ends in the same bytes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toys import checkerboard

from recsys.errors import ModelError
from recsys.models.registry import make_model
from recsys.progress import silent
from recsys.retrieval.ranker import Embeddings
from recsys.training.checkpoint import Checkpoint
from recsys.training.loop import Aids, Start, run_epochs

SETTINGS = {
    "bpr": {"dim": 8, "epochs": 10, "batch_size": 64},
    "softmax": {"dim": 8, "epochs": 10, "batch_size": 8},
}


def everything(learned: Embeddings) -> bytes:
    return learned.items.tobytes() + learned.encoder.table.tobytes() + learned.encoder.inputs.tobytes()


class KilledError(Exception):
    """Stands for a kill between two epochs."""


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("last", [1, 5, 9])
def test_a_run_that_goes_on_ends_in_the_bytes_of_one_that_was_never_stopped(
    name: str, last: int, tmp_path: Path
) -> None:
    model, data = make_model(name, SETTINGS[name]), checkerboard(20)
    aids = Aids(checkpoint=Checkpoint(tmp_path / "state", "key"), checkpoint_s=0)

    def dies(step: object) -> None:
        if step.done == last + 1:  # type: ignore[attr-defined]
            raise KilledError

    with pytest.raises(KilledError):
        model.fit(data, seed=1, progress=dies, aids=aids)
    steps: list[int] = []
    resumed = model.fit(data, seed=1, progress=lambda step: steps.append(step.done), aids=aids)
    assert steps == list(range(last + 1, 11))
    assert everything(resumed) == everything(model.fit(data, seed=1))


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from toys import checkerboard
from recsys.models.registry import make_model
from recsys.training.checkpoint import Checkpoint
from recsys.training.loop import Aids
aids = Aids(checkpoint=Checkpoint(Path(sys.argv[1]), "key"), checkpoint_s=0)
say = lambda step: print(step.done, flush=True)
make_model("softmax", {"dim": 8, "epochs": 10, "batch_size": 8}).fit(checkerboard(20), seed=1, progress=say, aids=aids)
"""


@pytest.mark.slow
def test_a_killed_process_leaves_a_state_to_go_on_from(tmp_path: Path) -> None:
    for epoch in range(1, 10):
        folder = tmp_path / str(epoch)
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == epoch:
                break
        child.kill()
        child.wait()
        child.stdout.close()
        model, data = make_model("softmax", SETTINGS["softmax"]), checkerboard(20)
        resumed = model.fit(data, seed=1, aids=Aids(checkpoint=Checkpoint(folder, "key"), checkpoint_s=0))
        assert everything(resumed) == everything(model.fit(data, seed=1)), epoch


def test_a_checkpoint_gives_back_what_it_was_given_and_keeps_one_epoch(tmp_path: Path) -> None:
    checkpoint, state = Checkpoint(tmp_path, "key"), {"rows": np.arange(6.0).reshape(2, 3)}
    assert checkpoint.restore(state) == 0
    checkpoint.save(1, state)
    checkpoint.save(2, {"rows": state["rows"] + 1})
    assert checkpoint.restore(state) == 2
    np.testing.assert_array_equal(state["rows"], np.arange(6.0).reshape(2, 3) + 1)
    assert [path.name for path in tmp_path.glob("epoch-*")] == ["epoch-2"]
    checkpoint.remove()
    assert checkpoint.restore(state) == 0


def test_a_checkpoint_of_another_run_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    state = {"rows": np.ones(3)}
    Checkpoint(tmp_path, "one").save(4, state)
    other = Checkpoint(tmp_path, "two")
    for act in (lambda: other.restore(state), lambda: other.save(1, state)):
        with pytest.raises(ModelError, match="belongs to a run with other settings"):
            act()
    assert Checkpoint(tmp_path, "one").restore(state) == 4


@pytest.mark.parametrize("damage", ["cut", "gone", "shape", "junk"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    checkpoint, state = Checkpoint(tmp_path, "key"), {"rows": np.ones((4, 4))}
    checkpoint.save(3, state)
    array = tmp_path / "epoch-3" / "rows.npy"
    if damage == "cut":
        array.write_bytes(array.read_bytes()[:-9])
    elif damage == "gone":
        array.unlink()
    elif damage == "shape":
        np.save(array, np.ones((4, 5)))
    else:
        (tmp_path / "state.json").write_text("{")
    with pytest.raises(ModelError, match=r"cannot be read.*Remove it"):
        checkpoint.restore(state)


def test_a_figure_that_is_not_finite_stops_the_run_and_says_what_to_change() -> None:
    with pytest.raises(ModelError, match=r"loss left the finite numbers in epoch 2\. Lower it\."):
        run_epochs(
            "learning",
            5,
            lambda number: {"loss": [1.0, float("nan")][number]},
            state={},
            learned=lambda: pytest.fail("not asked for"),
            aids=Aids(),
            progress=silent,
            cure="Lower it.",
        )


@pytest.mark.parametrize("name", SETTINGS)
def test_a_rate_out_of_range_diverges_with_a_sentence(name: str) -> None:
    settings = SETTINGS[name] | ({"similarity": "dot"} if name == "softmax" else {})
    with pytest.raises(ModelError, match="Lower learning_rate"):
        make_model(name, settings | {"learning_rate": 1e38}).fit(checkerboard(20), seed=1)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_watch_sees_the_model_after_each_epoch_and_may_stop_it(name: str) -> None:
    model, data, seen = make_model(name, SETTINGS[name]), checkerboard(20), []

    def watch(epoch: int, learned: object) -> bool:
        seen.append((epoch, everything(learned())))  # type: ignore[operator]
        return epoch == 3

    stopped = model.fit(data, seed=1, aids=Aids(watch=watch))
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert len({state for _, state in seen}) == 3
    assert everything(stopped) == seen[-1][1]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_warm_start_begins_at_the_given_rows_and_draws_the_new_ones(name: str) -> None:
    data = checkerboard(20)
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(20, 8)).astype(np.float32) for _ in range(2))
    items[7] = 0
    still = make_model(name, SETTINGS[name] | {"epochs": 1, "learning_rate": 1e-12})
    learned = still.fit(data, seed=1, aids=Aids(warm=Start(users, items)))
    if name == "softmax":
        users, items = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9) for rows in (users, items))
    known = np.arange(20) != 7
    np.testing.assert_allclose(learned.items[known], items[known], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(learned.encoder.table, users, rtol=1e-4, atol=1e-5)
    assert learned.items[7].any()
