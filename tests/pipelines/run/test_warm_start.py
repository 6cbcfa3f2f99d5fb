"""The warm start: what of an earlier bundle a run begins at, what it refuses, and that it gets there
sooner."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.arrays import F32
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.write import write
from recsys.data.dataset import Dataset
from recsys.encoders.users import Users
from recsys.errors import SettingError
from recsys.ids import IdMap
from recsys.models.export import content_of
from recsys.models.registry import make_model
from recsys.models.towers.two_tower import TwoTowerFit, TwoTowerSettings
from recsys.models.warm_start import start_of
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.run.train import Trained, train
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.toys import dataset
from tests.pipelines.run.conftest import untracked_in

pytestmark = pytest.mark.slow

MODELS: dict[str, dict[str, Any]] = {
    "als": {"dim": 8, "epochs": 4},
    "bpr": {"dim": 8, "epochs": 20, "batch_size": 64},
    "softmax": {"dim": 8, "epochs": 8, "batch_size": 8},
    "two_tower": {"dim": 8, "epochs": 8, "batch_size": 64, "history": "others"},
    "variational": {"dim": 9, "epochs": 8, "batch_size": 8},
}
N_OLD, N_NEW = 40, 44  # users and items, before and after


@pytest.fixture(autouse=True)
def home(untracked_home: Path) -> Path:
    return untracked_home


def later(turned: bool = True) -> Dataset:
    """Users and items of two tastes, by parity; `turned`: in the opposite order, so that nobody keeps their
    number."""
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(N_NEW), np.arange(N_NEW), indexing="ij"))
    had = ((user + item) % 2 == 0) & ((user * 7 + item * 3) % 5 > 0)
    user, item = user[had], item[had]
    if not turned:
        return dataset(user, item, N_NEW, N_NEW)
    data = dataset(N_NEW - 1 - user, N_NEW - 1 - item, N_NEW, N_NEW)
    users, items = (IdMap.of([f"{letter}{row}" for row in reversed(range(N_NEW))]) for letter in "ui")
    return dataclasses.replace(data, user_ids=users, item_ids=items)


def before() -> Dataset:
    """The first users and items of `later`."""
    events = later(turned=False).interactions
    kept = (events.user < N_OLD) & (events.item < N_OLD)
    return dataset(events.user[kept], events.item[kept], N_OLD, N_OLD)


def learn_bundle(
    folder: Path, name: str, settings: dict[str, Any], data: Dataset
) -> tuple[Embeddings, Bundle]:
    learned = make_model(name, settings).fit(data, seed=1)
    assert isinstance(learned, Embeddings)
    return learned, load(write(folder, content_of(name, learned, data)))


def cosine(left: F32, right: F32) -> Any:
    return (left * right).sum(-1) / np.linalg.norm(left, axis=-1) / np.linalg.norm(right, axis=-1)


@pytest.mark.parametrize("name", MODELS)
def test_old_ids_keep_their_rows_and_new_ones_begin_where_their_taste_is(tmp_path: Path, name: str) -> None:
    learned, bundle = learn_bundle(tmp_path, name, MODELS[name], before())
    start = start_of(bundle, later())
    users, items = start.users[::-1], start.items[::-1]  # numbered again as `before` numbers them
    assert users.shape == items.shape == (N_NEW, 8)
    np.testing.assert_array_equal(items[:N_OLD], learned.items[:, :8])
    known, _ = learned.encoder.encode(Users.of_rows(np.arange(N_OLD), before().interactions.histories()))
    np.testing.assert_allclose(users[:N_OLD], known[:, :8], atol=1e-6)
    for new in range(N_OLD, N_NEW):
        alike = np.arange(new % 2, N_OLD, 2)
        other = np.arange(1 - new % 2, N_OLD, 2)
        for rows in (users, items):
            assert (
                cosine(rows[new], rows[alike].mean(axis=0))
                > cosine(rows[new], rows[other].mean(axis=0)) + 0.3
            )
    lengths = np.linalg.norm(items, axis=1)
    assert lengths[N_OLD:].mean() == pytest.approx(lengths[:N_OLD].mean(), rel=0.5)


def test_what_has_nothing_to_do_with_the_bundle_has_no_row(tmp_path: Path) -> None:
    _, bundle = learn_bundle(tmp_path, "softmax", MODELS["softmax"], before())
    stranger = dataset(np.repeat([0, 1], 3), np.array([0, 1, 2, 3, 4, 5]), 2, 6)
    stranger = dataclasses.replace(stranger, user_ids=IdMap.of(["u3", "x"]), item_ids=IdMap.of([*"abcdef"]))
    start = start_of(bundle, stranger)
    assert start.users.any(axis=1).tolist() == [True, False]
    assert start.items.any(axis=1).tolist() == [True, True, True, False, False, False]


def test_a_mixture_starts_part_by_part_and_what_cannot_start_has_no_start(tmp_path: Path) -> None:
    parts = [
        {"name": "softmax", **MODELS["softmax"]},
        {"name": "popularity"},
        {"name": "bpr", **MODELS["bpr"]},
    ]
    learned, bundle = learn_bundle(tmp_path, "mixture", {"parts": parts, "weights": [1, 1, 2]}, before())
    softmax, popularity, bpr = start_of(bundle, later()).parts
    assert softmax is not None
    assert popularity is None
    assert bpr is not None
    np.testing.assert_array_equal(softmax.items[::-1][:N_OLD], learned.items[:, :8])
    np.testing.assert_array_equal(bpr.items[::-1][:N_OLD], learned.items[:, 9:])
    last = learned.encoder.parts[2]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(bpr.users[::-1][:N_OLD], last.table)


@pytest.mark.parametrize("features", [False, True])
def test_a_tower_begins_at_the_space_of_the_bundle_and_not_at_the_spectrum(
    tmp_path: Path, features: bool
) -> None:
    """Before any step its vectors of users and items are those that it starts from, features or none."""
    settings = MODELS["two_tower"] | {"propagation": 0.2}
    data = later()
    if features:
        settings |= {"item_features": [{"column": "item_id"}]}
    _, bundle = learn_bundle(tmp_path, "two_tower", MODELS["two_tower"] | {"propagation": 0.2}, before())
    start = start_of(bundle, data)
    learned = TwoTowerFit(TwoTowerSettings(**settings), data, 1, start).finish()
    users, _ = learned.encoder.encode(Users.of_rows(np.arange(N_NEW), data.interactions.histories()))
    assert np.median(cosine(users, start.users)) > 0.95
    assert np.median(cosine(learned.items, start.items)) > 0.95


WORLD = ["world.users=300", "world.items=120", "baselines_days=[]"]
SOFTMAX = ["model.name=softmax", "model.dim=8", "model.batch_size=32"]


def ran(*assignments: str) -> Trained:
    return train(prepare(load_settings(None, [*WORLD, *assignments]), Steps(quiet=True)))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a softmax run on the first 80 % of a world's events."""
    with untracked_in(tmp_path_factory.mktemp("earlier")):
        bundle = ran(*SOFTMAX, "judge=validation").bundle
    assert bundle is not None
    return bundle


