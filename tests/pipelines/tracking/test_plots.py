"""The pictures of a run show the figures they claim to show."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.evaluation.evaluate import Report
from recsys.models.als.als import ALS, ALSSettings
from recsys.models.popularity import Popularity
from recsys.pipelines.tracking import plots
from recsys.testing.toys import random_log

pytestmark = pytest.mark.filterwarnings("ignore:::matplotlib.*")


@pytest.fixture(scope="module")
def holdout() -> Holdout:
    return split(random_log(5, n_users=60, n_items=40, n=3000), SplitSettings(), seed=1).test


def reports(n: int) -> dict[str, Report]:
    rng = np.random.default_rng(1)
    names = ("ndcg_at_10", "ndcg_at_20", "recall_at_10", "recall_at_20", "mrr_at_10")
    rows = ("als", "popularity", "popularity_7_days")
    return {row: Report({name: rng.random(n) for name in names}, np.zeros(n, np.int8)) for row in rows}


def test_metrics_by_k_has_a_panel_for_each_metric_at_several_k() -> None:
    by_row = reports(50)
    figure = plots.metrics_by_k("als", by_row)
    assert [panel.get_title() for panel in figure.axes] == ["ndcg", "recall"]
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    assert list(lines) == ["popularity", "popularity_7_days", "als"]
    for row, line in lines.items():
        assert line.get_xdata().tolist() == [10, 20]
        expected = [by_row[row].values[f"recall_at_{k}"].mean() for k in (10, 20)]
        assert line.get_ydata() == pytest.approx(expected)


def test_bars_by_history_are_the_means_of_the_users_in_them(holdout: Holdout) -> None:
    by_row = reports(len(holdout.user))
    figure = plots.by_history("als", by_row, holdout)
    lengths, values = holdout.history.lengths, by_row["als"].values["ndcg_at_10"]
    groups = [lengths == 0, (lengths >= 1) & (lengths < 5), (lengths >= 5) & (lengths < 20), lengths >= 20]
    expected = [values[where].mean() for where in groups if where.any()]
    assert [bar.get_height() for bar in figure.axes[0].patches[: len(expected)]] == pytest.approx(expected)


def test_bars_by_segment_leave_out_whom_it_does_not_concern() -> None:
    values = np.array([0.2, 0.4, 0.9, np.nan])
    parts = {"head": {"ndcg_at_10": values}, "nobody": {"ndcg_at_10": np.full(4, np.nan)}}
    report = Report({"ndcg_at_10": np.ones(4)}, np.zeros(4, np.int8), segments=parts)
    figure = plots.by_segment("als", {"als": report})
    assert [bar.get_height() for bar in figure.axes[0].patches] == pytest.approx([0.5])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["head\n3 users"]
    assert plots.by_segment("als", {"als": Report({"ndcg_at_10": np.ones(4)}, np.zeros(4, np.int8))}) is None


def test_popularity_against_score_shows_mean_scores(holdout: Holdout) -> None:
    space = ALS(ALSSettings(dim=4, epochs=2)).fit(holdout.train, seed=1)
    figure = plots.popularity_against_score(space, holdout)
    (line,) = figure.axes[0].get_lines()
    table: Any = space.encoder.table  # type: ignore[attr-defined]
    scores = table[holdout.user] @ space.items.T
    counts = holdout.train.interactions.item_counts()
    order = np.argsort(counts, kind="stable")
    assert line.get_xdata().tolist() == counts[order].tolist()
    assert line.get_ydata() == pytest.approx(scores.mean(axis=0)[order], rel=1e-4, abs=1e-6)


def test_only_the_pictures_that_have_something_to_show_are_drawn(holdout: Holdout, tmp_path: Path) -> None:
    by_row = reports(len(holdout.user))
    learned = Popularity().fit(holdout.train, seed=1)
    measured: Any = SimpleNamespace(name="als", reports=by_row, learned=learned)
    plots.draw(tmp_path, measured, holdout, {})
    assert {path.name for path in tmp_path.iterdir()} == {"metrics_by_k.png", "by_history.png"}
    curves = {"learning als": [{"objective": 2.0}, {"objective": 1.0}]}
    plots.draw(tmp_path, measured, holdout, curves)
    pixels = imread(tmp_path / "curves.png")[..., :3]
    line = np.array([int(plots.MODEL[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    assert (
        np.abs(pixels - line).max(axis=2) < 0.02
    ).sum() > 100  # the curve is on the picture, in the model's colour
