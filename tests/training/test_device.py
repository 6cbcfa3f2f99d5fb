"""A model is the same wherever it is learned: on a GPU where there is one, and on a second device made for
the test."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys.arrays import F32, Ragged
from recsys.errors import SettingError
from recsys.models.registry import make_model
from recsys.progress import Step
from recsys.training import device as devices
from recsys.training.adam import Adam
from recsys.training.bags import Bags, bag_sums
from recsys.training.checkpoint import Checkpoint
from recsys.training.loop import Aids
from tests.helpers.second_device import ELSEWHERE, SecondDevice
from tests.helpers.towers import BOTH, colour_checkerboard, everyone, fit_towers

SETTINGS: dict[str, Any] = BOTH | {"history": "before", "epochs": 4, "hidden": 6, "batch_size": 200}
GPU = [torch.device("cuda")] if torch.cuda.is_available() else []


@pytest.fixture(params=[ELSEWHERE, *GPU], ids=str)
def other(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A device that is not the host, where models learn by default."""
    monkeypatch.setattr(
        devices, "device", lambda wanted: torch.device("cpu") if wanted == "cpu" else request.param
    )
    with SecondDevice() if request.param == ELSEWHERE else nullcontext():
        yield request.param


def test_the_second_device_keeps_its_tensors_apart() -> None:
    with SecondDevice():
        there, here = torch.ones(3).to(ELSEWHERE), torch.ones(3)
        assert there.device != here.device
        with pytest.raises(RuntimeError, match="two devices"):
            there + here
        with pytest.raises(RuntimeError, match="two devices"):
            there.index_add_(0, torch.zeros(3, dtype=torch.int64), there)
        np.testing.assert_array_equal((there + here.to(ELSEWHERE)).cpu().numpy(), [2, 2, 2])
        assert float(there.new_full((2,), 3.0).sum()) == 6


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"similarity": "dot", "temperature": 1.0, "hidden": 0},
        {"negatives": 12, "sampler": "uniform", "propagation": 0.5, "log_q": False},
        {"sampler": "all", "history": "none", "item_features": ()},
    ],
    ids=["cosine", "dot", "uniform", "all"],
)
def test_a_model_learned_elsewhere_is_the_one_learned_here(
    settings: dict[str, Any], other: torch.device
) -> None:
    data = colour_checkerboard()
    here, there = (fit_towers(data, **(SETTINGS | settings | more)) for more in ({"device": "cpu"}, {}))
    np.testing.assert_allclose(there.items, here.items, atol=1e-4)
    users = everyone(data)
    np.testing.assert_allclose(there.encoder.encode(users)[0], here.encoder.encode(users)[0], atol=1e-4)
    untouched = fit_towers(data, **(SETTINGS | settings | {"learning_rate": 1e-9, "device": "cpu"}))
    assert np.abs(untouched.items - here.items).max() > 0.1


@pytest.mark.parametrize("more", [{}, {"negatives": 9, "similarity": "cosine"}])
def test_a_sequence_model_learned_elsewhere_is_the_one_learned_here(
    more: dict[str, Any], other: torch.device
) -> None:
    settings = {"dim": 8, "epochs": 2, "longest_history": 5, "precision": "float32", "dropout": 0.2} | more
    data = colour_checkerboard()
    here, there = (
        make_model("sequence", settings | {"device": where}).fit(data, seed=1) for where in ("cpu", "auto")
    )
    np.testing.assert_allclose(there.items, here.items, atol=1e-4)
    users = everyone(data)
    np.testing.assert_allclose(there.encoder.encode(users)[0], here.encoder.encode(users)[0], atol=1e-3)


def test_a_run_elsewhere_goes_on_from_its_checkpoint(tmp_path: Path, other: torch.device) -> None:
    model, data = make_model("two_tower", {"dim": 8, "epochs": 4, "batch_size": 64}), colour_checkerboard()
    aids, seen = Aids(checkpoint=Checkpoint(tmp_path / "state", "key"), checkpoint_s=0), []

    def stop(step: Step) -> None:
        if step.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(data, seed=1, progress=stop, aids=aids)
    resumed, whole = model.fit(data, seed=1, progress=seen.append, aids=aids), model.fit(data, seed=1)
    np.testing.assert_allclose(resumed.items, whole.items, atol=1e-5)
    assert len(seen) == 4
    assert np.load(tmp_path / "state" / "epoch-4" / "users_steps.npy").max() > 1


def test_sums_and_their_gradients_are_those_of_the_compiled_passes(other: torch.device) -> None:
    rng = np.random.default_rng(0)
    bags = Bags.of(Ragged(np.array([0, 3, 3, 7]), rng.integers(0, 5, 7)))  # the second sum is empty
    table, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((len(bags.rows), 4), 7))
    pull = rng.standard_normal((3, 4)).astype(np.float32)

    def sums_on(device: torch.device) -> list[F32]:
        values, weights = (torch.from_numpy(array).to(device).requires_grad_() for array in (table, weight))
        sums = bag_sums(bags, values, weights)
        gradients = torch.autograd.grad(sums, (values, weights), torch.from_numpy(pull).to(device))
        return [tensor.detach().cpu().numpy() for tensor in (sums, *gradients)]

    for here, there in zip(sums_on(torch.device("cpu")), sums_on(other), strict=True):
        np.testing.assert_allclose(there, here, atol=1e-6)


def test_adam_moves_the_rows_that_the_compiled_pass_moves(other: torch.device) -> None:
    rng = np.random.default_rng(0)
    start, pulls = (
        rng.standard_normal((6, 3)).astype(np.float32),
        rng.standard_normal((5, 2, 3)).astype(np.float32),
    )

    def steps_on(device: torch.device) -> list[F32]:
        adam = Adam(torch.from_numpy(start.copy()).to(device))
        for step, pull in enumerate(pulls):
            adam.step(torch.from_numpy(pull).to(device), 0.1, torch.tensor([step % 2, 4]).to(device))
        return [tensor.cpu().numpy() for tensor in adam.state("").values()]

    for here, there in zip(steps_on(torch.device("cpu")), steps_on(other), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)


def test_where_a_model_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert {devices.device("auto"), devices.device("cpu")} == {torch.device("cpu")}
    with pytest.raises(SettingError, match="torch sees no GPU here"):
        devices.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [devices.device(wanted) for wanted in ("auto", "cuda", "cpu")] == [
        torch.device("cuda", 1),
        torch.device("cuda", 1),
        torch.device("cpu"),
    ]
