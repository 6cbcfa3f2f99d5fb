"""The loop and its checkpoints: what is saved, what is refused, and that a stopped run ends in the same
bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys import durable
from recsys.errors import ModelError
from recsys.models.base import fit_with
from recsys.models.registry import make_model
from recsys.progress import silent
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.toys import checkerboard
from recsys.training.checkpoint import Checkpoint
from recsys.training.loop import Aids, Start, run_epochs

STILL = {"epochs": 1, "learning_rate": 1e-12}
WIDER = {"variational": {"dim": 9}}  # a column for what is popular with everyone, which no start brings
SETTINGS = {
    "bpr": {"dim": 8, "epochs": 10, "batch_size": 64},
    "softmax": {"dim": 8, "epochs": 10, "batch_size": 8},
    "variational": {"dim": 8, "epochs": 10, "batch_size": 8},
}


def everything(learned: Embeddings) -> bytes:
    return learned.items.tobytes() + learned.encoder.table.tobytes() + learned.encoder.inputs.tobytes()


class KilledError(Exception):
    """Stands for a kill between two epochs."""


def learned_epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets the number of every epoch that is saved from now on, which with checkpoint_s=0 is every one
    learned."""
    epochs, save = [], Checkpoint.save

    def note_and_save(self, figures, state) -> None:
        epochs.append(len(figures))
        save(self, figures, state)

    monkeypatch.setattr(Checkpoint, "save", note_and_save)
    return epochs


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("last", [1, 5, 9])
def test_a_run_that_goes_on_ends_in_the_bytes_of_one_that_was_never_stopped(
    name: str, last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = make_model(name, SETTINGS[name]), checkerboard(20)
    aids = Aids(checkpoint=Checkpoint(tmp_path / "state", "key"), checkpoint_s=0)

    def dies(step: object) -> None:
        if step.done == last + 1:  # type: ignore[attr-defined]
            raise KilledError

    with pytest.raises(KilledError):
        model.fit(data, seed=1, progress=dies, aids=aids)
    steps: dict[str, list[object]] = {"resumed": [], "whole": []}
    learned = learned_epochs(monkeypatch)
    resumed = model.fit(data, seed=1, progress=steps["resumed"].append, aids=aids)
    assert learned == list(range(last + 1, 11))
    assert everything(resumed) == everything(model.fit(data, seed=1, progress=steps["whole"].append))
    assert steps["resumed"] == steps["whole"]
    learned.clear()
    again = model.fit(data, seed=1, aids=aids)
    assert (learned, everything(again)) == ([], everything(resumed))


CHILDREN = """
import os
import signal
import sys
from pathlib import Path
from recsys.testing.toys import checkerboard
from recsys.models.registry import make_model
from recsys.training.checkpoint import Checkpoint
from recsys.training.loop import Aids
from recsys.training.towers.bag_net import LearnedBagNet
import sklearn.utils.extmath  # here and not in each child, which would take a second for it
folder, name, data = Path(sys.argv[1]), sys.argv[2], checkerboard(20)
for epoch in range(1, 10):
    if os.fork():
        continue
    def say(step):
        if step.done == epoch:
            os.write(1, f"{epoch}\\n".encode())  # at once, so that no two share a line
            signal.pause()
    aids = Aids(checkpoint=Checkpoint(folder / str(epoch), "key"), checkpoint_s=0)
    settings = {"dim": 8, "epochs": 10, "batch_size": 8}
    make_model(name, settings).fit(data, seed=1, progress=say, aids=aids)
    os._exit(1)
signal.pause()
"""


def digest(learned: Embeddings) -> tuple[bytes, ...]:
    rows = getattr(learned.encoder, "table", np.zeros(0))  # which the space of a bag does not cover
    return learned.items.tobytes(), learned.encoder.space_id.encode(), rows.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["softmax", "two_tower"])
def test_a_killed_process_leaves_a_state_to_go_on_from(name: str, tmp_path: Path) -> None:
    model, data = make_model(name, SETTINGS["softmax"]), checkerboard(20)
    command = [sys.executable, "-c", CHILDREN, str(tmp_path), name]
    one_thread = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # nine processes spin for two cores else
    parent = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | one_thread, start_new_session=True
    )
    assert parent.stdout is not None
    try:
        stopped = [int(parent.stdout.readline()) for _ in range(9)]
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.communicate()
    whole = digest(model.fit(data, seed=1))
    assert sorted(stopped) == list(range(1, 10))
    for epoch in stopped:
        folder = tmp_path / str(epoch)
        assert epoch == 1 or (folder / "state.json").exists()
        resumed = model.fit(data, seed=1, aids=Aids(checkpoint=Checkpoint(folder, "key"), checkpoint_s=0))
        assert digest(resumed) == whole, epoch


