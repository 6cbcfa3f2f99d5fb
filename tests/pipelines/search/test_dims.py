"""The dimension adviser: the smallest dim within one standard error of the best, with its costs."""

import json
from pathlib import Path

import numpy as np
import pytest

from recsys.errors import ModelError
from recsys.evaluation.significance import advised_dim
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.search import pictures
from recsys.pipelines.search.dims import Advice, advise, query_ms
from recsys.pipelines.search.space import search_space
from recsys.pipelines.search.tune import Asked, validation_of
from recsys.pipelines.tracking import address, client

pytestmark = pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|optuna).*")
WORLD = ["world.users=400", "world.items=120", "model.epochs=4"]


def obvious(values: dict[int, list[float]]) -> tuple[int, int]:
    """The rule as one would say it, user by user."""
    users = [
        n for n in range(len(next(iter(values.values())))) if all(row[n] == row[n] for row in values.values())
    ]
    mean = {dim: sum(row[n] for n in users) / len(users) for dim, row in values.items()}
    best = next(dim for dim in values if mean[dim] == max(mean.values()))
    for dim in sorted(values):
        gaps = [values[best][n] - values[dim][n] for n in users]
        middle = sum(gaps) / len(gaps)
        variance = sum((gap - middle) ** 2 for gap in gaps) / (len(gaps) - 1)
        if middle <= (variance / len(gaps)) ** 0.5:
            return best, dim
    raise AssertionError


@pytest.mark.parametrize("seed", range(30))
def test_the_rule_is_the_obvious_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 1, 60)
    values = {dim: hard + rng.normal(0.02 * at, 0.15, 60) for at, dim in enumerate((8, 16, 32, 64))}
    values[16][:5] = np.nan
    best, advised, differences = advised_dim(values)
    assert (best, advised) == obvious({dim: row.tolist() for dim, row in values.items()})
    assert differences[best] == (0, 0)


def test_only_what_differs_within_a_user_counts() -> None:
    """Users differ by 1, dims by .01 for everybody: the smaller one is worse beyond doubt, whatever users
    differ by."""
    hard = np.random.default_rng(1).normal(0, 1, 500)
    small, large = hard, hard + 0.01 + np.random.default_rng(2).normal(0, 0.01, 500)
    assert advised_dim({8: small, 16: large})[:2] == (16, 16)
    assert advised_dim({8: large, 16: small})[:2] == (8, 8)
    assert advised_dim({8: hard, 16: hard})[:2] == (8, 8)


def test_a_query_of_more_is_dearer() -> None:
    rng = np.random.default_rng(1)
    items = {dim: rng.standard_normal((20_000, dim), dtype=np.float32) for dim in (8, 512)}
    ms = {dim: query_ms(rows, rows[:30]) for dim, rows in items.items()}
    assert 0 < ms[8] < ms[512] < 1_000


def test_the_pictures_show_the_figures() -> None:
    figure = pictures.by_dim(
        "ndcg_at_20", [8, 16, 32], [0.1, 0.3, 0.25], [0.01, 0.0, 0.02], [1.0, 2.0, 4.0], advised=1
    )
    quality, cost = figure.axes
    assert quality.lines[0].get_ydata().tolist() == [0.1, 0.3, 0.25]
    assert cost.lines[0].get_ydata().tolist() == [1.0, 2.0, 4.0]
    for panel, value in ((quality, 0.3), (cost, 2.0)):
        assert [float(panel.lines[-1].get_xdata()[0]), float(panel.lines[-1].get_ydata()[0])] == [16, value]
    rows = [{"x": 0.1, "half_life": None, "m": 0.5}, {"x": 10.0, "half_life": 5, "m": 0.7}]
    figure = pictures.by_setting("m", {"x": True, "half_life": False}, rows, best=1)
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.5, 0.7]
    assert [panel.lines[1].get_ydata().tolist() for panel in figure.axes] == [[0.7], [0.7]]
    assert figure.axes[1].lines[0].get_xdata().tolist() == ["None", "5"]


def on_validation() -> Run:
    return prepare(validation_of(load_settings(None, WORLD)), Steps(quiet=True))


@pytest.fixture(scope="module")
def advice(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield advise(on_validation(), [32, 2, 8], "ndcg_at_20")


@pytest.mark.slow
def test_the_advice_follows_from_its_table(advice: Advice) -> None:
    assert [one.dim for one in advice.weighed] == [2, 8, 32]
    values = {one.dim: one.values.tolist() for one in advice.weighed}
    assert (advice.best, advice.advised) == obvious(values)
    for one in advice.weighed:
        assert one.model["dim"] == one.dim
        assert one.megabytes == pytest.approx(4 * 120 * one.dim / 1e6)
        assert one.interval.mean == pytest.approx(np.mean(values[one.dim]))
        assert one.interval.low < one.interval.mean < one.interval.high
        assert f"| {one.interval.mean:.4f} [" in advice.text
    assert f"Advised: dim {advice.advised}" in advice.text


@pytest.mark.slow
def test_the_advice_is_written_logged_and_taken(advice: Advice) -> None:
    settings = load_settings(str(advice.config), [])
    assert settings.model == {"name": "als", "dim": advice.advised, "epochs": 4}
    assert advice.run_id is not None
    for suffix, start in ((".png", b"\x89PNG"), (".md", b"world"), (".json", b"[")):
        logged = address.artifact_of(advice.run_id, advice.config.with_suffix(suffix).name)
        assert logged.read_bytes().startswith(start)
    rows = json.loads(Path(advice.config.with_suffix(".json")).read_text())
    assert [row["dim"] for row in rows] == [2, 8, 32]
    nested = [run for run in client.runs("recsys/trials", 50) if "mlflow.parentRunId" in run.tags]
    assert {run.tags["mlflow.parentRunId"] for run in nested} == {advice.run_id}
    assert {run.params["model.dim"] for run in nested} == {"2", "8", "32"}


@pytest.mark.slow
def test_every_dim_may_have_settings_of_its_own(advice: Advice) -> None:
    run = on_validation()

    def search(dim: int):
        space = search_space("als", run.settings.model_settings, ["regularization=0.001:1:log", f"dim={dim}"])
        return space, Asked(trials=3)

    retuned = advise(run, [2, 8], "ndcg_at_20", search=search)
    for one, plain in zip(retuned.weighed, advice.weighed, strict=False):
        assert one.dim == plain.dim == one.model["dim"]
        assert one.interval.mean >= plain.interval.mean  # the settings as given are among those tried


@pytest.mark.slow
def test_a_dim_that_cannot_be_learned_is_left_out(
    advice: Advice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from recsys.models.als.als import ALS

    fit = ALS.fit

    def small_only(self, *arguments, **named):
        if self.settings.dim > 8:
            raise ModelError("als needs 99 GiB. Set dim to 8 or less.")
        return fit(self, *arguments, **named)

    monkeypatch.setattr(ALS, "fit", small_only)
    smaller = advise(on_validation(), [2, 8, 32], "ndcg_at_20")
    assert smaller.weighed[2].reason == "als needs 99 GiB. Set dim to 8 or less."
    assert "not learned" in smaller.text
    assert set(smaller.differences) == {2, 8}
    assert "dim 32 is left out" in capsys.readouterr().err
    with pytest.raises(ModelError, match="fewer than two of the dims"):
        advise(on_validation(), [8, 32], "ndcg_at_20")
