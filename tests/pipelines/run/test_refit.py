"""`refit=true`: what is published has learned from all events; what is reported is what was judged."""

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from recsys.answers.question import Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import Bundle, load
from recsys.errors import DataError
from recsys.pipelines.cli import main
from recsys.pipelines.console import Steps
from recsys.pipelines.doctor import describe_diagnosis, diagnose
from recsys.pipelines.run.evaluate import evaluate_bundle
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import RunSettings, load_settings
from recsys.pipelines.run.train import Trained, metrics_of, train
from tests.helpers.command_line import answer, recsys

pytestmark = pytest.mark.slow

SMALL = ["model.dim=6", "model.epochs=3", "baselines_days=[]"]
KINDS = ["global_time", "later_half", "leave_last_out", "published"]
START, N = 1_700_000_000, 1_500


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    return tmp_path


def write_log(folder: Path, kind: str, more: int = 0) -> Path:
    """A log whose last events hold the only ones of the item `fresh` and, but for one of the user `late`, of
    theirs."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in rng.integers(50, size=N + more)],
            "item_id": [f"i{item}" for item in rng.integers(40, size=N + more)],
            "timestamp": START + 600 * np.arange(N + more),
        }
    )
    ends = pd.DataFrame(
        {
            "user_id": ["u0", "u1", "u2", "late", "late", "late", "late"],
            "item_id": ["fresh", "fresh", "fresh", "i1", "i2", "i3", "fresh"],
            "timestamp": START + 600 * N - 60 + np.arange(7),
        }
    )
    frame = pd.concat([frame, ends]).sort_values("timestamp", kind="stable").reset_index(drop=True)
    path = folder / f"{kind}{more}.parquet"
    if kind == "published":
        path.with_suffix("").mkdir()
        learn, judge = frame[: N - 150], frame[N - 150 :]
        learn.drop(columns="timestamp").to_parquet(path.with_suffix("") / "train.parquet")
        judge.drop(columns="timestamp").to_parquet(path.with_suffix("") / "test.parquet")
        return path.with_suffix("")
    frame.to_parquet(path)
    return path


def ran(path: Path, kind: str, *assignments: str) -> tuple[RunSettings, Trained, Steps]:
    settings = load_settings(None, [*SMALL, f"data={path}", f"split.kind={kind}", *assignments])
    steps = Steps(quiet=True)
    return settings, train(prepare(settings, steps)), steps


def open_bundle(trained: Trained) -> Bundle:
    assert trained.bundle is not None
    return load(trained.bundle)


def knows(bundle: Bundle, item: str) -> bool:
    return bool(bundle.norms[bundle.item_ids.index(item)] > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refitted_bundle_knows_what_was_judged_and_the_figures_are_those_of_before(
    home: Path, untracked_home: None, kind: str
) -> None:
    path = write_log(home, kind)
    _, once, _ = ran(path, kind)
    settings, twice, steps = ran(path, kind, "refit=true")
    assert metrics_of(twice.measured) == metrics_of(once.measured)
    assert twice.table.startswith(once.table)
    assert "Refit: the bundle's model learned again, from all 1,507 events." in twice.table
    assert steps.seconds.keys() >= {"learn", "learn again"}
    before, after = open_bundle(once), open_bundle(twice)
    assert (knows(before, "fresh"), knows(after, "fresh")) == (False, True)
    assert after.manifest["counts"]["events"] == N + 7
    assert "fresh" in [item.item_id for item in respond(after, Question("u9", k=41)).items]
    if kind != "leave_last_out":  # there everybody keeps an event to learn from
        sources = [respond(bundle, Question("late")).source for bundle in (before, after)]
        assert sources == ["fallback", "known"]
    lineage = after.manifest["lineage"]
    assert lineage["refit"] is True
    assert lineage["train"]["events"] == N + 7
    assert lineage["measured"]["train"] == before.manifest["lineage"]["train"]
    assert lineage["measured"]["train"]["events"] < N
    assert not {"refit", "measured"} & set(before.manifest["lineage"])
    unlearned = before.manifest["lineage"]["unlearned"]
    assert unlearned["events"] == N + 7 - before.manifest["lineage"]["train"]["events"] > 0
    assert lineage["unlearned"] == {"events": 0, "days": None}
    texts = [CliRunner().invoke(main, ["export", str(bundle.path)]).output for bundle in (before, after)]
    assert f"It has not learned {unlearned['events']:,} events" in texts[0]
    assert "refit=true" in texts[0]
    assert "not learned" not in texts[1]
    if kind == "global_time":
        last = START + 600 * N - 54
        assert unlearned["days"] == (last - before.manifest["lineage"]["train"]["last"]) / 86_400
        assert f"events of the last {unlearned['days']:.1f} days" in texts[0]
    diagnosis = diagnose(after, START + 600 * N)
    assert (diagnosis.measures["train_serve_skew"], diagnosis.measures["fallback_skew"]) == (0, 1)
    assert after.bundle_id in describe_diagnosis(after, diagnosis)
    with pytest.raises(
        DataError, match=r"refit=true\), the judged ones among them: it has seen the answers\..*allow_leaks"
    ):
        evaluate_bundle(prepare(settings, Steps(quiet=True)), after)
    leaking = settings.model_copy(update={"split": settings.split.model_copy(update={"allow_leaks": True})})
    _, flattered = evaluate_bundle(prepare(leaking, Steps(quiet=True)), after)
    _, honest = evaluate_bundle(prepare(settings, Steps(quiet=True)), before)
    assert len(flattered.source) == len(honest.source)
    assert honest.interval("ndcg_at_10").mean == once.measured.report.interval("ndcg_at_10").mean


def test_a_refitted_bundle_is_judged_on_what_came_after_its_events(home: Path, untracked_home: None) -> None:
    _, trained, _ = ran(write_log(home, "global_time"), "global_time", "refit=true")
    bundle = open_bundle(trained)
    newer = load_settings(
        None, [*SMALL, f"data={write_log(home, 'global_time', more=N)}", "split.kind=global_time"]
    )
    _, report = evaluate_bundle(prepare(newer, Steps(quiet=True)), bundle)
    assert report.interval("ndcg_at_10").mean >= 0
    by_parts = load_settings(
        None, [*SMALL, f"data={write_log(home, 'global_time', more=N)}", "split.kind=leave_last_out"]
    )
    with pytest.raises(DataError, match="has seen the answers"):
        evaluate_bundle(prepare(by_parts, Steps(quiet=True)), bundle)


def test_a_bundle_is_judged_on_data_that_grew_with_a_warning(
    home: Path, untracked_home: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_log(home, "global_time")
    settings, trained, _ = ran(path, "global_time")
    evaluate_bundle(prepare(settings, Steps(quiet=True)), open_bundle(trained))
    assert "was made of" not in capsys.readouterr().err
    frame = pd.read_parquet(path)
    pd.concat([frame, frame.tail(3).assign(timestamp=frame["timestamp"].max() + 60)]).to_parquet(path)
    evaluate_bundle(prepare(settings, Steps(quiet=True)), open_bundle(trained))
    said = capsys.readouterr().err
    wanted = (
        f"{path.name} is not what bundle {open_bundle(trained).bundle_id} was made of (1,507 events; 1,510 "
        "events now)"
    )
    assert wanted in said
    other = load_settings(
        None, [*SMALL, f"data={write_log(home, 'global_time', more=N)}", "split.kind=global_time"]
    )
    evaluate_bundle(prepare(other, Steps(quiet=True)), open_bundle(trained))  # other data are not what grew
    assert "was made of" not in capsys.readouterr().err


def test_a_model_without_vectors_does_not_learn_again_for_nothing(home: Path, untracked_home: None) -> None:
    model = ["model.name=item_knn"]
    settings = load_settings(
        None, [*model, f"data={write_log(home, 'global_time')}", "refit=true", "baselines_days=[]"]
    )
    steps = Steps(quiet=True)
    trained = train(prepare(settings, steps))
    assert trained.bundle is None
    assert "learn again" not in steps.seconds
    assert "Refit" not in trained.table


def test_the_run_says_in_a_tag_what_its_bundle_learned_from(home: Path) -> None:
    path = write_log(home, "global_time")
    run = answer(recsys(home, "train", str(path), *SMALL, "split.kind=global_time", "refit=true", "--json"))
    with sqlite3.connect(home / "mlruns/mlflow.db") as store:
        tags = dict(store.execute("select key, value from tags where run_uuid = ?", (run["run_id"],)))
        metrics = {
            key for (key,) in store.execute("select key from metrics where run_uuid = ?", (run["run_id"],))
        }
    store.close()
    assert tags["refit"] == "True"
    assert int(tags["measured.train.events"]) < int(tags["train.events"]) == N + 7
    assert {"learning_als/objective", "learning_als_again/objective"} <= metrics
    table = home / "mlruns/artifacts" / run["run_id"] / "artifacts/table.md"
    assert "from all 1,507 events" in table.read_text()
    said = recsys(home, "evaluate", run["bundle"], rc=2)
    assert "it has seen the answers" in said.stderr.strip().splitlines()[-1]
    assert "Traceback" not in said.stderr