def test_a_checkpoint_gives_back_what_it_was_given_and_keeps_one_epoch(tmp_path: Path) -> None:
    checkpoint, state = Checkpoint(tmp_path, "key"), {"rows": np.arange(6.0).reshape(2, 3)}
    figures = [{"loss": np.float32(0.1)}, {"loss": 1 / 3}]
    assert checkpoint.restore(state) == ()
    checkpoint.save(figures[:1], state)
    checkpoint.save(figures, {"rows": state["rows"] + 1})
    assert checkpoint.restore(state) == tuple(figures)
    np.testing.assert_array_equal(state["rows"], np.arange(6.0).reshape(2, 3) + 1)
    assert [path.name for path in tmp_path.glob("epoch-*")] == ["epoch-2"]
    checkpoint.remove()
    assert checkpoint.restore(state) == ()


def test_a_checkpoint_of_another_run_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    state = {"rows": np.ones(3)}
    Checkpoint(tmp_path, "one").save([{}] * 4, state)
    other = Checkpoint(tmp_path, "two")
    for act in (lambda: other.restore(state), lambda: other.save([{}], state)):
        with pytest.raises(ModelError, match="belongs to a run with other settings"):
            act()
    assert len(Checkpoint(tmp_path, "one").restore(state)) == 4


def test_what_is_killed_while_it_saves_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, state = Checkpoint(tmp_path, "key"), {"rows": np.zeros(3)}
    checkpoint.save([{}], state)

    def dies(*arguments: object) -> None:
        raise KilledError

    for step in ("write", "sync_tree", "rename", "write_pointer"):
        with monkeypatch.context() as broken:
            broken.setattr(durable, step, dies)
            with pytest.raises(KilledError):
                checkpoint.save([{}, {}], {"rows": np.ones(3)})
        state["rows"][:] = 7
        assert (len(checkpoint.restore(state)), state["rows"].tolist()) == (1, [0, 0, 0]), step
    checkpoint.save([{}, {}], {"rows": np.ones(3)})
    assert (len(checkpoint.restore(state)), state["rows"].tolist()) == (2, [1, 1, 1])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "epoch-2", "state.json"]


