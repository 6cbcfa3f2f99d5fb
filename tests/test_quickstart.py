"""The quick start: its cells give in a fresh process what the notebook shows; and the frames that it begins
with."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from recsys.bundle.bundle import load
from recsys.bundle.root import current
from recsys.bundle.write import publish
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.evaluation.evaluate import Report
from recsys.evaluation.frames import events_frame, items_frame
from recsys.evaluation.significance import compare
from recsys.evaluation.tables import compared_lines
from recsys.models.als.als import ALS, ALSSettings
from recsys.models.export import content_of
from recsys.pipelines.cli import main
from recsys.testing.toys import random_log
from tests.helpers.notebooks import ROOT, assert_alike, read_outputs, run_notebook

NOTEBOOK = ROOT / "docs/quickstart.ipynb"


@pytest.mark.slow
def test_the_quick_start_prints_what_it_shows() -> None:
    assert_alike(run_notebook(NOTEBOOK), read_outputs(NOTEBOOK), atol=0.002)


def test_the_quick_start_shows_the_whole_line() -> None:
    text = "\n".join(read_outputs(NOTEBOOK))
    for promised in (
        "| popularity |",
        "| als ",
        "als against popularity",
        "manifest.json",
        "because of",
        "Similar to",
    ):
        assert promised in text


def test_a_data_set_comes_back_from_its_frames() -> None:
    log = random_log(3)
    rng = np.random.default_rng(1)
    n = len(log.interactions)
    typed = Interactions.in_order(
        log.interactions.user,
        log.interactions.item,
        n_users=log.n_users,
        n_items=log.n_items,
        time=log.interactions.time,
        weight=rng.random(n).astype(np.float32) + 0.5,
        event=rng.integers(2, size=n).astype(np.int8),
        event_names=("buy", "view"),
    )
    data = log.having(typed)
    back = dataset_of(events_frame(data), items_frame(data))
    assert list(back.item_ids) == list(data.item_ids)
    assert back.items.equals(data.items)
    assert back.interactions.event_names == ("buy", "view")
    for name in ("item", "time", "weight", "event"):
        np.testing.assert_array_equal(getattr(back.interactions, name), getattr(data.interactions, name))
    assert names_of(back) == names_of(data)


def names_of(data: Dataset) -> list[str]:
    users = list(data.user_ids)
    return [users[user] for user in data.interactions.user]


def test_the_tests_of_a_system_are_those_of_compare() -> None:
    rng = np.random.default_rng(0)
    warm = rng.random(400) < 0.6
    reports = {
        name: Report(
            {"ndcg_at_10": values},
            np.zeros(400, np.int8),
            segments={"warm": {"ndcg_at_10": np.where(warm, values, np.nan)}},
        )
        for name, values in (("als", rng.random(400) + 0.1), ("popularity", rng.random(400)))
    }
    comparisons = compare(
        reports["als"].values["ndcg_at_10"],
        {"popularity": reports["popularity"].values["ndcg_at_10"]},
        warm=int(warm.sum()),
    )
    line = compared_lines(reports, "als")
    assert line.startswith(f"als against popularity: {comparisons['popularity'].difference.mean:+.4f}")
    assert line.endswith(": better")
    few = {
        name: Report(
            report.values,
            report.source,
            segments={"warm": {"ndcg_at_10": np.where(np.arange(400) < 150, 0.0, np.nan)}},
        )
        for name, report in reports.items()
    }
    assert compared_lines(few, "als").endswith("too few to compare")


@pytest.mark.slow
def test_a_bundle_written_in_python_is_judged_exported_and_refused_where_it_knows_the_answers(
    tmp_path: Path,
) -> None:
    log = random_log(5, n_users=60, n_items=40, n=3000)
    clicks = tmp_path / "clicks.csv"
    events_frame(log).to_csv(clicks, index=False)
    train = split(dataset_of(clicks), SplitSettings(), seed=1).test.train
    content = content_of("als", ALS(ALSSettings(dim=4, epochs=2)).fit(train, seed=1), train)
    assert content.fallback_days == 30
    root = publish(tmp_path / "bundles", content).parent

    def recsys(*arguments: str) -> tuple[int, str]:
        said = CliRunner().invoke(main, [*arguments])
        return said.exit_code, said.output

    status, said = recsys("evaluate", str(root), f"data={clicks}", "--json")
    assert status == 0, said
    assert 0 < json.loads(said.splitlines()[-1])["metrics"]["ndcg_at_10"]["mean"] < 1
    status, said = recsys("evaluate", str(root))
    assert (status, said.count("\n")) == (2, 1)
    assert "does not say what to judge it on. Name it: --data DATA." in said
    status, said = recsys("evaluate", str(root), f"data={clicks}", "split.kind=leave_last_out")
    assert (status, said.splitlines()[-1].count("was written without a run")) == (2, 1)
    status, said = recsys("export", str(root), "--to", str(tmp_path / "copy"))
    assert status == 0, said
    assert load(current(tmp_path / "copy")).bundle_id == current(root).name
