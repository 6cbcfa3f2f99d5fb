"""What MLflow loads of a run answers tables as the service answers: from the run, from the registry, from a
copy."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import load
from recsys.bundle.write import write
from recsys.errors import RequestError, TrackingError
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.tracking import client, record, registry, store
from recsys.pipelines.tracking.lineage import flat, grouped_name, plain_name
from tests.helpers.bundles import START, content

pytestmark = pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|pydantic).*")

ASKED = [
    Question("u1", k=5, now=START),
    Question(None, [Event("i3", START), Event("i7")], k=4, deny=["i5"], now=START),
    Question("nobody", k=3, domain="books", now=START, reasons=0),
    Question("u2", allow=["i9", "i11", "i12"], now=START),
]
TABLE = pd.DataFrame(
    {
        "user_id": ["u1", None, "nobody", "u2"],
        "history": [None, [{"item_id": "i3", "timestamp": START}, {"item_id": "i7"}], None, None],
        "k": [5, 4, 3, None],
        "domain": [None, None, "books", None],
        "deny": [None, ["i5"], None, None],
        "allow": [None, None, None, ["i9", "i11", "i12"]],
        "now": [START] * 4,
        "reasons": [None, None, 0, None],
    },
    index=[7, 3, 5, 1],
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import mlflow

    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # `loaded` sets them: they end with the test
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield tmp_path
    mlflow.set_tracking_uri("")
    mlflow.set_registry_uri("")


def load_model(address: str) -> Any:
    import mlflow

    mlflow.set_tracking_uri(store.tracking_uri())
    mlflow.set_registry_uri(store.tracking_uri())
    return mlflow.pyfunc.load_model(address)


def test_what_mlflow_loads_answers_as_respond_does_and_the_bundle_is_stored_once(home: Path) -> None:
    folder = write(store.store() / "trained", content())
    run_id, _ = record.track(folder)
    artifacts = home / "mlruns/artifacts" / run_id / "artifacts"
    expected = [respond(load(folder), question) for question in ASKED]
    assert [len(reply.items) for reply in expected[:3]] == [5, 4, 3]

    def check(address: str) -> None:
        answers = load_model(address).predict(TABLE)
        assert answers.index.tolist() == [7, 3, 5, 1]
        for reply, row in zip(expected, answers.to_dict("records"), strict=True):
            assert row.pop("items") == [item._asdict() for item in reply.items]
            assert row == {key: value for key, value in vars(reply).items() if key != "items"}

    check(f"runs:/{run_id}/model")
    assert not list((home / "mlruns/artifacts").rglob("item_vectors.npy"))
    registry.promote(run_id, "champion")
    registry.promote(run_id, "challenger")
    shutil.rmtree(store.store() / "trained")
    assert [path.parent for path in home.rglob("item_vectors.npy")] == [artifacts / "model/bundle"]
    check("models:/recsys@champion")
    check(f"runs:/{run_id}/model")
    files = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in files if path.read_bytes()[:1] == b"\x80"]  # as pickles begin


def test_a_model_whose_bundle_is_gone_says_where_it_was(home: Path) -> None:
    run_id, folder = record.track(write(store.store() / "trained", content()))
    shutil.rmtree(folder)
    with pytest.raises(TrackingError, match=f"run {run_id} had a bundle at mlruns/trained/{folder.name} on "):
        load_model(f"runs:/{run_id}/model")


def test_a_wrong_question_is_refused_in_a_sentence(home: Path) -> None:
    run_id, _ = record.track(write(store.store() / "trained", content()))
    model = load_model(f"runs:/{run_id}/model")
    with pytest.raises(RequestError, match="k must be between 1 and"):
        model.predict(pd.DataFrame({"user_id": ["u1"], "k": [0]}))
    with pytest.raises(RequestError, match="column 'visitor' is unknown; columns are user_id, history"):
        model._model_impl.predict(pd.DataFrame({"visitor": ["u1"]}))


def test_metrics_are_logged_in_groups_and_read_by_either_spelling(home: Path) -> None:
    plain = {
        "ndcg_at_10": 0.5,
        "ndcg_at_10_low": 0.4,
        "popularity.ndcg_at_10": 0.3,
        "popularity.ndcg_at_10_high": 0.35,
        "learning_als.objective": 2.0,
    }
    groups = ["", "interval", "popularity", "interval", "learning_als"]
    assert [grouped_name(name).rpartition("/")[0] for name in plain] == groups
    assert (
        [plain_name(grouped_name(name)) for name in plain]
        == [plain_name(name) for name in plain]
        == list(plain)
    )
    run_id = client.start_run("shop", "als on clicks")
    client.finish_run(run_id, settings={}, tags={}, metrics=plain, curves={}, files=None)
    old = client.start_run("shop", "of an earlier version")
    with client.connection() as connected:
        for name, value in plain.items():
            connected.log_metric(old, name, value)
    assert client.run_of(run_id).metrics == client.run_of(old).metrics == plain


def test_all_settings_of_the_model_are_logged_and_those_of_the_world_only_with_it() -> None:
    films = flat(load_settings(None, ["data=films.csv", "model.dim=16"]).parameters())
    assert (films["model.name"], films["model.dim"], films["model.epochs"] > 0) == ("als", 16, True)
    assert not any(name.startswith("world.") for name in films)
    assert flat(load_settings(None, ["model=popularity"]).parameters())["world.users"] > 0
    assert np.isin(["model.name", "split.kind", "seed"], list(films)).all()
