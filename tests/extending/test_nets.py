"""Somebody else's net plugs into the user tower with its two classes alone: it learns, is saved, loaded and
served."""

from pathlib import Path

import numpy as np
import pytest

from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import load
from recsys.bundle.write import write
from recsys.encoders.encoder import load_encoder
from recsys.encoders.users import Users
from recsys.errors import BundleError, ModelError
from recsys.models.export import content_of
from recsys.models.towers.two_tower import TwoTower, TwoTowerFit, TwoTowerSettings
from recsys.testing.toys import dataset, random_log
from tests.extending.recency import LearnedRecency, Recency

SETTINGS = TwoTowerSettings(dim=8, epochs=4, batch_size=256, learning_rate=0.03, id_dropout=0.3)
LATER_S = 40 * 86_400


def test_a_net_of_theirs_learns_what_it_needs_and_serves_the_same_vectors() -> None:
    data = random_log(5, n_users=60, n_items=40, n=3_000)
    learner = TwoTowerFit(SETTINGS, data, 1, net=LearnedRecency)
    losses = [learner.epoch(number)["loss"] for number in range(SETTINGS.epochs)]
    assert losses[-1] < losses[0]
    assert abs(float(learner.user_tower.whole["pace"]) - 0.1) > 1e-3
    inputs = learner._users(np.arange(0, 3_000, 7), np.random.default_rng(0))
    assert inputs.now is not None
    assert (inputs.row == -1).any()
    served = learner.user_tower.export()
    np.testing.assert_allclose(served.vectors(inputs), learner.user_tower.forward(inputs).numpy(), atol=1e-5)


def test_it_is_served_from_a_bundle_by_the_entry_point_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_log(5, n_users=60, n_items=40, n=3_000)
    learned = TwoTower(SETTINGS, LearnedRecency).fit(data, seed=1)
    content = content_of("two_tower", learned, data)
    with pytest.raises(BundleError, match=r"a net of kind 'recency'.*knows bag.*'recsys\.nets'.*Install"):
        write(tmp_path / "bundles", content)
    installed = tmp_path / "site" / "recency-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: recency\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[recsys.nets]\nrecency = tests.extending.recency:Recency\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    bundle = load(write(tmp_path / "bundles", content))
    assert respond(bundle, Question(None, [Event(data.item_ids[7])], k=5)).source == "history"
    encoder = load_encoder(bundle.path / "encoder", learned.items)
    assert isinstance(encoder.net, Recency)
    assert encoder.needs >= {"time", "now"}
    past = data.interactions.histories()
    last = past.time[past.items.offsets[1:] - 1]
    soon, late = (Users.of_rows(np.arange(60), past, now=last + wait) for wait in (0, LATER_S))
    np.testing.assert_array_equal(encoder.encode(soon).vectors, learned.encoder.encode(soon).vectors)
    assert np.abs(encoder.encode(soon).vectors - encoder.encode(late).vectors).max() > 0.01


def test_data_without_what_a_net_needs_are_refused() -> None:
    data = dataset(np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20), 20, 10)
    with pytest.raises(ModelError, match=r"the net needs now, time of events, and those of .* have none"):
        TwoTower(SETTINGS, LearnedRecency).fit(data, seed=1)