@pytest.mark.parametrize("damage", ["cut", "gone", "shape", "junk"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    checkpoint, state = Checkpoint(tmp_path, "key"), {"rows": np.ones((4, 4))}
    checkpoint.save([{"loss": 1.0}] * 3, state)
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


def test_a_figure_that_is_not_finite_stops_the_run_and_says_what_to_change(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "state", "key")
    with pytest.raises(ModelError, match=r"loss left the finite numbers in epoch 2\. Lower it\."):
        run_epochs(
            "learning",
            5,
            lambda number: {"loss": [1.0, float("nan")][number]},
            state={},
            learned=lambda: pytest.fail("not asked for"),
            aids=Aids(checkpoint=checkpoint, checkpoint_s=0),
            progress=silent,
            cure="Lower it.",
        )
    assert not checkpoint.folder.exists()


def test_the_state_is_saved_as_often_as_asked_and_at_the_end_where_that_took_a_second(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved, clock = learned_epochs(monkeypatch), [0.0]
    monkeypatch.setattr("recsys.training.loop.time.monotonic", lambda: clock[0])

    def run(seconds: float, folder: str) -> list[int]:
        def epoch(number: int) -> dict[str, float]:
            clock[0] += seconds
            return {}

        saved.clear()
        before = clock[0]
        checkpoint = Checkpoint(tmp_path / folder, "key")
        aids = Aids(checkpoint=checkpoint, checkpoint_s=30)
        told = {"learned": lambda: pytest.fail("not asked for"), "progress": silent, "cure": ""}
        run_epochs("learning", 8, epoch, state={}, aids=aids, **told)
        assert clock[0] == pytest.approx(before + 8 * seconds)
        return list(saved)

    assert run(12, "slow") == [3, 6, 8]
    assert run(0.2, "fast") == [8]
    assert run(0.1, "at once") == []


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
    plain = {"propagation": 0} if name != "bpr" else {}
    still = make_model(name, SETTINGS[name] | STILL | plain | WIDER.get(name, {}))
    learned = still.fit(data, seed=1, aids=Aids(warm=Start(users, items)))
    if name == "softmax":
        users, items = (
            rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9) for rows in (users, items)
        )
    known = np.arange(20) != 7
    np.testing.assert_allclose(learned.items[known, :8], items[known], rtol=1e-4, atol=1e-5)
    if name != "variational":  # whose users follow from the items in one visit
        np.testing.assert_allclose(learned.encoder.table, users, rtol=1e-4, atol=1e-5)
    assert learned.items[7].any()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_warm_start_on_the_same_events_begins_where_learning_ended(name: str) -> None:
    """What propagation added to the items is taken off before it is added again."""
    data = checkerboard(20)
    first = make_model(name, SETTINGS[name]).fit(data, seed=1)
    still = make_model(name, SETTINGS[name] | STILL)
    users = first.encoder.table
    again = still.fit(data, seed=2, aids=Aids(warm=Start(users, first.items[:, : users.shape[1]])))
    close = {"rtol": 1e-4, "atol": 1e-5} if name != "variational" else {"atol": 0.02 * np.abs(users).max()}
    np.testing.assert_allclose(again.items[:, : users.shape[1]], first.items[:, : users.shape[1]], **close)
    np.testing.assert_allclose(again.encoder.table, users, **close)


PARTS = (
    {"name": "softmax", "dim": 8, "epochs": 4, "batch_size": 8},
    {"name": "popularity"},
    {"name": "spectral", "dim": 4},
    {"name": "bpr", "dim": 8, "epochs": 4, "batch_size": 64},
)


def stopped_and_resumed(
    model: Any, task: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[int], list[Any], Any]:
    """Killed as the third epoch of `task` ends, and gone on with: the epochs learned then, what a watch was
    shown in both, and the model, which is that of a fit that was never stopped."""
    data, seen = checkerboard(20), list[Any]()
    aids = Aids(
        watch=lambda _, learned: seen.append(learned()), checkpoint=Checkpoint(folder, "key"), checkpoint_s=0
    )

    def dies(step: Any) -> None:
        if step.task == task and step.done == 3:
            raise KilledError

    with pytest.raises(KilledError):
        model.fit(data, seed=1, progress=dies, aids=aids)
    learned = learned_epochs(monkeypatch)
    resumed, whole = model.fit(data, seed=1, aids=aids), model.fit(data, seed=1)
    assert resumed.items.tobytes() == whole.items.tobytes()
    assert resumed.encoder.space_id == whole.encoder.space_id
    return learned, seen, resumed


def test_a_mixture_goes_on_in_the_part_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("mixture", {"parts": PARTS, "weights": (1.0, 0.0, 0.5, 0.7)})
    learned, seen, resumed = stopped_and_resumed(model, "learning bpr", tmp_path, monkeypatch)
    assert learned == [3, 4]
    assert seen == [resumed]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-0", "part-2"]


def test_a_narrowed_model_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("narrowed", {"wide": PARTS[3], "narrow": PARTS[0] | {"dim": 4}})
    learned, seen, _ = stopped_and_resumed(model, "learning softmax", tmp_path, monkeypatch)
    assert learned == [3, 4]
    assert len(seen) == 4


def test_each_part_of_a_mixture_starts_at_its_own_vectors() -> None:
    data, rng = checkerboard(20), np.random.default_rng(0)
    still = [part | STILL for part in (PARTS[0] | {"propagation": 0}, PARTS[3])]
    starts = [Start(*(rng.normal(size=(20, 8)).astype(np.float32) for _ in range(2))) for _ in range(2)]
    warm = Start(np.zeros((20, 0), np.float32), np.zeros((20, 0), np.float32), tuple(starts))
    learned = make_model("mixture", {"parts": still, "weights": (1, 1)}).fit(
        data, seed=1, aids=Aids(warm=warm)
    )
    unit = starts[0].items / np.linalg.norm(starts[0].items, axis=1, keepdims=True)
    np.testing.assert_allclose(learned.items, np.hstack([unit, starts[1].items]), rtol=1e-4, atol=1e-5)


def test_a_learner_of_the_users_own_need_not_take_aids() -> None:
    class Own:
        def fit(self, train: object, *, seed: int, progress: object = silent) -> str:
            return f"learned by {seed}"

    assert fit_with(Own(), checkerboard(4), seed=3, aids=Aids()) == "learned by 3"
