"""The search: better than chance, on validation alone, resumed after a kill to the same trials, ended in a
config."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from recsys.data.split.holdout import Split
from recsys.errors import ModelError, SettingError, TrackingError
from recsys.pipelines.cli import main
from recsys.pipelines.console import Steps
from recsys.pipelines.run import question
from recsys.pipelines.run.checkpoints import folder_of, key_of
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.search.space import search_space
from recsys.pipelines.search.study import open_study
from recsys.pipelines.search.trial import Judge
from recsys.pipelines.search.tune import Asked, Tuned, tune, validation_of
from recsys.pipelines.tracking import address, client
from tests.helpers.command_line import answer
from tests.helpers.tuned import EPOCHS_SEEN

ROOT = Path(__file__).parents[3]
TOY = "tests.helpers.tuned:Peak"
WORLD = ["world.users=300", "world.items=80"]
pytestmark = pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|optuna).*")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


def search(
    *space: str,
    data: str = "world",
    more: tuple[str, ...] = (),
    model: dict[str, Any] | None = None,
    **asked: Any,
) -> Tuned:
    settings = load_settings(
        None, [*(WORLD if data == "world" else ()), *more], data=data, model={"name": TOY, **(model or {})}
    )
    run = question.prepare(validation_of(settings), Steps(quiet=True))
    return tune(run, search_space(TOY, settings.model_settings, space), Asked(**asked))


@pytest.fixture(scope="module")
def tuning(home: Path) -> Tuned:
    return search("x=0:9", trials=14, prune=False)


@pytest.mark.slow
def test_the_search_finds_what_is_good(tuning: Tuned) -> None:
    """Figures fall with the distance of x from 3, and the search ends nearer to it than a third of the
    range."""
    assert [trial.place for trial in tuning.trials] == list(range(1, 15))
    assert {trial.state for trial in tuning.trials} == {"done"}
    off = [abs(trial.values["x"] - 3) for trial in tuning.trials]
    means = [trial.mean for trial in tuning.trials]
    assert np.corrcoef(off, means)[0, 1] < -0.8
    assert tuning.best.mean == max(means) > min(means)
    assert abs(tuning.best.values["x"] - 3) < 1
    assert (tuning.trials[0].values, tuning.trials[0].facts["start"]) == ({"x": 8.0}, True)
    assert not any(trial.facts["start"] for trial in tuning.trials[1:])
    kept = [
        np.load(address.artifact_of(trial.facts["run_id"], "values.npz"))["ndcg_at_20"]
        for trial in (tuning.best, tuning.trials[0])
    ]
    gap = kept[0] - kept[1]
    error = gap.std(ddof=1) / len(gap) ** 0.5
    assert f"Above the settings as given by {gap.mean():.4f}, standard error {error:.4f}" in tuning.text


def test_a_search_refuses_a_run_that_asks_the_test_part(home: Path) -> None:
    run = question.prepare(load_settings(None, WORLD, model={"name": TOY}), Steps(quiet=True))
    with pytest.raises(SettingError, match="judge=test: a search reads the validation part only"):
        tune(run, search_space(TOY, {}, ()), Asked(trials=1))


def test_a_trial_has_a_model_and_an_id_of_its_own_and_leaves_its_run_as_it_was(home: Path) -> None:
    run = replace(question.prepare(load_settings(None, WORLD), Steps(quiet=True)), run_id="whole")
    key, before = key_of(run), run.settings.model_dump()
    trial = run.trial({"dim": 7}, "trial 1")
    assert (trial.settings.model_name, trial.run_id) == (run.settings.model_name, "trial 1")
    assert trial.learner().settings.dim == 7
    assert trial.holdout is run.holdout
    assert folder_of(trial) != folder_of(run)
    assert (run.run_id, key_of(run), run.settings.model_dump()) == ("whole", key, before)


@pytest.mark.slow
def test_the_config_is_taken_and_gives_the_figure_that_it_states(tuning: Tuned) -> None:
    settings = load_settings(str(tuning.config), [])
    assert settings.model == {"name": TOY, "x": tuning.best.values["x"]}
    assert settings.judge == "test"
    assert settings.world.users == 300
    head = tuning.config.read_text()
    assert "# Command: recsys train world -c " in head
    assert f"{tuning.figures['mean']:.4f}" in head
    run = question.prepare(validation_of(settings), Steps(quiet=True))
    result = Judge(run, "ndcg_at_20").try_settings(run.trial(tuning.model))
    assert result.interval.mean == pytest.approx(tuning.figures["mean"], abs=1e-12)


@pytest.mark.slow
def test_trials_are_runs_nested_in_one_and_apart_from_those_of_training(tuning: Tuned) -> None:
    assert client.runs() == []  # `last` and the list are those of training
    runs = {run.run_id: run for run in client.runs("recsys/trials", 100)}
    nested = [run for run in runs.values() if run.tags.get("mlflow.parentRunId") == tuning.run_id]
    assert len(nested) == len(tuning.trials) == 14
    for trial in tuning.trials:
        run = runs[trial.facts["run_id"]]
        assert run.metrics["ndcg_at_20"] == trial.mean
        assert (run.metrics["ndcg_at_20_low"], run.metrics["epochs"]) == (trial.facts["low"], 8)
        assert float(run.params["model.x"]) == trial.values["x"]
    for name in (
        tuning.config.name,
        tuning.config.with_suffix(".png").name,
        tuning.config.with_suffix(".md").name,
    ):
        assert address.artifact_of(str(tuning.run_id), name).stat().st_size > 100
    with np.load(address.artifact_of(tuning.best.facts["run_id"], "values.npz")) as stored:
        assert stored["ndcg_at_20"].mean() == pytest.approx(tuning.best.mean)


@pytest.mark.slow
def test_a_finished_search_is_not_learned_again_but_goes_on_when_more_is_asked_for(
    tuning: Tuned, home: Path
) -> None:
    EPOCHS_SEEN.clear()
    again = search("x=0:9", trials=14, prune=False)
    assert EPOCHS_SEEN == []
    assert again.trials == tuning.trials
    wider = search("x=0:9.4", trials=15, prune=False)
    assert wider.trials[:14] == tuning.trials
    assert len(wider.trials) == 15
    assert wider.run_id == tuning.run_id
    anew = search("x=0:9", trials=2, prune=False, anew=True)
    assert [trial.values for trial in anew.trials] == [trial.values for trial in tuning.trials[:2]]


@pytest.mark.slow
def test_hopeless_trials_are_pruned_and_the_best_is_not(home: Path) -> None:
    EPOCHS_SEEN.clear()
    result = search("x=0:9", "colour=red", trials=16)
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert len(pruned) >= 2
    assert result.best.state == "done"
    for trial in pruned:
        assert abs(trial.values["x"] - 3) > abs(result.best.values["x"] - 3)
        assert 4 <= trial.facts["epochs"] < 8  # not before half of them
        last = max(epoch for x, epoch in EPOCHS_SEEN if x == trial.values["x"])
        assert last == trial.facts["epochs"]
    assert f"{len(pruned)} pruned" in result.text


@pytest.mark.slow
def test_a_trial_that_cannot_learn_is_a_failed_one_with_its_reason(home: Path) -> None:
    result = search("x=5:10", "colour=green", model={"x": 9.9}, trials=6)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert result.trials[0] in failed
    assert all("diverged" in trial.facts["reason"] for trial in failed)
    assert len(result.trials) == 6
    assert "diverged" in result.text
    assert client.run_of(failed[0].facts["run_id"]).status == "FAILED"
    with pytest.raises(ModelError, match=r"no trial .* diverged at x"):
        search("x=9.6:9.9", model={"x": 9.7, "epochs": 3}, trials=2)


@pytest.mark.slow
def test_a_bug_ends_the_search_once_and_is_not_met_again(home: Path) -> None:
    for _ in range(8):
        try:
            result = search("x=0:9", "colour=bug", model={"x": 5.0}, trials=4)
            break
        except KeyError:
            pass
    assert len(result.trials) == 4
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert failed
    assert all(trial.values["x"] > 6.5 and "a bug" in trial.facts["reason"] for trial in failed)


@pytest.mark.slow
def test_the_best_epoch_is_recorded_and_written(home: Path) -> None:
    result = search("x=2:4", model={"x": 3.0, "peak": 4, "epochs": 12}, trials=3)
    assert result.best.facts["epochs"] == 4
    settings = load_settings(str(result.config), [])
    assert settings.model["epochs"] == 4
    assert result.figures["mean"] == pytest.approx(
        result.best.mean
    )  # learned again with 4 epochs; the noise is the same


@pytest.mark.slow
def test_an_epoch_that_cannot_be_had_alone_is_not_written(home: Path) -> None:
    """With 4 epochs this model's schedule is another one: all 12 are better, and what is written was
    measured."""
    model = {"x": 3.0, "peak": 4, "epochs": 12, "by_schedule": True}
    result = search("x=2:4", model=model, trials=2)
    assert result.best.facts["epochs"] == 4
    assert result.model["epochs"] == load_settings(str(result.config), []).model["epochs"] == 12
    assert result.figures["mean"] < result.best.mean
    assert "Learned again with epochs = 12" in result.text


@pytest.mark.slow
def test_the_test_part_is_not_touched(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither read as a part nor felt: with the items of its events exchanged, every figure stays the
    same."""
    rng = np.random.default_rng(4)
    n, late = 4_000, 400
    user, item = rng.integers(0, 80, n), rng.zipf(1.3, n) % 60
    user[:80], item[:60] = np.arange(80), np.arange(60)
    exchanged = np.concatenate([item[: n - late], rng.permutation(item[n - late :])])
    for name, items in (("one", item), ("other", exchanged)):
        lines = [
            f"u{u},i{i},{1_700_000_000 + 60 * at}" for at, (u, i) in enumerate(zip(user, items, strict=True))
        ]
        (tmp_path / f"{name}.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n")

    class Sealed(Split):
        @property
        def test(self):
            raise AssertionError("the search reads the test part")

        @test.setter
        def test(self, value):
            pass

    def split_sealed(*arguments: Any, **named: Any) -> Any:
        parts = split(*arguments, **named)
        sealed = object.__new__(Sealed)
        sealed.__dict__.update(title=parts.title, validation=parts.validation)
        return sealed

    split = question.split
    monkeypatch.setattr(question, "split", split_sealed)
    searches = [search("x=0:9", data=str(tmp_path / f"{name}.csv"), trials=4) for name in ("one", "other")]
    first, second = ([(trial.values, trial.mean) for trial in one.trials] for one in searches)
    assert first == second
    assert searches[0].name != searches[1].name  # other data, another search
    with pytest.raises(AssertionError, match="reads the test part"):
        question.prepare(load_settings(None, [], data=str(tmp_path / "one.csv")), Steps(quiet=True))


