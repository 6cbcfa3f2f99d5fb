"""The seen policy and the models without vectors along the whole line: run, table, bundle, service,
refusal."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.bundle.manifest import read_manifest
from recsys.bundle.write import publish
from recsys.errors import SettingError
from recsys.pipelines.run.settings import load_settings
from tests.helpers.command_line import TINY, answer, recsys
from tests.helpers.seen import DAY, NAMES, STATED, make_content
from tests.helpers.service import running

pytestmark = pytest.mark.slow
SEEN = '{policy="cooldown_days", days=3, events=["buy"]}'


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events with types, of people who come back to what they had: each to five items of their own, all the
    time."""
    rng = np.random.default_rng(1)
    folder = tmp_path_factory.mktemp("log")
    with (folder / "events.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["user_id", "item_id", "timestamp", "event"])
        for at in range(6000):
            user = rng.integers(80)
            item = user * 3 + rng.integers(5) if rng.random() < 0.9 else rng.integers(245)
            out.writerow([f"u{user}", f"i{item}", 1_700_000_000 + 600 * at, rng.choice(["view", "buy"])])
    return folder / "events.csv"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_a_run_with_a_policy_by_event_type_has_the_own_row_and_states_it_in_its_bundle(
    log: Path, home: Path
) -> None:
    said = answer(recsys(home, "train", str(log), *TINY, "split.repeats=true", f"seen={SEEN}", "--json"))
    means = {name: row["ndcg_at_10"]["mean"] for name, row in said["metrics"].items()}
    assert max(means, key=means.__getitem__) in ("own_history", "als")
    assert means["own_history"] > 5 * means["popularity"]
    manifest = read_manifest(Path(said["bundle"]))
    assert manifest["seen"] == {"policy": "cooldown_days", "days": 3.0, "events": ["buy"]}
    assert sorted(manifest["event_names"]) == ["buy", "view"]
    again = answer(recsys(home, "evaluate", said["bundle"], "--json"))  # the same policy, from the manifest
    metrics = again["metrics"]
    own = metrics.get("ndcg_at_10") or next(iter(metrics.values()))["ndcg_at_10"]
    assert own["mean"] == pytest.approx(said["metrics"]["als"]["ndcg_at_10"]["mean"])


@pytest.mark.parametrize(
    ("seen", "hopeless"),
    [
        (["seen=exclude"], True),
        (["prepare.target_event=buy"], True),
        (["prepare.target_event=buy", 'seen={events=["view"]}'], False),
        (['seen={events=["view"]}'], False),
        (['seen={events={buy="allow"}}'], False),
        (['seen={events={buy="exclude"}}'], True),
        (['seen={domains={food="allow"}}'], False),
        ([f"seen={SEEN}"], False),
    ],
)
def test_repeats_that_no_answer_may_hold_are_refused(seen: list[str], hopeless: bool) -> None:
    assert load_settings(None, seen).split.repeats is False
    if hopeless:
        with pytest.raises(SettingError, match="none can be hit"):
            load_settings(None, [*seen, "split.repeats=true"])
    else:
        assert load_settings(None, [*seen, "split.repeats=true"]).split.repeats


@pytest.mark.parametrize("model", ["ease", "own_history"])
def test_a_model_without_vectors_is_judged_and_logged_and_not_exported(
    log: Path, home: Path, model: str
) -> None:
    said = answer(recsys(home, "train", str(log), f"model.name={model}", "--json"))
    assert said["bundle"] is None
    assert any(name.startswith(model) for name in said["metrics"])
    refused = recsys(home, "export", said["run_id"], rc=2)
    assert f"{model} learns no vectors, so it can be judged but not exported" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((home / "mlruns" / "trained").glob("*without-bundle*"))


def test_a_policy_that_the_data_cannot_keep_is_refused_before_anything_is_written(
    log: Path, tmp_path: Path
) -> None:
    refused = recsys(tmp_path, "train", str(log), *TINY, 'seen={events=["purchase"]}', rc=2)
    assert "seen.events names 'purchase', which the data do not have; theirs are: buy, view" in refused.stderr
    assert not (tmp_path / "mlruns" / "trained").exists()


def test_a_service_keeps_the_policy_by_type_and_time(tmp_path: Path) -> None:
    publish(tmp_path / "root", make_content(STATED))
    import time

    now = int(time.time())
    with running(tmp_path / "root", tmp_path / "exposures.jsonl") as service:

        def has_item(**event: Any) -> bool:
            body = {"history": [{"item_id": "i6", **event}], "k": 40}
            return "i6" in [item["item_id"] for item in service.recommend(**body)["items"]]

        assert not has_item(timestamp=now - 60, event="view")
        assert has_item(timestamp=now - 60, event="rate")
        assert has_item(timestamp=now - 2 * DAY, event="view")
        assert not has_item()
        model = service.ask("GET", "/v1/model").json
    assert model["seen"] == {
        "policy": "cooldown_days",
        "days": 1.0,
        "events": ["buy", "view"],
        "domains": {"books": {"events": ["buy"]}},
    }
    assert NAMES == ("view", "buy", "rate")