def test_a_warm_run_starts_near_its_end_and_states_where_it_started(earlier: Path) -> None:
    """With steps of almost nothing the run's figures are those of its start."""
    still = [*SOFTMAX, "model.epochs=1", "model.learning_rate=1e-9"]
    cold, warm = ran(*still, "model.initial=random"), ran(*still, f"warm={earlier}")
    figures = [run.measured.report.interval("ndcg_at_10").mean for run in (cold, warm)]
    assert figures[1] > 1.5 * figures[0]
    assert warm.bundle is not None
    lineage = load(warm.bundle).manifest["lineage"]
    assert lineage["warm"] == earlier.name
    assert lineage["settings"]["warm"] == str(earlier)
    assert cold.bundle is not None
    assert "warm" not in load(cold.bundle).manifest["lineage"]


@pytest.mark.parametrize(
    ("assignments", "reason"),
    [
        (["model.name=spectral"], "spectral does not learn in steps"),
        (["model.name=popularity"], "popularity does not learn in steps"),
        (
            ["model.name=mixture", "model.parts=[{name='spectral'}]", "model.weights=[1]"],
            "mixture does not learn in",
        ),
        (
            ["model.name=mixture", "model.parts=[{name='softmax', dim=8}]", "model.weights=[1]"],
            "is no mixture of 1 models",
        ),
        (
            ["model.name=softmax", "model.dim=16"],
            "holds vectors of dim 8 for softmax, whose dim is 16. Set dim to 8",
        ),
        ([*SOFTMAX, "split.test=0.4"], "would flatter the figures of this run: .* it has seen the answers"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused_before_learning(
    earlier: Path, assignments: list[str], reason: str, home: Path
) -> None:
    with pytest.raises(SettingError, match=reason):
        ran(*assignments, f"warm={earlier}")
    assert not (home / "mlruns").exists()


def test_a_bundle_that_is_not_there_is_named(home: Path) -> None:
    with pytest.raises(SettingError, match=r"setting 'warm': .*has no runs yet"):
        ran(*SOFTMAX, "warm=nowhere")


def test_another_kind_of_bundle_is_refused(home: Path) -> None:
    other = ran("model.name=als", "model.dim=8", "model.epochs=1", "judge=validation").bundle
    with pytest.raises(
        SettingError, match=r"\(als\) has an encoder of kind 'solve', and softmax starts from 'bag'"
    ):
        ran(*SOFTMAX, f"warm={other}")


def test_leaks_may_be_allowed(earlier: Path) -> None:
    assert ran(
        *SOFTMAX, "model.epochs=1", "split.test=0.4", "split.allow_leaks=true", f"warm={earlier}"
    ).bundle