def test_a_database_that_refuses_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns/tune.db").write_text("no database, and longer than a header of one would be" * 9)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    with pytest.raises(TrackingError, match=r"tune\.db, which keeps the trials, refused: .*not a database"):
        open_study("any", search_space(TOY, {}).space, seed=1, prune=True).__enter__()


def test_a_second_process_at_the_same_search_is_refused(home: Path) -> None:
    space = search_space(TOY, {}).space
    with open_study("held", space, seed=1, prune=True):
        second = open_study("held", space, seed=1, prune=True)
        with pytest.raises(SettingError, match="another process is at the search held"):
            second.__enter__()
        with open_study("other", space, seed=1, prune=True) as other:
            assert other.trials == []


@pytest.mark.slow
def test_a_store_that_refuses_costs_the_runs_and_not_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns/mlflow.db").write_text("no database")
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    result = search("x=0:9", trials=2)
    assert [trial.state for trial in result.trials] == ["done", "done"]
    assert result.run_id is None
    assert result.config.is_file()
    assert capsys.readouterr().err.count("not logged from here on") == 1


def command(home: Path, *arguments: str) -> subprocess.Popen[str]:
    words = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "recsys.pipelines.cli",
        "tune",
        "world",
        *WORLD,
        "--json",
        *arguments,
    ]
    environment = {**os.environ, "RECSYS_HOME": str(home), "PYTHONPATH": str(ROOT / "tests")}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(
        words, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_killed_it_goes_on_to_the_trials_of_one_that_never_stopped(home: Path, tmp_path: Path) -> None:
    """Killed in the middle of a trial: what was settled stays, the trial is tried again, the rest comes as it
    would."""
    whole = search("x=0:9", model={"slow": 0.05, "epochs": 4}, trials=7)
    options = ["--model", TOY, "--space", "x=0:9", "--trials", "7", "model.slow=0.05", "model.epochs=4"]
    process = command(tmp_path, *options)
    deadline = time.monotonic() + 200
    while len(means_by_place(tmp_path)) < 3 or not under_way(tmp_path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = means_by_place(tmp_path)
    assert 3 <= len(kept) < 7
    assert under_way(tmp_path) == 1
    process = command(tmp_path, *options)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    result = answer(subprocess.CompletedProcess([], 0, out, err))
    plain = [
        (trial["place"], trial["state"], trial["values"], trial["facts"].get("mean"))
        for trial in result["trials"]
    ]
    assert plain == [
        (trial.place, trial.state, trial.values, trial.facts.get("mean")) for trial in whole.trials
    ]
    assert kept.items() <= {place: mean for place, state, _, mean in plain if state == "done"}.items()
    assert under_way(tmp_path) == 0
    with sqlite3.connect(tmp_path / "mlruns/mlflow.db") as store:
        statuses = [row[0] for row in store.execute("select status from runs")]
        parents = store.execute(
            "select count(distinct value) from tags where key = 'mlflow.parentRunId'"
        ).fetchone()
    store.close()
    assert statuses.count("RUNNING") == 0
    assert 1 + 7 <= len(statuses) <= 1 + 7 + 1  # the whole, its trials, and perhaps the one that was cut off
    assert parents == (1,)


def query_trials(home: Path, query: str) -> list[Any]:
    """What the database of trials answers; nothing as long as it is not there."""
    if not (home / "mlruns/tune.db").exists():
        return []
    store = sqlite3.connect(home / "mlruns/tune.db", timeout=30)
    try:
        return store.execute(query).fetchall()
    except sqlite3.OperationalError:  # its tables are being made
        return []
    finally:
        store.close()


def means_by_place(home: Path) -> dict[int, float]:
    """place -> mean of the trials that are done, as the database has them at this moment."""
    rows = query_trials(
        home,
        "select a.value_json from trial_user_attributes a join trials t using (trial_id) "
        "where t.state = 'COMPLETE' and a.key = 'settled'",
    )
    trials = [json.loads(row[0]) for row in rows]
    return {one["place"]: one["facts"]["mean"] for one in trials}


def under_way(home: Path) -> int:
    return len(query_trials(home, "select 1 from trials where state in ('RUNNING', 'WAITING')"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("tune world --metric ndcg_at_many", ("ndcg_at_many", "unknown")),
        ("tune world --metric novelty_at_10", ("novelty_at_10", "ndcg_at_20")),
        ("tune world --metric mean_of_price_at_10", ("mean_of_price_at_10", "ndcg_at_20")),
        ("tune world --metric gini_at_10", ("gini_at_10",)),
        ("tune world judge=test", ("judge=test", "validation part only")),
        ("tune world warm=last", ("warm=last", "learns every trial anew")),
        ("tune world --space regularisation=1:2", ("did you mean 'regularization'",)),
        ("tune world --space regularization=2:1", ("empty",)),
        ("tune world --model own_history", ("nothing to search",)),
        ("tune world --model alls", ("'alls'", "did you mean 'als'")),
        ("tune world --trials 0", ("--trials",)),
        ("tune nothing", ("'nothing'",)),
        ("dims world --dims 8,many", ("'8,many'", "whole numbers")),
        ("dims world --dims 8,8", ("two or more",)),
        ("dims world --dims 0,8", ("dim", "greater than or equal to 1")),
        ("dims world --model ease", ("'ease'", "no setting `dim`")),
        ("dims world --space exponent=0:1", ("--retune 10",)),
        ("dims world judge=test", ("validation part only",)),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    said = CliRunner().invoke(main, arguments.split())
    assert said.exit_code == 2, said.output
    sentence = [line for line in said.stderr.splitlines() if line.startswith("recsys: ")]
    assert len(sentence) == 1
    for word in words:
        assert word in sentence[0]
    assert list(tmp_path.iterdir()) == []
